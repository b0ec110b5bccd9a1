//! From a request's body to an object that is ready for the rules: parsed, checked against the schema, defaulted; and
//! who owns its fields.

use jiff::Timestamp;
use serde_json::Value;
use wkube_api::decode::{self, Problem, Unknown};
use wkube_api::patch::{self, Tracking, Writer};
use wkube_api::schema::{self, Schema, Type};
use wkube_api::status::FieldError;
use wkube_api::{Object, Status, protobuf};

use super::Registry;
use super::object_rules::Part;
use crate::call::Call;
use crate::negotiate::{self, BodyFormat};
use crate::write_options::FieldValidation;

/// Reads the object of a create or update.
pub(crate) fn body(call: &Call, bytes: &[u8]) -> Result<Object, Status> {
    let (api_version, kind) = expected(call);
    let unhandled = |reason: &str| Status::bad_request(decode::unhandled_text(&kind, &call.resource.version, reason));
    if call.resource.is_custom() && negotiate::body_format(&call.content_type)? == BodyFormat::Protobuf {
        return Err(Status::unsupported_media_type(&["application/json", "application/yaml"]));
    }
    let (document, mut problems) = parse(call, bytes, &unhandled)?;
    let mut object = object(document).ok_or_else(|| unhandled("the body is not an object"))?;
    identify(&mut object, &api_version, &kind)?;
    let is_whole = call.resource.api_version() == api_version && call.resource.kind == kind;
    let fitted = match type_of(&api_version, &kind) {
        _ if is_whole => fit(&mut object, |document| call.resource.fit(document)),
        Some(of) => fit(&mut object, |document| decode::check(document, of, Unknown::Prune)),
        None => Ok(Vec::new()),
    };
    problems.extend(fitted.map_err(|error| unhandled(&error))?);
    report(call, &problems, |text| unhandled(text))?;
    if is_whole {
        call.resource.complete(&mut object);
    }
    Ok(object)
}

/// Reads the `DeleteOptions` of a body; no body means no options. Any group may have them as its own.
pub(crate) fn options(call: &Call, bytes: &[u8]) -> Result<Object, Status> {
    if bytes.is_empty() {
        return Ok(Object::default());
    }
    let bad = |reason: &str| Status::bad_request(reason);
    let (mut document, _) = parse(call, bytes, &bad)?;
    if let Some(of) = Schema::of("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions") {
        decode::check(&mut document, of, Unknown::Prune).map_err(|error| bad(&error.to_string()))?;
    }
    object(document).ok_or_else(|| bad("the options are not an object"))
}

/// Reads the configuration of a server-side apply. It is not defaulted: what it does not name, it does not own.
pub(crate) fn applied(call: &Call, bytes: &[u8]) -> Result<Object, Status> {
    let bad = |reason: &str| Status::bad_request(format!("error decoding YAML: {reason}"));
    let (document, problems) = yaml(bytes, &bad)?;
    let mut applied = object(document).ok_or_else(|| bad("the configuration is not an object"))?;
    report(call, &problems, |text| Status::bad_request(format!("error strict decoding YAML: {text}")))?;
    if applied.api_version().is_empty() || applied.kind().is_empty() {
        return Err(Status::bad_request("apiVersion and kind must be set in the applied configuration"));
    }
    let (api_version, kind) = expected(call);
    identify(&mut applied, &api_version, &kind)?;
    Ok(applied)
}

/// Checks what a patch made of an object, and drops the fields that its type lacks.
pub(crate) fn check_patched(call: &Call, new: &mut Object, patch: &Value) -> Result<(), Status> {
    let invalid = |text: &str| {
        let error = FieldError::invalid("patch", patch.to_string(), text);
        Status::invalid("", "", "", vec![error])
    };
    let problems = fit(new, |document| call.resource.fit(document)).map_err(|error| invalid(&error))?;
    report(call, &problems, |text| invalid(text))
}

/// What [`Writer`] borrows.
pub(crate) struct Manager {
    api_version: String,
    now: Timestamp,
}

impl Manager {
    /// Returns the manager of a call, now.
    pub(crate) fn new(registry: &Registry, call: &Call) -> Self {
        Self { api_version: call.resource.api_version(), now: registry.clock.now() }
    }

    /// Returns who writes.
    pub(crate) fn writer<'a>(&'a self, call: &'a Call) -> Writer<'a> {
        let reset: &[&[&str]] = match Part::of(&call.resource, &call.subresource) {
            Part::Whole | Part::Finalizers => &[],
            Part::Main => &[&["status"]],
            Part::Status => &[&["spec"]],
        };
        Writer {
            manager: &call.options.field_manager,
            api_version: &self.api_version,
            subresource: &call.subresource,
            now: self.now,
            reset,
            tracking: Tracking::Fields,
        }
    }
}

/// Records which fields the call's manager owns now.
pub(crate) fn manage(registry: &Registry, call: &Call, object: &mut Object, old: Option<&Object>) {
    let manager = Manager::new(registry, call);
    patch::update_managers(old, object, call.resource.type_of(), &manager.writer(call));
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

/// Returns the type of a kind, which need not be one that is kept: `Scale`, `Eviction`.
fn type_of(api_version: &str, kind: &str) -> Option<&'static Type> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Schema::of(&schema::builtin_name(group, version, kind))
}

/// Brings the object into its type's form; returns the unknown fields.
fn fit(
    object: &mut Object,
    check: impl FnOnce(&mut Value) -> Result<Vec<Problem>, decode::Error>,
) -> Result<Vec<Problem>, String> {
    let mut document = Value::Object(std::mem::take(&mut object.0));
    let checked = check(&mut document);
    if let Value::Object(map) = document {
        object.0 = map;
    }
    checked.map_err(|error| error.to_string())
}

/// Refuses, mentions or ignores what a strict reader would refuse.
fn report(call: &Call, problems: &[Problem], refuse: impl Fn(&str) -> Status) -> Result<(), Status> {
    if problems.is_empty() {
        return Ok(());
    }
    match call.options.field_validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => problems.iter().for_each(|problem| call.warn(problem.to_string())),
        FieldValidation::Strict => return Err(refuse(&decode::strict_text(problems))),
    }
    Ok(())
}

fn parse(call: &Call, bytes: &[u8], bad: &dyn Fn(&str) -> Status) -> Result<(Value, Vec<Problem>), Status> {
    match negotiate::body_format(&call.content_type)? {
        BodyFormat::Json => decode::json(bytes).map_err(|error| bad(&error.to_string())),
        BodyFormat::Yaml => yaml(bytes, bad),
        BodyFormat::Protobuf => {
            let document = protobuf::decode(bytes).map_err(|error| bad(&error.to_string()))?;
            Ok((document, Vec::new()))
        }
    }
}

fn yaml(bytes: &[u8], bad: &dyn Fn(&str) -> Status) -> Result<(Value, Vec<Problem>), Status> {
    let text = std::str::from_utf8(bytes).map_err(|error| bad(&error.to_string()))?;
    decode::yaml(text).map_err(|error| bad(&error.to_string()))
}

fn object(document: Value) -> Option<Object> {
    match document {
        Value::Object(map) => Some(Object(map)),
        _ => None,
    }
}
