//! Decides how a namespace that is being deleted empties (`pkg/controller/namespace/deletion`): pods first, because
//! they use the rest; then everything else; then the namespace itself may go. Pure.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus};

use crate::common::{ObjectRef, meta};

/// The finalizer in `spec` that holds a namespace until it is empty.
pub(super) const FINALIZER: &str = "kubernetes";

/// Everything the decision may look at.
pub(super) struct Observed<'a> {
    pub(super) namespace: &'a Namespace,
    /// What is in it, by kind.
    pub(super) contents: &'a [Content],
    /// Why not all kinds could be found.
    pub(super) discovery_failure: Option<String>,
    /// Why some kinds could not be listed.
    pub(super) list_failures: Vec<String>,
    pub(super) now: Timestamp,
}

/// The objects of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// Such as `pods` or `deployments.apps`.
    pub(super) kind: String,
    pub(super) objects: Vec<Item>,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) object: ObjectRef,
    pub(super) is_deleting: bool,
    pub(super) finalizers: Vec<String>,
}

/// What to do, in order, and what to report first.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    pub(super) status: NamespaceStatus,
    /// Whether something is still there, so that somebody has to look again.
    pub(super) is_waiting: bool,
}

/// One step; each is safe alone and may be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Deletes an object of a kind.
    Delete(String, ObjectRef),
    /// Lets the namespace go.
    Finalize,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delete(kind, object) => write!(f, "delete {kind}/{object}"),
            Self::Finalize => write!(f, "finalize: empty"),
        }
    }
}

/// Decides. A namespace that is not being deleted needs nothing.
pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let namespace = observed.namespace;
    let before = namespace.status.clone().unwrap_or_default();
    if !meta::is_deleting(&namespace.metadata) {
        return Plan { status: before, ..Plan::default() };
    }
    let is_pods = |content: &&Content| content.kind == "pods";
    let pods_remain = observed.contents.iter().filter(is_pods).any(|content| !content.objects.is_empty());
    let now_due = observed.contents.iter().filter(|content| !pods_remain || content.kind == "pods");
    let deletions = now_due.flat_map(|content| {
        let waiting = content.objects.iter().filter(|item| !item.is_deleting);
        waiting.map(|item| Action::Delete(content.kind.clone(), item.object.clone()))
    });
    let mut actions: Vec<Action> = deletions.collect();

    let is_empty = observed.contents.iter().all(|content| content.objects.is_empty());
    let knows_all = observed.discovery_failure.is_none() && observed.list_failures.is_empty();
    let is_held =
        namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten()).any(|finalizer| finalizer == FINALIZER);
    if is_empty && knows_all && is_held {
        actions.push(Action::Finalize);
    }
    let status =
        NamespaceStatus { phase: Some("Terminating".to_owned()), conditions: Some(conditions(observed, before)) };
    Plan { actions, status, is_waiting: !is_empty || !knows_all }
}

fn conditions(observed: &Observed<'_>, before: NamespaceStatus) -> Vec<NamespaceCondition> {
    let remaining = sentence(observed.contents.iter().map(|content| (content.kind.as_str(), content.objects.len())));
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    let held = observed.contents.iter().flat_map(|content| &content.objects).flat_map(|item| &item.finalizers);
    for finalizer in held {
        *finalizers.entry(finalizer).or_default() += 1;
    }
    let finalizing = finalizers.iter().map(|(finalizer, count)| format!("{finalizer} in {count} resource instances"));
    let finalizing: Vec<String> = finalizing.collect();
    let failures = observed.list_failures.join(", ");

    let rows = [
        (
            "NamespaceDeletionDiscoveryFailure",
            observed
                .discovery_failure
                .clone()
                .map(|why| ("DiscoveryFailed", format!("Discovery failed for some groups: {why}"))),
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        (
            "NamespaceDeletionContentFailure",
            (!failures.is_empty())
                .then(|| ("ContentDeletionFailed", format!("Failed to delete all resource types: {failures}"))),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        (
            "NamespaceContentRemaining",
            (!remaining.is_empty())
                .then(|| ("SomeResourcesRemain", format!("Some resources are remaining: {remaining}"))),
            ("ContentRemoved", "All content successfully removed"),
        ),
        (
            "NamespaceFinalizersRemaining",
            (!finalizing.is_empty()).then(|| {
                let list = finalizing.join(", ");
                ("SomeFinalizersRemain", format!("Some content in the namespace has finalizers remaining: {list}"))
            }),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ];
    let mut conditions = before.conditions.unwrap_or_default();
    for (kind, problem, (reason, message)) in rows {
        match problem {
            Some((reason, message)) => set(&mut conditions, kind, "True", reason, message, observed.now),
            None => set(&mut conditions, kind, "False", reason, message.to_owned(), observed.now),
        }
    }
    conditions
}

fn sentence<'a>(counts: impl Iterator<Item = (&'a str, usize)>) -> String {
    let parts =
        counts.filter(|(_, count)| *count > 0).map(|(kind, count)| format!("{kind} has {count} resource instances"));
    parts.collect::<Vec<_>>().join(", ")
}

fn set(
    conditions: &mut Vec<NamespaceCondition>,
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let known = conditions.iter_mut().find(|known| known.type_ == kind);
    let turned =
        known.as_ref().filter(|known| known.status == status).and_then(|known| known.last_transition_time.clone());
    let made = NamespaceCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(turned.unwrap_or_else(|| meta::time(now))),
    };
    match known {
        Some(known) => *known = made,
        None => conditions.push(made),
    }
}
