//! `Status`: the error that every client understands (`apimachinery/pkg/api/errors`), and field errors.

mod field;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::resource::Resource;
pub use field::{FieldError, FieldReason};

/// What a client is told when it wrote with an old `resourceVersion` (`registry/generic/registry/store.go`).
const STALE: &str = "the object has been modified; please apply your changes to the latest version and try again";

/// A failed (or finished) request as Kubernetes reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{message}")]
pub struct Status {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable cause, such as `NotFound`.
    #[serde(default)]
    pub reason: String,
    /// The sentence that `kubectl` prints.
    #[serde(default)]
    pub message: String,
    /// More for machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<Details>>,
}

/// Which object a `Status` is about, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The object's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its API group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The resource (for `Invalid`: the kind).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// One per problem.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<i32>,
}

/// One problem inside a `Status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Such as `FieldValueRequired`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The JSON path, such as `spec.containers[0].name`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// A request that authorization refused, as the message names it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Refused<'a> {
    /// Who asked.
    pub user: &'a str,
    /// What they wanted to do.
    pub verb: &'a str,
    /// Empty for the core group.
    pub group: &'a str,
    /// The plural, empty for a path that is no resource.
    pub resource: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// Empty for cluster-wide requests.
    pub namespace: &'a str,
    /// Empty for collections.
    pub name: &'a str,
    /// The path, for a request that is about no resource.
    pub path: &'a str,
}

impl Status {
    /// Returns a status without details.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self { code, reason: reason.to_owned(), message: message.into(), details: None }
    }

    /// `pods "x" not found`.
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {} not found", resource.qualified(), quoted(name));
        Self::new(404, "NotFound", message).about(resource, name)
    }

    /// A path that names nothing that is served.
    pub fn unknown_path() -> Self {
        Self {
            details: Some(Box::default()),
            ..Self::new(404, "NotFound", "the server could not find the requested resource")
        }
    }

    /// `pods "x" already exists`.
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {} already exists", resource.qualified(), quoted(name));
        Self::new(409, "AlreadyExists", message).about(resource, name)
    }

    /// Every generated name was taken.
    pub fn generated_name_taken(resource: &Resource, name: &str) -> Self {
        let message = format!(
            "{} {} already exists, the server was not able to generate a unique name for the object",
            resource.qualified(),
            quoted(name)
        );
        Self::new(409, "AlreadyExists", message).about(resource, name)
    }

    /// `Operation cannot be fulfilled on pods "x": reason`.
    pub fn conflict(resource: &Resource, name: &str, reason: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {}: {reason}", resource.qualified(), quoted(name));
        Self::new(409, "Conflict", message).about(resource, name)
    }

    /// The conflict of a write with an old `resourceVersion`.
    pub fn stale(resource: &Resource, name: &str) -> Self {
        Self::conflict(resource, name, STALE)
    }

    /// The conflict of a server-side apply that would take fields from other managers.
    pub fn apply_conflict(causes: Vec<Cause>, message: impl Into<String>) -> Self {
        let details = Details { causes, ..Details::default() };
        Self { details: Some(Box::new(details)), ..Self::new(409, "Conflict", message) }
    }

    /// `Pod "x" is invalid: …`; one problem stands alone, more stand in brackets.
    pub fn invalid(kind: &str, group: &str, name: &str, errors: Vec<FieldError>) -> Self {
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut texts: Vec<String> = Vec::with_capacity(errors.len());
        for error in &errors {
            let text = error.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let mut message = format!("{qualified} {} is invalid", quoted(name));
        match texts.as_slice() {
            [] => {}
            [only] => message = format!("{message}: {only}"),
            more => message = format!("{message}: [{}]", more.join(", ")),
        }
        let causes = errors.into_iter().map(Cause::from).collect();
        let details = Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            causes,
            ..Details::default()
        };
        Self { details: Some(Box::new(details)), ..Self::new(422, "Invalid", message) }
    }

    /// The same for an object of a served kind.
    pub fn invalid_object(resource: &Resource, name: &str, errors: Vec<FieldError>) -> Self {
        Self::invalid(&resource.kind, &resource.group, name, errors)
    }

    /// A well-formed patch that cannot be carried out, such as a failed JSON patch `test`.
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(422, "Invalid", message)
    }

    /// What authorization refuses: `pods is forbidden: User "u" cannot list resource "pods" in API group "" …`.
    pub fn forbidden(refused: &Refused<'_>) -> Self {
        let Refused { user, verb, group, resource, subresource, namespace, name, path } = *refused;
        if resource.is_empty() {
            let message = format!("forbidden: User {} cannot {verb} path {}", quoted(user), quoted(path));
            return Self { details: Some(Box::default()), ..Self::new(403, "Forbidden", message) };
        }
        let full = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
        let place = if namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {}", quoted(namespace))
        };
        let sentence = format!(
            "User {} cannot {verb} resource {} in API group {} {place}",
            quoted(user),
            quoted(&full),
            quoted(group)
        );
        Self::forbidden_because(group, resource, name, &sentence)
    }

    /// What admission refuses: `pods "x" is forbidden: reason`.
    pub fn admission_refused(resource: &Resource, name: &str, reason: &str) -> Self {
        Self::forbidden_because(&resource.group, &resource.plural, name, reason)
    }

    /// A create in a namespace that is being deleted; controllers look for the cause.
    pub fn namespace_terminating(resource: &Resource, name: &str, namespace: &str) -> Self {
        let reason = format!("unable to create new content in namespace {namespace} because it is being terminated");
        Self::admission_refused(resource, name, &reason).with_cause(Cause {
            reason: "NamespaceTerminating".to_owned(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".to_owned(),
        })
    }

    /// Nobody we know.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// A request that cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// `delete is not supported on resources of kind "tokenreviews.authentication.k8s.io"`.
    pub fn method_not_allowed(resource: &Resource, verb: &str) -> Self {
        let message = format!("{verb} is not supported on resources of kind {}", quoted(&resource.qualified()));
        Self::new(405, "MethodNotAllowed", message).about(resource, "")
    }

    /// None of the response formats that the client accepts is served.
    pub fn not_acceptable(served: &[&str]) -> Self {
        Self::new(406, "NotAcceptable", format!("only the following media types are accepted: {}", served.join(", ")))
    }

    /// A body in a format that is not read here.
    pub fn unsupported_media_type(read: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            read.join(", ")
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// A `resourceVersion` or `continue` token from before the kept history.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// Something that will not come back.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(410, "Gone", message)
    }

    /// A body over the limit.
    pub fn too_large(message: &str) -> Self {
        Self::new(413, "RequestEntityTooLarge", format!("Request entity is too large: {message}"))
    }

    /// The server gave up waiting.
    pub fn timeout(message: &str, retry_after_seconds: i32) -> Self {
        Self::new(504, "Timeout", format!("Timeout: {message}")).retry_after(retry_after_seconds)
    }

    /// A read asked for a revision that has not happened; clients look for the cause.
    pub fn too_large_resource_version(asked: u64, current: u64) -> Self {
        Self::timeout(&format!("Too large resource version: {asked}, current: {current}"), 1).with_cause(Cause {
            reason: "ResourceVersionTooLarge".to_owned(),
            message: "Too large resource version".to_owned(),
            field: String::new(),
        })
    }

    /// The operation may or may not have happened.
    pub fn server_timeout(resource: &Resource, operation: &str, retry_after_seconds: i32) -> Self {
        let message = format!(
            "The {operation} operation against {} could not be completed at this time, please try again.",
            resource.qualified()
        );
        Self::new(500, "ServerTimeout", message).about(resource, operation).retry_after(retry_after_seconds)
    }

    /// Slow down.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: i32) -> Self {
        Self::new(429, "TooManyRequests", message).retry_after(retry_after_seconds)
    }

    /// An eviction that a disruption budget does not allow now.
    pub fn disruption_budget(message: &str, detail: &str) -> Self {
        Self::too_many_requests(message, 10).with_cause(Cause {
            reason: "DisruptionBudget".to_owned(),
            message: detail.to_owned(),
            field: String::new(),
        })
    }

    /// A bug, or a failure behind the server.
    pub fn internal(error: &(impl fmt::Display + ?Sized)) -> Self {
        let cause = Cause { message: error.to_string(), ..Cause::default() };
        Self::new(500, "InternalError", format!("Internal error occurred: {error}")).with_cause(cause)
    }

    /// Something the server needs is not there now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// Names the object that it is about.
    #[must_use]
    pub fn about(mut self, resource: &Resource, name: &str) -> Self {
        let details = self.details.get_or_insert_default();
        details.group = resource.group.to_string();
        details.kind = resource.plural.to_string();
        name.clone_into(&mut details.name);
        self
    }

    /// Adds a cause.
    #[must_use]
    pub fn with_cause(mut self, cause: Cause) -> Self {
        self.details.get_or_insert_default().causes.push(cause);
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: i32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = Some(seconds);
        self
    }

    /// Returns the document that goes on the wire.
    pub fn to_json(&self) -> Value {
        let mut document = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        // Whoever refused may have given none: a webhook, for example.
        if !self.reason.is_empty() {
            document["reason"] = self.reason.as_str().into();
        }
        if let Some(details) = &self.details {
            document["details"] = json!(details);
        }
        document
    }

    /// Returns the document that answers a finished delete or binding.
    pub fn success(details: Option<&Details>) -> Value {
        let mut document = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
        if let Some(details) = details {
            document["details"] = json!(details);
        }
        document
    }

    /// Whether the object is not there.
    pub fn is_not_found(&self) -> bool {
        self.reason == "NotFound"
    }

    /// Whether somebody else wrote first.
    pub fn is_conflict(&self) -> bool {
        self.reason == "Conflict"
    }

    fn forbidden_because(group: &str, resource: &str, name: &str, reason: &str) -> Self {
        let qualified = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let object = if name.is_empty() { qualified } else { format!("{qualified} {}", quoted(name)) };
        let details =
            Details { name: name.to_owned(), group: group.to_owned(), kind: resource.to_owned(), ..Details::default() };
        Self {
            details: Some(Box::new(details)),
            ..Self::new(403, "Forbidden", format!("{object} is forbidden: {reason}"))
        }
    }
}

impl From<FieldError> for Cause {
    fn from(error: FieldError) -> Self {
        Self { reason: error.reason.as_str().to_owned(), message: error.message, field: error.field }
    }
}

/// Quotes as Go's `%q` does for the text that Kubernetes names are made of.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
