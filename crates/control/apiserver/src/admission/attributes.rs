//! What admission knows of a request (`apiserver/pkg/admission/attributes.go`).

use std::fmt;

use parking_lot::Mutex;
use wkube_api::{Object, Status};

use super::webhooks::Reinvocation;
use crate::auth::User;
use crate::call::Call;
use crate::registry::Registry;

/// What is done to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    /// A new object, or one that is only answered (bindings, evictions, token requests).
    Create,
    /// A change of a stored object or of a part of it.
    Update,
    /// A delete, also as one of a collection.
    Delete,
    /// A stream to a pod, node or service: `exec`, `attach`, `portforward`, `proxy`.
    Connect,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        })
    }
}

/// One request on one object, as every plugin sees it.
pub(crate) struct Attributes<'a> {
    /// The cluster's objects.
    pub(crate) registry: &'a Registry,
    /// The request: its user, kind, subresource, namespace; it also takes warnings and audit annotations.
    pub(crate) call: &'a Call,
    /// What is done.
    pub(crate) operation: Operation,
    /// The stored object of an update or delete.
    pub(crate) old: Option<&'a Object>,
    /// The `DeleteOptions` of a delete; see [`Attributes::options`].
    pub(crate) delete_options: Object,
    /// Whether nothing will be written.
    pub(crate) dry_run: bool,
    /// What mutating webhooks and policies know from their first round.
    pub(crate) rounds: Mutex<Rounds>,
}

/// Which round of the mutating phase it is. A plugin that changes an object after others have seen it may ask for a
/// second round, in which built-in plugins run again and those who wish to be reinvoked, too (`admission/reinvocation.go`).
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// Whether this is the second round.
    pub(crate) again: bool,
    /// Whether somebody has asked for a second round.
    pub(crate) wanted: bool,
    /// Which webhooks have seen the object.
    pub(super) webhooks: Reinvocation,
    /// Which policies have.
    pub(super) policies: Reinvocation,
}

impl<'a> Attributes<'a> {
    /// Returns the attributes of a request without options.
    pub(crate) fn new(registry: &'a Registry, call: &'a Call, operation: Operation, old: Option<&'a Object>) -> Self {
        let delete_options = Object::default();
        Self { registry, call, operation, old, delete_options, dry_run: call.options.dry_run, rounds: Mutex::default() }
    }

    /// Returns the `CreateOptions`, `UpdateOptions` or `DeleteOptions` of the request; a patch is an update. A stream
    /// has none.
    pub(crate) fn options(&self) -> Option<Object> {
        let kind = match self.operation {
            Operation::Create => "CreateOptions",
            Operation::Update => "UpdateOptions",
            Operation::Delete => "DeleteOptions",
            Operation::Connect => return None,
        };
        let mut options = self.delete_options.clone();
        options.set(&["kind"], kind);
        options.set(&["apiVersion"], "meta.k8s.io/v1");
        if self.dry_run {
            options.set(&["dryRun"], vec!["All"]);
        }
        let given = ["fieldManager", "fieldValidation"].into_iter().filter(|name| self.call.query.has(name));
        for name in given.filter(|_| self.operation != Operation::Delete) {
            options.set(&[name], self.call.query.get(name));
        }
        Some(options)
    }

    /// Returns who asks.
    pub(crate) fn user(&self) -> &User {
        &self.call.user
    }

    /// Whether it is about an object of the kind itself, not a subresource.
    pub(crate) fn is_for(&self, group: &str, plural: &str) -> bool {
        self.call.is_for(group, plural) && self.call.subresource.is_empty()
    }

    /// Whether it is about this subresource of the kind.
    pub(crate) fn is_for_part(&self, group: &str, plural: &str, subresource: &str) -> bool {
        self.call.is_for(group, plural) && self.call.subresource == subresource
    }

    /// Whether an object of the kind is made.
    pub(crate) fn creates(&self, group: &str, plural: &str) -> bool {
        self.operation == Operation::Create && self.is_for(group, plural)
    }

    /// Whether an object of the kind (not a part of it) is changed.
    pub(crate) fn updates(&self, group: &str, plural: &str) -> bool {
        self.operation == Operation::Update && self.is_for(group, plural)
    }

    /// The usual refusal: `pods "p" is forbidden: why`.
    pub(crate) fn forbidden(&self, object: &Object, why: impl AsRef<str>) -> Status {
        let name = if object.name().is_empty() { &self.call.name } else { object.name() };
        Status::admission_refused(&self.call.resource, name, why.as_ref())
    }
}
