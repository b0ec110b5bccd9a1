//! What the server, not the client, says about every object: identity, time stamps, generation, the split of spec and
//! status (`apiserver/pkg/registry/rest`). Pure.

use serde_json::{Map, Value};
use wkube_api::status::FieldError;
use wkube_api::{Object, Resource, Scope, Status};

/// Metadata that an update never changes.
const FIXED: [&str; 6] =
    ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"];

const MANAGED_FIELDS: [&str; 2] = ["metadata", "managedFields"];

/// What a new object gets from the server.
pub(crate) struct Birth<'a> {
    /// The URL's namespace, empty for cluster-scoped requests.
    pub(crate) namespace: &'a str,
    /// The URL's name, empty for a POST on the collection.
    pub(crate) name: &'a str,
    /// Its uid.
    pub(crate) uid: String,
    /// The time, to the second.
    pub(crate) now: String,
}

/// Gives a new object its identity, except for a generated name.
pub(crate) fn prepare_create(object: &mut Object, resource: &Resource, birth: &Birth<'_>) -> Result<(), Status> {
    if !object.resource_version().is_empty() {
        return Err(Status::new(500, "InternalError", "resourceVersion should not be set on objects to be created"));
    }
    settle_place(object, resource, birth.namespace, birth.name)?;
    let metadata = metadata_mut(object);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion", "generation"] {
        metadata.remove(field);
    }
    metadata.insert("uid".into(), birth.uid.clone().into());
    metadata.insert("creationTimestamp".into(), birth.now.clone().into());
    tidy(metadata);
    if resource.manners.has_generation() {
        metadata.insert("generation".into(), 1.into());
    }
    Ok(())
}

/// Makes the body's namespace and name agree with the URL's.
pub(crate) fn settle_place(
    object: &mut Object,
    resource: &Resource,
    namespace: &str,
    name: &str,
) -> Result<(), Status> {
    if resource.scope == Scope::Namespaced {
        if object.namespace().is_empty() {
            object.set(&["metadata", "namespace"], namespace);
        } else if object.namespace() != namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    } else {
        metadata_mut(object).remove("namespace");
    }
    if name.is_empty() {
        return Ok(());
    }
    if object.name().is_empty() {
        object.set(&["metadata", "name"], name);
    } else if object.name() != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            object.name()
        )));
    }
    Ok(())
}

/// Refuses a patch that made something else of an object. Go fails to decode the result, and custom resources have a
/// rule of their own (`customresource/validator.go`).
pub(crate) fn check_type(object: &Object, resource: &Resource, patch: &Value) -> Result<(), Status> {
    let (version, kind) = (resource.api_version(), &*resource.kind);
    if object.api_version() == version && object.kind() == kind {
        return Ok(());
    }
    if !resource.is_custom() {
        let why = format!("no kind {:?} is registered for version {:?}", object.kind(), object.api_version());
        let error = FieldError::invalid("patch", patch.to_string(), &why);
        return Err(Status::invalid("", "", "", vec![error]));
    }
    let must_be = |path: &str, found: &str, wanted: &str| {
        (found != wanted).then(|| FieldError::invalid(path, found, &format!("must be {wanted}")))
    };
    let errors = [must_be("kind", object.kind(), kind), must_be("apiVersion", object.api_version(), &version)];
    Err(Status::invalid_object(resource, object.name(), errors.into_iter().flatten().collect()))
}

/// Which part of an object a request may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything, on a kind without a status subresource.
    Whole,
    /// Everything but the status.
    Main,
    /// The status, and the labels and annotations.
    Status,
    /// The finalizers of a namespace's spec.
    Finalizers,
}

impl Part {
    /// Returns the part that a subresource stands for.
    pub(crate) fn of(resource: &Resource, subresource: &str) -> Self {
        match subresource {
            // Approvals are conditions in the status, too.
            "status" | "approval" => Self::Status,
            "finalize" => Self::Finalizers,
            _ if resource.subresource("status").is_some() => Self::Main,
            _ => Self::Whole,
        }
    }
}

/// Restores what an update must not change, and counts generations.
pub(crate) fn prepare_update(new: &mut Object, old: &Object, resource: &Resource, part: Part) {
    match part {
        Part::Whole => {}
        Part::Main => copy_field(new, old, "status"),
        Part::Finalizers => {
            let finalizers = new.at(&["spec", "finalizers"]).cloned().unwrap_or_else(|| Value::Array(Vec::new()));
            new.0.clone_from(&old.0);
            new.set(&["spec", "finalizers"], finalizers);
        }
        Part::Status => {
            let status = new.0.remove("status");
            let mut metadata = new.0.remove("metadata").unwrap_or_default();
            keep(&mut metadata, old, &["ownerReferences"]);
            new.0.clone_from(&old.0);
            new.0.insert("metadata".into(), metadata);
            new.0.remove("status");
            new.0.extend(status.map(|status| ("status".to_owned(), status)));
        }
    }
    let mut metadata = new.0.remove("metadata").unwrap_or_default();
    keep(&mut metadata, old, &FIXED);
    keep(&mut metadata, old, &["generation"]);
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.remove("selfLink");
        tidy(metadata);
    }
    new.0.insert("metadata".into(), metadata);
    // Without a subresource of its own, a custom resource's status is like any other field.
    let whole_changed = part == Part::Whole && resource.is_custom() && new.0.get("status") != old.0.get("status");
    if resource.manners.has_generation() && (whole_changed || spec_changed(new, old)) {
        bump_generation(new);
    }
}

/// Adds one to `metadata.generation`.
pub(crate) fn bump_generation(object: &mut Object) {
    let generation = object.at(&["metadata", "generation"]).and_then(Value::as_i64).unwrap_or(0);
    object.set(&["metadata", "generation"], generation + 1);
}

/// Adds one to the generation if the kind counts.
pub(crate) fn bump_if_counted(object: &mut Object, resource: &Resource) {
    if resource.manners.has_generation() {
        bump_generation(object);
    }
}

/// Refuses an update whose preconditions do not hold for the stored object.
pub(crate) fn check_preconditions(new: &Object, old: &Object, resource: &Resource) -> Result<(), Status> {
    let (uid, version) = (new.uid(), new.resource_version());
    if !uid.is_empty() && uid != old.uid() {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", old.uid());
        return Err(Status::conflict(resource, old.name(), &why));
    }
    if !version.is_empty() && version != "0" && version != old.resource_version() {
        return Err(Status::stale(resource, old.name()));
    }
    Ok(())
}

/// Whether two states are the same but for what every write changes (the version and the managers' time stamps).
pub(crate) fn same(new: &Object, old: &Object) -> bool {
    let (one, other) = (new.at(&["metadata"]), old.at(&["metadata"]));
    same_but(&["metadata"], Some(&new.0), Some(&old.0))
        && same_but(&["resourceVersion", "managedFields"], map(one), map(other))
        && same_managers(new.at(&MANAGED_FIELDS), old.at(&MANAGED_FIELDS))
}

fn same_managers(new: Option<&Value>, old: Option<&Value>) -> bool {
    let (Some(Value::Array(new)), Some(Value::Array(old))) = (new, old) else { return new == old };
    let mut pairs = new.iter().zip(old);
    new.len() == old.len() && pairs.all(|(new, old)| same_but(&["time"], map(Some(new)), map(Some(old))))
}

/// Whether two maps are the same but for some of their keys.
fn same_but(keys: &[&str], one: Option<&Map<String, Value>>, other: Option<&Map<String, Value>>) -> bool {
    let [one, other] = [one, other].map(|map| {
        let entries = map.into_iter().flatten();
        entries.filter(|(key, _)| !keys.contains(&key.as_str()))
    });
    one.eq(other)
}

fn map(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

/// Whether an update leaves nothing that keeps a deleted object alive (`ShouldDeleteDuringUpdate`).
pub(crate) fn may_go(new: &Object) -> bool {
    let grace = new.at(&["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64).unwrap_or(0);
    new.is_deleting() && grace == 0 && new.finalizers().is_empty() && !has_namespace_finalizers(new)
}

/// Namespaces keep a second list of finalizers in their spec.
pub(crate) fn has_namespace_finalizers(object: &Object) -> bool {
    let finalizers = object.at(&["spec", "finalizers"]).and_then(Value::as_array);
    object.kind() == "Namespace" && finalizers.is_some_and(|list| !list.is_empty())
}

/// Returns the metadata for writing; makes it if it is missing.
pub(crate) fn metadata_mut(object: &mut Object) -> &mut Map<String, Value> {
    let slot = object.0.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut().expect("made an object above")
}

fn keep(metadata: &mut Value, old: &Object, fields: &[&str]) {
    if !metadata.is_object() {
        *metadata = Value::Object(Map::new());
    }
    for field in fields {
        match old.at(&["metadata", field]) {
            Some(value) => metadata[*field] = value.clone(),
            None => drop(metadata.as_object_mut().and_then(|metadata| metadata.remove(*field))),
        }
    }
}

/// Empty collections and nulls mean the same as absence, as Go's `omitempty` has it.
fn tidy(metadata: &mut Map<String, Value>) {
    metadata.retain(|_, value| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    });
}

fn copy_field(new: &mut Object, old: &Object, field: &str) {
    match old.0.get(field) {
        Some(value) => new.0.insert(field.to_owned(), value.clone()),
        None => new.0.remove(field),
    };
}

fn spec_changed(new: &Object, old: &Object) -> bool {
    !same_but(&["metadata", "status"], Some(&new.0), Some(&old.0))
}
