//! Revisions: the numbered history that `kubectl rollout` reads from annotations.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::plan::{Action, Annotations};
use super::sets::Sets;
use crate::common::{ObjectRef, meta};

/// The number of a template, on its set and on the Deployment.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
/// The numbers that a set had before it was rolled back to.
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The Deployment's replicas when the set was last scaled.
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// The same with the surge.
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations that belong to one object and are not copied from the Deployment to its sets (`annotationsToSkip`).
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];

/// How much revision history is kept on one set, in bytes.
const HISTORY_LENGTH_MAX: usize = 2000;

/// Returns the object's revision; 0 if it has none.
pub(super) fn of(meta: &ObjectMeta) -> i64 {
    meta::annotation(meta, REVISION).and_then(|revision| revision.parse().ok()).unwrap_or_default()
}

/// Returns the revision of the current template: one more than the highest among the old sets.
pub(super) fn next(sets: &Sets<'_>) -> i64 {
    sets.old.iter().map(|set| of(&set.metadata)).max().unwrap_or_default() + 1
}

/// Returns the Deployment's annotations that its sets carry too.
pub(super) fn copied_annotations(deployment: &Deployment) -> BTreeMap<String, String> {
    let all = deployment.metadata.annotations.iter().flatten();
    let copied = all.filter(|(key, _)| !NOT_COPIED.contains(&key.as_str()));
    copied.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Returns what brings the new set's annotations and the Deployment's revision up to date.
pub(super) fn sync(deployment: &Deployment, sets: &Sets<'_>) -> Vec<Action> {
    let Some(new) = sets.new else { return Vec::new() };
    let current = new.metadata.annotations.clone().unwrap_or_default();
    let mut wanted = current.clone();
    wanted.extend(copied_annotations(deployment));
    let revision = of(&new.metadata).max(next(sets));
    if of(&new.metadata) < revision {
        if let Some(before) = current.get(REVISION) {
            wanted.insert(REVISION_HISTORY.to_owned(), history(current.get(REVISION_HISTORY), before));
        }
        wanted.insert(REVISION.to_owned(), revision.to_string());
    }

    let mut actions = Vec::new();
    if wanted != current || new.spec.min_ready_seconds != deployment.spec.min_ready_seconds {
        let min_ready_seconds = deployment.spec.min_ready_seconds;
        actions.push(Action::Annotate(
            ObjectRef::of(&new.metadata),
            Annotations { annotations: wanted, min_ready_seconds },
        ));
    }
    if meta::annotation(&deployment.metadata, REVISION) != Some(revision.to_string().as_str()) {
        actions.push(Action::SetRevision(revision.to_string()));
    }
    actions
}

/// Appends a revision, and drops the oldest ones when the list grows too long.
fn history(current: Option<&String>, revision: &str) -> String {
    let Some(current) = current.filter(|history| !history.is_empty()) else { return revision.to_owned() };
    let mut kept = current.as_str();
    while kept.len() + 1 + revision.len() > HISTORY_LENGTH_MAX {
        let Some((_, rest)) = kept.split_once(',') else { return revision.to_owned() };
        kept = rest;
    }
    format!("{kept},{revision}")
}
