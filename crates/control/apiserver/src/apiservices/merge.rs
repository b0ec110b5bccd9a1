//! What backends serve, in the documents that say what is served at all (`kube-aggregator/pkg/apiserver`). Pure.

use serde_json::{Value, json};
use wkube_api::Resource;
use wkube_api::discovery::Root;

use super::backend::Backend;

/// The backends as they were when a document was asked for.
pub(crate) struct Merge(Vec<Entry>);

/// One backend.
struct Entry {
    group: String,
    version: String,
    is_available: bool,
    resources: Option<Value>,
    openapi: Option<String>,
}

impl Merge {
    /// Returns what these backends serve.
    pub(super) fn new(backends: &[std::sync::Arc<Backend>]) -> Self {
        let entry = |backend: &std::sync::Arc<Backend>| {
            let seen = backend.seen.load();
            Entry {
                group: backend.group.clone(),
                version: backend.version.clone(),
                is_available: seen.is_available,
                resources: seen.resources.clone(),
                openapi: seen.openapi.clone(),
            }
        };
        Self(backends.iter().map(entry).collect())
    }

    /// Adds a group and version that this server serves without rows of the table of kinds, unless somebody else does.
    #[must_use]
    pub(super) fn and_own(mut self, group: &str, version: &str, resources: Value) -> Self {
        if !self.0.iter().any(|one| one.group == group && one.version == version) {
            let (group, version) = (group.to_owned(), version.to_owned());
            self.0.push(Entry { group, version, is_available: true, resources: Some(resources), openapi: None });
        }
        self
    }

    /// Whether a row is this server's to show.
    pub(crate) fn keeps(&self, row: &Resource) -> bool {
        !self.0.iter().any(|one| one.group == row.group && one.version == row.version)
    }

    /// Adds the backends to aggregated discovery. One that does not say what it serves is shown as it was, and as stale.
    pub(crate) fn add_aggregated(&self, mut document: Value, root: Root) -> Value {
        if root == Root::Api {
            return document;
        }
        let Some(items) = document["items"].as_array_mut() else { return document };
        for one in &self.0 {
            let freshness = if one.is_available && one.resources.is_some() { "Current" } else { "Stale" };
            let mut entry = json!({"version": one.version, "freshness": freshness});
            if let Some(resources) = &one.resources {
                entry["resources"] = aggregated(resources, &one.group, &one.version).into();
            }
            let found = items.iter().position(|item| item["metadata"]["name"] == one.group.as_str());
            let place = found.unwrap_or_else(|| {
                items.push(json!({"metadata": {"name": one.group}, "versions": []}));
                items.len() - 1
            });
            if let Some(versions) = items[place]["versions"].as_array_mut() {
                versions.push(entry);
            }
        }
        document
    }

    /// Adds the backends to the `APIGroupList`.
    pub(crate) fn add_groups(&self, mut document: Value) -> Value {
        let Some(groups) = document["groups"].as_array_mut() else { return document };
        for one in &self.0 {
            match groups.iter_mut().find(|group| group["name"] == one.group.as_str()) {
                Some(group) => one.add_to(group),
                None => groups.push(one.group()),
            }
        }
        document
    }

    /// Adds the backends to one `APIGroup`, which this server may not serve at all.
    pub(crate) fn add_group(&self, document: Option<Value>, name: &str) -> Option<Value> {
        let mut document = document;
        for one in self.0.iter().filter(|one| one.group == name) {
            if let Some(group) = &mut document {
                one.add_to(group);
                continue;
            }
            let mut group = one.group();
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            document = Some(group);
        }
        document
    }

    /// Adds the backends to the index of `OpenAPI` v3.
    pub(crate) fn add_openapi(&self, mut index: Value) -> Value {
        for one in &self.0 {
            if let (Some(url), Some(paths)) = (&one.openapi, index["paths"].as_object_mut()) {
                paths.insert(format!("apis/{}/{}", one.group, one.version), json!({"serverRelativeURL": url}));
            }
        }
        index
    }
}

impl Entry {
    fn version(&self) -> Value {
        json!({"groupVersion": format!("{}/{}", self.group, self.version), "version": self.version})
    }

    fn group(&self) -> Value {
        json!({"name": self.group, "versions": [self.version()], "preferredVersion": self.version()})
    }

    fn add_to(&self, group: &mut Value) {
        if let Some(versions) = group["versions"].as_array_mut() {
            versions.push(self.version());
        }
    }
}

/// Turns an `APIResourceList` into the entries of aggregated discovery (`discovery/aggregated`,
/// `ConvertGroupVersionIntoToDiscovery`).
fn aggregated(list: &Value, group: &str, version: &str) -> Vec<Value> {
    let all: Vec<&Value> = list["resources"].as_array().into_iter().flatten().collect();
    let name = |one: &Value| one["name"].as_str().unwrap_or_default().to_owned();
    let kind = |one: &Value| {
        let or = |field: &str, own: &str| match one[field].as_str() {
            None | Some("") => own.to_owned(),
            Some(other) => other.to_owned(),
        };
        json!({"group": or("group", group), "version": or("version", version), "kind": one["kind"]})
    };
    let whole = all.iter().filter(|one| !name(one).contains('/'));
    whole
        .map(|one| {
            let plural = name(one);
            let mut entry = json!({
                "resource": plural, "responseKind": kind(one), "singularResource": one["singularName"],
                "scope": if one["namespaced"] == true { "Namespaced" } else { "Cluster" }, "verbs": one["verbs"],
            });
            for field in ["shortNames", "categories"] {
                if one[field].is_array() {
                    entry[field] = one[field].clone();
                }
            }
            let below = format!("{plural}/");
            let parts = all.iter().filter_map(|part| Some((part, name(part).strip_prefix(&below)?.to_owned())));
            let parts: Vec<Value> = parts
                .map(|(part, name)| json!({"subresource": name, "responseKind": kind(part), "verbs": part["verbs"]}))
                .collect();
            if !parts.is_empty() {
                entry["subresources"] = parts.into();
            }
            entry
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(is_available: bool) -> Merge {
        let resources = json!({"resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get"], "shortNames": ["fl"]},
            {"name": "flunders/scale", "singularName": "", "namespaced": true, "group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": ["update"]},
        ]});
        let entry = |version: &str, resources| Entry {
            group: "wardle.io".into(),
            version: version.into(),
            is_available,
            resources,
            openapi: Some("/openapi/v3/apis/wardle.io/v1?hash=1".into()),
        };
        Merge(vec![entry("v1", Some(resources)), entry("v2", None)])
    }

    #[test]
    fn a_backends_kinds_are_shown_beside_this_servers() {
        let document = json!({"items": [{"metadata": {"name": "apps"}, "versions": []}]});
        let merged = merge(true).add_aggregated(document, Root::Apis);
        let group = &merged["items"][1];
        assert_eq!(group["metadata"]["name"], "wardle.io");
        assert_eq!(
            group["versions"][0],
            json!({"version": "v1", "freshness": "Current", "resources": [{
                "resource": "flunders", "singularResource": "flunder", "scope": "Namespaced", "verbs": ["get"], "shortNames": ["fl"],
                "responseKind": {"group": "wardle.io", "version": "v1", "kind": "Flunder"},
                "subresources": [{
                    "subresource": "scale", "verbs": ["update"],
                    "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
                }],
            }]})
        );
        assert_eq!(group["versions"][1], json!({"version": "v2", "freshness": "Stale"}));
    }

    #[test]
    fn a_backend_that_does_not_answer_is_stale() {
        let merged = merge(false).add_aggregated(json!({"items": []}), Root::Apis);
        assert_eq!(merged["items"][0]["versions"][0]["freshness"], "Stale");
        assert_eq!(merged["items"][0]["versions"][0]["resources"][0]["resource"], "flunders");
    }

    #[test]
    fn the_core_group_has_no_backends() {
        let document = json!({"items": []});
        assert_eq!(merge(true).add_aggregated(document.clone(), Root::Api), document);
    }

    #[test]
    fn old_discovery_lists_the_group_with_its_versions() {
        let merged = merge(true).add_groups(json!({"groups": []}));
        let v1 = json!({"groupVersion": "wardle.io/v1", "version": "v1"});
        let v2 = json!({"groupVersion": "wardle.io/v2", "version": "v2"});
        assert_eq!(merged["groups"][0], json!({"name": "wardle.io", "preferredVersion": v1, "versions": [v1, v2]}));
        let group = merge(true).add_group(None, "wardle.io").expect("a group");
        assert_eq!((&group["kind"], group["versions"].as_array().map(Vec::len)), (&json!("APIGroup"), Some(2)));
        assert_eq!(merge(true).add_group(None, "apps"), None);
    }

    #[test]
    fn openapi_is_the_backends_own() {
        let merged = merge(true).add_openapi(json!({"paths": {}}));
        let url = "/openapi/v3/apis/wardle.io/v1?hash=1";
        assert_eq!(merged["paths"]["apis/wardle.io/v1"], json!({"serverRelativeURL": url}));
    }
}
