//! What operators look at: health, metrics, the audit log, and an orderly end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use wkube_apiserver::{Flags, audit};

use super::tls::{Running, running, running_with};

async fn text(running: &Running, path: &str) -> (u16, String) {
    let answer = running.get(path, true).await;
    let code = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
    (code, String::from_utf8(bytes.into()).expect("text"))
}

/// Reads Prometheus' text format as strictly as a scraper: every sample belongs to the metric that was announced last, no
/// series comes twice, and histograms grow. Returns the kind of each metric.
fn parse(text: &str) -> BTreeMap<String, String> {
    let (mut kinds, mut series, mut helped) = (BTreeMap::new(), BTreeSet::new(), String::new());
    let mut buckets: BTreeMap<String, f64> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(!help.is_empty(), "{line}");
            name.clone_into(&mut helped);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a kind");
            assert_eq!(name, helped, "HELP comes before TYPE");
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} is announced twice");
            name.clone_into(&mut current);
        } else {
            let (id, value) = line.rsplit_once(' ').expect("a value");
            let value: f64 = value.parse().expect("a number");
            assert!(series.insert(id.to_owned()), "{id} comes twice");
            let (name, labels) = id.split_once('{').unwrap_or((id, "}"));
            assert!(labels.ends_with('}'), "{line}");
            let is_histogram = kinds[&current] == "histogram";
            let suffix = name.strip_prefix(current.as_str()).unwrap_or_else(|| panic!("{line} is not of {current}"));
            assert!(
                if is_histogram { ["_bucket", "_sum", "_count"].contains(&suffix) } else { suffix.is_empty() },
                "{line}"
            );
            if let Some((rest, _)) = labels.split_once("le=\"").filter(|_| suffix == "_bucket") {
                let last = buckets.entry(format!("{name}{rest}")).or_default();
                assert!(value >= *last, "{line}: buckets grow");
                *last = value;
            }
        }
    }
    kinds
}

#[tokio::test]
async fn metrics_have_kubernetes_names_in_prometheus_format() {
    let running = running().await;
    let _watch = running.get("/api/v1/pods?watch=true", true).await;
    assert_eq!(running.get("/api/v1/nodes/nope", true).await.status(), 404);
    assert_eq!(running.get("/apis/no/v1/such", true).await.status(), 404);
    let (code, metrics) = text(&running, "/metrics").await;
    assert_eq!(code, 200);
    let kinds = parse(&metrics);
    for (name, kind) in [
        ("apiserver_request_total", "counter"),
        ("apiserver_request_duration_seconds", "histogram"),
        ("apiserver_response_sizes", "histogram"),
        ("apiserver_current_inflight_requests", "gauge"),
        ("apiserver_longrunning_requests", "gauge"),
        ("apiserver_flowcontrol_dispatched_requests_total", "counter"),
        ("apiserver_flowcontrol_current_limit_seats", "gauge"),
        ("apiserver_admission_step_admission_duration_seconds", "histogram"),
        ("apiserver_admission_controller_admission_duration_seconds", "histogram"),
        ("apiserver_storage_objects", "gauge"),
        ("apiserver_storage_size_bytes", "gauge"),
        ("etcd_request_duration_seconds", "histogram"),
        ("etcd_mvcc_db_total_size_in_bytes", "gauge"),
        ("etcd_mvcc_db_total_size_in_use_in_bytes", "gauge"),
        ("etcd_debugging_mvcc_keys_total", "gauge"),
        ("etcd_debugging_mvcc_current_revision", "gauge"),
        ("etcd_debugging_mvcc_watcher_total", "gauge"),
        ("process_resident_memory_bytes", "gauge"),
        ("process_cpu_seconds_total", "counter"),
        ("kubernetes_build_info", "gauge"),
    ] {
        assert_eq!(kinds.get(name).map(String::as_str), Some(kind), "{name}");
    }
    let requests: Vec<_> = metrics.lines().filter(|line| line.starts_with("apiserver_request_total{")).collect();
    let missing_node = "code=\"404\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"nodes\",scope=\"resource\",\
        subresource=\"\",verb=\"GET\",version=\"v1\"} 1";
    assert!(requests.iter().any(|line| line.ends_with(missing_node)), "{requests:#?}");
    assert!(!metrics.contains("\"such\""), "a client's words are no labels");
    let of_nodes = "etcd_request_duration_seconds_count{operation=\"get\",type=\"nodes\"}";
    assert!(metrics.contains(of_nodes), "calls of the store have the type of what they concern");
}

/// Waits until the log says that the request for `uri` is complete.
async fn ends_in(log: &Path, uri: &str) {
    let is_there = || {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        text.lines().any(|line| line.contains(uri) && line.contains("ResponseComplete"))
    };
    let waiting = async {
        while !is_there() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("the request ends");
}

#[tokio::test]
async fn the_audit_log_has_a_line_for_each_stage() {
    let running = running_with(|directory| {
        let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
            - {level: None, nonResourceURLs: ['/readyz*']}\n\
            - {level: Request, resources: [{group: '', resources: [configmaps]}]}\n\
            - {level: Metadata}\n";
        std::fs::write(directory.join("policy.yaml"), policy).expect("writable");
        let audit = audit::Options {
            policy: directory.join("policy.yaml"),
            path: directory.join("audit.log"),
            max_age: 0,
            max_backups: 0,
            max_size: 0,
        };
        Flags { audit: Some(audit), ..Flags::default() }
    })
    .await;
    let made = Request::post("/api/v1/namespaces/default/configmaps")
        .header("host", "test")
        .header("content-type", "application/json")
        .header("audit-id", "my-own-id")
        .header("impersonate-user", "jane")
        .body(Full::from(r#"{"metadata":{"name":"a"}}"#));
    let refused = running.send(made.expect("a request"), true).await;
    assert_eq!((refused.status().as_u16(), refused.headers()["audit-id"].to_str().expect("text")), (403, "my-own-id"));
    assert_eq!(running.get("/readyz", true).await.status(), 200);
    let watch = running.get("/api/v1/pods?watch=true", true).await;
    assert_eq!(watch.status(), 200);
    let forged = Request::get("/api/v1/pods").header("host", "test").header("authorization", "Bearer forged");
    assert_eq!(running.send(forged.body(Full::default()).expect("a request"), false).await.status(), 401);
    let log = running.path("audit.log");
    drop(watch);
    ends_in(&log, "/api/v1/pods?watch=true").await;
    running.tasks.stop(Duration::from_secs(10)).await;
    let lines: Vec<Value> = std::fs::read_to_string(log)
        .expect("a log")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|line: &Value| !line["user"]["username"].as_str().unwrap_or_default().starts_with("system:kube"))
        .collect();
    let by = |stage: &str, uri: &str| {
        lines.iter().find(|line| line["stage"] == stage && line["requestURI"] == uri).cloned().unwrap_or_default()
    };
    let refused = by("ResponseComplete", "/api/v1/namespaces/default/configmaps");
    assert_eq!(
        (&refused["auditID"], &refused["verb"], &refused["level"]),
        (&json!("my-own-id"), &json!("create"), &json!("Request"))
    );
    assert_eq!(refused["user"]["username"], "kubernetes-admin");
    assert_eq!(refused["impersonatedUser"]["username"], "jane");
    assert_eq!(refused["responseStatus"]["reason"], "Forbidden");
    assert_eq!(refused["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(refused["sourceIPs"], json!(["127.0.0.1"]));
    let started = by("ResponseStarted", "/api/v1/pods?watch=true");
    assert_eq!(
        (&started["verb"], &started["annotations"]["authorization.k8s.io/decision"]),
        (&json!("watch"), &json!("allow"))
    );
    assert_eq!(
        by("ResponseComplete", "/api/v1/pods?watch=true")["auditID"],
        started["auditID"],
        "the watch has an end"
    );
    let forged = by("ResponseComplete", "/api/v1/pods");
    assert_eq!((&forged["responseStatus"]["code"], &forged["user"]), (&json!(401), &json!({})));
    assert!(!lines.iter().any(|line| line["requestURI"] == "/readyz"));
}

#[tokio::test]
async fn flow_schemas_are_kept_as_kubernetes_has_them_and_say_whether_their_level_exists() {
    let running = running().await;
    let schemas = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
    let get = async |name: &str| {
        let (code, body) = text(&running, &format!("{schemas}/{name}")).await;
        (code, serde_json::from_str::<Value>(&body).expect("JSON"))
    };
    let dangles = |schema: &Value| schema["status"]["conditions"][0]["status"].clone();
    let mut settled = false;
    for _ in 0..500 {
        let (code, schema) = get("global-default").await;
        assert_eq!(code, 200);
        settled = dangles(&schema) == "False";
        if settled {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(settled, "the condition is written");
    let gone = Request::delete(format!("{schemas}/catch-all")).header("host", "test").body(Full::default());
    assert_eq!(running.send(gone.expect("a request"), true).await.status(), 200);
    for _ in 0..500 {
        if get("catch-all").await.0 == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the mandatory schema does not come back");
}

#[tokio::test]
async fn a_server_that_goes_says_so_first_and_ends_its_watches_cleanly() {
    let running = running().await;
    let mut watch = running.get("/api/v1/pods?watch=true", true).await;
    running.server.drain().await;
    let (code, report) = text(&running, "/readyz").await;
    assert_eq!(code, 500);
    assert!(report.contains("[-]shutdown failed: reason withheld"), "{report}");
    assert_eq!(text(&running, "/livez").await.0, 200, "it is not dead");
    assert_eq!(running.get("/api/v1/namespaces", true).await.status(), 200, "and still answers");
    let address = running.server.address();
    running.tasks.stop(Duration::from_secs(10)).await;
    assert!(watch.body_mut().frame().await.is_none(), "an end, not an error");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
}

#[tokio::test]
async fn a_file_of_tokens_or_a_policy_that_is_wrong_stops_the_start() {
    use std::sync::Arc;
    use wkube_apiserver::{ApiServer, Options};
    use wkube_base::{Clock, Rng, Tasks};
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("tokens.csv");
    std::fs::write(&file, "a,b").expect("writable");
    let options = Options {
        store: Arc::new(wkube_store::MemoryStore::new()),
        data_dir: directory.path().to_owned(),
        listen: "127.0.0.1:0".parse().expect("an address"),
        registry_listen: None,
        clock: Clock::system(),
        rng: Rng::seeded(1),
        names: Vec::new(),
        flags: Flags { token_auth_file: Some(file), ..Flags::default() },
    };
    let refused = ApiServer::start(options, &Tasks::new()).await.err().expect("refused");
    let source = std::error::Error::source(&refused).expect("a cause").to_string();
    assert!(
        source.ends_with("tokens.csv:1: token file must have at least 3 columns (token, user name, user uid)"),
        "{source}"
    );
}
