//! `FakeRuntime`: pulls images that do not exist and runs containers that do nothing, after a script and a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use wkube_base::Rng;
use wkube_node::runtime::{ContainerSpec, Exit, Guest, Image, Pull, PullError, Runtime, StartError};
use wkube_proxy::{Backend, Body, BoxError};

/// What a container killed without notice exits with, as a shell shows it: 128 + SIGKILL.
const KILLED: i32 = 137;
/// What a container exits with that ends when it is asked to: 128 + SIGTERM.
const STOPPED: i32 = 143;

/// How containers of one image behave.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// Whether the registry has the image.
    pub exists: bool,
    /// How long a pull takes.
    pub pull: Span,
    /// How likely a pull fails.
    pub pull_fails: f64,
    /// How long a start takes.
    pub start: Span,
    /// How likely a start fails.
    pub start_fails: f64,
    /// What it does once it has started.
    pub run: Run,
    /// How long it takes to end when it is asked to.
    pub stop: Span,
    /// What it answers to HTTP requests, after the name of its pod; `None` if it does not listen.
    pub answers: Option<&'static str>,
}

/// What a container does once it has started.
#[derive(Debug, Clone, PartialEq)]
pub enum Run {
    /// Goes on until it is told to stop.
    Forever,
    /// Ends by itself after a while; fails with code 1 with the given likelihood, else exits with 0.
    Once {
        /// How long it runs.
        takes: Span,
        /// How likely it fails.
        fails: f64,
    },
}

/// A time between two bounds, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The shortest.
    pub from: u16,
    /// The longest.
    pub to: u16,
}

impl Span {
    /// Returns the span of these two bounds, in milliseconds.
    pub const fn millis(from: u16, to: u16) -> Self {
        Self { from, to }
    }

    /// Draws a time.
    pub fn draw(self, rng: &Rng) -> Duration {
        let width = usize::from(self.to.saturating_sub(self.from)) + 1;
        Duration::from_millis(u64::from(self.from) + rng.below(width) as u64)
    }
}

impl Script {
    /// A server: runs until it is stopped, answers HTTP.
    pub const SERVER: Self = Self {
        exists: true,
        pull: Span::millis(50, 500),
        pull_fails: 0.0,
        start: Span::millis(5, 100),
        start_fails: 0.0,
        run: Run::Forever,
        stop: Span::millis(10, 300),
        answers: Some("ok"),
    };

    /// A task: runs for a few seconds and exits with 0.
    pub const TASK: Self =
        Self { run: Run::Once { takes: Span::millis(500, 5_000), fails: 0.0 }, answers: None, ..Self::SERVER };

    /// An image that no registry has.
    pub const MISSING: Self = Self { exists: false, ..Self::SERVER };
}

/// What ran where, on all nodes together: the truth that checks compare with what objects say. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    scripts: BTreeMap<String, Script>,
    starts: BTreeMap<(String, String), Vec<Start>>,
    problems: Vec<String>,
}

/// One start of one container.
#[derive(Debug, Clone)]
pub struct Start {
    /// The node.
    pub node: String,
    /// The pod's name.
    pub pod: String,
    /// The image, without its digest.
    pub image: String,
    /// The environment.
    pub env: BTreeMap<String, String>,
    end: watch::Sender<End>,
}

impl Start {
    /// Whether it has not ended yet.
    pub fn is_running(&self) -> bool {
        self.end.borrow().at.is_none_or(|at| at > Instant::now())
    }

    /// Returns how it ended, or `None` if it runs.
    pub fn exit_code(&self) -> Option<i32> {
        (!self.is_running()).then(|| self.end.borrow().code)
    }
}

impl Ledger {
    /// Sets how containers of an image behave from now on. Images without a script are [`Script::SERVER`]s.
    pub fn script(&self, image: &str, script: Script) {
        self.0.lock().scripts.insert(image.to_owned(), script);
    }

    /// Returns every start so far by the pod's UID and the container's name.
    pub fn starts(&self) -> BTreeMap<(String, String), Vec<Start>> {
        self.0.lock().starts.clone()
    }

    /// Returns the starts of containers that run now.
    pub fn running(&self) -> Vec<Start> {
        let entries = self.0.lock();
        entries.starts.values().flatten().filter(|start| start.is_running()).cloned().collect()
    }

    /// Takes what no cluster may do: a pod on two nodes, a container twice at once.
    pub fn take_problems(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().problems)
    }

    fn script_of(&self, image: &str) -> Script {
        self.0.lock().scripts.get(image).cloned().unwrap_or(Script::SERVER)
    }

    fn enter(&self, uid: &str, container: &str, start: Start) {
        let mut entries = self.0.lock();
        let Entries { starts, problems, .. } = &mut *entries;
        let others = starts.iter().filter(|((of, _), _)| of == uid).flat_map(|(_, starts)| starts);
        for other in others.filter(|other| other.node != start.node) {
            problems.push(format!("pod {} ({uid}) ran on {} and starts on {}", start.pod, other.node, start.node));
        }
        let same = starts.entry((uid.to_owned(), container.to_owned())).or_default();
        if same.iter().any(Start::is_running) {
            problems.push(format!("container {container} of pod {} ({uid}) is started while it runs", start.pod));
        }
        same.push(start);
    }
}

/// The runtime of one node.
pub struct FakeRuntime {
    node: String,
    ledger: Ledger,
    rng: Rng,
    pulled: Arc<Mutex<BTreeSet<String>>>,
    guests: Mutex<Vec<watch::Sender<End>>>,
}

impl FakeRuntime {
    /// Returns the runtime of the node of this name, without images.
    pub fn new(node: &str, ledger: &Ledger, rng: &Rng) -> Arc<Self> {
        let (node, ledger, rng) = (node.to_owned(), ledger.clone(), rng.split());
        Arc::new(Self { node, ledger, rng, pulled: Arc::default(), guests: Mutex::default() })
    }

    /// Ends every container at once, as when the node's process dies.
    pub fn kill_all(&self) {
        for end in self.guests.lock().drain(..) {
            hurry(&end, Instant::now(), KILLED);
        }
    }
}

impl Runtime for FakeRuntime {
    fn find_image(&self, name: &str) -> BoxFuture<'static, Option<Image>> {
        let found = self.pulled.lock().contains(name).then(|| image(name));
        std::future::ready(found).boxed()
    }

    fn pull_image(&self, pull: Pull) -> BoxFuture<'static, Result<Image, PullError>> {
        let script = self.ledger.script_of(&pull.image);
        let (takes, fails) = (script.pull.draw(&self.rng), self.rng.unit() < script.pull_fails);
        let pulled = Arc::clone(&self.pulled);
        async move {
            tokio::time::sleep(takes).await;
            if !script.exists {
                return Err(PullError::Failed("not found".to_owned()));
            }
            if fails {
                return Err(PullError::Failed("connection reset by peer".to_owned()));
            }
            pulled.lock().insert(pull.image.clone());
            Ok(image(&pull.image))
        }
        .boxed()
    }

    fn start(&self, spec: ContainerSpec) -> BoxFuture<'static, Result<Arc<dyn Guest>, StartError>> {
        let name = spec.image.id.split('@').next().unwrap_or_default().to_owned();
        let script = self.ledger.script_of(&name);
        let (takes, fails) = (script.start.draw(&self.rng), self.rng.unit() < script.start_fails);
        let (runs, code) = match script.run {
            Run::Forever => (None, 0),
            Run::Once { takes, fails } => (Some(takes.draw(&self.rng)), i32::from(self.rng.unit() < fails)),
        };
        let stops_in = script.stop.draw(&self.rng);
        let end = watch::Sender::new(End { at: None, code });
        self.guests.lock().push(end.clone());
        let (ledger, node) = (self.ledger.clone(), self.node.clone());
        async move {
            tokio::time::sleep(takes).await;
            if fails {
                return Err(StartError::Failed("the fake runtime does not feel like it".to_owned()));
            }
            if let Some(runs) = runs {
                hurry(&end, Instant::now() + runs, code);
            }
            let pod = spec.pod.name.clone();
            let env = spec.env.iter().cloned().collect();
            ledger.enter(&spec.pod.uid, &spec.name, Start { node, pod, image: name, env, end: end.clone() });
            let answer = script.answers.map(|answer| format!("{} {answer}\n", spec.pod.name));
            Ok(Arc::new(FakeGuest { end, stops_in, answer }) as Arc<dyn Guest>)
        }
        .boxed()
    }

    fn version(&self) -> String {
        "fake://1".to_owned()
    }
}

fn image(name: &str) -> Image {
    Image { id: format!("{name}@sha256:{:064x}", 0), size_bytes: 1 << 20 }
}

/// When and how a container ends, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    at: Option<Instant>,
    code: i32,
}

/// Makes a container end at `at`, unless it ends earlier anyway.
fn hurry(end: &watch::Sender<End>, at: Instant, code: i32) {
    end.send_if_modified(|end| {
        let is_earlier = end.at.is_none_or(|before| at < before && before > Instant::now());
        if is_earlier {
            *end = End { at: Some(at), code };
        }
        is_earlier
    });
}

struct FakeGuest {
    end: watch::Sender<End>,
    stops_in: Duration,
    answer: Option<String>,
}

impl Guest for FakeGuest {
    fn ended(&self) -> BoxFuture<'static, Exit> {
        let mut end = self.end.subscribe();
        async move {
            loop {
                let End { at, code } = *end.borrow_and_update();
                let over = async {
                    match at {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    // The sender lives in the ledger as long as the test.
                    _ = end.changed() => {}
                    () = over => return Exit::of(code),
                }
            }
        }
        .boxed()
    }

    fn stop(&self, grace: Duration) -> BoxFuture<'static, ()> {
        let code = if self.stops_in <= grace { STOPPED } else { KILLED };
        hurry(&self.end, Instant::now() + self.stops_in.min(grace), code);
        self.ended().map(drop).boxed()
    }

    fn backend(&self) -> Option<Arc<dyn Backend>> {
        let answer = self.answer.clone()?;
        Some(Arc::new(FakeBackend { answer, end: self.end.subscribe() }))
    }
}

struct FakeBackend {
    answer: String,
    end: watch::Receiver<End>,
}

impl Backend for FakeBackend {
    fn handle(&self, _: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
        let is_over = self.end.borrow().at.is_some_and(|at| at <= Instant::now());
        let answer = Full::from(self.answer.clone()).map_err(|never| match never {}).boxed_unsync();
        let answer = if is_over { Err("the container has ended".into()) } else { Ok(Response::new(answer)) };
        std::future::ready(answer).boxed()
    }
}

#[cfg(test)]
mod tests {
    use wkube_node::runtime::PodRef;

    use super::*;

    fn guest(end: Option<Duration>, stops_in: Duration) -> FakeGuest {
        let at = end.map(|after| Instant::now() + after);
        FakeGuest { end: watch::Sender::new(End { at, code: 0 }), stops_in, answer: None }
    }

    fn start(node: &str) -> Start {
        Start {
            node: node.to_owned(),
            pod: PodRef::default().name,
            image: String::new(),
            env: BTreeMap::new(),
            end: watch::Sender::new(End { at: None, code: 0 }),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_container_that_does_not_end_in_its_grace_period_is_killed() {
        let (quick, slow) = (guest(None, Duration::from_secs(1)), guest(None, Duration::from_mins(1)));
        quick.stop(Duration::from_secs(30)).await;
        slow.stop(Duration::from_secs(30)).await;
        assert_eq!((quick.ended().await.code, slow.ended().await.code), (STOPPED, KILLED));
    }

    #[tokio::test(start_paused = true)]
    async fn a_container_that_ended_by_itself_keeps_its_exit_code() {
        let task = guest(Some(Duration::from_secs(1)), Duration::ZERO);
        let exit = task.ended().await;
        task.stop(Duration::ZERO).await;
        assert_eq!((exit.code, task.ended().await.code), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_ledger_tells_of_a_pod_on_two_nodes_and_of_a_container_twice_at_once() {
        let ledger = Ledger::default();
        ledger.enter("u1", "web", start("n1"));
        assert_eq!(ledger.take_problems(), Vec::<String>::new());
        ledger.enter("u1", "web", start("n1"));
        assert_eq!(ledger.take_problems(), ["container web of pod  (u1) is started while it runs"]);
        ledger.enter("u1", "side", start("n2"));
        assert_eq!(ledger.take_problems().first().map(String::as_str), Some("pod  (u1) ran on n1 and starts on n2"));
    }
}
