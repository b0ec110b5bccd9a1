//! Which kinds the API serves now, read from discovery: controllers of everything must see custom resources too.

use std::fmt;

use serde_json::Value;
use wkube_client::{Api, Client, Error};

use crate::common::request;

/// One kind as the API serves it, in its preferred version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServedKind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) is_namespaced: bool,
    pub(crate) verbs: Vec<String>,
}

impl ServedKind {
    /// Returns the verbs of this kind, on documents.
    pub(crate) fn api(&self, client: &Client) -> Api<wkube_api::Object> {
        Api::of_collection(client, &self.group, &self.version, &self.plural)
    }

    /// Whether all of these verbs are served.
    pub(crate) fn can(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|served| served == verb))
    }

    /// Returns the path of all objects.
    pub(crate) fn path(&self) -> String {
        match self.group.as_str() {
            "" => format!("/api/{}/{}", self.version, self.plural),
            group => format!("/apis/{group}/{}/{}", self.version, self.plural),
        }
    }
}

impl fmt::Display for ServedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.plural) } else { write!(f, "{}.{}", self.plural, self.group) }
    }
}

/// Returns every kind.
///
/// # Errors
/// If any part of discovery fails: whoever deletes must not mistake a part for the whole.
pub(crate) async fn kinds(client: &Client) -> Result<Vec<ServedKind>, Error> {
    let mut kinds = kinds_of(&request::get(client, "/api/v1").await?);
    let groups = request::get(client, "/apis").await?;
    for group in groups["groups"].as_array().into_iter().flatten() {
        let Some(version) = group["preferredVersion"]["groupVersion"].as_str() else { continue };
        kinds.extend(kinds_of(&request::get(client, &format!("/apis/{version}")).await?));
    }
    Ok(kinds)
}

/// Reads one `APIResourceList`, without subresources.
fn kinds_of(list: &Value) -> Vec<ServedKind> {
    let group_version = list["groupVersion"].as_str().unwrap_or_default();
    let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
    let read = |resource: &Value| {
        let plural = resource["name"].as_str().filter(|name| !name.contains('/'))?;
        let verbs = resource["verbs"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Some(ServedKind {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: resource["kind"].as_str()?.to_owned(),
            plural: plural.to_owned(),
            is_namespaced: resource["namespaced"].as_bool().unwrap_or_default(),
            verbs: verbs.map(str::to_owned).collect(),
        })
    };
    list["resources"].as_array().into_iter().flatten().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_resource_list_gives_its_kinds_without_subresources() {
        let list = json!({ "groupVersion": "apps/v1", "resources": [
            { "name": "deployments", "kind": "Deployment", "namespaced": true, "verbs": ["list", "delete"] },
            { "name": "deployments/scale", "kind": "Scale", "namespaced": true, "verbs": ["get"] },
        ]});
        let kinds = kinds_of(&list);
        assert_eq!(kinds.len(), 1);
        assert_eq!(
            (kinds[0].to_string().as_str(), kinds[0].path().as_str()),
            ("deployments.apps", "/apis/apps/v1/deployments")
        );
        assert!(kinds[0].can(&["delete", "list"]) && !kinds[0].can(&["list", "watch"]));
    }

    #[test]
    fn the_core_group_has_no_name() {
        let list = json!({ "groupVersion": "v1", "resources": [{ "name": "pods", "kind": "Pod", "namespaced": true, "verbs": [] }]});
        assert_eq!(
            (kinds_of(&list)[0].to_string().as_str(), kinds_of(&list)[0].path().as_str()),
            ("pods", "/api/v1/pods")
        );
    }
}
