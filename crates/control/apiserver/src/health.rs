//! `/livez`, `/readyz`, `/healthz` and `/version` (`apiserver/pkg/server/healthz`).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use http::Response;
use http::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tracing::warn;
use wkube_api::Status;

use crate::Api;
use crate::respond::{self, Body};
use crate::router::Query;

/// What `kubectl version` prints. The numbers are plain integers: clients parse them.
pub(crate) fn version() -> Value {
    json!({
        "major": "1", "minor": "37",
        "emulationMajor": "1", "emulationMinor": "37", "minCompatibilityMajor": "1", "minCompatibilityMinor": "36",
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

/// A step of the start that has to be done, under the name that it has in Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hook {
    /// The definitions of custom kinds are served.
    Definitions,
    /// The namespaces, the API's own Service and the like are there.
    Objects,
    /// Requests are sorted by the stored flow schemas.
    FlowConsumer,
    /// Kubernetes' own flow schemas are there.
    FlowProducer,
    /// The default roles and bindings are there.
    Roles,
    /// The default priority classes are there.
    PriorityClasses,
}

const HOOKS: [(Hook, &str); 6] = [
    (Hook::Definitions, "poststarthook/crd-informer-synced"),
    (Hook::Objects, "poststarthook/bootstrap-controller"),
    (Hook::FlowConsumer, "poststarthook/priority-and-fairness-config-consumer"),
    (Hook::FlowProducer, "poststarthook/priority-and-fairness-config-producer"),
    (Hook::Roles, "poststarthook/rbac/bootstrap-roles"),
    (Hook::PriorityClasses, "poststarthook/scheduling/bootstrap-system-priority-classes"),
];

/// What has been done of the start.
#[derive(Debug, Default)]
pub(crate) struct Started(Mutex<BTreeSet<Hook>>);

impl Started {
    /// Notes that these are done.
    pub(crate) fn done(&self, hooks: &[Hook]) {
        self.0.lock().extend(hooks);
    }

    fn is_done(&self, hook: Hook) -> bool {
        self.0.lock().contains(&hook)
    }
}

/// One thing that must be well.
#[derive(Debug)]
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
    // Reads go on whatever happens to a disk or a network. If they do not, only a restart helps.
    let unreadable = api.registry.store.get("/health").err();
    let is_ready = path.starts_with("/readyz");
    let mut checks = vec![
        Check::new("ping", true, ""),
        Check::new("log", true, ""),
        Check { name: "etcd", problem: unreadable.map(|error| error.to_string()) },
    ];
    if is_ready {
        checks.push(Check { name: "etcd-readiness", problem: api.store.failure() });
        let behind = api.registry.cache_behind();
        checks.push(Check { name: "informer-sync", problem: behind.map(|kind| format!("{kind} is behind the store")) });
    }
    let hook = |(hook, name): &(Hook, &'static str)| Check::new(name, api.started.is_done(*hook), "not finished");
    checks.extend(HOOKS.iter().map(hook));
    if is_ready {
        let stopping = api.draining.is_cancelled() || api.registry.tasks.stopping().is_cancelled();
        checks.push(Check::new("shutdown", !stopping, "process is shutting down"));
    }
    checks
}

/// Answers for all checks together.
pub(crate) fn answer(api: &Api, path: &str, query: &Query) -> Response<Body> {
    let (well, text) = report(path.trim_start_matches('/'), &checks(api, path), query);
    plain(if well { 200 } else { 500 }, text)
}

/// Answers for one check, such as `/readyz/etcd`.
pub(crate) fn one(api: &Api, path: &str) -> Result<Response<Body>, Status> {
    let (_, name) = path.trim_start_matches('/').split_once('/').ok_or_else(Status::unknown_path)?;
    let check = checks(api, path).into_iter().find(|check| check.name == name).ok_or_else(Status::unknown_path)?;
    Ok(match check.problem {
        None => plain(200, "ok".to_owned()),
        Some(problem) => plain(500, format!("internal server error: {problem}\n")),
    })
}

/// Says how the checks went, and whether all is well. Reasons are only logged: strangers may read this.
fn report(name: &str, checks: &[Check], query: &Query) -> (bool, String) {
    let mut excluded: BTreeSet<&str> = query.all("exclude").flat_map(|names| names.split(',')).collect();
    let (mut out, mut failed) = (String::new(), Vec::new());
    for check in checks {
        let _ = match &check.problem {
            _ if excluded.remove(check.name) => writeln!(out, "[+]{} excluded: ok", check.name),
            None => writeln!(out, "[+]{} ok", check.name),
            Some(problem) => {
                failed.push(format!("{}: {problem}", check.name));
                writeln!(out, "[-]{} failed: reason withheld", check.name)
            }
        };
    }
    if !excluded.is_empty() {
        let unknown: Vec<_> = excluded.iter().map(|name| format!("{name:?}")).collect();
        let _ = writeln!(out, "warn: some health checks cannot be excluded: no matches for {}", unknown.join(","));
    }
    if !failed.is_empty() {
        warn!(failed = failed.join("; "), "{name} check failed");
        let _ = writeln!(out, "{name} check failed");
        return (false, out);
    }
    if !query.has("verbose") {
        return (true, "ok".to_owned());
    }
    let _ = writeln!(out, "{name} check passed");
    (true, out)
}

fn plain(code: u16, text: String) -> Response<Body> {
    let mut response = respond::text(code, text);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str) -> (bool, String) {
        let checks = [Check::new("ping", true, ""), Check::new("etcd", false, "/secret/path is full")];
        report("readyz", &checks, &Query::parse(Some(query)))
    }

    #[test]
    fn a_failure_is_named_and_its_reason_withheld() {
        assert_eq!(check(""), (false, "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n".to_owned()));
    }

    #[test]
    fn what_is_excluded_does_not_count() {
        assert_eq!(check("exclude=etcd"), (true, "ok".to_owned()));
        let expected = "[+]ping ok\n[+]etcd excluded: ok\nwarn: some health checks cannot be excluded: no matches for \"x\"\n\
            readyz check passed\n";
        assert_eq!(check("verbose&exclude=etcd&exclude=x"), (true, expected.to_owned()));
    }
}
