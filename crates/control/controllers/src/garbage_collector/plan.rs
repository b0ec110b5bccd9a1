//! Decides what becomes of one object whose owners, or whose dependents, go
//! (`pkg/controller/garbagecollector/garbagecollector.go`). Pure.
//!
//! ```text
//! owner gone (Background)      ─▶ dependents without any other owner are deleted
//! owner going (Foreground)     ─▶ dependents that block it are deleted first, then its finalizer is removed
//! owners going in a circle     ─▶ the one that notices goes first
//! owner going (Orphan)         ─▶ dependents forget it, then its finalizer is removed
//! owner unknown, server unsure ─▶ nothing
//! ```

use std::fmt;
use std::sync::Arc;

use wkube_client::Propagation;

use super::graph::Node;

/// Holds an owner until its dependents are gone.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Holds an owner until its dependents have forgotten it.
pub(super) const ORPHAN: &str = "orphan";

/// Everything the decision may look at.
pub(super) struct Observed<'a> {
    pub(super) object: &'a Node,
    /// What is known of each owner, by its uid.
    pub(super) owners: &'a [(String, Owner)],
    pub(super) dependents: &'a [Arc<Node>],
    /// Whether the object waits for dependents that, in the end, wait for it.
    pub(super) waits_in_circle: bool,
    /// Whether all dependents are known. If not, nobody can say that there are none.
    pub(super) is_complete: bool,
}

/// What is known of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// It exists and stays, or goes without waiting for us.
    Solid,
    /// It exists, is going, and waits for its dependents to go first.
    WaitsForUs,
    /// The server says that it does not exist.
    Absent,
    /// The server did not say.
    Unknown,
}

/// One step; each is safe alone and may be repeated.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// Deletes the object, with this fate for its own dependents.
    Delete(Arc<Node>, Propagation),
    /// Makes an object forget owners.
    Forget(Arc<Node>, Vec<String>),
    /// Lets the object go.
    RemoveFinalizer(Arc<Node>, &'static str),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delete(node, propagation) => write!(f, "delete {} ({propagation:?})", node.meta.name),
            Self::Forget(node, owners) => write!(f, "{} forgets {}", node.meta.name, owners.join(", ")),
            Self::RemoveFinalizer(node, finalizer) => write!(f, "{} loses {finalizer}", node.meta.name),
        }
    }
}

/// Decides.
pub(super) fn plan(observed: &Observed<'_>) -> Vec<Action> {
    let object = observed.object;
    if object.is_deleting() && object.has_finalizer(ORPHAN) {
        return orphan(observed);
    }
    if object.is_deleting() && object.has_finalizer(FOREGROUND) {
        return release(observed);
    }
    // It is going already; its own finalizers decide when.
    if object.is_deleting() { Vec::new() } else { collect(observed) }
}

/// Lets all dependents forget the object, then lets the object go.
fn orphan(observed: &Observed<'_>) -> Vec<Action> {
    if !observed.is_complete {
        return Vec::new();
    }
    let owner = vec![observed.object.meta.uid.clone()];
    let forget = observed.dependents.iter().map(|dependent| Action::Forget(Arc::clone(dependent), owner.clone()));
    let mut actions: Vec<Action> = forget.collect();
    actions.push(Action::RemoveFinalizer(Arc::new(observed.object.clone()), ORPHAN));
    actions
}

/// Lets the object go if no dependent holds it any more. Those that do are looked at themselves: they see an owner that
/// waits for them.
///
/// Owners that wait for each other in a circle would wait for ever. Kubernetes cuts it when it deletes a dependent whose
/// own dependents wait already, by writing `blockOwnerDeletion: false`; that misses a circle of which every object was
/// deleted by somebody. Here whoever finds itself in one lets go: a dependent that waits too holds it no longer.
fn release(observed: &Observed<'_>) -> Vec<Action> {
    let holds = |dependent: &&Arc<Node>| dependent.blocks(&observed.object.meta.uid);
    let counts = |dependent: &Arc<Node>| !(observed.waits_in_circle && dependent.waits_for_dependents());
    let is_held = observed.dependents.iter().filter(holds).any(counts);
    if is_held || !observed.is_complete {
        return Vec::new();
    }
    vec![Action::RemoveFinalizer(Arc::new(observed.object.clone()), FOREGROUND)]
}

/// Deletes the object if no owner is left that keeps it; else makes it forget those that are not.
fn collect(observed: &Observed<'_>) -> Vec<Action> {
    let with = |wanted: Owner| observed.owners.iter().filter(move |(_, owner)| *owner == wanted);
    // One doubt is enough to do nothing: a wrong deletion cannot be taken back.
    if observed.owners.is_empty() || with(Owner::Unknown).next().is_some() {
        return Vec::new();
    }
    let object = Arc::new(observed.object.clone());
    let leaving: Vec<String> = with(Owner::Absent).chain(with(Owner::WaitsForUs)).map(|(uid, _)| uid.clone()).collect();
    if with(Owner::Solid).next().is_some() {
        return if leaving.is_empty() { Vec::new() } else { vec![Action::Forget(object, leaving)] };
    }
    let waits = with(Owner::WaitsForUs).next().is_some();
    let propagation = match () {
        () if object.has_finalizer(ORPHAN) => Propagation::Orphan,
        () if object.has_finalizer(FOREGROUND) => Propagation::Foreground,
        // An owner that waits for its dependents waits for theirs too.
        () if waits && !observed.dependents.is_empty() => Propagation::Foreground,
        () => Propagation::Background,
    };
    vec![Action::Delete(object, propagation)]
}
