//! `scale`: how many replicas a workload wants and has, in one shape for all of them (`autoscaling/v1`).

use serde_json::{Map, Value, json};
use wkube_api::resource::{CustomManners, ScalePaths};
use wkube_api::selector::LabelSelector;
use wkube_api::status::FieldError;
use wkube_api::{Object, ObjectKey, Status};

use crate::Api;
use crate::admission::{self, Attributes, Operation};
use crate::call::Call;
use crate::negotiate::{self, PatchKind};
use crate::registry::object_rules::Part;
use crate::registry::update::{self, Origin};
use crate::registry::{Outcome, Registry, decode};
use crate::router::Verb;

/// Answers GET, PUT and PATCH.
pub(super) async fn answer(api: &Api, call: &Call, body: &[u8]) -> Result<Outcome, Status> {
    let registry = &api.registry;
    let places = places(call);
    if call.verb == Verb::Get {
        let parent = registry.object(&call.resource, &ObjectKey::new(&call.namespace, &call.name))?;
        return Ok(Outcome::Document { code: 200, object: scale_of(&parent, &places) });
    }
    let item = if call.verb == Verb::Patch {
        let kind = negotiate::patch_kind(&call.content_type)?;
        let patch: Value = serde_saphyr::from_slice(body).map_err(|error| Status::bad_request(error.to_string()))?;
        let wanted = |old: &Object| scaled(old, &patched(kind, &scale_of(old, &places), &patch)?, &places);
        update::change(registry, call, Part::Main, Origin::Client, wanted).await?
    } else {
        let scale = decode::body(call, body)?;
        update::change(registry, call, Part::Main, Origin::Client, |old| scaled(old, &scale, &places)).await?
    };
    Ok(Outcome::Document { code: 200, object: scale_of(&item.object(), &places) })
}

/// Admits a change through the subresource: plugins see the two `Scale`s, and what they change goes into the workload.
pub(crate) async fn admit(registry: &Registry, call: &Call, new: &mut Object, old: &Object) -> Result<(), Status> {
    let places = places(call);
    let (mut scale, before) = (scale_of(new, &places), scale_of(old, &places));
    let attributes = Attributes::new(registry, call, Operation::Update, Some(&before));
    admission::admit(&attributes, &mut scale).await?;
    *new = scaled(new, &scale, &places)?;
    admission::validate(&attributes, &scale).await.map(drop)
}

/// A `Scale` is so plain that an apply is a merge.
fn patched(kind: PatchKind, scale: &Object, patch: &Value) -> Result<Object, Status> {
    Ok(match kind {
        PatchKind::Json => wkube_api::patch::json(scale, patch)?,
        PatchKind::Merge | PatchKind::Strategic | PatchKind::Apply => wkube_api::patch::merge(scale, patch)?,
    })
}

/// Returns where the kind keeps its numbers: workloads all in the same place, custom resources where they say.
fn places(call: &Call) -> ScalePaths {
    let custom = call.resource.manners.custom().and_then(CustomManners::scale).cloned();
    custom.unwrap_or_else(|| {
        let path = |root: &str| vec![root.to_owned(), "replicas".to_owned()];
        ScalePaths { wanted: path("spec"), found: path("status"), selector: None }
    })
}

fn at<'a>(object: &'a Object, path: &[String]) -> Option<&'a Value> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    object.at(&path)
}

/// Returns the `Scale` of a workload, with its version and uid.
fn scale_of(parent: &Object, places: &ScalePaths) -> Object {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = parent.at(&["metadata", field]) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let number = |path: &[String]| at(parent, path).and_then(Value::as_i64).unwrap_or(0);
    let selector = match &places.selector {
        Some(path) => at(parent, path).and_then(Value::as_str).unwrap_or_default().to_owned(),
        None => selector_of(parent),
    };
    let scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": number(&places.wanted)},
        "status": {"replicas": number(&places.found), "selector": selector},
    });
    Object(scale.as_object().cloned().unwrap_or_default())
}

/// `ReplicationController`s select by a plain map, everything newer by a `LabelSelector`.
fn selector_of(parent: &Object) -> String {
    let Some(selector) = parent.at(&["spec", "selector"]) else { return String::new() };
    let structured = selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some();
    if structured {
        return LabelSelector::from_json(Some(selector)).map(|selector| selector.to_string()).unwrap_or_default();
    }
    let pairs = selector.as_object().into_iter().flatten();
    let pairs = pairs.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
    LabelSelector::from_map(pairs).to_string()
}

/// Returns the workload with the wanted number of replicas.
fn scaled(parent: &Object, scale: &Object, places: &ScalePaths) -> Result<Object, Status> {
    let replicas = scale.at(&["spec", "replicas"]).and_then(Value::as_i64).unwrap_or(0);
    if replicas < 0 {
        let error = FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
        return Err(Status::invalid("Scale", "autoscaling", parent.name(), vec![error]));
    }
    let mut new = parent.clone();
    let path: Vec<&str> = places.wanted.iter().map(String::as_str).collect();
    new.set(&path, replicas);
    new.set(&["metadata", "resourceVersion"], scale.resource_version());
    if !scale.uid().is_empty() {
        new.set(&["metadata", "uid"], scale.uid());
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual() -> ScalePaths {
        ScalePaths {
            wanted: vec!["spec".into(), "replicas".into()],
            found: vec!["status".into(), "replicas".into()],
            selector: None,
        }
    }

    fn object(value: Value) -> Object {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn a_scale_shows_the_selector_as_text() {
        let labels = object(json!({"spec": {"replicas": 3, "selector": {"matchLabels": {"b": "2", "a": "1"}}}}));
        assert_eq!(scale_of(&labels, &usual()).str_at(&["status", "selector"]), "a=1,b=2");
        let plain = object(json!({"spec": {"selector": {"app": "x"}}}));
        assert_eq!(scale_of(&plain, &usual()).str_at(&["status", "selector"]), "app=x");
    }

    #[test]
    fn replicas_cannot_be_negative() {
        let refused = scaled(&object(json!({})), &object(json!({"spec": {"replicas": -1}})), &usual());
        assert_eq!(refused.map_err(|status| status.code), Err(422));
    }
}
