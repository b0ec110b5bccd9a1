//! The groups and versions that this server serves itself, as `APIService`s (`kube-apiserver`'s `aggregator.go`). Pure.

use serde_json::{Value, json};
use wkube_api::{Object, Resource};

use crate::metrics_api;

/// Marks what this server has made: `onstart` for built-in groups, `true` for those of custom resources.
pub(super) const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Priorities of groups of custom resources (`crdregistration_controller.go`).
const CUSTOM: (i64, i64) = (1000, 100);

/// Group, version, and the priorities of both (`apiVersionPriorities`). What is not here has the least.
const PRIORITIES: [(&str, &str, i64, i64); 25] = [
    ("", "v1", 18000, 1),
    ("apps", "v1", 17800, 15),
    ("events.k8s.io", "v1", 17750, 5),
    ("authentication.k8s.io", "v1", 17700, 15),
    ("authorization.k8s.io", "v1", 17600, 15),
    ("autoscaling", "v1", 17500, 15),
    ("autoscaling", "v2", 17500, 30),
    ("batch", "v1", 17400, 15),
    ("certificates.k8s.io", "v1", 17300, 15),
    ("networking.k8s.io", "v1", 17200, 15),
    ("policy", "v1", 17100, 15),
    ("rbac.authorization.k8s.io", "v1", 17000, 15),
    ("storage.k8s.io", "v1", 16800, 15),
    ("apiextensions.k8s.io", "v1", 16700, 15),
    ("admissionregistration.k8s.io", "v1", 16700, 15),
    ("scheduling.k8s.io", "v1", 16600, 15),
    ("coordination.k8s.io", "v1", 16500, 15),
    ("node.k8s.io", "v1", 16300, 15),
    ("discovery.k8s.io", "v1", 16200, 15),
    ("flowcontrol.apiserver.k8s.io", "v1", 16100, 21),
    ("internal.apiserver.k8s.io", "v1alpha1", 16000, 9),
    ("resource.k8s.io", "v1", 15900, 15),
    ("storagemigration.k8s.io", "v1", 15800, 15),
    ("storagemigration.k8s.io", "v1beta1", 15800, 9),
    ("metrics.k8s.io", "v1beta1", 100, 100),
];

/// Returns the name of an `APIService`: `v1.apps`, and `v1.` for core.
pub(super) fn name(group: &str, version: &str) -> String {
    format!("{version}.{group}")
}

/// Returns the groups and versions of rows, once each.
pub(super) fn group_versions<'a>(rows: impl IntoIterator<Item = &'a Resource>) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for row in rows.into_iter().filter(|row| row.group != "apiregistration.k8s.io") {
        let one = (row.group.to_string(), row.version.to_string());
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

/// Returns the `APIService`s of built-in rows.
pub(super) fn builtin<'a>(rows: impl IntoIterator<Item = &'a Resource>, now: &str) -> Vec<Value> {
    let of = |(group, version): (String, String)| {
        let known = PRIORITIES.iter().find(|(of, at, ..)| (*of, *at) == (group.as_str(), version.as_str()));
        let priorities = known.map_or((100, 1), |(.., group, version)| (*group, *version));
        document(&group, &version, priorities, "onstart", now)
    };
    let metrics = (metrics_api::GROUP.to_owned(), metrics_api::VERSION.to_owned());
    group_versions(rows).into_iter().chain([metrics]).map(of).collect()
}

/// Returns the `APIService` of a group and version of custom resources.
pub(super) fn custom(group: &str, version: &str, now: &str) -> Value {
    document(group, version, CUSTOM, "true", now)
}

fn document(group: &str, version: &str, priorities: (i64, i64), managed: &str, now: &str) -> Value {
    let mut spec = json!({"version": version, "groupPriorityMinimum": priorities.0, "versionPriority": priorities.1});
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": name(group, version), "labels": {MANAGED: managed}},
        "spec": spec,
        "status": {"conditions": [{
            "type": "Available", "status": "True", "reason": "Local",
            "message": "Local APIServices are always available", "lastTransitionTime": now,
        }]},
    })
}

/// Whether an `APIService` stands for custom resources and was made by this server.
pub(super) fn is_of_custom(object: &Object) -> bool {
    object.labels().get(MANAGED) == Some(&"true")
}

#[cfg(test)]
mod tests {
    use wkube_api::kinds;

    use super::*;

    #[test]
    fn every_group_and_version_is_there_once() {
        let all = builtin(kinds::builtin().iter().map(AsRef::as_ref), "now");
        let names: Vec<&str> = all.iter().map(|one| one["metadata"]["name"].as_str().expect("a name")).collect();
        for name in ["v1.", "v1.apps", "v2.autoscaling", "v1.autoscaling", "v1.apiextensions.k8s.io"] {
            assert_eq!(names.iter().filter(|one| **one == name).count(), 1, "{name}");
        }
        assert!(!names.contains(&"v1.apiregistration.k8s.io"), "the aggregator serves it itself");
        assert_eq!(all[0]["spec"], json!({"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1}));
        assert_eq!(all[0]["status"]["conditions"][0]["reason"], "Local");
    }
}
