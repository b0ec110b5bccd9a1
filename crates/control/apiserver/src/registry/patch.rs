//! Patch: the four kinds, each applied to the newest state, again if somebody else wrote meanwhile.

use serde_json::Value;
use wkube_api::patch::{self, Force};
use wkube_api::{Object, Status};

use super::object_rules::{self, Part};
use super::update::{self, Origin};
use super::{Outcome, Registry, create, decode};
use crate::call::Call;
use crate::negotiate::{self, PatchKind};

/// The patches of custom resources, whose lists have no merge keys for a strategic one.
const CUSTOM_PATCHES: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

/// Answers PATCH of an object or of one of its parts.
pub(crate) async fn patch(registry: &Registry, call: &Call, body: &[u8]) -> Result<Outcome, Status> {
    let kind = negotiate::patch_kind(&call.content_type)?;
    if kind == PatchKind::Apply {
        return apply(registry, call, body).await;
    }
    if kind == PatchKind::Strategic && call.resource.is_custom() {
        return Err(Status::unsupported_media_type(&CUSTOM_PATCHES));
    }
    let patch: Value = serde_json::from_slice(body).map_err(|error| Status::bad_request(error.to_string()))?;
    let part = Part::of(&call.resource, &call.subresource);
    let changed = update::change(registry, call, part, Origin::Client, |old| patched(call, kind, old, &patch)).await;
    Ok(Outcome::Object { code: 200, item: changed? })
}

/// Returns the stored object with a patch carried out, ready for the rules of updates.
pub(crate) fn patched(call: &Call, kind: PatchKind, old: &Object, patch: &Value) -> Result<Object, Status> {
    let resource = &*call.resource;
    let mut new = match kind {
        PatchKind::Json => patch::json(old, patch)?,
        PatchKind::Merge => patch::merge(old, patch)?,
        PatchKind::Strategic => patch::strategic(old, patch, resource.type_of())?,
        PatchKind::Apply => unreachable!("applied by `apply`"),
    };
    if kind == PatchKind::Strategic {
        // Go merges into the type that the URL names, where these two say nothing.
        new.0.extend([("apiVersion".into(), resource.api_version().into()), ("kind".into(), (&*resource.kind).into())]);
    }
    object_rules::check_type(&new, resource, patch)?;
    object_rules::settle_place(&mut new, resource, &call.namespace, &call.name)?;
    decode::check_patched(call, &mut new, patch)?;
    Ok(new)
}

/// Server-side apply: creates what is missing.
async fn apply(registry: &Registry, call: &Call, body: &[u8]) -> Result<Outcome, Status> {
    let mut applied = decode::applied(call, body)?;
    object_rules::settle_place(&mut applied, &call.resource, &call.namespace, &call.name)?;
    let force = if call.query.flag("force") { Force::Yes } else { Force::No };
    let writer = decode::Manager::new(registry, call);
    let of = call.resource.type_of();
    let part = Part::of(&call.resource, &call.subresource);
    let merged = |live: Option<&Object>| -> Result<Object, Status> {
        Ok(patch::apply(live, &applied, of, &writer.writer(call), force)?)
    };
    match update::change(registry, call, part, Origin::Apply, |old| merged(Some(old))).await {
        Err(status) if status.is_not_found() && call.subresource.is_empty() => {
            if !call.resource.verbs.contains(&"create") {
                // The kind is going; what an apply makes is a new object, too.
                return Err(Status::method_not_allowed(&call.resource, "create"));
            }
            if !applied.uid().is_empty() {
                let why = "uid mismatch: the provided object specified uid, and no existing object was found";
                return Err(Status::conflict(&call.resource, &call.name, why));
            }
            let mut object = merged(None)?;
            call.resource.complete(&mut object);
            create::store(registry, call, object, Origin::Apply).await
        }
        Err(status) => Err(status),
        Ok(item) => Ok(Outcome::Object { code: 200, item }),
    }
}
