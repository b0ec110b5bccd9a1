//! Delete and deletecollection: at once, after a grace period, or once the finalizers are gone.

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use wkube_api::object::format_time;
use wkube_api::status::{Details, FieldError};
use wkube_api::{Object, ObjectKey, Resource, Status};

use super::list_options::{Freshness, ListOptions};
use super::selection::Selection;
use super::write::{self, WriteError};
use super::{Outcome, Registry, decode, object_rules, read, view};
use crate::admission::{self, Attributes, Operation, Reservation};
use crate::call::Call;
use crate::limits;
use crate::write_options;

/// Keeps an object until its dependents are gone.
const FOREGROUND: &str = "foregroundDeletion";
/// Keeps an object until its dependents were set free.
const ORPHAN: &str = "orphan";

/// What happens to an object's dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// They go first.
    Foreground,
    /// They go later.
    Background,
    /// They stay.
    Orphan,
}

/// How to delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    /// Seconds; `None` is the kind's default.
    pub(crate) grace: Option<i64>,
    /// `None` leaves the finalizers as they are.
    pub(crate) propagation: Option<Propagation>,
    /// Only an object with this uid.
    pub(crate) uid: String,
    /// Only an object at this version.
    pub(crate) version: String,
    /// Answer as if.
    pub(crate) dry_run: bool,
}

impl DeleteOptions {
    /// Reads the body, and from the query what it does not say.
    pub(crate) fn parse(call: &Call, body: &[u8]) -> Result<Self, Status> {
        let mut document = decode::options(call, body)?;
        let query = &call.query;
        let is_open = |document: &Object, field: &str| query.has(field) && document.at(&[field]).is_none();
        if is_open(&document, "propagationPolicy") {
            document.set(&["propagationPolicy"], query.get("propagationPolicy"));
        }
        if is_open(&document, "orphanDependents") {
            document.set(&["orphanDependents"], query.flag("orphanDependents"));
        }
        if is_open(&document, "gracePeriodSeconds") {
            let text = query.get("gracePeriodSeconds");
            let wrong = |_| Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"));
            document.set(&["gracePeriodSeconds"], text.parse::<i64>().map_err(wrong)?);
        }
        Self::read(&document)
    }

    /// Reads the document (`ValidateDeleteOptions`).
    pub(crate) fn read(document: &Object) -> Result<Self, Status> {
        let policy = document.at(&["propagationPolicy"]).and_then(Value::as_str);
        let orphan = document.at(&["orphanDependents"]).and_then(Value::as_bool);
        let dry_run: Vec<&str> = document
            .at(&["dryRun"])
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut errors = Vec::new();
        if let (Some(policy), Some(_)) = (policy, orphan) {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid("propagationPolicy", policy, why));
        }
        let propagation = match (policy, orphan) {
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
            (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
            (None, None) => None,
            (Some(other), _) => {
                let known = ["Foreground", "Background", "Orphan", "nil"];
                errors.push(FieldError::not_supported("propagationPolicy", other, &known));
                None
            }
        };
        errors.extend(write_options::check_dry_run(&dry_run));
        write_options::refuse(write_options::DELETE, errors)?;
        Ok(Self {
            grace: document.at(&["gracePeriodSeconds"]).and_then(Value::as_i64),
            propagation,
            uid: document.str_at(&["preconditions", "uid"]).to_owned(),
            version: document.str_at(&["preconditions", "resourceVersion"]).to_owned(),
            dry_run: !dry_run.is_empty(),
        })
    }

    /// Returns the options as a document.
    fn document(&self) -> Object {
        let mut document = Object::default();
        if let Some(grace) = self.grace {
            document.set(&["gracePeriodSeconds"], grace);
        }
        if let Some(propagation) = self.propagation {
            document.set(&["propagationPolicy"], format!("{propagation:?}"));
        }
        for (field, value) in [("uid", &self.uid), ("resourceVersion", &self.version)] {
            if !value.is_empty() {
                document.set(&["preconditions", field], value.as_str());
            }
        }
        document
    }

    fn check(&self, object: &Object, resource: &Resource) -> Result<(), Status> {
        let pairs = [("UID", &self.uid, object.uid()), ("ResourceVersion", &self.version, object.resource_version())];
        match pairs.iter().find(|(_, wanted, found)| !wanted.is_empty() && wanted != found) {
            None => Ok(()),
            Some((what, wanted, found)) => {
                let why =
                    format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}");
                Err(Status::conflict(resource, object.name(), &why))
            }
        }
    }
}

/// What deleting an object means now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Deletion {
    /// It goes.
    Remove,
    /// It stays for now, in this state.
    Mark(Object),
    /// It is going already, and not later than asked for.
    Going,
}

/// Decides (`rest.BeforeDelete`, `deletionFinalizersForGarbageCollection`).
pub(crate) fn plan(object: &Object, resource: &Resource, options: &DeleteOptions, now: Timestamp) -> Deletion {
    let mut marked = object.clone();
    set_finalizers(&mut marked, options.propagation);
    if !object.is_deleting() {
        resource.manners.prepare_delete(&mut marked, now);
    }
    let stays = !marked.finalizers().is_empty() || object_rules::has_namespace_finalizers(&marked);
    let grace = grace(object, resource, options);
    let running_out = object.at(&["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64).unwrap_or(0);
    if object.is_deleting() {
        if grace < running_out {
            // Grace only shrinks; the deadline moves with it.
            let deadline = object.str_at(&["metadata", "deletionTimestamp"]).parse().unwrap_or(now);
            mark(&mut marked, deadline - SignedDuration::from_secs(running_out - grace), grace);
        } else if running_out > 0 {
            return Deletion::Going;
        }
    } else {
        mark(&mut marked, now + SignedDuration::from_secs(grace), grace);
        object_rules::bump_if_counted(&mut marked, resource);
        if object.kind() == "Namespace" {
            marked.set(&["status", "phase"], "Terminating");
        }
    }
    match () {
        () if grace == 0 && !stays => Deletion::Remove,
        () if marked == *object => Deletion::Going,
        () => Deletion::Mark(marked),
    }
}

/// Returns how many seconds the object gets. Pods that run nowhere, or not any more, get none (`podStrategy.CheckGracefulDelete`).
fn grace(object: &Object, resource: &Resource, options: &DeleteOptions) -> i64 {
    let Some(default) = resource.manners.grace_seconds(object) else { return 0 };
    if resource.plural == "pods" {
        let unscheduled = object.str_at(&["spec", "nodeName"]).is_empty();
        let ended = matches!(object.str_at(&["status", "phase"]), "Succeeded" | "Failed");
        if unscheduled || ended {
            return 0;
        }
    }
    let wanted = options.grace.unwrap_or(default);
    // Negative periods are taken as the shortest one.
    if wanted < 0 { 1 } else { wanted }
}

fn set_finalizers(object: &mut Object, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    let kept = object.finalizers().into_iter().filter(|name| !matches!(*name, FOREGROUND | ORPHAN));
    let mut finalizers: Vec<String> = kept.map(str::to_owned).collect();
    match propagation {
        Propagation::Foreground => finalizers.push(FOREGROUND.to_owned()),
        Propagation::Orphan => finalizers.push(ORPHAN.to_owned()),
        Propagation::Background => {}
    }
    if finalizers.is_empty() {
        object.remove(&["metadata", "finalizers"]);
    } else {
        object.set(&["metadata", "finalizers"], finalizers);
    }
}

fn mark(object: &mut Object, deadline: Timestamp, grace: i64) {
    object.set(&["metadata", "deletionTimestamp"], format_time(deadline));
    object.set(&["metadata", "deletionGracePeriodSeconds"], grace);
}

/// Answers DELETE of one object.
pub(crate) async fn delete(registry: &Registry, call: &Call, body: &[u8]) -> Result<Outcome, Status> {
    let options = DeleteOptions::parse(call, body)?;
    one(registry, call, &options).await
}

/// Deletes the object that the call names.
pub(crate) async fn one(registry: &Registry, call: &Call, options: &DeleteOptions) -> Result<Outcome, Status> {
    let key = ObjectKey::new(&call.namespace, &call.name);
    let resource = &*call.resource;
    for _ in 0..=limits::CONFLICT_RETRIES {
        let entry = registry.entry(resource, &key)?;
        let old = view::read(&registry.converter, resource, &entry).await?;
        options.check(&old, resource)?;
        let mut attributes = Attributes::new(registry, call, Operation::Delete, Some(&old));
        attributes.dry_run |= options.dry_run;
        attributes.delete_options = options.document();
        admission::delete(&attributes).await?;
        let written = match plan(&old, resource, options, registry.clock.now()) {
            Deletion::Going => return Ok(Outcome::Document { code: 200, object: old }),
            _ if options.dry_run || call.options.dry_run => return Ok(Outcome::Document { code: 200, object: old }),
            Deletion::Mark(marked) => {
                let written = write::put(registry, call, Some((&entry, &old)), &marked, &Reservation::default()).await;
                written.map(|item| Outcome::Object { code: 200, item })
            }
            Deletion::Remove => write::remove(registry, call, &entry, &old).await.map(|_| removed(&old, resource)),
        };
        match written {
            Err(WriteError::Raced | WriteError::Claimed(_)) => {}
            Err(WriteError::Failed(status)) => return Err(status),
            Ok(outcome) => return Ok(outcome),
        }
    }
    Err(Status::stale(resource, &call.name))
}

/// Pods answer with themselves (`ReturnDeletedObject`), everything else with a `Status`.
fn removed(old: &Object, resource: &Resource) -> Outcome {
    let returns_itself = matches!(
        (&*resource.group, &*resource.plural),
        ("", "pods" | "services" | "persistentvolumes" | "persistentvolumeclaims" | "serviceaccounts")
    );
    if returns_itself {
        return Outcome::Document { code: 200, object: old.clone() };
    }
    let details = Details {
        name: old.name().to_owned(),
        group: resource.group.to_string(),
        kind: resource.plural.to_string(),
        uid: old.uid().to_owned(),
        ..Details::default()
    };
    let status = Status::success(Some(&details));
    Outcome::Document { code: 200, object: Object(status.as_object().cloned().unwrap_or_default()) }
}

/// Answers DELETE on a collection with the objects that it deleted.
pub(crate) async fn collection(registry: &Registry, call: &Call, body: &[u8]) -> Result<Outcome, Status> {
    let options = DeleteOptions::parse(call, body)?;
    let selection = Selection::parse(&call.resource, &call.query, "")?;
    let latest = ListOptions { freshness: Freshness::Latest, limit: 0, page: None };
    let listing = read::select(registry, call, &latest, &selection).await?;
    for batch in listing.items.chunks(limits::DELETIONS_AT_ONCE) {
        let deletions = batch.iter().map(async |item| {
            let object = item.object();
            let each = call.on(object.namespace(), object.name());
            one(registry, &each, &options).await
        });
        // Each comes to its end, also beside one that fails.
        let failed =
            join_all(deletions).await.into_iter().find_map(|deleted| deleted.err().filter(|e| !e.is_not_found()));
        if let Some(status) = failed {
            return Err(status);
        }
    }
    Ok(Outcome::List(listing))
}

#[cfg(test)]
#[path = "delete_tests.rs"]
mod tests;
