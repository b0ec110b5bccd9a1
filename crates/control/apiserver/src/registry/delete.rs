//! Delete and deletecollection: at once, after a grace period, or once the finalizers are gone.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use wkube_api::object::format_time;
use wkube_api::status::Details;
use wkube_api::{Object, ObjectKey, Resource, Status};

use super::list_options::{Freshness, ListOptions};
use super::selection::Selection;
use super::write::{self, WriteError};
use super::{Outcome, Registry, decode, object_rules, read, view};
use crate::admission::{self, Attributes, Operation, Reservation};
use crate::call::Call;
use crate::limits;

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
    /// Reads the body, or the query if there is none.
    pub(crate) fn parse(call: &Call, body: &[u8]) -> Result<Self, Status> {
        let mut document = decode::options(call, body)?;
        let query = &call.query;
        for field in ["propagationPolicy", "orphanDependents", "gracePeriodSeconds"] {
            if document.0.get(field).is_none_or(Value::is_null) && query.has(field) {
                let text = query.get(field);
                document.set(&[field], serde_json::from_str::<Value>(text).unwrap_or_else(|_| text.into()));
            }
        }
        Self::read(&document)
    }

    /// Reads the document.
    pub(crate) fn read(document: &Object) -> Result<Self, Status> {
        let orphan = document.at(&["orphanDependents"]).and_then(Value::as_bool);
        let propagation = match (document.str_at(&["propagationPolicy"]), orphan) {
            ("", None) => None,
            ("", Some(true)) | ("Orphan", None) => Some(Propagation::Orphan),
            ("", Some(false)) | ("Background", None) => Some(Propagation::Background),
            ("Foreground", None) => Some(Propagation::Foreground),
            (_, Some(_)) => {
                let why = "orphanDependents and deletionPropagation cannot be both set";
                return Err(Status::unprocessable(format!("DeleteOptions.meta.k8s.io \"\" is invalid: {why}")));
            }
            (other, None) => {
                return Err(Status::unprocessable(format!(
                    "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: {other:?}: \
                     supported values: \"Background\", \"Foreground\", \"Orphan\""
                )));
            }
        };
        Ok(Self {
            grace: document.at(&["gracePeriodSeconds"]).and_then(Value::as_i64),
            propagation,
            uid: document.str_at(&["preconditions", "uid"]).to_owned(),
            version: document.str_at(&["preconditions", "resourceVersion"]).to_owned(),
            dry_run: document.at(&["dryRun"]).and_then(Value::as_array).is_some_and(|list| !list.is_empty()),
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
            _ if options.dry_run || call.dry_run => return Ok(Outcome::Document { code: 200, object: old }),
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
    for item in &listing.items {
        let object = item.object();
        let each = call.on(object.namespace(), object.name());
        match one(registry, &each, &options).await {
            Err(status) if !status.is_not_found() => return Err(status),
            _ => {}
        }
    }
    Ok(Outcome::List(listing))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options(document: Value) -> Result<DeleteOptions, u16> {
        let document: Object = serde_json::from_value(document).expect("an object");
        DeleteOptions::read(&document).map_err(|status| status.code)
    }

    fn resource(plural: &str) -> std::sync::Arc<Resource> {
        let rows = wkube_api::kinds::builtin();
        rows.iter().find(|row| row.plural == plural).expect("a built-in kind").clone()
    }

    fn object(kind: &str, metadata: impl Into<Value>) -> Object {
        let spec = json!({"nodeName": "n", "terminationGracePeriodSeconds": 30});
        serde_json::from_value(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata.into(), "spec": spec}))
            .expect("an object")
    }

    /// Says what a deletion does: `removed`, `going`, or the marks it leaves.
    fn check(plural: &str, object: &Object, options: &DeleteOptions, expected: &str) {
        let seen = match plan(object, &resource(plural), options, Timestamp::UNIX_EPOCH) {
            Deletion::Remove => "removed".to_owned(),
            Deletion::Going => "going".to_owned(),
            Deletion::Mark(marked) => format!(
                "{} {} {:?}",
                marked.str_at(&["metadata", "deletionTimestamp"]),
                marked.at(&["metadata", "deletionGracePeriodSeconds"]).cloned().unwrap_or_default(),
                marked.finalizers()
            ),
        };
        assert_eq!(seen, expected);
    }

    #[test]
    fn an_object_without_finalizers_goes_at_once() {
        check("configmaps", &object("ConfigMap", json!({"name": "a"})), &DeleteOptions::default(), "removed");
    }

    #[test]
    fn a_finalizer_keeps_it() {
        let held = object("ConfigMap", json!({"name": "a", "finalizers": ["x/y"]}));
        check("configmaps", &held, &DeleteOptions::default(), r#"1970-01-01T00:00:00Z 0 ["x/y"]"#);
    }

    #[test]
    fn foreground_and_orphan_are_finalizers() {
        let plain = object("ConfigMap", json!({"name": "a"}));
        let foreground = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
        check("configmaps", &plain, &foreground, r#"1970-01-01T00:00:00Z 0 ["foregroundDeletion"]"#);
        let orphan = DeleteOptions { propagation: Some(Propagation::Orphan), ..DeleteOptions::default() };
        check("configmaps", &plain, &orphan, r#"1970-01-01T00:00:00Z 0 ["orphan"]"#);
        let held = object("ConfigMap", json!({"name": "a", "finalizers": ["orphan"]}));
        let background = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        check("configmaps", &held, &background, "removed");
    }

    #[test]
    fn a_running_pod_gets_its_grace_period() {
        let pod = object("Pod", json!({"name": "a"}));
        let five = DeleteOptions { grace: Some(5), ..DeleteOptions::default() };
        check("pods", &pod, &five, "1970-01-01T00:00:05Z 5 []");
        let now = DeleteOptions { grace: Some(0), ..DeleteOptions::default() };
        check("pods", &pod, &now, "removed");
    }

    #[test]
    fn a_pod_that_runs_nowhere_goes_at_once() {
        let mut pod = object("Pod", json!({"name": "a"}));
        pod.remove(&["spec", "nodeName"]);
        check("pods", &pod, &DeleteOptions { grace: Some(5), ..DeleteOptions::default() }, "removed");
    }

    #[test]
    fn grace_only_shrinks() {
        let dying = object(
            "Pod",
            json!({"name": "a", "deletionTimestamp": "1970-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30}),
        );
        let grace = |seconds| DeleteOptions { grace: Some(seconds), ..DeleteOptions::default() };
        check("pods", &dying, &grace(60), "going");
        check("pods", &dying, &grace(30), "going");
        check("pods", &dying, &grace(10), "1970-01-01T00:00:10Z 10 []");
        check("pods", &dying, &grace(0), "removed");
    }

    #[test]
    fn options_know_the_old_and_the_new_word_for_orphans() {
        assert_eq!(options(json!({"orphanDependents": true})).map(|o| o.propagation), Ok(Some(Propagation::Orphan)));
        assert_eq!(options(json!({"orphanDependents": true, "propagationPolicy": "Orphan"})), Err(422));
        assert_eq!(options(json!({"propagationPolicy": "Sideways"})), Err(422));
    }
}
