//! `ResourceQuota`: keeps a namespace within its `hard` limits (`apiserver/pkg/admission/plugin/resourcequota`).
//!
//! Writes that count pass a turnstile, one at a time per namespace. Behind it, usage is counted from what exists, the
//! limit is checked, and the object and the quota's new `status.used` go into one commit. So no burst of creates can
//! outrun the count, and no failed write leaves a hole in it. Whatever lowers usage is counted by [`recount`].

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wkube_api::quantity::Quantity;
use wkube_api::{Object, Resource, Status};
use wkube_store::{Key, Op, Precondition, Revision, Txn};

use super::amounts::{self, Amounts};
use super::{Attributes, Operation};
use crate::registry::{Registry, view};
use usage::Counted;

mod recount;
mod scope;
#[cfg(test)]
mod tests;
mod usage;

pub(crate) use recount::start;

/// One place in line per namespace with a quota.
#[derive(Debug, Default)]
pub(crate) struct Turnstiles(Mutex<BTreeMap<String, Arc<Semaphore>>>);

impl Turnstiles {
    /// Waits for the namespace's turn.
    async fn pass(&self, namespace: &str) -> Option<OwnedSemaphorePermit> {
        let turnstile = {
            let mut all = self.0.lock();
            // Those that nobody waits at are not worth keeping.
            all.retain(|_, turnstile| Arc::strong_count(turnstile) > 1);
            all.entry(namespace.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
        };
        turnstile.acquire_owned().await.ok()
    }
}

/// What a write takes from its namespace's quotas: held until the write is done, and written with it.
#[derive(Debug, Default)]
pub(crate) struct Reservation {
    _turn: Option<OwnedSemaphorePermit>,
    updates: Vec<(Key, Revision, bytes::Bytes)>,
}

impl Reservation {
    /// Adds the quotas' new states to the write.
    pub(crate) fn join(&self, txn: &mut Txn) {
        for (key, revision, value) in &self.updates {
            txn.preconditions.push(Precondition::Modified(key.clone(), *revision));
            txn.ops.push(Op::Put(key.clone(), value.clone()));
        }
    }
}

/// Whether a key is that of a quota: a write that lost against another change of it is tried again.
pub(crate) fn is_quota(key: &Key) -> bool {
    key.starts_with("/registry/core/resourcequotas/")
}

/// Refuses what is over a limit, and reserves the rest.
pub(super) async fn reserve(attributes: &Attributes<'_>, object: &Object) -> Result<Reservation, Status> {
    let Attributes { registry, call, operation, .. } = attributes;
    let counted = Counted::of(&call.resource);
    let looked_at = match operation {
        Operation::Create => true,
        Operation::Update => counted.counts_changes(),
        Operation::Delete | Operation::Connect => false,
    };
    if !looked_at || call.namespace.is_empty() || !call.subresource.is_empty() || !call.resource.is_stored() {
        return Ok(Reservation::default());
    }
    let Some(kind) = registry.catalog.core("resourcequotas") else { return Ok(Reservation::default()) };
    if !has_quota(registry, kind, &call.namespace)? {
        return Ok(Reservation::default());
    }
    let turn = registry.quotas.pass(&call.namespace).await;
    let asked = asked(attributes, object);
    let mut reservation = Reservation { _turn: turn, updates: Vec::new() };
    for entry in registry.entries(kind, &call.namespace)? {
        let quota = view::decode(kind, &entry)?;
        let hard = relevant(&call.resource, &quota);
        if hard.is_empty() || !scope::holds(&quota, counted, object) {
            continue;
        }
        if let Some(unsaid) = unsaid(counted, object, &hard) {
            return Err(attributes.forbidden(object, format!("failed quota: {}: {unsaid}", quota.name())));
        }
        let requested: Amounts =
            asked.iter().filter(|(name, amount)| hard.contains_key(*name) && !amount.is_zero()).map(clone).collect();
        if requested.is_empty() {
            continue;
        }
        let used = used(registry, &call.resource, &quota, &hard).await;
        if let Some(exceeded) = exceeded(&requested, &used, &hard) {
            return Err(attributes.forbidden(object, format!("exceeded quota: {}, {exceeded}", quota.name())));
        }
        let mut after = used;
        amounts::add(&mut after, &requested);
        let new = with_used(&quota, &after);
        reservation.updates.push((entry.key.clone(), entry.modified, view::encode(kind, &new)));
    }
    Ok(reservation)
}

fn has_quota(registry: &Registry, kind: &Resource, namespace: &str) -> Result<bool, Status> {
    Ok(!registry.entries(kind, namespace)?.is_empty())
}

fn clone((name, amount): (&String, &Quantity)) -> (String, Quantity) {
    (name.clone(), *amount)
}

/// What the write adds to the namespace's usage.
fn asked(attributes: &Attributes<'_>, object: &Object) -> Amounts {
    let now = attributes.registry.clock.now();
    let resource = &attributes.call.resource;
    let after = usage::of(resource, object, now);
    match attributes.old {
        Some(old) => amounts::difference(&after, &usage::of(resource, old, now)),
        None => after,
    }
}

fn unsaid(counted: Counted, object: &Object, hard: &Amounts) -> Option<String> {
    let spec = object.0.get("spec").filter(|_| counted == Counted::Pods)?;
    usage::unsaid(spec, hard)
}

/// Returns the limits of a quota that objects of the kind count for.
fn relevant(resource: &Resource, quota: &Object) -> Amounts {
    let mut hard = amounts::read(quota.at(&["spec", "hard"]).unwrap_or(&Value::Null));
    hard.retain(|name, _| usage::is_about(resource, name));
    hard
}

/// Counts what exists of the kind, in the quota's scopes.
async fn used(registry: &Registry, resource: &Resource, quota: &Object, hard: &Amounts) -> Amounts {
    let now = registry.clock.now();
    let counted = Counted::of(resource);
    let mut used: Amounts = hard.keys().map(|name| (name.clone(), Quantity::ZERO)).collect();
    for object in registry.objects(resource, quota.namespace()).await {
        if scope::holds(quota, counted, &object) {
            let mut usage = usage::of(resource, &object, now);
            usage.retain(|name, _| hard.contains_key(name));
            amounts::add(&mut used, &usage);
        }
    }
    used
}

/// Words what is over: `requested: pods=1, used: pods=1, limited: pods=1`. What shrinks is never over.
fn exceeded(requested: &Amounts, used: &Amounts, hard: &Amounts) -> Option<String> {
    let total = |name: &String, amount: &Quantity| used.get(name).copied().unwrap_or(Quantity::ZERO).plus(*amount);
    let grows = |amount: &Quantity| !amount.is_negative();
    let over: Vec<&String> = requested
        .iter()
        .filter(|(name, amount)| grows(amount) && hard.get(*name).is_some_and(|limit| total(name, amount) > *limit))
        .map(|(name, _)| name)
        .collect();
    if over.is_empty() {
        return None;
    }
    let show = |amounts: &Amounts| {
        let each = over
            .iter()
            .map(|name| format!("{name}={}", amounts.get(*name).map_or_else(|| "0".to_owned(), ToString::to_string)));
        each.collect::<Vec<_>>().join(",")
    };
    Some(format!("requested: {}, used: {}, limited: {}", show(requested), show(used), show(hard)))
}

/// Returns a quota with these amounts in its status; the others stay.
fn with_used(quota: &Object, used: &Amounts) -> Object {
    let mut new = quota.clone();
    let hard = quota.at(&["spec", "hard"]).cloned().unwrap_or_else(|| json!({}));
    let known = quota.at(&["status", "used"]).and_then(Value::as_object).cloned().unwrap_or_default();
    let mut all: serde_json::Map<String, Value> =
        known.into_iter().filter(|(name, _)| hard.get(name).is_some()).collect();
    for (name, amount) in used {
        all.insert(name.clone(), amount.to_string().into());
    }
    new.set(&["status", "hard"], hard);
    new.set(&["status", "used"], all);
    new
}
