//! The last step of every change: one transaction with the object and what it claims.

use std::collections::BTreeMap;
use std::sync::Arc;

use wkube_api::{Object, Resource, Status};
use wkube_store::{Entry, Error, Key, Op, Precondition, Revision, Txn};

use super::{Registry, failed, keys, view};
use crate::admission::{self, Reservation, claims};
use crate::call::Call;
use crate::definitions;
use crate::fence;
use crate::watch_cache::Item;

/// Why nothing was written.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The object was created, changed or deleted meanwhile.
    Raced,
    /// Somebody else has this address or port now.
    Claimed(Key),
    /// Anything else.
    Failed(Status),
}

/// Writes a new state and what it reserved: creates if `old` is `None`, else replaces that very state.
pub(crate) async fn put(
    registry: &Registry,
    call: &Call,
    old: Option<(&Entry, &Object)>,
    new: &Object,
    reservation: &Reservation,
) -> Result<Arc<Item>, WriteError> {
    let resource = &*call.resource;
    let key = keys::of(resource, new);
    let value = view::stored(&registry.converter, resource, new).await.map_err(WriteError::Failed)?;
    let condition = match old {
        None => Precondition::Absent(key.clone()),
        Some((entry, _)) => Precondition::Modified(key.clone(), entry.modified),
    };
    let mut txn = Txn { preconditions: vec![condition], ops: vec![Op::Put(key.clone(), value.clone())] };
    move_claims(&mut txn, resource, old.map(|(_, object)| object), Some(new));
    fence::raise(&mut txn, resource, old.map(|(_, object)| object), Some(new));
    reservation.join(&mut txn);
    let modified = commit(registry, call, txn, &key).await?;
    let created = old.map_or(modified, |(entry, _)| entry.created);
    let version = old.map_or(1, |(entry, _)| entry.version + 1);
    let written = Arc::new(Item::new(Entry { key, value, created, modified, version }));
    Ok(view::shown(resource, written, new))
}

/// Removes an object in exactly this state.
pub(crate) async fn remove(
    registry: &Registry,
    call: &Call,
    entry: &Entry,
    old: &Object,
) -> Result<Revision, WriteError> {
    let mut txn = Txn {
        preconditions: vec![Precondition::Modified(entry.key.clone(), entry.modified)],
        ops: vec![Op::Delete(entry.key.clone())],
    };
    move_claims(&mut txn, &call.resource, Some(old), None);
    fence::raise(&mut txn, &call.resource, Some(old), None);
    commit(registry, call, txn, &entry.key).await
}

/// Adds the difference between what the states claim. A claim is a key of its own, so that the store itself keeps two
/// objects from having the same address.
fn move_claims(txn: &mut Txn, resource: &Resource, old: Option<&Object>, new: Option<&Object>) {
    let of = |object: Option<&Object>| -> BTreeMap<Key, String> {
        object.map(|object| claims::of(resource, object)).unwrap_or_default()
    };
    let (before, after) = (of(old), of(new));
    for (key, owner) in &after {
        if !before.contains_key(key) {
            txn.preconditions.push(Precondition::Absent(key.clone()));
            txn.ops.push(Op::Put(key.clone(), owner.clone().into()));
        }
    }
    txn.ops.extend(before.into_keys().filter(|key| !after.contains_key(key)).map(Op::Delete));
}

async fn commit(registry: &Registry, call: &Call, mut txn: Txn, key: &Key) -> Result<Revision, WriteError> {
    // First, so that of several conditions that fail it is the one that is named.
    txn.preconditions.splice(0..0, call.fence.as_ref().map(fence::condition));
    if call.options.dry_run {
        return rehearse(registry, call, &txn, key);
    }
    let committing =
        if keys::is_heartbeat(key) { registry.store.commit_patiently(txn) } else { registry.store.commit(txn) };
    let committed = committing.await.map_err(|error| match error {
        Error::Conflict { key: failed, .. } => conflict(call, key, failed),
        other => WriteError::Failed(failed(&other)),
    });
    if committed.is_ok() && definitions::is_definition(&call.resource) {
        // Before the answer: its reader may ask for the new kind next.
        definitions::refresh(registry);
    }
    let judges = admission::is_configuration(&call.resource) || admission::is_policy(&call.resource);
    if let (Ok(revision), true) = (&committed, judges) {
        // Also before the answer: the next request is theirs to judge.
        registry.cache(&call.resource).reach(*revision).await;
    }
    committed
}

/// Checks a transaction's conditions without writing. The revision is the object's own, zero for a create.
fn rehearse(registry: &Registry, call: &Call, txn: &Txn, key: &Key) -> Result<Revision, WriteError> {
    let mut revision = Revision::default();
    for condition in &txn.preconditions {
        let (Precondition::Absent(wanted) | Precondition::Modified(wanted, _)) = condition;
        let found = registry.store.get(wanted).map_err(|error| WriteError::Failed(failed(&error)))?;
        let holds = match condition {
            Precondition::Absent(_) => found.is_none(),
            Precondition::Modified(_, modified) => {
                if wanted == key {
                    revision = *modified;
                }
                found.is_some_and(|entry| entry.modified == *modified)
            }
        };
        if !holds {
            return Err(conflict(call, key, wanted.clone()));
        }
    }
    Ok(revision)
}

/// Says what a failed condition means for the write of `key`.
fn conflict(call: &Call, key: &Key, failed: Key) -> WriteError {
    match &call.fence {
        Some(fence) if *fence::condition(fence).key() == failed => WriteError::Failed(fence.fenced()),
        _ if *key == failed => WriteError::Raced,
        _ => WriteError::Claimed(failed),
    }
}
