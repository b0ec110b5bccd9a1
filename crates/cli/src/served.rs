//! Kinds that only the server knows, such as those of custom resources: read from its aggregated discovery.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::Value;
use wkube_api::resource::{Column, Manners, Subresource};
use wkube_api::{Object, Resource, Scope};
use wkube_client::Client;

use crate::verbs::read;

/// The groups, with their resources, in one document (KEP-3352).
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The manners of a kind of which nothing is known here: the server has them.
struct Foreign;

impl Manners for Foreign {
    fn columns(&self) -> Vec<Column> {
        Vec::new()
    }

    fn cells(&self, _object: &Object, _now: Timestamp) -> Vec<Value> {
        Vec::new()
    }
}

/// Returns every kind outside the core group, in the order of the server's preference.
///
/// # Errors
/// If the server does not answer.
pub(crate) async fn kinds(client: &Client) -> Result<Vec<Arc<Resource>>> {
    Ok(kinds_of(&read(client, "/apis", AGGREGATED).await?))
}

fn kinds_of(groups: &Value) -> Vec<Arc<Resource>> {
    let mut kinds = Vec::new();
    for group in list(groups, "items") {
        for version in list(group, "versions") {
            let name = text(version, "version");
            let found = list(version, "resources").iter();
            kinds.extend(found.map(|resource| Arc::new(kind(&text(&group["metadata"], "name"), &name, resource))));
        }
    }
    kinds
}

fn kind(group: &str, version: &str, resource: &Value) -> Resource {
    let subresource = |value: &Value| Subresource {
        name: text(value, "subresource").into(),
        api_version: Cow::Borrowed(""),
        kind: text(&value["responseKind"], "kind").into(),
        verbs: Cow::Borrowed(&[]),
    };
    let is_listed = list(resource, "verbs").iter().any(|verb| verb == "list");
    Resource {
        group: group.to_owned().into(),
        version: version.to_owned().into(),
        kind: text(&resource["responseKind"], "kind").into(),
        plural: text(resource, "resource").into(),
        singular: text(resource, "singularResource").into(),
        short_names: texts(resource, "shortNames"),
        categories: texts(resource, "categories"),
        scope: if resource["scope"] == "Cluster" { Scope::Cluster } else { Scope::Namespaced },
        // What makes a kind one that is stored; the server refuses what it does not serve.
        verbs: if is_listed { vec!["get", "list", "watch"] } else { vec!["create"] },
        subresources: list(resource, "subresources").iter().map(subresource).collect(),
        schema: Cow::Borrowed(""),
        manners: Arc::new(Foreign),
    }
}

fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value, field: &str) -> Vec<Cow<'static, str>> {
    list(value, field).iter().filter_map(|text| Some(text.as_str()?.to_owned().into())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn discovery_becomes_kinds() {
        let groups = json!({"items": [{"metadata": {"name": "stable.example.com"}, "versions": [{"version": "v1",
            "resources": [{"resource": "crontabs", "singularResource": "crontab", "shortNames": ["ct"],
                "responseKind": {"kind": "CronTab"}, "scope": "Namespaced", "verbs": ["get", "list"],
                "subresources": [{"subresource": "scale", "responseKind": {"kind": "Scale"}}]}]}]}]});
        let kinds = kinds_of(&groups);
        let kind = kinds.first().expect("one kind");
        assert_eq!((kind.api_version().as_str(), &*kind.kind), ("stable.example.com/v1", "CronTab"));
        assert!(kind.is_stored() && kind.is_namespaced() && kind.subresource("scale").is_some());
        assert_eq!(kind.short_names, ["ct"]);
    }
}
