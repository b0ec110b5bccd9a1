//! What a patch of a webhook may do: everything that the client could have done, and nothing that is the server's.

use serde_json::Value;
use wkube_api::patch;
use wkube_api::{Object, Resource, Status};

use crate::admission::{Attributes, Operation};
use crate::registry::object_rules::{self, Part};

/// Metadata of a new object that is the server's to say (`rest.BeforeCreate`, which runs after admission).
const SERVERS: [&str; 7] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "uid",
];

/// Returns what a patch makes of an object, checked against its type and defaulted. The parts that have a kind of their
/// own, such as a `Scale`, are checked where they are used.
///
/// # Errors
/// If the patch cannot be carried out, or does not leave an object of the kind.
pub(super) fn patched(kind: &Resource, object: &Object, patch: &Value) -> Result<Object, Status> {
    let new = patch::json(object, patch).map_err(|error| Status::internal(&error))?;
    if object.kind() != kind.kind {
        return Ok(new);
    }
    let mut document = Value::Object(new.0);
    kind.fit(&mut document).map_err(|error| Status::internal(&error))?;
    let Value::Object(map) = document else { return Err(Status::internal("the patch leaves no object")) };
    let mut new = Object(map);
    kind.complete(&mut new);
    Ok(new)
}

/// Takes back what neither webhooks nor policies may change: in Kubernetes, the rules of the registry run after admission.
pub(in crate::admission) fn settle(
    attributes: &Attributes<'_>,
    new: &mut Object,
    before: &Object,
) -> Result<(), Status> {
    let resource = &*attributes.call.resource;
    new.set_type(before.api_version(), before.kind());
    match (attributes.operation, attributes.old) {
        (Operation::Create, _) if attributes.call.subresource.is_empty() => {
            let metadata = object_rules::metadata_mut(new);
            for field in SERVERS {
                match before.at(&["metadata", field]) {
                    Some(value) => metadata.insert(field.to_owned(), value.clone()),
                    None => metadata.remove(field),
                };
            }
            object_rules::settle_place(new, resource, &attributes.call.namespace, &attributes.call.name)
        }
        (Operation::Update, Some(old)) if old.kind() == resource.kind => {
            let part = Part::of(resource, &attributes.call.subresource);
            object_rules::prepare_update(new, old, resource, part);
            if matches!(part, Part::Main | Part::Whole) {
                resource.manners.prepare_update(new, old);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
