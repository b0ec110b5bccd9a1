//! One attempt of one container: image, environment, start, and in the end how it ended. Always reports an end.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod, Probe};
use tokio::sync::mpsc;
use wkube_proxy::{Ports, Registration};

use super::backoff::elapsed;
use super::container::Ended;
use super::isolation::{self, Handler};
use super::phase::{ContainerEvent, Input, Note, StartFailure};
use super::termination::{self, Place};
use super::view::Newest;
use super::worker::{Reports, Stop};
use super::{probes, qos, spec};
use crate::context::Context;
use crate::env;
use crate::grants::Grants;
use crate::logs;
use crate::runtime::{Amounts, ContainerSpec, Exit, Guest, Mount, PodRef, StartError, process};
use crate::stdio::{Attached, Console, StdinMode};
use crate::volumes;
use crate::volumes::beneath::Found;

/// Variables by name.
type Env = BTreeMap<String, String>;

/// How long an HTTP guest goes on answering after it was asked to stop, so that the news reaches those who route to it.
/// Kubernetes leaves this to a `preStop` sleep that everybody forgets.
const ENDPOINT_LINGER: Duration = Duration::from_millis(250);

/// A container keeps at least this much of its grace period after its `preStop` hook
/// (`kuberuntime_container.go`, `minimumGracePeriodInSeconds`).
const GRACE_AFTER_HOOK: Duration = Duration::from_secs(2);

/// How long the answer to a hook's request may take.
const HTTP_HOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// What is kept of a container that runs and has no hooks: the whole would be kept for as long as it runs.
static WITHOUT_HOOKS: LazyLock<Arc<Container>> = LazyLock::new(Arc::default);

/// Everything that one attempt needs.
pub struct Attempt {
    /// The node.
    pub context: Arc<Context>,
    /// The pod as it is now.
    pub newest: Newest,
    /// The container's name.
    pub name: String,
    /// The container, as it was granted.
    pub container: Arc<Container>,
    /// Which attempt.
    pub number: u32,
    /// The pod's address.
    pub ip: IpAddr,
    /// When it shall have ended.
    pub stop: Stop,
    /// Takes what happens.
    pub events: Reports,
}

impl Attempt {
    /// Runs the attempt to its end. On the heap, because a future that is given something by value has room for it twice.
    pub async fn run(mut self: Box<Self>) {
        let (attached, stdin) = Attached::new(self.stdin_mode());
        let attached = Arc::new(attached);
        let started = tokio::select! {
            biased;
            _ = self.stop.wait_for(Option::is_some) => Err(Failure::Start(StartFailure::Cancelled)),
            // On the heap: pulling and compiling need much room for a moment, waiting for the end does not.
            started = Box::pin(self.start(stdin, &attached)) => started,
        };
        let event = match started {
            Ok(started) => self.attend(started, attached).await,
            Err(Failure::Start(failure)) => {
                ContainerEvent::StartFailed { container: self.name(), attempt: self.number, failure }
            }
            Err(Failure::Unrunnable(message)) => {
                let now = self.context.clock.now();
                let ended =
                    Ended { code: 128, reason: "StartError".to_owned(), message, started_at: None, finished_at: now };
                ContainerEvent::Exited { container: self.name(), attempt: self.number, ended }
            }
        };
        Box::pin(self.report(event)).await;
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn pod(&self) -> Arc<Pod> {
        self.newest.get()
    }

    async fn report(&self, event: ContainerEvent) {
        // A worker that is gone needs no report.
        let _ = self.events.clone().send(Box::new(Input::Runtime(event))).await;
    }

    fn note(&self, note: Note) {
        self.context.record(&self.pod(), &Note { container: Some(self.name()), ..note });
    }

    fn stdin_mode(&self) -> StdinMode {
        match (self.container.stdin, self.container.stdin_once) {
            (Some(true), Some(true)) => StdinMode::Once,
            (Some(true), _) => StdinMode::Open,
            (None | Some(false), _) => StdinMode::Closed,
        }
    }

    async fn start(&self, stdin: Option<mpsc::Receiver<Bytes>>, attached: &Arc<Attached>) -> Result<Started, Failure> {
        let record = |note: Note| self.note(note);
        let pod = self.pod();
        let image = self.context.images.ensure(&pod, &self.container, &record).await.map_err(Failure::Start)?;
        let env = self.environment().await?;
        let pod_dir = volumes::pod_dir(&self.context.data_dir, &pod);
        let (mounts, held) = self.mounts(&pod_dir, &env).await?;
        let words = Place::in_volume(&self.container, &mounts).map(Box::new);
        let expand = |text: &String| env::expand(text, |name| env.get(name).cloned());
        let grants = Grants::of(&pod, &self.name).map_err(|problem| Failure::config(problem.to_string()))?;
        let command = self.container.command.as_deref().filter(|command| !command.is_empty());
        // The entry point is the module's own; without a command `argv[0]` is the container's name.
        let program: Vec<String> =
            command.map_or_else(|| vec![self.name()], |command| command.iter().map(expand).collect());
        let command = command.and(program.first().cloned());
        let args = program.into_iter().chain(self.container.args.iter().flatten().map(expand)).collect();
        let process = self.process(&pod_dir).await?;
        let network = self.context.networks.of(&pod, self.ip).map_err(Failure::config)?;
        let Amounts { memory_bytes, cpu_millis, share } = qos::amounts(&pod, &self.container);
        let image_id = image.id.clone();
        let log_dir = pod_dir.join(&self.name);
        self.context.logs.forget_before(&log_dir, self.number);
        let log = self.context.logs.writer(&log_dir, self.number);
        let guest = self.context.runtime.start(ContainerSpec {
            image,
            pod: PodRef {
                namespace: spec::namespace(&pod).to_owned(),
                name: spec::name(&pod).to_owned(),
                uid: spec::uid(&pod).to_owned(),
            },
            name: self.name(),
            args,
            command,
            grants,
            env: env.into_iter().collect(),
            mounts,
            working_dir: self.container.working_dir.clone().filter(|dir| !dir.is_empty()),
            trusts: None,
            memory_bytes,
            cpu_millis,
            process,
            network,
            ports: spec::tcp_ports(&self.container),
            share,
            stdin,
            output: Arc::new(Console::new(log, Arc::clone(attached))),
        });
        match guest.await {
            Ok(guest) => Ok(Started { guest, image_id, words, _held: held }),
            Err(StartError::Unrunnable(message)) => Err(Failure::Unrunnable(message)),
            Err(StartError::Failed(message)) => {
                Err(Failure::Start(StartFailure::Other { reason: "CreateContainerError", message }))
            }
        }
    }

    /// Returns what the pod's own process may have, if its class wants one.
    async fn process(&self, pod_dir: &Path) -> Result<Option<process::Limits>, Failure> {
        let pod = self.pod();
        let Some(class) = pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.as_deref()) else {
            return Ok(None);
        };
        let found = self.context.fetcher.runtime_class(class).await;
        let found = found.map_err(|error| Failure::config(format!("failed to get RuntimeClass {class:?}: {error}")))?;
        let found = found.ok_or_else(|| Failure::config(format!("RuntimeClass.node.k8s.io {class:?} not found")))?;
        let handler = Handler::parse(&found.handler).map_err(Failure::config)?;
        let limits = || isolation::limits(&pod, pod_dir, &self.context.host_paths);
        Ok((handler == Handler::WasmProcess).then(limits))
    }

    async fn mounts(&self, pod_dir: &Path, env: &Env) -> Result<(Vec<Mount>, Vec<Found>), Failure> {
        let host_paths = &self.context.host_paths;
        let mounts =
            volumes::mounts(&self.pod(), &self.container, pod_dir, env, host_paths).map_err(Failure::config)?;
        let (pod_dir, container) = (pod_dir.to_owned(), Arc::clone(&self.container));
        let managed = volumes::managed::files(&self.pod(), &container, self.ip);
        // What the container wrote in its last life may be much to remove, and files may be large. Else it is a handful of
        // directories, not worth a thread; and so a start without a past stays at its place in a simulated cluster.
        let is_much = !mounts.files.is_empty() || volumes::root::roots(&pod_dir).join(&container.name).exists();
        let making = move || {
            let mut dirs = volumes::root::prepend(&pod_dir, &container, mounts.dirs)?;
            volumes::managed::place(&mut dirs, &managed)?;
            volumes::root::place_files(&dirs, &mounts.files)?;
            Ok::<_, std::io::Error>((dirs, mounts.held))
        };
        let made = if is_much { tokio::task::spawn_blocking(making).await } else { Ok(making()) };
        let failed = |error: &dyn std::error::Error| {
            let message = format!("failed to make the root of container \"{}\": {error}", self.name);
            Failure::Start(StartFailure::Other { reason: "CreateContainerError", message })
        };
        made.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
    }

    async fn environment(&self) -> Result<Env, Failure> {
        let needs = env::needs(&self.container);
        let pod = self.pod();
        let fetched = self.context.fetcher.for_env(&pod, needs).await;
        let mut sources =
            fetched.map_err(|error| Failure::config(format!("failed to read its environment: {error}")))?;
        sources.pod_ip = Some(self.ip);
        sources.host_ip = self.context.host_ip;
        sources.allocatable = self.context.allocatable.clone();
        let made = env::environment(&pod, &self.container, &sources);
        let mut env = made.map_err(|error| Failure::config(error.to_string()))?;
        env.entry("HOSTNAME".to_owned()).or_insert_with(|| spec::hostname(&pod).to_owned());
        Ok(env)
    }

    /// Stays with a running guest until it has ended.
    async fn attend(&mut self, started: Started, attached: Arc<Attached>) -> ContainerEvent {
        let Started { guest, image_id, words, _held } = started;
        let started_at = self.context.clock.now();
        let pod = self.pod();
        let live = self.context.live.register(spec::uid(&pod), &self.name, Arc::clone(&guest), Arc::clone(&attached));
        let registration = guest.backend().map(|backend| self.context.local.register(self.ip, self.ports(), backend));
        drop(pod);
        // Before its hook, which may take long (`kuberuntime_container.go`, `startContainer`).
        self.note(Note::normal("Created", format!("Created container: {}", self.name)));
        self.note(Note::normal("Started", format!("Started container {}", self.name)));
        if self.container.lifecycle.is_none() {
            self.container = Arc::clone(&WITHOUT_HOOKS);
        }
        let exit = match Box::pin(self.post_start(&*guest)).await {
            // The container counts as started once its hook is through (`kuberuntime_container.go`, `startContainer`).
            Hook::Done => {
                let started = ContainerEvent::Started { container: self.name(), attempt: self.number, image_id };
                Box::pin(self.report(started)).await;
                self.wait(&*guest, registration.as_ref()).await
            }
            Hook::Failed => {
                self.note(Note::normal("Killing", "FailedPostStartHook"));
                guest.stop(spec::grace(&self.pod())).await;
                guest.ended().await
            }
            Hook::Cut => self.wait(&*guest, registration.as_ref()).await,
        };
        drop(registration);
        drop(live);
        drop(guest);
        // Also if the runtime keeps the console for a while.
        attached.end();
        let ended = self.ended(exit, started_at, words).await;
        ContainerEvent::Exited { container: self.name(), attempt: self.number, ended }
    }

    /// Says how the guest ended, in the container's own words if it left some.
    async fn ended(&self, exit: Exit, started_at: Timestamp, words: Option<Box<Place>>) -> Ended {
        let (finished_at, pod) = (self.context.clock.now(), self.pod());
        let reason = exit.reason().to_owned();
        let own = Box::pin(self.last_words(&pod, exit.code, words)).await;
        let message = termination::message(&pod, exit.message, &own);
        Ended { code: exit.code, reason, message, started_at: Some(started_at), finished_at }
    }

    async fn last_words(&self, pod: &Pod, code: i32, words: Option<Box<Place>>) -> String {
        let Some(container) = spec::container(pod, &self.name) else { return String::new() };
        let pod_dir = volumes::pod_dir(&self.context.data_dir, pod);
        let words = words.map_or_else(|| Place::in_root(&container, &pod_dir), |words| *words).read();
        if !words.is_empty() || !termination::wants_log(&container, code) {
            return words;
        }
        let log = logs::path_of(&pod_dir.join(&self.name), self.number);
        termination::end_of_log(&self.context.logs.last_lines(&log, termination::LOG_LINES_MAX).await)
    }

    async fn wait(&self, guest: &dyn Guest, registration: Option<&Registration>) -> Exit {
        let mut ended = guest.ended();
        tokio::select! {
            biased;
            exit = &mut ended => return exit,
            _ = self.stop.wait_for(Option::is_some) => {}
        }
        Box::pin(self.wind_down(guest, ended, registration)).await
    }

    /// Stops a guest, the way it wants to be stopped.
    async fn wind_down(
        &self,
        guest: &dyn Guest,
        mut ended: BoxFuture<'static, Exit>,
        registration: Option<&Registration>,
    ) -> Exit {
        let before = async {
            self.pre_stop().await;
            let grace = self.until(self.stop.get());
            if registration.is_some() && grace > ENDPOINT_LINGER * 4 {
                tokio::time::sleep(ENDPOINT_LINGER).await;
            }
        };
        tokio::select! {
            biased;
            exit = &mut ended => return exit,
            () = before => {}
        }
        loop {
            // An earlier deadline starts the stop anew, with less grace.
            let deadline = self.stop.get();
            let stopping = guest.stop(self.until(deadline));
            tokio::select! {
                biased;
                exit = &mut ended => return exit,
                () = async { stopping.await; std::future::pending::<()>().await } => {}
                _ = self.stop.wait_for(|stop| *stop != deadline) => {}
            }
        }
    }

    fn until(&self, deadline: Option<Timestamp>) -> Duration {
        deadline.map_or(Duration::ZERO, |deadline| elapsed(self.context.clock.now(), deadline))
    }

    async fn post_start(&self, guest: &dyn Guest) -> Hook {
        let Some(hook) = self.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref()) else {
            return Hook::Done;
        };
        let done = tokio::select! {
            biased;
            _ = guest.ended() => return Hook::Cut,
            _ = self.stop.wait_for(Option::is_some) => return Hook::Cut,
            done = Box::pin(self.run_hook(hook)) => done,
        };
        let Err(problem) = done else { return Hook::Done };
        self.note(Note::warning("FailedPostStartHook", format!("PostStartHook failed: {problem}")));
        Hook::Failed
    }

    async fn pre_stop(&self) {
        let Some(hook) = self.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref()) else {
            return;
        };
        let whole = self.until(self.stop.get());
        if whole.is_zero() {
            return;
        }
        let limit = whole.saturating_sub(GRACE_AFTER_HOOK).max(whole / 2);
        match tokio::time::timeout(limit, self.run_hook(hook)).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => self.note(Note::warning("FailedPreStopHook", format!("PreStopHook failed: {problem}"))),
            Err(_) => self.note(Note::warning("FailedPreStopHook", "PreStopHook did not end within the grace period")),
        }
    }

    async fn run_hook(&self, hook: &LifecycleHandler) -> Result<(), String> {
        if let Some(sleep) = &hook.sleep {
            let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            return Ok(());
        }
        if hook.http_get.is_none() && hook.exec.is_none() {
            return Err("only exec, httpGet and sleep hooks are supported".to_owned());
        }
        let probe = Probe { http_get: hook.http_get.clone(), exec: hook.exec.clone(), ..Probe::default() };
        let check = probes::Check::of(&probe, &self.container)?;
        let subject = probes::Subject {
            uid: spec::uid(&self.pod()).to_owned(),
            container: self.name(),
            ip: self.ip,
            pods: self.context.local.clone(),
            live: self.context.live.clone(),
        };
        // A command may take as long as it wants: whoever waits for the hook has a limit of its own.
        let limit = if hook.exec.is_some() { Duration::MAX } else { HTTP_HOOK_TIMEOUT };
        match probes::ask(&check, &subject, limit).await {
            // Only a request that could not be made is a failure (`lifecycle/handlers.go`).
            Err(problem) if !problem.starts_with("HTTP probe failed") => Err(problem),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn ports(&self) -> Ports {
        if spec::is_ephemeral(&self.pod(), &self.name) {
            // What looks at a pod must not answer for it.
            return Ports::These(Vec::new());
        }
        let declared = self.container.ports.as_deref().unwrap_or_default();
        if declared.is_empty() {
            return Ports::Any;
        }
        Ports::These(declared.iter().filter_map(|port| u16::try_from(port.container_port).ok()).collect())
    }
}

/// A guest that runs.
struct Started {
    guest: Arc<dyn Guest>,
    image_id: String,
    /// Where it writes its last words, if that is in a volume.
    words: Option<Box<Place>>,
    /// What its mounts lead to.
    _held: Vec<Found>,
}

/// How a `postStart` hook went.
enum Hook {
    /// Well, or there is none.
    Done,
    /// It failed, so the container is killed.
    Failed,
    /// The container ended, or shall.
    Cut,
}

enum Failure {
    Start(StartFailure),
    Unrunnable(String),
}

impl Failure {
    fn config(message: String) -> Self {
        Self::Start(StartFailure::Other { reason: "CreateContainerConfigError", message })
    }
}
