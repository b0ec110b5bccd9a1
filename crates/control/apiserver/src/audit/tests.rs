//! From requests to lines in a file.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, Uri};
use serde_json::{Value, json};

use super::*;
use crate::auth::User;

struct Logged {
    audit: Arc<Audit>,
    tasks: Tasks,
    directory: tempfile::TempDir,
}

fn options(directory: &Path, policy: &str) -> Options {
    std::fs::write(directory.join("policy.yaml"), policy).expect("writable");
    Options {
        policy: directory.join("policy.yaml"),
        path: directory.join("audit.log"),
        max_age: 0,
        max_backups: 2,
        max_size: 0,
    }
}

fn logged(rules: &str) -> Logged {
    let directory = tempfile::tempdir().expect("a directory");
    let policy = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: {rules}");
    let (tasks, clock) = (Tasks::new(), Clock::manual("2026-11-22T10:00:00Z".parse().expect("a time")));
    let audit = Audit::start(&options(directory.path(), &policy), clock, &tasks).expect("starts");
    Logged { audit, tasks, directory }
}

impl Logged {
    /// Stops, and returns what was written.
    async fn lines(self) -> Vec<Value> {
        self.tasks.stop(Duration::from_secs(10)).await;
        let text = std::fs::read_to_string(self.directory.path().join("audit.log")).expect("a log");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn begin(&self, user: &User, headers: &[(&'static str, &'static str)]) -> Option<Record> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a value"));
        }
        let uri: Uri = "/api/v1/namespaces/d/secrets?fieldManager=x".parse().expect("a URI");
        let asked = Asked {
            user: Some(user),
            verb: "create",
            resource: "secrets",
            namespace: "d",
            path: uri.path(),
            ..Asked::default()
        };
        let peer: SocketAddr = "192.0.2.7:1234".parse().expect("an address");
        let seen = Seen { id: "id-1", uri: &uri, headers: &map, peer: Some(peer), asked, version: "v1" };
        self.audit.begin(&seen)
    }
}

fn json_payload(value: &Value) -> Payload {
    Payload { content_type: "application/json".into(), bytes: value.to_string().into() }
}

#[tokio::test]
async fn an_event_says_who_did_what_when_and_how_it_ended() {
    let logged = logged("[{level: RequestResponse, omitStages: [RequestReceived], omitManagedFields: true}]");
    let record = logged.begin(
        &User::known("jane", ["dev"]),
        &[("user-agent", "kubectl/v1"), ("x-forwarded-for", "10.0.0.1, 10.0.0.2")],
    );
    let record = record.expect("logged");
    record.impersonates(&User::known("bob", [""; 0]));
    record.annotate("authorization.k8s.io/decision", "allow");
    record.annotate("authorization.k8s.io/decision", "forbid");
    let object = json!({"metadata": {"name": "s", "managedFields": [{}]}});
    record.request(json_payload(&object));
    record.response(Payload { content_type: "application/yaml".into(), bytes: "metadata: {name: s}".into() });
    record.status(201, "", "");
    record.complete();
    let expected = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": "id-1",
        "stage": "ResponseComplete", "requestURI": "/api/v1/namespaces/d/secrets?fieldManager=x", "verb": "create",
        "user": {"username": "jane", "groups": ["dev", "system:authenticated"]},
        "impersonatedUser": {"username": "bob", "groups": ["", "system:authenticated"]},
        "sourceIPs": ["10.0.0.1", "10.0.0.2", "192.0.2.7"], "userAgent": "kubectl/v1",
        "objectRef": {"resource": "secrets", "namespace": "d", "name": "s", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 201},
        "requestObject": {"metadata": {"name": "s"}}, "responseObject": {"metadata": {"name": "s"}},
        "requestReceivedTimestamp": "2026-11-22T10:00:00.000000Z", "stageTimestamp": "2026-11-22T10:00:00.000000Z",
        "annotations": {"authorization.k8s.io/decision": "allow"},
    });
    let mut expected = expected;
    expected["impersonatedUser"]["groups"] = json!(User::known("bob", [""; 0]).groups);
    assert_eq!(logged.lines().await, [expected]);
}

#[tokio::test]
async fn metadata_holds_no_objects_and_none_holds_nothing() {
    let logged = logged("[{level: None, users: [quiet]}, {level: Metadata}]");
    assert!(logged.begin(&User::known("quiet", [""; 0]), &[]).is_none());
    let record = logged.begin(&User::known("jane", [""; 0]), &[]).expect("logged");
    assert!(!record.wants_response());
    record.request(json_payload(&json!({"metadata": {"name": "s"}, "data": {"password": "hidden"}})));
    record.status(403, "secrets is forbidden", "Forbidden");
    record.complete();
    let lines = logged.lines().await;
    let stages: Vec<_> = lines.iter().map(|line| line["stage"].as_str().unwrap_or_default()).collect();
    assert_eq!(stages, ["RequestReceived", "ResponseComplete"]);
    let status = json!({"metadata": {}, "status": "Failure", "message": "secrets is forbidden", "reason": "Forbidden", "code": 403});
    assert_eq!(lines[1]["responseStatus"], status);
    assert_eq!(
        (&lines[1]["objectRef"]["name"], lines[1].get("requestObject")),
        (&json!("s"), None),
        "a name, no secret"
    );
}

#[tokio::test]
async fn a_queue_that_is_full_costs_events_not_time() {
    let logged = logged("[{level: Request}]");
    let record = logged.begin(&User::known("jane", [""; 0]), &[]).expect("logged");
    record.request(Payload {
        content_type: "application/json".into(),
        bytes: vec![b' '; QUEUED_BYTES_MAX / 2 + 1].into(),
    });
    record.complete();
    record.complete();
    assert_eq!((logged.audit.events.get(), logged.audit.dropped.get()), (2, 1));
    let mut text = Text::default();
    logged.audit.write_metrics(&mut text);
    let text = text.into_string();
    assert!(text.contains("apiserver_audit_error_total{plugin=\"log\"} 1\n"), "{text}");
    assert!(text.contains("apiserver_audit_event_total 2\n"), "{text}");
}

#[tokio::test]
async fn the_log_is_rotated_when_it_is_full() {
    let directory = tempfile::tempdir().expect("a directory");
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]";
    let options = Options { max_size: 1, ..options(directory.path(), policy) };
    std::fs::write(&options.path, vec![b'x'; (1 << 20) - 10]).expect("writable");
    for old in ["audit-2020-01-01T00-00-00.000.log", "audit-2020-01-02T00-00-00.000.log"] {
        std::fs::write(directory.path().join(old), "old").expect("writable");
    }
    let (tasks, clock) = (Tasks::new(), Clock::manual("2026-11-22T10:00:00Z".parse().expect("a time")));
    let audit = Audit::start(&options, clock, &tasks).expect("starts");
    let logged = Logged { audit, tasks, directory };
    drop(logged.begin(&User::known("jane", [""; 0]), &[]).expect("logged"));
    let folder = logged.directory.path().to_owned();
    logged.tasks.stop(Duration::from_secs(10)).await;
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .expect("readable")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["audit-2020-01-02T00-00-00.000.log", "audit-2026-11-22T10-00-00.000.log", "audit.log", "policy.yaml"]
    );
    assert_eq!(std::fs::read_to_string(folder.join("audit.log")).expect("readable").lines().count(), 1);
}

#[tokio::test]
async fn a_policy_that_cannot_be_used_is_named_with_its_field() {
    let directory = tempfile::tempdir().expect("a directory");
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Some}]";
    let refused =
        Audit::start(&options(directory.path(), policy), Clock::system(), &Tasks::new()).err().expect("refused");
    let message = refused.to_string();
    assert!(message.contains("policy.yaml: rules[0].level: Unsupported value: \"Some\""), "{message}");
}
