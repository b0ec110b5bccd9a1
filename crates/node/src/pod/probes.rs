//! Probes: pure thresholds, one plan per probe, and thin runners. A pod without probes costs no timer.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::SinkExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wkube_base::Tasks;
use wkube_proxy::LocalPods;

use super::grpc;
use super::http_get::{ask_host, ask_pod};
use super::live::Live;
use super::phase::{Input, Note, ProbeKind, Verdict};

/// The results of a probe in a row, against its thresholds (`prober/worker.go`, `doProbe`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threshold {
    successes_needed: u32,
    failures_needed: u32,
    is_well: Option<bool>,
    count: u32,
    verdict: Option<Verdict>,
}

impl Threshold {
    /// Returns a probe's thresholds. A container begins not ready, alive, and not started.
    pub fn new(kind: ProbeKind, probe: &Probe) -> Self {
        let at_least_one =
            |field: Option<i32>, default| field.and_then(|n| u32::try_from(n).ok()).unwrap_or(default).max(1);
        Self {
            successes_needed: at_least_one(probe.success_threshold, 1),
            failures_needed: at_least_one(probe.failure_threshold, 3),
            is_well: None,
            count: 0,
            verdict: match kind {
                ProbeKind::Startup => None,
                ProbeKind::Liveness => Some(Verdict::Success),
                ProbeKind::Readiness => Some(Verdict::Failure),
            },
        }
    }

    /// Counts one result. Returns the verdict if it changed.
    pub fn take(&mut self, is_well: bool) -> Option<Verdict> {
        self.count = if self.is_well == Some(is_well) { self.count.saturating_add(1) } else { 1 };
        self.is_well = Some(is_well);
        let (needed, verdict) =
            if is_well { (self.successes_needed, Verdict::Success) } else { (self.failures_needed, Verdict::Failure) };
        if self.count < needed || self.verdict == Some(verdict) {
            return None;
        }
        self.verdict = Some(verdict);
        Some(verdict)
    }
}

/// When a probe runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From the container's start to the first try.
    pub initial_delay: Duration,
    /// From one try to the next.
    pub period: Duration,
    /// How long one try may take.
    pub timeout: Duration,
}

impl Timing {
    /// Reads the fields with Kubernetes' defaults.
    pub fn of(probe: &Probe) -> Self {
        let seconds = |field: Option<i32>, default, least| {
            Duration::from_secs(field.and_then(|n| u64::try_from(n).ok()).unwrap_or(default).max(least))
        };
        Self {
            initial_delay: seconds(probe.initial_delay_seconds, 0, 0),
            period: seconds(probe.period_seconds, 10, 1),
            timeout: seconds(probe.timeout_seconds, 1, 1),
        }
    }
}

/// What a probe asks, with named ports resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// A GET that answers 200 to 399.
    Http {
        /// Somebody else's host; `None` is the pod itself.
        host: Option<String>,
        /// The port.
        port: u16,
        /// The path, beginning with `/`.
        path: String,
        /// More headers.
        headers: Vec<(String, String)>,
    },
    /// A connection that opens.
    Tcp {
        /// Somebody else's host; `None` is the pod itself.
        host: Option<String>,
        /// The port.
        port: u16,
    },
    /// A health server of gRPC that serves.
    Grpc {
        /// The port.
        port: u16,
        /// What it is asked about; empty for all of it.
        service: String,
    },
    /// A command beside the container that ends with 0.
    Exec {
        /// `argv`.
        args: Vec<String>,
    },
    /// Something that guests cannot do, with the reason. It never succeeds, and says so.
    Unsupported(&'static str),
}

impl Check {
    /// Reads what `probe` of `container` asks.
    ///
    /// # Errors
    /// The message of a port that does not exist.
    pub fn of(probe: &Probe, container: &Container) -> Result<Self, String> {
        if let Some(get) = &probe.http_get {
            if get.scheme.as_deref() == Some("HTTPS") {
                return Ok(Self::Unsupported("HTTPS probes are not supported for WebAssembly containers"));
            }
            let path = get.path.as_deref().unwrap_or("/");
            let headers = get.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect();
            return Ok(Self::Http {
                host: get.host.clone().filter(|host| !host.is_empty()),
                port: port_of(&get.port, container)?,
                path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
                headers,
            });
        }
        if let Some(tcp) = &probe.tcp_socket {
            let host = tcp.host.clone().filter(|host| !host.is_empty());
            return Ok(Self::Tcp { host, port: port_of(&tcp.port, container)? });
        }
        if let Some(exec) = &probe.exec {
            return Ok(Self::Exec { args: exec.command.clone().unwrap_or_default() });
        }
        if let Some(grpc) = &probe.grpc {
            let port = port_of(&IntOrString::Int(grpc.port), container)?;
            return Ok(Self::Grpc { port, service: grpc.service.clone().unwrap_or_default() });
        }
        Ok(Self::Unsupported("the probe asks nothing"))
    }
}

/// Resolves a port by number, or by name among the container's ports.
fn port_of(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let ports = container.ports.as_deref().unwrap_or_default();
            let named = ports.iter().find(|port| port.name.as_ref() == Some(name)).map(|port| port.container_port);
            // A number in quotes is a number, as in `probe.ResolveContainerPort`.
            Some(named.or_else(|| name.parse().ok()).ok_or_else(|| format!("couldn't find port: \"{name}\""))?)
        }
    };
    number.and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0).ok_or_else(|| format!("invalid port: {port:?}"))
}

/// Whom to ask.
#[derive(Clone)]
pub struct Subject {
    /// The pod's uid.
    pub uid: String,
    /// The container.
    pub container: String,
    /// The pod's address.
    pub ip: IpAddr,
    /// Who answers on which address.
    pub pods: LocalPods,
    /// Running containers.
    pub live: Live,
}

/// Asks once. The error is what a person reads after "Readiness probe failed: ".
pub async fn ask(check: &Check, subject: &Subject, timeout: Duration) -> Result<(), String> {
    let Subject { ip, pods, .. } = subject;
    let ip = *ip;
    // None if the time has no bound, as that of exec hooks.
    let deadline = Instant::now().checked_add(timeout);
    let asking: BoxFuture<'_, Result<(), String>> = match check {
        Check::Exec { args } => {
            // A command that takes too long is killed by being dropped (`pkg/probe/exec/exec.go`).
            let run = tokio::time::timeout(timeout, run(subject, args.clone()));
            let seconds = timeout.as_secs();
            let command = args.join(" ");
            return run.await.unwrap_or_else(|_| Err(format!("command {command:?} timed out after {seconds}s")));
        }
        Check::Http { host: None, port, path, headers } => Box::pin(ask_pod(pods, ip, *port, path, headers, deadline)),
        Check::Http { host: Some(host), port, path, headers } => {
            Box::pin(ask_host(host, *port, path, headers, deadline))
        }
        Check::Tcp { host: None, port } => {
            let knocked = pods.knock(SocketAddr::new(ip, *port));
            let refused = |error| format!("dial tcp {ip}:{port}: connect: {error}");
            Box::pin(std::future::ready(knocked.map_err(refused)))
        }
        Check::Grpc { port, service } => {
            // `pkg/probe/grpc/grpc.go` says itself what took too long.
            let asked = tokio::time::timeout(timeout, grpc::check(pods, SocketAddr::new(ip, *port), service)).await;
            return asked.unwrap_or_else(|_| Err(format!("timeout: health rpc did not complete within {timeout:?}")));
        }
        Check::Tcp { host: Some(host), port } => Box::pin(async move {
            let opened = tokio::net::TcpStream::connect((host.as_str(), *port)).await;
            opened.map(drop).map_err(|error| format!("dial tcp {host}:{port}: {error}"))
        }),
        Check::Unsupported(why) => Box::pin(std::future::ready(Err((*why).to_owned()))),
    };
    match tokio::time::timeout(timeout, asking).await {
        Ok(answer) => answer,
        Err(_) => Err("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned()),
    }
}

async fn run(subject: &Subject, args: Vec<String>) -> Result<(), String> {
    let (exit, said) = subject.live.run(&subject.uid, &subject.container, args).await?;
    match exit.code {
        0 => Ok(()),
        // As in Kubernetes, what it said is the whole message; a command that said nothing gets a word from us.
        code if said.is_empty() => Err(format!("command terminated with exit code {code}")),
        _ => Err(said),
    }
}

/// What the runners of one pod share.
#[derive(Clone)]
pub struct Prober {
    /// Who answers on which address.
    pub pods: LocalPods,
    /// Running containers.
    pub live: Live,
    /// The owner of the runners.
    pub tasks: Tasks,
    /// Takes verdicts.
    pub verdicts: super::worker::Reports,
    /// Takes `Unhealthy` events.
    pub record: Arc<dyn Fn(Note) + Send + Sync>,
}

/// The runners of one pod, by container, attempt and kind.
#[derive(Default)]
pub struct Running(BTreeMap<(String, u32, ProbeKind), Aborting>);

/// Ends its task when dropped.
struct Aborting(JoinHandle<()>);

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Running {
    /// Makes the runners those that are wanted: level-triggered, so that no start or stop can be missed.
    pub fn become_wanted(
        &mut self,
        wanted: Vec<(String, u32, ProbeKind)>,
        pod: &k8s_openapi::api::core::v1::Pod,
        ip: IpAddr,
        prober: &Prober,
    ) {
        self.0.retain(|key, _| wanted.contains(key));
        for key in wanted {
            if self.0.contains_key(&key) {
                continue;
            }
            let Some(container) = super::spec::container(pod, &key.0) else { continue };
            let Some(probe) = probe_of(&container, key.2) else { continue };
            let subject = Subject {
                uid: super::spec::uid(pod).to_owned(),
                container: key.0.clone(),
                ip,
                pods: prober.pods.clone(),
                live: prober.live.clone(),
            };
            let runner = keep_asking(key.clone(), probe.clone(), Check::of(probe, &container), subject, prober.clone());
            self.0.insert(key, Aborting(prober.tasks.spawn("probe", runner)));
        }
    }
}

fn probe_of(container: &Container, kind: ProbeKind) -> Option<&Probe> {
    match kind {
        ProbeKind::Startup => container.startup_probe.as_ref(),
        ProbeKind::Liveness => container.liveness_probe.as_ref(),
        ProbeKind::Readiness => container.readiness_probe.as_ref(),
    }
}

async fn keep_asking(
    (container, attempt, kind): (String, u32, ProbeKind),
    probe: Probe,
    check: Result<Check, String>,
    subject: Subject,
    mut prober: Prober,
) {
    let timing = Timing::of(&probe);
    let mut threshold = Threshold::new(kind, &probe);
    let word = match kind {
        ProbeKind::Startup => "Startup",
        ProbeKind::Liveness => "Liveness",
        ProbeKind::Readiness => "Readiness",
    };
    tokio::time::sleep(timing.initial_delay).await;
    let mut ticks = tokio::time::interval(timing.period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answer = match &check {
            Ok(check) => ask(check, &subject, timing.timeout).await,
            Err(problem) => Err(problem.clone()),
        };
        if let Err(problem) = &answer {
            let note = Note::warning("Unhealthy", format!("{word} probe failed: {problem}"));
            (prober.record)(Note { container: Some(container.clone()), ..note });
        }
        let Some(verdict) = threshold.take(answer.is_ok()) else { continue };
        let input = Input::Probe { container: container.clone(), attempt, kind, verdict };
        if prober.verdicts.send(Box::new(input)).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
#[path = "probes_tests.rs"]
mod tests;
