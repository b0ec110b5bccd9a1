//! Discovery: turns the table of kinds into the documents that tell clients what is served, in both of their formats.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::resource::{Resource, Subresource};

/// The two versions of aggregated discovery; kubectl before 1.30 knows only the beta one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregatedVersion {
    /// `apidiscovery.k8s.io/v2`.
    V2,
    /// `apidiscovery.k8s.io/v2beta1`.
    V2Beta1,
}

impl AggregatedVersion {
    /// Returns such as `v2`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V2Beta1 => "v2beta1",
        }
    }

    /// Returns the content type that a response must carry: clients compare it to tell the formats apart.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::V2 => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Self::V2Beta1 => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        }
    }
}

/// Which of the two roots a document is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// `/api`: the core group.
    Api,
    /// `/apis`: every other group.
    Apis,
}

/// Returns the `APIGroupDiscoveryList` of a root. Rows are grouped in their order: the first version is preferred.
pub fn aggregated<'a>(rows: impl IntoIterator<Item = &'a Resource>, root: Root, version: AggregatedVersion) -> Value {
    let groups = groups(rows, root);
    let items: Vec<Value> = groups
        .iter()
        .map(|group| {
            let versions: Vec<Value> = group
                .versions
                .iter()
                .map(|(version, rows)| {
                    let resources: Vec<Value> = rows.iter().map(|row| aggregated_resource(row)).collect();
                    json!({"version": version, "freshness": "Current", "resources": resources})
                })
                .collect();
            let metadata = if group.name.is_empty() { json!({}) } else { json!({"name": group.name}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let api_version = format!("apidiscovery.k8s.io/{}", version.as_str());
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items})
}

/// Returns the `APIVersions` of `/api`; `server_address` is where clients reach this server.
pub fn api_versions(server_address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

/// Returns the `APIGroupList` of `/apis`.
pub fn api_group_list<'a>(rows: impl IntoIterator<Item = &'a Resource>) -> Value {
    let groups: Vec<Value> = groups(rows, Root::Apis).iter().map(Group::legacy).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// Returns the `APIGroup` of `/apis/GROUP`, `None` if nothing of it is served.
pub fn api_group<'a>(rows: impl IntoIterator<Item = &'a Resource>, name: &str) -> Option<Value> {
    let groups = groups(rows, Root::Apis);
    let mut document = groups.iter().find(|group| group.name == name)?.legacy();
    document["kind"] = "APIGroup".into();
    document["apiVersion"] = "v1".into();
    Some(document)
}

/// Returns the `APIResourceList` of a group and version, `None` if nothing of it is served.
pub fn api_resource_list<'a>(
    rows: impl IntoIterator<Item = &'a Resource>,
    group: &str,
    version: &str,
) -> Option<Value> {
    let mut resources = Vec::new();
    for row in rows.into_iter().filter(|row| row.group == group && row.version == version) {
        resources.push(legacy_resource(row));
        resources.extend(row.subresources.iter().map(|sub| legacy_subresource(row, sub)));
    }
    if resources.is_empty() {
        return None;
    }
    resources.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    // The core list has never carried an apiVersion of its own.
    let mut document = json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": resources});
    if !group.is_empty() {
        document["apiVersion"] = "v1".into();
    }
    Some(document)
}

/// One group with the rows of each version, in the order of the table.
struct Group<'a> {
    name: &'a str,
    versions: Vec<(&'a str, Vec<&'a Resource>)>,
}

impl Group<'_> {
    fn legacy(&self) -> Value {
        let versions: Vec<Value> = self
            .versions
            .iter()
            .map(|(version, _)| json!({"groupVersion": format!("{}/{version}", self.name), "version": version}))
            .collect();
        json!({"name": self.name, "preferredVersion": versions.first(), "versions": versions})
    }
}

fn groups<'a>(rows: impl IntoIterator<Item = &'a Resource>, root: Root) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for row in rows.into_iter().filter(|row| row.group.is_empty() == (root == Root::Api)) {
        let at = groups.iter().position(|group| group.name == row.group).unwrap_or_else(|| {
            groups.push(Group { name: &row.group, versions: Vec::new() });
            groups.len() - 1
        });
        let versions = &mut groups[at].versions;
        match versions.iter_mut().find(|(version, _)| *version == row.version) {
            Some((_, rows)) => rows.push(row),
            None => versions.push((&row.version, vec![row])),
        }
    }
    groups
}

fn aggregated_resource(row: &Resource) -> Value {
    let mut document = json!({
        "resource": row.plural,
        "responseKind": {"group": row.group, "version": row.version, "kind": row.kind},
        "scope": if row.is_namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": row.singular,
        "verbs": row.verbs,
    });
    insert_names(&mut document, row);
    if !row.subresources.is_empty() {
        let subresources: Vec<Value> = row.subresources.iter().map(aggregated_subresource).collect();
        document["subresources"] = subresources.into();
    }
    document
}

fn aggregated_subresource(sub: &Subresource) -> Value {
    let (group, version) = split(&sub.api_version);
    json!({
        "subresource": sub.name,
        "responseKind": {"group": group, "version": version, "kind": sub.kind},
        "verbs": sub.verbs,
    })
}

fn legacy_resource(row: &Resource) -> Value {
    let mut document = json!({
        "name": row.plural,
        "singularName": row.singular,
        "namespaced": row.is_namespaced(),
        "kind": row.kind,
        "verbs": row.verbs,
    });
    insert_names(&mut document, row);
    if row.is_stored() {
        document["storageVersionHash"] = storage_version_hash(row).into();
    }
    document
}

/// Returns what changes when objects are kept in another version (`endpoints/discovery/storageversionhash.go`).
fn storage_version_hash(row: &Resource) -> String {
    let kept = row.manners.stored_as();
    let (group, version) = kept.map_or((row.group.as_ref(), row.version.as_ref()), |kept| (kept.group, kept.version));
    let digest = Sha256::digest(format!("{group}/{version}/{}", row.kind));
    STANDARD.encode(&digest[..8])
}

fn legacy_subresource(row: &Resource, sub: &Subresource) -> Value {
    let mut document = json!({
        "name": format!("{}/{}", row.plural, sub.name),
        "singularName": "",
        "namespaced": row.is_namespaced(),
        "kind": sub.kind,
        "verbs": sub.verbs,
    });
    // Only a subresource of another group says so: `pods/eviction` is policy/v1.
    if sub.api_version != row.api_version() {
        let (group, version) = split(&sub.api_version);
        document["group"] = group.into();
        document["version"] = version.into();
    }
    document
}

fn insert_names(document: &mut Value, row: &Resource) {
    if !row.short_names.is_empty() {
        document["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        document["categories"] = json!(row.categories);
    }
}

fn split(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::builtin;

    fn rows() -> impl Iterator<Item = &'static Resource> {
        builtin().iter().map(AsRef::as_ref)
    }

    fn find<'a>(list: &'a Value, field: &str, name: &str) -> &'a Value {
        list.as_array().unwrap().iter().find(|item| item[field] == name).unwrap_or_else(|| panic!("no {name}"))
    }

    #[test]
    fn the_core_group_of_aggregated_discovery_has_no_name() {
        let document = aggregated(rows(), Root::Api, AggregatedVersion::V2);
        assert_eq!(document["apiVersion"], "apidiscovery.k8s.io/v2");
        let items = document["items"].as_array().unwrap();
        assert_eq!((items.len(), &items[0]["metadata"]), (1, &json!({})));
    }

    #[test]
    fn a_pod_is_listed_with_everything_kubectl_needs() {
        let document = aggregated(rows(), Root::Api, AggregatedVersion::V2Beta1);
        assert_eq!(document["apiVersion"], "apidiscovery.k8s.io/v2beta1");
        let pod = find(&document["items"][0]["versions"][0]["resources"], "resource", "pods");
        assert_eq!(pod["responseKind"], json!({"group": "", "version": "v1", "kind": "Pod"}));
        assert_eq!(
            (&pod["scope"], &pod["shortNames"], &pod["categories"]),
            (&json!("Namespaced"), &json!(["po"]), &json!(["all"]))
        );
        let eviction = find(&pod["subresources"], "subresource", "eviction");
        assert_eq!(eviction["responseKind"], json!({"group": "policy", "version": "v1", "kind": "Eviction"}));
        assert_eq!(eviction["verbs"], json!(["create"]));
    }

    #[test]
    fn the_newest_version_of_a_group_is_preferred() {
        let group = api_group(rows(), "autoscaling").unwrap();
        assert_eq!(group["preferredVersion"], json!({"groupVersion": "autoscaling/v2", "version": "v2"}));
        assert_eq!(group["versions"].as_array().unwrap().len(), 2);
        let aggregated = aggregated(rows(), Root::Apis, AggregatedVersion::V2);
        let item =
            aggregated["items"].as_array().unwrap().iter().find(|item| item["metadata"]["name"] == "autoscaling");
        assert_eq!(item.unwrap()["versions"][0]["version"], "v2");
    }

    #[test]
    fn drain_finds_the_eviction_subresource_in_the_legacy_list() {
        let list = api_resource_list(rows(), "", "v1").unwrap();
        let eviction = find(&list["resources"], "name", "pods/eviction");
        assert_eq!((&eviction["group"], &eviction["version"]), (&json!("policy"), &json!("v1")));
        let status = find(&list["resources"], "name", "pods/status");
        assert_eq!(status.get("group"), None);
    }

    #[test]
    fn groups_come_in_the_order_of_preference() {
        let list = api_group_list(rows());
        let names: Vec<_> =
            list["groups"].as_array().unwrap().iter().map(|group| group["name"].as_str().unwrap()).collect();
        assert_eq!(names[..3], ["apiregistration.k8s.io", "apps", "events.k8s.io"]);
        let at = |name| names.iter().position(|other| *other == name).unwrap();
        assert!(at("networking.k8s.io") < at("storage.k8s.io") && at("coordination.k8s.io") < at("discovery.k8s.io"));
    }

    #[test]
    fn the_storage_version_hash_is_kubernetes_own() {
        let hash = |group: &str, version: &str, plural: &str| {
            let list = api_resource_list(rows(), group, version).unwrap();
            find(&list["resources"], "name", plural)["storageVersionHash"].as_str().map(str::to_owned)
        };
        assert_eq!(hash("", "v1", "configmaps").as_deref(), Some("qFsyl6wFWjQ="));
        assert_eq!(hash("apps", "v1", "deployments").as_deref(), Some("8aSe+NMegvE="));
        // Kept as core events, and as v2.
        assert_eq!(hash("events.k8s.io", "v1", "events").as_deref(), Some("r2yiGXH7wu8="));
        assert_eq!(hash("autoscaling", "v1", "horizontalpodautoscalers").as_deref(), Some("qwQve8ut294="));
        assert_eq!((hash("", "v1", "bindings"), hash("", "v1", "componentstatuses")), (None, None));
    }

    #[test]
    fn what_is_not_served_has_no_document() {
        assert_eq!(api_group(rows(), "extensions"), None);
        assert_eq!(api_resource_list(rows(), "apps", "v1beta1"), None);
        assert_eq!(api_versions("127.0.0.1:6443")["versions"], json!(["v1"]));
    }
}
