//! Finding a workload's children without reading the whole cluster.

use std::sync::Arc;

use wkube_client::{Informers, Kind, Lister};

/// The index of objects that nobody controls, by namespace. There are few of them.
const UNCONTROLLED: &str = "uncontrolled";

/// Returns a lister of a kind whose objects workloads control, or may adopt.
pub(crate) fn lister<K: Kind>(informers: &Informers) -> Lister<K> {
    informers.indexed(UNCONTROLLED, |object: &K| match object.controller_owner() {
        Some(_) => Vec::new(),
        None => vec![object.namespace().to_owned()],
    })
}

/// Returns what `owner` controls and what nobody in its namespace does: all that it may keep, adopt or release.
pub(crate) fn of<O: Kind, K: Kind>(owner: &O, lister: &Lister<K>) -> Vec<Arc<K>> {
    let mut children = lister.owned_by(owner.uid());
    children.extend(lister.by_index(UNCONTROLLED, owner.namespace()));
    children
}
