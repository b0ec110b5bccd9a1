//! Running containers: what they were given, what they answer, and the commands that run beside them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use tokio::sync::{mpsc, watch};
use wkube_api::stats::Usage;
use wkube_proxy::{Backend, Body, BoxError};
use wkube_wasm_runtime::{
    Access, Allowance, Artifact, Bucket, Engine, Exit as GuestExit, ExitReason, GuestSpec, HandleError, HttpGuest,
    Kind, Limits, Mount, Network, Outbound, Output as GuestOutput, Reuse, ReuseMode, Running, StdStream, TlsTrust,
};

use super::compiled::load_compiled;
use super::shared::Held;
use super::{chain, judge, tools};
use crate::grants::{EXEC_IMAGE, Grants};
use crate::logs::entry::Stream;
use crate::runtime::{
    self, Amounts, Cause, ContainerSpec, Exec, Exit, Guest, Output, PodRef, Program, Share, StartError,
};

/// What everything that runs in one container sees, and the code that it runs.
pub(super) struct Sandbox {
    engine: Engine,
    artifact: Artifact,
    outbound: Arc<dyn Outbound>,
    pod: PodRef,
    container: String,
    env: Arc<Vec<(String, String)>>,
    mounts: Vec<runtime::Mount>,
    working_dir: Option<String>,
    trusts: Option<TlsTrust>,
    limits: Limits,
    buckets: BTreeMap<String, Bucket>,
    network: Option<Arc<dyn Network>>,
    /// What the pod's containers share lasts as long as one of them.
    pod_share: Held,
}

impl Sandbox {
    /// Starts a container.
    pub(super) fn start(
        engine: Engine,
        artifact: Artifact,
        outbound: Arc<dyn Outbound>,
        buckets: BTreeMap<String, Bucket>,
        held: Held,
        spec: ContainerSpec,
    ) -> Result<Arc<dyn Guest>, StartError> {
        let ContainerSpec {
            pod,
            name,
            args,
            command,
            grants,
            env,
            mounts,
            working_dir,
            trusts,
            memory_bytes,
            cpu_millis,
            share: Share { cpu_shares, memory_promised, .. },
            network,
            ports,
            stdin,
            output,
            image: _,
            process: _,
        } = spec;
        let memory_bytes = memory_bytes.unwrap_or(Limits::default().memory_bytes);
        let limits =
            served(Limits { memory_bytes, memory_promised, cpu_millis, cpu_shares, ..Limits::default() }, &grants);
        let export = command.map_or(Ok(None), |command| artifact.function(&command)).map_err(|error| judge(&error))?;
        let allowance = Some(held.part(&limits));
        let container = name;
        let listen = if listens(&artifact) { ports } else { Vec::new() };
        let sandbox = Arc::new(Self {
            engine,
            artifact,
            outbound,
            pod,
            container,
            env: Arc::new(env),
            mounts,
            working_dir,
            trusts: trusts.map(|pem| TlsTrust::of_pem(pem.as_bytes())),
            limits,
            buckets,
            network,
            pod_share: held,
        });
        let guest = GuestSpec { export, allowance, listen, ..sandbox.guest_spec(args, stdin, output) };
        match sandbox.artifact.kind() {
            Kind::HttpHandler if guest.export.is_none() => {
                let guest = sandbox.artifact.serve(guest).map_err(|error| judge(&error))?;
                Ok(Arc::new(Handler { guest, exit: watch::Sender::new(None), sandbox }))
            }
            Kind::Module | Kind::Command | Kind::Functions | Kind::HttpHandler => {
                let running = sandbox.artifact.start(guest).map_err(|error| judge(&error))?;
                Ok(Arc::new(Command { running, sandbox }))
            }
        }
    }

    /// Runs a command inside the limits of the container.
    async fn exec(self: Arc<Self>, exec: Exec, allowance: Allowance) -> Result<Arc<dyn Guest>, StartError> {
        let Exec { args, program, stdin, output, image: _ } = exec;
        let (artifact, export) = self.program(args.first().map_or("", String::as_str), program.as_ref()).await?;
        let mut guest = self.guest_spec(args, stdin, output);
        if let Some(program) = program {
            add(program, &mut guest);
        }
        let running = artifact.start(GuestSpec { export, allowance: Some(allowance), ..guest });
        let running = running.map_err(|error| judge(&error))?;
        Ok(Arc::new(Command { running, sandbox: self }))
    }

    /// Returns what a command line begins with, and which of its functions if it is one: a tool of the node, a function of
    /// the container's program, the other program that was found, or else the container's own.
    async fn program(&self, word: &str, other: Option<&Program>) -> Result<(Artifact, Option<String>), StartError> {
        if tools::is_tool(word) {
            return Ok((tools::load(&self.engine).await.map_err(|error| judge(&error))?, None));
        }
        let own = self.artifact.function(word);
        if let Some(program) = other
            && !matches!(own, Ok(Some(_)))
        {
            let other = load_compiled(&self.engine, &program.module).await?;
            let function = other.function(word).map_err(|error| judge(&error))?;
            return Ok((other, function));
        }
        let function = own.map_err(|error| judge(&error))?;
        if function.is_none() && !self.artifact.has_command() {
            return Err(StartError::Unrunnable(self.has_no_command()));
        }
        Ok((self.artifact.clone(), function))
    }

    fn guest_spec(
        &self,
        args: Vec<String>,
        stdin: Option<mpsc::Receiver<Bytes>>,
        output: Arc<dyn Output>,
    ) -> GuestSpec {
        GuestSpec {
            args,
            env: Arc::clone(&self.env),
            mounts: self.mounts.iter().map(mounted).collect(),
            working_dir: self.working_dir.clone(),
            tls: self.trusts.clone(),
            limits: self.limits,
            stdin,
            output: Some(Arc::new(ToOutput(output))),
            outbound: Some(Arc::clone(&self.outbound)),
            buckets: self.buckets.clone(),
            network: self.network.clone(),
            ..GuestSpec::default()
        }
    }

    /// Gives what runs other limits.
    fn resize(&self, allowance: &Allowance, to: &Amounts) {
        let Amounts { memory_bytes, cpu_millis, share } = to;
        let memory_bytes = memory_bytes.unwrap_or(Limits::default().memory_bytes);
        let Share { cpu_shares, memory_promised, .. } = *share;
        self.pod_share.resize(share);
        allowance.resize(&Limits { memory_bytes, cpu_millis: *cpu_millis, memory_promised, cpu_shares, ..self.limits });
    }

    fn has_no_command(&self) -> String {
        let (container, pod) = (&self.container, &self.pod.name);
        let exports = self.artifact.inspection().exports.join(", ");
        format!(
            "container {container} of pod {pod} serves wasi:http and has no wasi:cli/run to run; its image exports \
             {exports}; what can be run here are the node's own tools ({}), and what the image has that the annotation \
             {EXEC_IMAGE} of the pod names",
            tools::NAMES.join(", ")
        )
    }
}

fn mounted(mount: &runtime::Mount) -> Mount {
    Mount {
        host: mount.host.clone(),
        guest: mount.guest.clone(),
        access: if mount.is_read_only { Access::ReadOnly } else { Access::ReadWrite },
    }
}

/// Adds what another program brings along to what its container has.
fn add(program: Program, guest: &mut GuestSpec) {
    for (name, value) in program.env {
        if !guest.env.iter().any(|(own, _)| *own == name) {
            Arc::make_mut(&mut guest.env).push((name, value));
        }
    }
    for mount in &program.mounts {
        if !guest.mounts.iter().any(|own| own.guest == mount.guest) {
            guest.mounts.push(mounted(mount));
        }
    }
}

/// Whether a module takes connections from listening sockets that the host has to open for it (WASI preview 1). Components
/// open their own.
fn listens(artifact: &Artifact) -> bool {
    artifact.kind() == Kind::Module
        && artifact.inspection().imports.iter().any(|import| import.ends_with(".sock_accept"))
}

/// Adds how a container's requests are served to what it may use.
fn served(limits: Limits, grants: &Grants) -> Limits {
    let mode = match grants.http_reuse {
        None => limits.reuse.mode,
        Some(true) => ReuseMode::Always,
        Some(false) => ReuseMode::Never,
    };
    let reuse = Reuse {
        mode,
        concurrency: grants.http_instance_concurrency.unwrap_or(limits.reuse.concurrency),
        requests: grants.http_instance_requests.unwrap_or(limits.reuse.requests),
        ..limits.reuse
    };
    Limits {
        concurrency: grants.http_concurrency.unwrap_or(limits.concurrency),
        queue: grants.http_queue.unwrap_or(limits.queue),
        request_deadline: grants.http_deadline.unwrap_or(limits.request_deadline),
        reuse,
        ..limits
    }
}

/// A command or module.
struct Command {
    running: Running,
    sandbox: Arc<Sandbox>,
}

impl Guest for Command {
    fn ended(&self) -> BoxFuture<'static, Exit> {
        let exit = self.running.exit();
        async move { exit_of(exit.await) }.boxed()
    }

    fn stop(&self, grace: Duration) -> BoxFuture<'static, ()> {
        let running = self.running.clone();
        async move {
            if grace.is_zero() {
                running.kill();
            } else {
                running.stop(grace);
            }
            running.exit().await;
        }
        .boxed()
    }

    fn backend(&self) -> Option<Arc<dyn Backend>> {
        None
    }

    fn usage(&self) -> Usage {
        used(self.running.cpu_time(), self.running.memory_used())
    }

    fn exec(&self, exec: Exec) -> BoxFuture<'static, Result<Arc<dyn Guest>, StartError>> {
        Arc::clone(&self.sandbox).exec(exec, self.running.allowance()).boxed()
    }

    fn resize(&self, to: &Amounts) {
        self.sandbox.resize(&self.running.allowance(), to);
    }
}

fn used(cpu: Duration, memory_bytes: u64) -> Usage {
    Usage { cpu_nanos: u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX), memory_bytes }
}

fn exit_of(exit: GuestExit) -> Exit {
    let cause = match exit.reason {
        ExitReason::OutOfMemory => Cause::OutOfMemory,
        ExitReason::Trapped => Cause::Trapped,
        _ => Cause::Exited,
    };
    Exit { code: exit.code, cause, message: exit.message }
}

/// An HTTP handler: it has no end of its own.
struct Handler {
    guest: HttpGuest,
    exit: watch::Sender<Option<Exit>>,
    sandbox: Arc<Sandbox>,
}

impl Guest for Handler {
    fn ended(&self) -> BoxFuture<'static, Exit> {
        let mut exit = self.exit.subscribe();
        let ended = async move {
            exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone()).unwrap_or_else(|| Exit::of(137))
        };
        ended.boxed()
    }

    fn stop(&self, grace: Duration) -> BoxFuture<'static, ()> {
        let (guest, exit) = (self.guest.clone(), self.exit.clone());
        let stopping = async move {
            let code = if grace.is_zero() { 137 } else { 143 };
            if grace.is_zero() {
                guest.kill();
            } else {
                guest.drain(grace).await;
            }
            exit.send_replace(Some(Exit::of(code)));
        };
        stopping.boxed()
    }

    fn backend(&self) -> Option<Arc<dyn Backend>> {
        Some(Arc::new(Answers(self.guest.clone())))
    }

    fn usage(&self) -> Usage {
        used(self.guest.cpu_time(), self.guest.memory_used())
    }

    fn exec(&self, exec: Exec) -> BoxFuture<'static, Result<Arc<dyn Guest>, StartError>> {
        Arc::clone(&self.sandbox).exec(exec, self.guest.allowance()).boxed()
    }

    fn resize(&self, to: &Amounts) {
        self.sandbox.resize(&self.guest.allowance(), to);
    }
}

struct Answers(HttpGuest);

impl Backend for Answers {
    fn handle(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
        let guest = self.0.clone();
        async move { Ok(guest.handle(request).await.unwrap_or_else(|error| refusal(&error))) }.boxed()
    }
}

/// The answer in place of the guest's: a status and one line of text.
fn refusal(error: &HandleError) -> Response<Body> {
    let text = format!("{}\n", chain(error));
    let mut response = Response::new(Full::from(text).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = error.status();
    if let Some(seconds) = error.retry_after().and_then(|wait| wait.as_secs().max(1).to_string().parse().ok()) {
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

struct ToOutput(Arc<dyn Output>);

impl GuestOutput for ToOutput {
    fn write(&self, stream: StdStream, bytes: &[u8]) {
        let stream = match stream {
            StdStream::Stdout => Stream::Stdout,
            StdStream::Stderr => Stream::Stderr,
        };
        self.0.write(stream, bytes);
    }

    fn room(&self) -> Option<BoxFuture<'static, ()>> {
        self.0.room()
    }
}
