//! Probes: pure thresholds, one plan per probe, and thin runners. A pod without probes costs no timer.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty};
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::task::JoinHandle;
use wkube_base::Tasks;
use wkube_proxy::{Body, LocalPods};

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
        let why = if probe.grpc.is_some() { "grpc probes are not supported" } else { "exec probes are not supported" };
        Ok(Self::Unsupported(why))
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

/// Asks once. The error is what a person reads after "Readiness probe failed: ".
pub async fn ask(check: &Check, ip: IpAddr, pods: &LocalPods, timeout: Duration) -> Result<(), String> {
    let asking: BoxFuture<'_, Result<(), String>> = match check {
        Check::Http { host: None, port, path, headers } => Box::pin(ask_pod(pods, ip, *port, path, headers)),
        Check::Http { host: Some(host), port, path, headers } => Box::pin(ask_host(host, *port, path, headers)),
        Check::Tcp { host: None, port } => Box::pin(std::future::ready(
            pods.get(ip, *port).map(|_| ()).ok_or_else(|| format!("dial tcp {ip}:{port}: connect: connection refused")),
        )),
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

fn request(authority: &str, path: &str, headers: &[(String, String)]) -> Result<Request<Body>, String> {
    let mut request = Request::get(format!("http://{authority}{path}"))
        .header(header::USER_AGENT, "kube-probe/1.37")
        .header(header::ACCEPT, "*/*");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header(header::HOST, authority);
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(Empty::new().map_err(|never| match never {}).boxed_unsync()).map_err(|error| error.to_string())
}

async fn ask_pod(
    pods: &LocalPods,
    ip: IpAddr,
    port: u16,
    path: &str,
    headers: &[(String, String)],
) -> Result<(), String> {
    let url = format!("http://{ip}:{port}{path}");
    let Some(backend) = pods.get(ip, port) else {
        return Err(format!("Get \"{url}\": dial tcp {ip}:{port}: connect: connection refused"));
    };
    let response = backend.handle(request(&format!("{ip}:{port}"), path, headers)?).await;
    judge(response.map_err(|error| format!("Get \"{url}\": {error}"))?.status())
}

async fn ask_host(host: &str, port: u16, path: &str, headers: &[(String, String)]) -> Result<(), String> {
    let url = format!("http://{host}:{port}{path}");
    let failed = |error: &dyn std::fmt::Display| format!("Get \"{url}\": {error}");
    let stream = tokio::net::TcpStream::connect((host, port)).await.map_err(|error| failed(&error))?;
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(|error| failed(&error))?;
    let mut request = request(&format!("{host}:{port}"), path, headers)?;
    *request.uri_mut() = path.parse().map_err(|error| failed(&error))?;
    let answer = tokio::select! {
        answer = sender.send_request(request) => answer,
        _ = connection => return Err(failed(&"connection closed")),
    };
    judge(answer.map_err(|error| failed(&error))?.status())
}

fn judge(status: http::StatusCode) -> Result<(), String> {
    if (200..400).contains(&status.as_u16()) {
        return Ok(());
    }
    Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
}

/// What the runners of one pod share.
#[derive(Clone)]
pub struct Prober {
    /// Whom to ask.
    pub pods: LocalPods,
    /// The owner of the runners.
    pub tasks: Tasks,
    /// Takes verdicts.
    pub verdicts: tokio::sync::mpsc::Sender<Input>,
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
            let Some(probe) = probe_of(container, key.2) else { continue };
            let runner = run(key.clone(), probe.clone(), Check::of(probe, container), ip, prober.clone());
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

async fn run(
    (container, attempt, kind): (String, u32, ProbeKind),
    probe: Probe,
    check: Result<Check, String>,
    ip: IpAddr,
    prober: Prober,
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
            Ok(check) => ask(check, ip, &prober.pods, timing.timeout).await,
            Err(problem) => Err(problem.clone()),
        };
        if let Err(problem) = &answer {
            let note = Note::warning("Unhealthy", format!("{word} probe failed: {problem}"));
            (prober.record)(Note { container: Some(container.clone()), ..note });
        }
        let Some(verdict) = threshold.take(answer.is_ok()) else { continue };
        let input = Input::Probe { container: container.clone(), attempt, kind, verdict };
        if prober.verdicts.send(input).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ContainerPort, HTTPGetAction};

    use super::*;

    fn verdicts(kind: ProbeKind, probe: &Probe, results: &str) -> String {
        let mut threshold = Threshold::new(kind, probe);
        let verdict = |result| match threshold.take(result == '+') {
            Some(Verdict::Success) => 'S',
            Some(Verdict::Failure) => 'F',
            None => '.',
        };
        results.chars().map(verdict).collect()
    }

    #[test]
    fn readiness_starts_false_and_one_success_is_enough() {
        assert_eq!(verdicts(ProbeKind::Readiness, &Probe::default(), "--+-+---+"), "..S....FS");
    }

    #[test]
    fn liveness_starts_true_and_three_failures_in_a_row_kill() {
        assert_eq!(verdicts(ProbeKind::Liveness, &Probe::default(), "+--+---"), "......F");
    }

    #[test]
    fn startup_has_no_opinion_before_its_threshold() {
        let probe = Probe { failure_threshold: Some(2), ..Probe::default() };
        assert_eq!(verdicts(ProbeKind::Startup, &probe, "-+"), ".S");
        assert_eq!(verdicts(ProbeKind::Startup, &probe, "--"), ".F");
    }

    #[test]
    fn several_successes_may_be_asked_for() {
        let probe = Probe { success_threshold: Some(3), ..Probe::default() };
        assert_eq!(verdicts(ProbeKind::Readiness, &probe, "++-+++"), ".....S");
    }

    #[test]
    fn timing_has_kubernetes_defaults_and_least_values() {
        let second = Duration::from_secs(1);
        let default = Timing { initial_delay: Duration::ZERO, period: second * 10, timeout: second };
        assert_eq!(Timing::of(&Probe::default()), default);
        let zeros = Probe { period_seconds: Some(0), timeout_seconds: Some(0), ..Probe::default() };
        assert_eq!(Timing::of(&zeros), Timing { initial_delay: Duration::ZERO, period: second, timeout: second });
    }

    fn get(port: IntOrString, path: &str) -> Probe {
        let get = HTTPGetAction { port, path: Some(path.to_owned()), ..HTTPGetAction::default() };
        Probe { http_get: Some(get), ..Probe::default() }
    }

    #[test]
    fn ports_are_found_by_number_name_and_quoted_number() {
        let port = ContainerPort { name: Some("web".into()), container_port: 8080, ..ContainerPort::default() };
        let container = Container { ports: Some(vec![port]), ..Container::default() };
        let port = |port| Check::of(&get(port, "healthz"), &container);
        let http = |port| Ok(Check::Http { host: None, port, path: "/healthz".into(), headers: vec![] });
        assert_eq!(port(IntOrString::Int(9)), http(9));
        assert_eq!(port(IntOrString::String("web".into())), http(8080));
        assert_eq!(port(IntOrString::String("81".into())), http(81));
        assert_eq!(port(IntOrString::String("admin".into())), Err("couldn't find port: \"admin\"".to_owned()));
        assert!(port(IntOrString::Int(70_000)).is_err());
    }

    #[test]
    fn only_two_and_three_hundreds_are_well() {
        assert_eq!(
            [199, 200, 399, 400, 503].map(|code| judge(http::StatusCode::from_u16(code).unwrap()).is_ok()),
            [false, true, true, false, false]
        );
    }

    #[tokio::test]
    async fn a_pod_that_does_not_listen_refuses() {
        let check = Check::Tcp { host: None, port: 80 };
        let ip = IpAddr::from([10, 42, 0, 2]);
        let answer = ask(&check, ip, &LocalPods::default(), Duration::from_secs(1)).await;
        assert_eq!(answer, Err("dial tcp 10.42.0.2:80: connect: connection refused".to_owned()));
    }
}
