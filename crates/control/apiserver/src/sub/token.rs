//! `serviceaccounts/token`: a `TokenRequest` becomes a signed token
//! (`pkg/registry/core/serviceaccount/storage/token.go`).

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequestSpec};
use serde_json::json;
use wkube_api::object::format_time;
use wkube_api::status::FieldError;
use wkube_api::{Object, ObjectKey, Resource, Status};

use crate::Api;
use crate::admission::{self, Operation};
use crate::auth::node;
use crate::auth::token::{self, Bound, Claims, Reference};
use crate::call::Call;
use crate::registry::{Outcome, create, decode};

/// `ValidateTokenRequest`: shorter ones would be renewed all the time.
const SECONDS_MIN: i64 = 600;
/// See `SECONDS_MIN`.
const SECONDS_MAX: i64 = 1 << 32;
/// What nobody asked for.
const SECONDS_DEFAULT: i64 = 3600;

/// Answers POST of a `TokenRequest`.
pub(super) async fn answer(api: &Api, call: &Call, body: &[u8]) -> Result<Outcome, Status> {
    let mut request = decode::body(call, body)?;
    admission::pass(&api.registry, call, Operation::Create, &mut request).await?;
    let spec: TokenRequestSpec = serde_json::from_value(request.at(&["spec"]).cloned().unwrap_or_else(|| json!({})))
        .map_err(|error| Status::bad_request(error.to_string()))?;
    let key = ObjectKey::new(&call.namespace, &call.name);
    let account = api.registry.object(&call.resource, &key)?;
    let seconds = spec.expiration_seconds.unwrap_or(SECONDS_DEFAULT);
    let errors = validate(seconds);
    if !errors.is_empty() {
        return Err(Status::invalid("TokenRequest", "authentication.k8s.io", "", errors));
    }
    let bound = bound(api, call, spec.bound_object_ref.as_ref())?;
    restrict_node(call, &bound)?;
    let audiences = spec.audiences.filter(|named| !named.is_empty()).unwrap_or_else(|| vec![token::ISSUER.to_owned()]);
    let now = api.registry.clock.now();
    let claims = Claims::new(token::Request {
        namespace: &call.namespace,
        account: Reference::to(&account),
        audiences: audiences.clone(),
        seconds,
        bound,
        id: api.registry.uid(),
        now,
    });
    let end = jiff::Timestamp::from_second(now.as_second() + seconds).unwrap_or(jiff::Timestamp::MAX);
    request.set(&["metadata", "name"], call.name.as_str());
    request.set(&["metadata", "namespace"], call.namespace.as_str());
    request.set(&["metadata", "creationTimestamp"], create::timestamp(&api.registry));
    request.set(&["spec", "audiences"], audiences);
    request.set(&["spec", "expirationSeconds"], seconds);
    let status = json!({"token": api.tokens.sign(&claims), "expirationTimestamp": format_time(end)});
    request.set(&["status"], status);
    Ok(Outcome::Document { code: 201, object: request })
}

fn validate(seconds: i64) -> Vec<FieldError> {
    let invalid = |why| vec![FieldError::invalid("spec.expirationSeconds", seconds, why)];
    match seconds {
        ..SECONDS_MIN => invalid("may not specify a duration less than 10 minutes"),
        SECONDS_MIN..=SECONDS_MAX => Vec::new(),
        _ => invalid("may not specify a duration larger than 2^32 seconds"),
    }
}

/// Finds what the token shall end with.
fn bound(api: &Api, call: &Call, reference: Option<&BoundObjectReference>) -> Result<Bound, Status> {
    let Some(reference) = reference else { return Ok(Bound::Account) };
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (api_version, kind, name) = (text(&reference.api_version), text(&reference.kind), text(&reference.name));
    let plural = match (api_version.as_str(), kind.as_str()) {
        ("v1", "Pod") => "pods",
        ("v1", "Secret") => "secrets",
        ("v1", "Node") => "nodes",
        _ => {
            let why = format!("cannot bind token to object of type {api_version}, Kind={kind}");
            return Err(Status::bad_request(why));
        }
    };
    let resource = api.registry.catalog.core(plural).ok_or_else(Status::unknown_path)?;
    let namespace = if plural == "nodes" { "" } else { &call.namespace };
    let object = api.registry.object(resource, &ObjectKey::new(namespace, &name))?;
    check_uid(resource, &object, &text(&reference.uid))?;
    let found = Reference::to(&object);
    match plural {
        "secrets" => Ok(Bound::Secret(found)),
        "nodes" => Ok(Bound::Node(found)),
        _ if object.str_at(&["spec", "serviceAccountName"]) != call.name => Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
            call.name
        ))),
        _ => Ok(Bound::Pod(found, node_of(api, &object)?)),
    }
}

fn check_uid(resource: &Resource, object: &Object, claimed: &str) -> Result<(), Status> {
    if claimed.is_empty() || claimed == object.uid() {
        return Ok(());
    }
    let why = format!(
        "the UID in the bound object reference ({claimed}) does not match the UID in record. The object might have been deleted and then recreated"
    );
    Err(Status::conflict(resource, object.name(), &why))
}

/// Returns the node that a pod runs on; only its name if it is not there.
fn node_of(api: &Api, pod: &Object) -> Result<Option<Reference>, Status> {
    let name = pod.str_at(&["spec", "nodeName"]);
    let Some(nodes) = api.registry.catalog.core("nodes").filter(|_| !name.is_empty()) else { return Ok(None) };
    let found = api.registry.find(nodes, &ObjectKey::new("", name))?;
    let unknown = || Reference { name: name.to_owned(), uid: String::new() };
    Ok(Some(found.as_ref().map_or_else(unknown, Reference::to)))
}

/// A node gets tokens only for the pods that run on it (`plugin/pkg/admission/noderestriction`).
fn restrict_node(call: &Call, bound: &Bound) -> Result<(), Status> {
    let Some(node) = node::node_name(&call.user) else { return Ok(()) };
    let refused = |why: &str| Err(Status::admission_refused(&call.resource, &call.name, why));
    match bound {
        Bound::Pod(_, Some(place)) if place.name == node => Ok(()),
        Bound::Pod(..) => refused("node requested token bound to a pod scheduled on a different node"),
        Bound::Account | Bound::Secret(_) | Bound::Node(_) => refused("node requested token not bound to a pod"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lasts_from_ten_minutes_to_two_to_the_thirty_two_seconds() {
        let told = |seconds| validate(seconds).into_iter().map(|error| error.message).collect::<Vec<_>>();
        assert_eq!(told(599), ["Invalid value: 599: may not specify a duration less than 10 minutes"]);
        assert!(told(600).is_empty() && told(1 << 32).is_empty());
        assert_eq!(told((1 << 32) + 1).len(), 1);
    }
}
