//! The parameters of a policy: objects that a binding points to (`generic/policy_dispatcher.go`, `CollectParams`).

use std::sync::Arc;

use serde_json::Value;
use wkube_api::selector::LabelSelector;
use wkube_api::{Object, ObjectKey, Resource};

use super::known::{Binding, Bound};
use crate::admission::Attributes;
use crate::registry::Registry;

/// Returns what the policy is judged with, once each; `None` stands for no parameters.
///
/// # Errors
/// If the binding cannot be used for this request.
pub(super) async fn collect<P>(
    attributes: &Attributes<'_>,
    bound: &Bound<P>,
    binding: &Binding,
) -> Result<Vec<Option<Arc<Object>>>, String> {
    let reference = &binding.param_ref;
    let Some((api_version, kind)) = bound.param_kind.as_ref().filter(|_| reference.is_object()) else {
        // Expressions see `params` as null; whoever cares says so.
        return Ok(vec![None]);
    };
    let registry = attributes.registry;
    let row = row(registry, api_version, kind)
        .ok_or_else(|| format!("failed to find resource referenced by paramKind: '{}'", gvk(api_version, kind)))?;
    let namespace = namespace(&row, reference, &attributes.call.namespace)?;
    let name = reference["name"].as_str().unwrap_or_default();
    let found: Vec<Arc<Object>> = if name.is_empty() {
        let selector = LabelSelector::from_json(reference.get("selector")).map_err(|error| error.to_string())?;
        let all = registry.objects(&row, &namespace).await;
        all.into_iter().filter(|object| selector.matches(&object.labels())).collect()
    } else {
        let found = registry.find(&row, &ObjectKey::new(&namespace, name)).map_err(|status| status.message)?;
        found.into_iter().map(Arc::new).collect()
    };
    if !found.is_empty() {
        return Ok(found.into_iter().map(Some).collect());
    }
    match reference["parameterNotFoundAction"].as_str() {
        Some("Allow") => Ok(Vec::new()),
        _ => Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned()),
    }
}

fn gvk(api_version: &str, kind: &str) -> String {
    format!("{api_version}, Kind={kind}")
}

fn row(registry: &Registry, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
    let served = registry.catalog.served();
    let row = served.rows().find(|row| row.kind == kind && row.api_version() == api_version && row.is_stored())?;
    registry.catalog.route(&row.group, &row.version, &row.plural)
}

/// Parameters without a namespace of their own are in that of the request.
fn namespace(row: &Resource, reference: &Value, of_request: &str) -> Result<String, String> {
    let wanted = reference["namespace"].as_str().unwrap_or_default();
    match (row.is_namespaced(), wanted.is_empty()) {
        (true, false) => Ok(wanted.to_owned()),
        (true, true) if of_request.is_empty() => {
            Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".to_owned())
        }
        (true, true) => Ok(of_request.to_owned()),
        (false, true) => Ok(String::new()),
        (false, false) => Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned()),
    }
}
