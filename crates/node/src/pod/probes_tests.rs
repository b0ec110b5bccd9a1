//! Thresholds, ports and verdicts of probes.

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

#[tokio::test]
async fn a_pod_that_does_not_listen_refuses() {
    let check = Check::Tcp { host: None, port: 80 };
    let subject = Subject {
        uid: "uid".to_owned(),
        container: "c".to_owned(),
        ip: IpAddr::from([10, 42, 0, 2]),
        pods: LocalPods::default(),
        live: Live::default(),
    };
    let answer = ask(&check, &subject, Duration::from_secs(1)).await;
    assert_eq!(answer, Err("dial tcp 10.42.0.2:80: connect: connection refused".to_owned()));
}
