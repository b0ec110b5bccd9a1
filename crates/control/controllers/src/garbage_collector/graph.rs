//! Who owns whom, over all kinds: kept from watches, read by the planner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Deserialize;

use super::group_of;
use super::plan::FOREGROUND;
use crate::common::served::ServedKind;

/// One object, as far as ownership is concerned.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) kind: Arc<ServedKind>,
    pub(super) meta: Meta,
}

/// The metadata that ownership needs; the rest of an object is not kept.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Meta {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) owner_references: Vec<OwnerReference>,
    pub(super) finalizers: Vec<String>,
    pub(super) deletion_timestamp: Option<String>,
}

impl Node {
    /// Whether a delete has been asked for.
    pub(super) fn is_deleting(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }

    /// Whether the object carries this finalizer.
    pub(super) fn has_finalizer(&self, finalizer: &str) -> bool {
        self.meta.finalizers.iter().any(|known| known == finalizer)
    }

    /// Whether the object is on its way out, but stays until its dependents are gone.
    pub(super) fn waits_for_dependents(&self) -> bool {
        self.is_deleting() && self.has_finalizer(FOREGROUND)
    }

    /// Whether the object names this owner, and will not let it go before itself.
    pub(super) fn blocks(&self, owner: &str) -> bool {
        let mut references = self.meta.owner_references.iter();
        references.any(|reference| reference.uid == owner && reference.block_owner_deletion == Some(true))
    }
}

/// All objects by uid, with their dependents.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: BTreeMap<String, Arc<Node>>,
    /// By the uid of the owner, whether or not the owner is known.
    dependents: BTreeMap<String, BTreeSet<String>>,
    /// The kinds whose objects are all here.
    complete: BTreeSet<Arc<ServedKind>>,
    /// The kinds that are watched.
    watched: BTreeSet<Arc<ServedKind>>,
}

impl Graph {
    /// Says that objects of this kind are about to come in; `false` if they do already.
    pub(super) fn watch(&mut self, kind: &Arc<ServedKind>) -> bool {
        self.watched.insert(Arc::clone(kind))
    }

    /// Whether all objects of all kinds are here. Until then nobody can say that an object has no dependents.
    pub(super) fn is_complete(&self) -> bool {
        !self.watched.is_empty() && self.complete.len() == self.watched.len()
    }

    /// Returns the watched kind that a reference to this group and kind means.
    pub(super) fn kind(&self, group: &str, kind: &str) -> Option<Arc<ServedKind>> {
        self.watched.iter().find(|watched| watched.group == group && watched.kind == kind).cloned()
    }

    /// Returns the object.
    pub(super) fn get(&self, uid: &str) -> Option<Arc<Node>> {
        self.nodes.get(uid).cloned()
    }

    /// Returns the objects that name this one as an owner, in the order of their uids.
    pub(super) fn dependents(&self, uid: &str) -> Vec<Arc<Node>> {
        let uids = self.dependents.get(uid).into_iter().flatten();
        uids.filter_map(|uid| self.nodes.get(uid)).cloned().collect()
    }

    /// Whether the object waits for itself: for dependents that wait for theirs, and so on round to it. The rings of
    /// deletions under way are small, so they are walked each time.
    pub(super) fn waits_in_circle(&self, uid: &str) -> bool {
        let (mut seen, mut next) = (BTreeSet::new(), vec![uid.to_owned()]);
        while let Some(owner) = next.pop() {
            let holders = self.dependents(&owner).into_iter().filter(|dependent| dependent.blocks(&owner));
            for holder in holders.filter(|holder| holder.waits_for_dependents()) {
                if holder.meta.uid == uid {
                    return true;
                }
                if seen.insert(holder.meta.uid.clone()) {
                    next.push(holder.meta.uid.clone());
                }
            }
        }
        false
    }

    /// Takes in a complete list of a kind, and returns the uids to look at.
    pub(super) fn replace(&mut self, kind: &Arc<ServedKind>, listed: Vec<Meta>) -> BTreeSet<String> {
        let kept: BTreeSet<&str> = listed.iter().map(|meta| meta.uid.as_str()).collect();
        let of_kind = self.nodes.values().filter(|node| node.kind == *kind);
        let gone: Vec<String> =
            of_kind.filter(|node| !kept.contains(node.meta.uid.as_str())).map(|node| node.meta.uid.clone()).collect();
        let mut affected: BTreeSet<String> = gone.iter().flat_map(|uid| self.remove(uid)).collect();
        for meta in listed {
            affected.extend(self.apply(kind, meta));
        }
        if !self.complete.insert(Arc::clone(kind)) {
            return affected;
        }
        // An owner that went before anybody watched its kind told nobody.
        affected.extend(self.bereft_of(kind));
        // The first complete list of the last kind lets those go on that waited for it.
        if self.is_complete() {
            affected.extend(self.nodes.values().filter(|node| node.is_deleting()).map(|node| node.meta.uid.clone()));
        }
        affected
    }

    /// Returns the objects that name an owner of this kind that is not there.
    fn bereft_of(&self, kind: &ServedKind) -> Vec<String> {
        let absent = self.dependents.iter().filter(|(owner, _)| !self.nodes.contains_key(*owner));
        let names = |uid: &String, owner: &String| {
            let node = self.nodes.get(uid);
            let mut references = node.into_iter().flat_map(|node| &node.meta.owner_references);
            references.any(|each| each.uid == *owner && each.kind == kind.kind && group_of(each) == kind.group)
        };
        absent.flat_map(|(owner, dependents)| dependents.iter().filter(move |uid| names(uid, owner))).cloned().collect()
    }

    /// Takes in a kind that is no longer served.
    pub(super) fn forget(&mut self, kind: &Arc<ServedKind>) -> BTreeSet<String> {
        let affected = self.replace(kind, Vec::new());
        self.complete.remove(kind);
        self.watched.remove(kind);
        affected
    }

    /// Takes in one state of an object, and returns the uids to look at: itself, and its owners, who may wait for it.
    pub(super) fn apply(&mut self, kind: &Arc<ServedKind>, meta: Meta) -> BTreeSet<String> {
        let uid = meta.uid.clone();
        let mut affected = self.unlink(&uid);
        for reference in &meta.owner_references {
            self.dependents.entry(reference.uid.clone()).or_default().insert(uid.clone());
        }
        // Of an owner that begins to go, every dependent has to be looked at.
        if meta.deletion_timestamp.is_some() {
            affected.extend(self.dependents.get(&uid).into_iter().flatten().cloned());
        }
        affected.extend(meta.owner_references.iter().map(|reference| reference.uid.clone()));
        affected.insert(uid.clone());
        self.nodes.insert(uid, Arc::new(Node { kind: Arc::clone(kind), meta }));
        affected
    }

    /// Takes in that an object is gone, and returns the uids to look at: its dependents and its owners.
    pub(super) fn remove(&mut self, uid: &str) -> BTreeSet<String> {
        let mut affected = self.unlink(uid);
        self.nodes.remove(uid);
        affected.extend(self.dependents.get(uid).into_iter().flatten().cloned());
        affected
    }

    /// Removes the object from its owners' dependents, and returns those owners.
    fn unlink(&mut self, uid: &str) -> BTreeSet<String> {
        let Some(node) = self.nodes.get(uid) else { return BTreeSet::new() };
        let owners: BTreeSet<String> = node.meta.owner_references.iter().map(|owner| owner.uid.clone()).collect();
        for owner in &owners {
            if let Some(dependents) = self.dependents.get_mut(owner) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
        owners
    }
}
