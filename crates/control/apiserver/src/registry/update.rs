//! Update, and the loop under every change of an existing object.

use std::sync::Arc;

use serde_json::Value;
use wkube_api::status::{FieldError, FieldReason};
use wkube_api::{Object, ObjectKey, Status};
use wkube_store::Entry;

use super::object_rules::{self, Part};
use super::write::{self, WriteError};
use super::{Outcome, Registry, create, decode, view};
use crate::admission::{self, Attributes, Operation, Reservation};
use crate::call::Call;
use crate::encoding;
use crate::limits;
use crate::sub::scale;
use crate::watch_cache::Item;

/// Kinds whose PUT creates what is missing (`AllowCreateOnUpdate`).
const CREATED_BY_UPDATE: [(&str, &str); 8] = [
    ("", "endpoints"),
    ("", "events"),
    ("", "limitranges"),
    ("coordination.k8s.io", "leases"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
];

/// Who made the new state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client, who owns now what it changed.
    Client,
    /// A server-side apply, which has recorded the owners itself.
    Apply,
    /// The server, carrying out a binding or an eviction: the rules for clients do not apply.
    Server,
}

/// Answers PUT of an object, its status or its finalizers.
pub(crate) async fn update(registry: &Registry, call: &Call, body: &[u8]) -> Result<Outcome, Status> {
    let mut object = decode::body(call, body)?;
    object_rules::settle_place(&mut object, &call.resource, &call.namespace, &call.name)?;
    let part = Part::of(&call.resource, &call.subresource);
    let changed = change(registry, call, part, Origin::Client, |_| {
        check_version(call, &object)?;
        Ok(object.clone())
    });
    let changed = changed.await;
    match changed {
        Err(status) if status.is_not_found() && may_create(call) => {
            create::store(registry, call, object, Origin::Client).await
        }
        Err(status) => Err(status),
        Ok(item) => Ok(Outcome::Object { code: 200, item }),
    }
}

/// Some kinds are only replaced by those who have seen what they replace.
fn check_version(call: &Call, object: &Object) -> Result<(), Status> {
    if call.resource.manners.updates_unconditionally() || !matches!(object.resource_version(), "" | "0") {
        return Ok(());
    }
    let path = "metadata.resourceVersion";
    let message = "Invalid value: 0x0: must be specified for an update".to_owned();
    let error = FieldError { field: path.to_owned(), reason: FieldReason::Invalid, message };
    // Named by the plural, as the registry's store does it.
    Err(Status::invalid(&call.resource.plural, &call.resource.group, object.name(), vec![error]))
}

fn may_create(call: &Call) -> bool {
    call.subresource.is_empty() && CREATED_BY_UPDATE.iter().any(|(group, plural)| call.is_for(group, plural))
}

/// Applies `wanted`, a function of the stored object, and writes the result if it differs. Whoever else writes
/// meanwhile, the function sees the newest state; a result with an old resourceVersion is refused.
pub(crate) async fn change<F>(
    registry: &Registry,
    call: &Call,
    part: Part,
    origin: Origin,
    wanted: F,
) -> Result<Arc<Item>, Status>
where
    F: Fn(&Object) -> Result<Object, Status> + Send,
{
    let key = ObjectKey::new(&call.namespace, &call.name);
    for attempt in 0.. {
        let entry = registry.entry(&call.resource, &key)?;
        let old = view::read(&registry.converter, &call.resource, &entry).await?;
        let mut new = wanted(&old)?;
        object_rules::check_preconditions(&new, &old, &call.resource)?;
        let reservation = prepare(registry, call, &mut new, &old, part, origin).await?;
        match store(registry, call, (&entry, &old), &new, &reservation).await {
            Ok(item) => return Ok(item),
            Err(WriteError::Raced | WriteError::Claimed(_)) if attempt < limits::CONFLICT_RETRIES => {}
            Err(WriteError::Raced) => return Err(Status::stale(&call.resource, &call.name)),
            Err(WriteError::Claimed(key)) => return Err(admission::claims::taken(call, &new, &key)),
            Err(WriteError::Failed(status)) => return Err(status),
        }
    }
    unreachable!("the last attempt returns")
}

/// Writes one field on the server's own behalf. An object that is gone has nothing to say it about, and that is all
/// right.
pub(crate) async fn put(
    registry: &Registry,
    call: &Call,
    part: Part,
    path: &[&str],
    value: Value,
) -> Result<(), Status> {
    let with_value = |old: &Object| {
        let mut new = old.clone();
        new.set(path, value.clone());
        Ok(new)
    };
    match change(registry, call, part, Origin::Server, with_value).await {
        Err(status) if !status.is_not_found() => Err(status),
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn prepare(
    registry: &Registry,
    call: &Call,
    new: &mut Object,
    old: &Object,
    part: Part,
    origin: Origin,
) -> Result<Reservation, Status> {
    let resource = &*call.resource;
    if origin == Origin::Server {
        return Ok(Reservation::default());
    }
    // A subresource with a part of its own changes that and nothing else.
    let own = resource.manners.part(&call.subresource);
    if let Some(own) = own {
        own.prepare(new, old);
    }
    object_rules::prepare_update(new, old, resource, part);
    if own.is_none() && matches!(part, Part::Main | Part::Whole) {
        resource.manners.prepare_update(new, old);
    }
    let attributes = Attributes::new(registry, call, Operation::Update, Some(old));
    let through_scale = call.subresource == "scale";
    if through_scale {
        scale::admit(registry, call, new, old).await?;
    } else {
        admission::admit(&attributes, new).await?;
        admission::complete(&attributes, new)?;
    }
    resource.complete(new);
    let errors = match own {
        Some(own) => resource.validate_part(own, new, old),
        None => resource.validate(new, Some(old)),
    };
    let (warnings, errors): (Vec<FieldError>, Vec<FieldError>) = errors.into_iter().partition(FieldError::is_warning);
    for warning in warnings {
        call.warn(warning.to_string());
    }
    if !errors.is_empty() {
        return Err(Status::invalid_object(resource, new.name(), errors));
    }
    let reservation =
        if through_scale { Reservation::default() } else { admission::validate(&attributes, new).await? };
    if origin == Origin::Client {
        decode::manage(registry, call, new, Some(old));
    }
    Ok(reservation)
}

async fn store(
    registry: &Registry,
    call: &Call,
    (entry, old): (&Entry, &Object),
    new: &Object,
    reservation: &Reservation,
) -> Result<Arc<Item>, WriteError> {
    if object_rules::may_go(new) {
        // The last finalizer is gone: the update is the delete, and answers with the object.
        let revision = write::remove(registry, call, entry, new).await?;
        let last = Entry { value: encoding::encode(new), modified: revision, ..entry.clone() };
        return Ok(Arc::new(Item::new(last)));
    }
    if object_rules::same(new, old) {
        let kept = Arc::new(Item::new(entry.clone()));
        return Ok(view::shown(&call.resource, kept, old));
    }
    write::put(registry, call, Some((entry, old)), new, reservation).await
}
