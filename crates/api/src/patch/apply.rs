//! Server-side apply (`structured-merge-diff/merge/update.go` and `apimachinery/pkg/util/managedfields`).

use std::fmt;

use serde_json::Value;

use super::fieldset::FieldSet;
use super::managed::{self, Manager, Managers, Operation, Writer};
use super::typed::{self, Changes};
use crate::decode;
use crate::object::Object;
use crate::schema::Type;
use crate::status::{Cause, Status};

/// The annotation in which client-side apply keeps what it applied last.
const LAST_APPLIED: [&str; 3] = ["metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration"];
/// The manager whose client-side past is forgiven.
const KUBECTL: &str = "kubectl";
/// The manager of what was there before anybody was tracked.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Why something could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Others own fields that would change: 409.
    #[error("{0}")]
    Conflicts(Conflicts),
    /// The applied configuration says who manages what, which is not its business: 400.
    #[error("metadata.managedFields must be nil")]
    ManagedFields,
    /// The applied configuration does not fit the type.
    #[error("failed to create typed patch object ({object}): {}", .problems.join("\n"))]
    Invalid {
        /// Which object, such as `default/d; apps/v1, Kind=Deployment`.
        object: String,
        /// All that is wrong.
        problems: Vec<String>,
    },
}

/// The fields that others own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflicts(pub Vec<Conflict>);

/// One field that someone else owns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// The owner, such as `"kubectl-client-side-apply" using apps/v1`.
    pub manager: String,
    /// The field, such as `.spec.replicas`.
    pub path: String,
}

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            return write!(f, "Apply failed with 1 conflict: conflict with {}: {}", only.manager, only.path);
        }
        write!(f, "Apply failed with {} conflicts: ", self.0.len())?;
        let mut manager = "";
        for conflict in &self.0 {
            if conflict.manager != manager {
                let newline = if manager.is_empty() { "" } else { "\n" };
                manager = &conflict.manager;
                write!(f, "{newline}conflicts with {manager}:")?;
            }
            write!(f, "\n- {}", conflict.path)?;
        }
        Ok(())
    }
}

impl From<ApplyError> for Status {
    fn from(error: ApplyError) -> Self {
        let message = error.to_string();
        match error {
            ApplyError::Conflicts(conflicts) => Self::apply_conflict(conflicts.causes(), message),
            ApplyError::ManagedFields | ApplyError::Invalid { .. } => Self::bad_request(message),
        }
    }
}

impl Conflicts {
    /// Returns the causes as `Status.details` lists them.
    pub fn causes(&self) -> Vec<Cause> {
        let cause = |conflict: &Conflict| Cause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {}", conflict.manager),
            field: conflict.path.clone(),
        };
        self.0.iter().map(cause).collect()
    }
}

/// What to do about fields that others own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Refuse.
    No,
    /// Take them.
    Yes,
}

/// Applies a configuration: its fields are set and owned, fields that it no longer names and nobody else owns go.
/// `live` is the stored object, `None` to create it. The result carries the new `managedFields`; an apply that
/// changes nothing returns the live object as it was.
///
/// # Errors
/// If others own what would change and `force` does not allow it, or the configuration cannot be applied at all.
pub fn apply(
    live: Option<&Object>,
    applied: &Object,
    of: Option<&Type>,
    writer: &Writer<'_>,
    force: Force,
) -> Result<Object, ApplyError> {
    if applied.at(&["metadata", "managedFields"]).is_some_and(|managed| !managed.is_null()) {
        return Err(ApplyError::ManagedFields);
    }
    let mut config = Value::Object(applied.0.clone());
    let problems = typed::problems(&config, of);
    if !problems.is_empty() {
        return Err(ApplyError::Invalid { object: title(applied), problems });
    }
    if let Some(of) = of {
        // `0.5` and `500m` are the same amount and must not look like a change.
        decode::canonicalize(&mut config, of);
    }
    let managers = live.map(|live| first_managers(live, of, writer)).unwrap_or_default();
    let work = Work { live, config: &config, of, writer };
    let outcome = match work.run(managers.clone(), force) {
        Err(conflicts) if writer.manager == KUBECTL => {
            let rest = conflicts.without(&forgiven(live, of));
            if !rest.0.is_empty() {
                return Err(ApplyError::Conflicts(rest));
            }
            work.run(managers, Force::Yes)
        }
        outcome => outcome,
    };
    outcome.map_err(ApplyError::Conflicts)
}

fn title(applied: &Object) -> String {
    format!("{}/{}; {}, Kind={}", applied.namespace(), applied.name(), applied.api_version(), applied.kind())
}

/// Returns the managers of the live object. What nobody was tracked for belongs to `before-first-apply`, so that a
/// first apply cannot take it silently.
fn first_managers(live: &Object, of: Option<&Type>, writer: &Writer<'_>) -> Managers {
    let mut managers = Managers::read(live).unwrap_or_default();
    if managers.list.is_empty() {
        let before = Writer { manager: BEFORE_FIRST_APPLY, subresource: "", ..*writer };
        let changes = managed::owned_changes(None, live, of, &before);
        managed::record(&mut managers, &changes, &before);
    }
    managers
}

struct Work<'a> {
    live: Option<&'a Object>,
    config: &'a Value,
    of: Option<&'a Type>,
    writer: &'a Writer<'a>,
}

impl Work<'_> {
    fn run(&self, mut managers: Managers, force: Force) -> Result<Object, Conflicts> {
        let manager = Manager::new(self.writer, Operation::Apply);
        let last = managers.find(&manager).map(Manager::set).unwrap_or_default();
        let mut set = typed::set_of(self.config, self.of);
        for path in self.writer.reset {
            set.subtract_tree(path);
        }
        let mut live = self.live.cloned().unwrap_or_default();
        live.remove(&["metadata", "managedFields"]);
        let live = Value::Object(live.0);
        let merged = typed::merge(&live, self.config, self.of);
        let merged = self.prune(merged, &managers, &manager, &last, &set);
        let Value::Object(merged) = without_nulls(merged) else { unreachable!("objects merge into an object") };
        let mut merged = Object(merged);
        let changes = managed::owned_changes(self.live, &merged, self.of, self.writer);
        if force == Force::No {
            check_conflicts(&managers, &manager, &changes)?;
        }
        managers.dispossess(&manager, &changes);
        let before = managers.find(&manager).map(Manager::set);
        managers.set(manager.clone(), set.clone(), None);
        let after = managers.find(&manager).map(Manager::set);
        if changes.is_empty() && before.is_some() && before == after {
            return Ok(self.sync_last_applied(self.unchanged(merged)));
        }
        managers.set(manager, set, Some(self.writer.now));
        managers.write(&mut merged);
        Ok(self.sync_last_applied(merged))
    }

    /// Returns the live object, with the preconditions that the configuration may have named.
    fn unchanged(&self, merged: Object) -> Object {
        let Some(live) = self.live else { return merged };
        let mut same = live.clone();
        for path in [["metadata", "uid"], ["metadata", "resourceVersion"]] {
            if let Some(wanted) = merged.at(&path) {
                same.set(&path, wanted.clone());
            }
        }
        same
    }

    /// Removes what this manager applied last time, does not apply now, and nobody else owns (`Updater.prune`).
    fn prune(&self, merged: Value, managers: &Managers, manager: &Manager, last: &FieldSet, now: &FieldSet) -> Value {
        if last.is_empty() {
            return merged;
        }
        let named = |set: &FieldSet| typed::with_named_fields(set, self.of);
        let fields = |value: &Value| named(&typed::set_of(value, self.of));
        let last = named(last);
        let mut without_last = merged.clone();
        typed::remove(&mut without_last, &last, self.of);
        let mut owned = now.clone();
        for other in managers.list.iter().filter(|other| managers.find(manager) != Some(*other)) {
            owned.add(&other.set());
        }
        // Add back what someone owns ...
        let all = fields(&merged);
        let mut gone = all.clone();
        gone.subtract(&fields(&without_last));
        gone.subtract(&named(&owned));
        let mut kept = merged.clone();
        typed::remove(&mut kept, &gone, self.of);
        // ... and what this manager never applied.
        let mut gone = all;
        gone.subtract(&fields(&kept));
        let gone = gone.intersection(&last);
        let mut pruned = merged;
        typed::remove(&mut pruned, &gone, self.of);
        pruned
    }

    /// Keeps the annotation of client-side apply true, for users who go back and forth (`lastappliedupdater.go`). It
    /// comes last, because it is the server that writes here and no manager.
    fn sync_last_applied(&self, mut merged: Object) -> Object {
        let had = self.live.is_some_and(|live| live.at(&LAST_APPLIED).is_some());
        let subresource = !self.writer.subresource.is_empty();
        if self.writer.manager != KUBECTL || !had || subresource || merged.at(&LAST_APPLIED).is_none() {
            return merged;
        }
        let mut config = Object(self.config.as_object().cloned().unwrap_or_default());
        config.remove(&LAST_APPLIED);
        merged.set(&LAST_APPLIED, format!("{}\n", Value::Object(config.0)));
        merged
    }
}

fn check_conflicts(managers: &Managers, manager: &Manager, changes: &Changes) -> Result<(), Conflicts> {
    let own = managers.find(manager);
    let mut conflicts = Vec::new();
    for other in managers.list.iter().filter(|other| own != Some(*other) && other.touches(&changes.taken)) {
        let paths = other.set().intersection(&changes.taken).paths();
        conflicts.extend(paths.into_iter().map(|path| Conflict { manager: other.title(), path }));
    }
    conflicts.sort();
    if conflicts.is_empty() { Ok(()) } else { Err(Conflicts(conflicts)) }
}

impl Conflicts {
    fn without(self, forgiven: &[String]) -> Self {
        Self(self.0.into_iter().filter(|conflict| !forgiven.contains(&conflict.path)).collect())
    }
}

/// Returns the fields that client-side apply set and that still have that value: `kubectl apply --server-side` may
/// take them from its own past (`lastappliedmanager.go`).
fn forgiven(live: Option<&Object>, of: Option<&Type>) -> Vec<String> {
    let Some(live) = live else { return Vec::new() };
    let Ok(last) = serde_json::from_str::<Object>(live.str_at(&LAST_APPLIED)) else { return Vec::new() };
    let mut same = typed::set_of(&Value::Object(last.0.clone()), of);
    let changes = typed::compare_documents(Some(&live.0), &last.0, of);
    same.subtract(&changes.taken);
    same.paths()
}

/// Drops `null`s, which in an applied configuration mean "owned, but not there".
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, inner)| !inner.is_null())
            .map(|(key, inner)| (key, without_nulls(inner)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

#[cfg(test)]
mod histories;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod worlds;
