//! From a request's body to an object that is ready for the rules: parsed, checked against the schema, defaulted.

use wkube_api::{Object, Status};

use super::{Registry, create};
use crate::call::Call;
use crate::negotiate::{self, BodyFormat};

/// Reads the object of a create or update.
pub(crate) fn body(call: &Call, bytes: &[u8]) -> Result<Object, Status> {
    let (api_version, kind) = expected(call);
    let mut object = parse(call, bytes)?;
    identify(&mut object, &api_version, &kind)?;
    if call.resource.api_version() == api_version && call.resource.kind == kind {
        call.resource.manners.default(&mut object);
    }
    Ok(object)
}

/// Reads options such as `DeleteOptions`; no body means no options.
pub(crate) fn options(call: &Call, bytes: &[u8]) -> Result<Object, Status> {
    if bytes.is_empty() { Ok(Object::default()) } else { parse(call, bytes) }
}

/// Records which fields the call's manager owns now.
pub(crate) fn manage(registry: &Registry, call: &Call, object: &mut Object, old: Option<&Object>) {
    let _ = (create::timestamp(registry), call, object, old);
}

/// Returns the `apiVersion` and `kind` that the URL takes.
fn expected(call: &Call) -> (String, String) {
    match call.resource.subresource(&call.subresource) {
        Some(sub) => (sub.api_version.to_string(), sub.kind.to_string()),
        None => (call.resource.api_version(), call.resource.kind.to_string()),
    }
}

fn identify(object: &mut Object, api_version: &str, kind: &str) -> Result<(), Status> {
    for (field, found, wanted, what) in [
        ("kind", object.kind().to_owned(), kind, "kind"),
        ("apiVersion", object.api_version().to_owned(), api_version, "API version"),
    ] {
        if found.is_empty() {
            object.set(&[field], wanted);
        } else if found != wanted {
            return Err(Status::bad_request(format!(
                "the {what} in the data ({found}) does not match the expected {what} ({wanted})"
            )));
        }
    }
    Ok(())
}

fn parse(call: &Call, bytes: &[u8]) -> Result<Object, Status> {
    let bad = |error: &dyn std::fmt::Display| {
        let kind = &call.resource.kind;
        Status::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {kind}: {error}",
            call.resource.version
        ))
    };
    match negotiate::body_format(&call.content_type)? {
        BodyFormat::Json => serde_json::from_slice(bytes).map_err(|error| bad(&error)),
        BodyFormat::Yaml => serde_saphyr::from_slice(bytes).map_err(|error| bad(&error)),
        BodyFormat::Protobuf => Err(Status::unsupported_media_type(&negotiate::READ)),
    }
}
