//! A runtime whose guests and commands are played by the test.

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use super::*;

/// A runtime whose guests end when they are told, or when the test says so.
#[derive(Clone, Default)]
pub(super) struct FakeRuntime(pub(super) Arc<Mutex<Vec<FakeGuest>>>);

#[derive(Clone)]
pub(crate) struct FakeGuest {
    pub(crate) spec: Arc<ContainerSpec>,
    pub(super) exit: watch::Sender<Option<Exit>>,
    stdin: Arc<Mutex<Option<mpsc::Receiver<Bytes>>>>,
    commands: Arc<Mutex<Vec<FakeCommand>>>,
    pub(super) resized: Arc<Mutex<Option<Amounts>>>,
}

/// A command beside a container, played by the test.
#[derive(Clone)]
pub(crate) struct FakeCommand {
    pub(crate) args: Vec<String>,
    pub(crate) stdin: Arc<tokio::sync::Mutex<Option<mpsc::Receiver<Bytes>>>>,
    output: Arc<Mutex<Option<Arc<dyn Output>>>>,
    exit: watch::Sender<Option<Exit>>,
}

/// The hold on a command: dropping it kills the command.
struct HeldCommand(FakeCommand);

impl Runtime for FakeRuntime {
    fn find_image(&self, name: &str) -> BoxFuture<'static, Option<Image>> {
        let image = (name != "missing:v9").then(|| Image { id: format!("{name}@sha256:0"), size_bytes: 1 });
        Box::pin(std::future::ready(image))
    }

    fn pull_image(&self, _: Pull) -> BoxFuture<'static, Result<Image, PullError>> {
        Box::pin(std::future::ready(Err(PullError::Failed("not found".into()))))
    }

    fn start(&self, mut spec: ContainerSpec) -> BoxFuture<'static, Result<Arc<dyn Guest>, StartError>> {
        if spec.image.id.starts_with("bad") {
            return Box::pin(std::future::ready(Err(StartError::Unrunnable("no _start".into()))));
        }
        let guest = FakeGuest {
            stdin: Arc::new(Mutex::new(spec.stdin.take())),
            spec: Arc::new(spec),
            exit: watch::Sender::new(None),
            commands: Arc::default(),
            resized: Arc::default(),
        };
        self.0.lock().push(guest.clone());
        Box::pin(std::future::ready(Ok(Arc::new(guest) as Arc<dyn Guest>)))
    }

    fn version(&self) -> String {
        "fake://1".into()
    }
}

fn exit(code: i32) -> Exit {
    Exit::of(code)
}

impl FakeGuest {
    pub(crate) fn end(&self, code: i32) {
        self.exit.send_replace(Some(exit(code)));
    }

    /// Returns what it reads, once.
    pub(crate) fn take_stdin(&self) -> Option<mpsc::Receiver<Bytes>> {
        self.stdin.lock().take()
    }

    /// Returns the newest command beside it.
    pub(crate) fn command(&self) -> Option<FakeCommand> {
        self.commands.lock().last().cloned()
    }
}

impl FakeCommand {
    pub(crate) fn write(&self, stream: Stream, text: &str) {
        self.output.lock().as_ref().expect("it runs").write(stream, text.as_bytes());
    }

    pub(crate) fn end(&self, code: i32) {
        self.output.lock().take();
        self.exit.send_if_modified(|now| {
            let is_news = now.is_none();
            if is_news {
                *now = Some(exit(code));
            }
            is_news
        });
    }

    pub(crate) fn code(&self) -> Option<i32> {
        self.exit.borrow().as_ref().map(|exit| exit.code)
    }
}

impl Drop for HeldCommand {
    fn drop(&mut self) {
        self.0.end(137);
    }
}

impl Guest for HeldCommand {
    fn ended(&self) -> BoxFuture<'static, Exit> {
        let mut exit = self.0.exit.subscribe();
        Box::pin(async move { exit.wait_for(Option::is_some).await.unwrap().clone().unwrap() })
    }

    fn stop(&self, _: Duration) -> BoxFuture<'static, ()> {
        self.0.end(137);
        Box::pin(std::future::ready(()))
    }

    fn backend(&self) -> Option<Arc<dyn Backend>> {
        None
    }
}

impl Guest for FakeGuest {
    fn ended(&self) -> BoxFuture<'static, Exit> {
        let mut exit = self.exit.subscribe();
        Box::pin(async move {
            let _ = exit.wait_for(Option::is_some).await;
            let exit = exit.borrow().clone();
            exit.unwrap()
        })
    }

    fn stop(&self, _: Duration) -> BoxFuture<'static, ()> {
        self.end(143);
        Box::pin(std::future::ready(()))
    }

    fn backend(&self) -> Option<Arc<dyn Backend>> {
        None
    }

    fn resize(&self, to: &Amounts) {
        *self.resized.lock() = Some(*to);
    }

    fn usage(&self) -> Usage {
        Usage { cpu_nanos: 7, memory_bytes: 42 }
    }

    fn exec(&self, exec: Exec) -> BoxFuture<'static, Result<Arc<dyn Guest>, StartError>> {
        if exec.args == ["refused"] {
            return Box::pin(std::future::ready(Err(StartError::Unrunnable("it has no command".into()))));
        }
        let command = FakeCommand {
            args: exec.args,
            stdin: Arc::new(tokio::sync::Mutex::new(exec.stdin)),
            output: Arc::new(Mutex::new(Some(exec.output))),
            exit: watch::Sender::new(None),
        };
        self.commands.lock().push(command.clone());
        Box::pin(std::future::ready(Ok(Arc::new(HeldCommand(command)) as Arc<dyn Guest>)))
    }
}
