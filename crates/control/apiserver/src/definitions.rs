//! Custom kinds: keeps the catalog in step with the stored `CustomResourceDefinition`s, and clears up behind those that
//! go (`apiextensions/controller/finalizer`).
//!
//! ```text
//! write of a definition ─ settle its names ─> store ─> refresh ─> the next request finds its kinds
//! store.watch(definitions) ─ another server's write ─> refresh
//!                          └ deleted, with our finalizer ─> delete its objects ─> let it go ─> refresh
//! ```

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt as _;
use parking_lot::Mutex;
use serde_json::Value;
use tracing::{info, warn};
use wkube_api::kinds::custom::{self, Version};
use wkube_api::kinds::definition::{self, CLEANUP, GROUP, PLURAL};
use wkube_api::{Object, Resource, Status};
use wkube_base::{Backoff, Tasks};
use wkube_store::{Entry, Error, Key, Range, Revision, Signal};

use crate::Api;
use crate::call::Call;
use crate::encoding;
use crate::follow;
use crate::registry::delete::{self, DeleteOptions};
use crate::registry::object_rules::Part;
use crate::registry::update::{self, Origin};
use crate::registry::{Registry, failed, keys};

/// What was made of each stored definition, so that a change of one does not read all the others again.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<BTreeMap<Key, Made>>);

/// The versions of one definition, and what they were made of.
#[derive(Debug)]
struct Made {
    from: Revision,
    spec: Option<Value>,
    is_established: bool,
    versions: Vec<Version>,
}

impl Made {
    /// Makes the versions of a stored definition. If it says what it said before, their manners stay the very same: a
    /// new label or condition ends no watch.
    fn of(entry: &Entry, before: Option<Self>) -> Self {
        let object = match before {
            Some(before) if before.from == entry.modified => return before,
            _ => encoding::decode(&entry.value, entry.modified).unwrap_or_default(),
        };
        let (spec, is_established) = (object.0.get("spec").cloned(), definition::is_established(&object));
        let kept = before.filter(|before| before.spec == spec && before.is_established == is_established);
        let versions = match kept {
            Some(kept) if object.is_deleting() => kept.versions.iter().map(Version::terminating).collect(),
            Some(kept) => kept.versions,
            None => custom::versions(&object),
        };
        Self { from: entry.modified, spec, is_established, versions }
    }
}

/// Whether the kind is that of definitions.
pub(crate) fn is_definition(resource: &Resource) -> bool {
    resource.group == GROUP && resource.plural == PLURAL
}

/// Serves what the stored definitions say now.
pub(crate) fn refresh(registry: &Registry) {
    // Held from the list to the swap: an older list must not overwrite a newer one.
    let mut known = registry.definitions.0.lock();
    let Some(prefix) = row(registry).map(|row| keys::prefix(row)) else { return };
    let listed = match registry.store.list(&Range { prefix, ..Range::default() }) {
        Ok(listed) => listed,
        Err(error) => {
            warn!(
                error = &error as &dyn std::error::Error,
                "definitions cannot be read; custom kinds stay as they are"
            );
            return;
        }
    };
    let mut before = std::mem::take(&mut *known);
    for entry in listed.entries {
        let made = Made::of(&entry, before.remove(&entry.key));
        known.insert(entry.key, made);
    }
    registry.catalog.replace_custom(known.values().flat_map(|made| &made.versions));
}

/// Completes the status of a new or changed definition.
pub(crate) fn settle(registry: &Registry, call: &Call, object: &mut Object) -> Result<(), Status> {
    let range = Range { prefix: keys::prefix(&call.resource), ..Range::default() };
    let listed = registry.store.list(&range).map_err(|error| failed(&error))?;
    let others: Vec<Object> =
        listed.entries.iter().filter_map(|entry| encoding::decode(&entry.value, entry.modified)).collect();
    definition::settle(object, &others, registry.clock.now());
    Ok(())
}

/// Serves the stored definitions, and follows them.
pub(crate) fn start(api: &Arc<Api>, tasks: &Tasks) {
    refresh(&api.registry);
    let api = api.clone();
    follow::keep(tasks, "definitions", move || {
        let api = api.clone();
        async move { follow(&api.registry).await }
    });
}

/// Looks at everything after every change, until the watch ends; returns why it did.
async fn follow(registry: &Registry) -> Option<Error> {
    let resource = row(registry)?.clone();
    let prefix = keys::prefix(&resource);
    let mut watch = match registry.store.watch(&prefix, registry.store.revision()) {
        Ok(watch) => watch,
        Err(error) => return Some(error),
    };
    let mut failures = 0;
    loop {
        refresh(registry);
        let unfinished = tidy(registry, &resource).await;
        failures = if unfinished { failures + 1 } else { 0 };
        // Objects with finalizers go when others have done their part; their watch is not ours, so we look again.
        // Progress comes with every write of anything, and must not put that off.
        let mut again = pin!(tokio::time::sleep(Backoff::RECONNECT.after(failures.max(1))));
        loop {
            tokio::select! {
                biased;
                signal = watch.next() => match signal? {
                    Ok(Signal::Event(_)) => break,
                    Ok(Signal::Progress(_)) => {}
                    Err(error) => return Some(error),
                },
                () = &mut again, if unfinished => break,
            }
        }
    }
}

/// Takes the next step for every definition that needs one; returns whether one needs more.
async fn tidy(registry: &Registry, resource: &Arc<Resource>) -> bool {
    let definitions = registry.objects(resource, "").await;
    let mut unfinished = false;
    for one in &definitions {
        let call = Call::own(resource, one.namespace(), one.name());
        let step = if one.is_deleting() && one.finalizers().contains(&CLEANUP) {
            clear(registry, &call, one).await
        } else if !one.is_deleting() && !definition::has_its_names(one) {
            settle_again(registry, &call, &definitions).await
        } else {
            continue;
        };
        match step {
            Ok(done) => unfinished |= !done,
            Err(status) if status.is_not_found() => {}
            Err(status) => {
                warn!(definition = one.name(), error = status.message, "a definition cannot be tidied up yet");
                unfinished = true;
            }
        }
    }
    unfinished
}

/// Deletes a definition's objects and, once there are none, lets it go. Returns whether it went.
async fn clear(registry: &Registry, call: &Call, definition: &Object) -> Result<bool, Status> {
    // In the version in which they are kept: a conversion that fails must not hold them.
    if let Some(version) = custom::versions(definition).iter().find(|version| version.stored) {
        let objects = registry.objects(&version.resource, "").await;
        for object in &objects {
            let each = Call::own(&version.resource, object.namespace(), object.name());
            match delete::one(registry, &each, &DeleteOptions::default()).await {
                Err(status) if !status.is_not_found() => return Err(status),
                _ => {}
            }
        }
        let left = keys::prefix(&version.resource);
        let left = registry.store.list(&Range { prefix: left, limit: 1, ..Range::default() });
        if !left.map_err(|error| failed(&error))?.entries.is_empty() {
            return Ok(false);
        }
    }
    let without = |old: &Object| {
        let mut new = old.clone();
        let kept: Vec<String> =
            old.finalizers().into_iter().filter(|name| *name != CLEANUP).map(str::to_owned).collect();
        new.set_finalizers(kept);
        Ok(new)
    };
    update::change(registry, call, Part::Whole, Origin::Server, without).await?;
    info!(definition = definition.name(), "removed a custom kind and its objects");
    Ok(true)
}

/// Names that were taken may be free now.
async fn settle_again(registry: &Registry, call: &Call, all: &[Arc<Object>]) -> Result<bool, Status> {
    let now = registry.clock.now();
    let settled = |old: &Object| {
        let mut new = old.clone();
        definition::settle(&mut new, all.iter().map(AsRef::as_ref), now);
        Ok(new)
    };
    update::change(registry, call, Part::Status, Origin::Server, settled).await?;
    Ok(true)
}

fn row(registry: &Registry) -> Option<&Arc<Resource>> {
    registry.catalog.find(GROUP, "v1", PLURAL)
}
