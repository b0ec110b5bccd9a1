//! What the checks share: what they look at, how they speak, and in which order they run
//! (`pod-security-admission/policy/registry.go`). Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::policy::{Level, LevelVersion, Version};
use super::{baseline, restricted};

/// A pod or a template, as the checks see it.
pub(super) struct Pod<'a> {
    /// Its annotations.
    pub(super) annotations: BTreeMap<&'a str, &'a str>,
    /// Its spec.
    pub(super) spec: &'a Value,
}

/// Something that a level does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// What it is, such as `hostPort`.
    pub(super) reason: String,
    /// Where it is.
    pub(super) detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() { f.write_str(&self.reason) } else { write!(f, "{} ({})", self.reason, self.detail) }
    }
}

/// One rule.
pub(super) type Check = fn(&Pod<'_>, Version) -> Option<Violation>;

/// Returns what a pod does beyond a level.
pub(super) fn evaluate(level: LevelVersion, pod: &Pod<'_>) -> Vec<Violation> {
    let run =
        |checks: &[Check]| -> Vec<Violation> { checks.iter().filter_map(|check| check(pod, level.version)).collect() };
    match level.level {
        Level::Privileged => Vec::new(),
        Level::Baseline => {
            let mut found = run(baseline::CHECKS);
            found.extend(run(baseline::OVERLAPPING));
            found
        }
        // The stricter rules say more than those of the baseline that they overlap with.
        Level::Restricted => {
            let mut found = run(baseline::CHECKS);
            found.extend(run(restricted::CHECKS));
            found
        }
    }
}

impl Pod<'_> {
    /// Returns every container, of whichever kind.
    pub(super) fn containers(&self) -> impl Iterator<Item = &Value> {
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        lists.into_iter().flat_map(|list| self.spec[list].as_array().into_iter().flatten())
    }

    /// Returns the names of the containers of which something holds.
    pub(super) fn containers_where(&self, holds: impl Fn(&Value) -> bool) -> Vec<&str> {
        self.containers().filter(|container| holds(container)).map(name).collect()
    }

    /// Whether it is meant for Windows, which has none of Linux's capabilities.
    pub(super) fn is_windows(&self) -> bool {
        self.spec["os"]["name"] == "windows"
    }

    /// Whether root inside is nobody outside.
    pub(super) fn has_own_users(&self) -> bool {
        self.spec["hostUsers"] == false
    }
}

/// Returns the name of a container or volume.
pub(super) fn name(item: &Value) -> &str {
    item["name"].as_str().unwrap_or_default()
}

/// `container "a"`, `containers "a", "b"`.
pub(super) fn named(singular: &str, names: &[&str]) -> String {
    let plural = if names.len() == 1 { "" } else { "s" };
    format!("{singular}{plural} {}", quoted(names))
}

/// `"a", "b"`.
pub(super) fn quoted(texts: &[&str]) -> String {
    texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ")
}

/// The values of a set, quoted.
pub(super) fn quoted_set(texts: &BTreeSet<&str>) -> String {
    quoted(&texts.iter().copied().collect::<Vec<_>>())
}

/// Who sets something that is not allowed: `pod`, `containers "a", "b"`, `pod and container "a"`; `None` if nobody does.
pub(super) fn setters(pod: bool, containers: &[&str]) -> Option<String> {
    match (pod, containers.is_empty()) {
        (false, true) => None,
        (true, true) => Some("pod".to_owned()),
        (false, false) => Some(named("container", containers)),
        (true, false) => Some(format!("pod and {}", named("container", containers))),
    }
}

/// Returns a violation, which is how most checks end.
#[expect(clippy::unnecessary_wraps, reason = "checks return it as it is")]
pub(super) fn violation(reason: &str, detail: impl Into<String>) -> Option<Violation> {
    Some(Violation { reason: reason.to_owned(), detail: detail.into() })
}
