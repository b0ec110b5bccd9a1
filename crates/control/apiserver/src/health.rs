//! `/livez`, `/readyz`, `/healthz` and `/version`.

use std::fmt::Write as _;

use http::Response;
use serde_json::{Value, json};
use wkube_api::Status;

use crate::Api;
use crate::respond::{self, Body};
use crate::router::Query;

/// What `kubectl version` prints. The numbers are plain integers: clients parse them.
pub(crate) fn version() -> Value {
    json!({
        "major": "1", "minor": "37",
        "gitVersion": concat!("v1.37.0+wkube", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, architecture()),
    })
}

/// Go's name of the processor, which clients know.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// One thing that must be well.
struct Check {
    name: &'static str,
    /// What is wrong; `None` if all is well.
    problem: Option<String>,
}

impl Check {
    fn new(name: &'static str, ok: bool, problem: &str) -> Self {
        Self { name, problem: (!ok).then(|| problem.to_owned()) }
    }
}

/// `readyz` also looks at whether writes succeed, and whether the server is on its way in or out. A disk that is full
/// does not make the server dead: reads go on, and a restart would not help.
fn checks(api: &Api, path: &str) -> Vec<Check> {
    let closed = matches!(api.registry.store.get("/health"), Err(wkube_store::Error::Closed));
    let mut checks = vec![Check::new("ping", true, ""), Check::new("etcd", !closed, "the store is closed")];
    if path.starts_with("/readyz") {
        let stopping = api.registry.tasks.stopping().is_cancelled();
        checks.push(Check { name: "etcd-readiness", problem: api.store.failure() });
        checks.push(Check::new("bootstrap", api.bootstrapped.get().is_some(), "the first objects are not there yet"));
        checks.push(Check::new("shutdown", !stopping, "the server is shutting down"));
    }
    checks
}

/// Answers for all checks together.
pub(crate) fn answer(api: &Api, path: &str, query: &Query) -> Response<Body> {
    let excluded: Vec<_> = query.all("exclude").collect();
    let checks: Vec<_> = checks(api, path).into_iter().filter(|check| !excluded.contains(&check.name)).collect();
    let well = checks.iter().all(|check| check.problem.is_none());
    let name = path.trim_start_matches('/');
    if well && !query.has("verbose") {
        return respond::text(200, "ok");
    }
    let mut out = String::new();
    for Check { name, problem } in &checks {
        let _ = match problem {
            None => writeln!(out, "[+]{name} ok"),
            Some(problem) => writeln!(out, "[-]{name} failed: {problem}"),
        };
    }
    let _ = writeln!(out, "{name} check {}", if well { "passed" } else { "failed" });
    respond::text(if well { 200 } else { 500 }, out)
}

/// Answers for one check, such as `/readyz/etcd`.
pub(crate) fn one(api: &Api, path: &str) -> Result<Response<Body>, Status> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let check = checks(api, path).into_iter().find(|check| check.name == name).ok_or_else(Status::unknown_path)?;
    Ok(match check.problem {
        None => respond::text(200, "ok"),
        Some(problem) => respond::text(500, format!("internal server error: {name} failed: {problem}\n")),
    })
}
