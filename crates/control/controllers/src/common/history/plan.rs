//! Decides what becomes of a workload's revisions (`pkg/controller/history`, `pkg/controller/daemon/update.go`). Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Value, json};

use crate::common::{Claim, ObjectRef, hash, meta, selector};

/// How much of a workload's name goes into its revisions' names (`ControllerRevisionName`).
const PREFIX_LENGTH_MAX: usize = 223;

/// Whose history it is.
pub(crate) struct Keeper<'a> {
    /// The workload's metadata.
    pub(crate) meta: &'a ObjectMeta,
    /// The reference by which the workload owns its revisions.
    pub(crate) owner: OwnerReference,
    /// Which revisions and pods are the workload's.
    pub(crate) selector: &'a LabelSelector,
    /// What its pods are made of now.
    pub(crate) template: &'a PodTemplateSpec,
    /// How often a revision's name was taken by another template.
    pub(crate) collisions: Option<i32>,
    /// The label under which a revision carries its hash.
    pub(crate) hash_label: &'static str,
}

/// A workload's revisions, each in one place.
pub(crate) struct History<'a> {
    /// Those of the current template, oldest first. The last one counts; more than one is somebody else's work.
    pub(crate) current: Vec<&'a ControllerRevision>,
    /// Those of other templates, oldest first.
    pub(crate) old: Vec<&'a ControllerRevision>,
    claims: Vec<Step>,
}

/// One step; each is safe alone and may be repeated.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Becomes the controller of a revision that has none.
    Adopt(ObjectRef),
    /// Stops controlling a revision whose labels no longer match.
    Release(ObjectRef),
    /// Notes down the current template.
    Create(Box<ControllerRevision>),
    /// Says that an earlier template is the current one again.
    Renumber(ObjectRef, i64),
    /// Deletes a revision that is too old to go back to.
    Forget(ObjectRef),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adopt(revision) => write!(f, "adopt revision {revision}"),
            Self::Release(revision) => write!(f, "release revision {revision}"),
            Self::Create(revision) => write!(f, "note revision {}", number_of(revision)),
            Self::Renumber(revision, number) => write!(f, "revision {revision} becomes number {number}"),
            Self::Forget(revision) => write!(f, "forget revision {revision}"),
        }
    }
}

impl<'a> History<'a> {
    /// Reads the revisions that the workload controls or may adopt.
    pub(crate) fn read(keeper: &Keeper<'_>, revisions: &'a [Arc<ControllerRevision>]) -> Self {
        let selects = selector::of(keeper.selector);
        let mut history = Self { current: Vec::new(), old: Vec::new(), claims: Vec::new() };
        let wanted = hash::canonical(keeper.template);
        let mut sorted: Vec<&ControllerRevision> = revisions.iter().map(Arc::as_ref).collect();
        sorted.sort_by_key(|revision| {
            (number_of(revision), meta::created_at(&revision.metadata), meta::name(&revision.metadata))
        });
        for revision in sorted {
            let named = || ObjectRef::of(&revision.metadata);
            match Claim::judge(keeper.meta, &selects, &revision.metadata) {
                Claim::Owned => {}
                Claim::Adoptable if selects.is_everything() => continue,
                Claim::Adoptable => history.claims.push(Step::Adopt(named())),
                Claim::Releasable => {
                    history.claims.push(Step::Release(named()));
                    continue;
                }
                Claim::Foreign => continue,
            }
            let is_current = template_of(revision).as_ref().map(hash::canonical).as_ref() == Some(&wanted);
            if is_current { history.current.push(revision) } else { history.old.push(revision) }
        }
        history
    }

    /// Returns what must be done before the workload's pods are looked at: every pod names its revision.
    pub(crate) fn steps(&self, keeper: &Keeper<'_>) -> Vec<Step> {
        let mut steps = self.claims.clone();
        let next = self.old.last().map_or(1, |newest| number_of(newest).saturating_add(1));
        match self.current.last() {
            None => steps.push(Step::Create(Box::new(build(keeper, next)))),
            Some(current) if number_of(current) < next => {
                steps.push(Step::Renumber(ObjectRef::of(&current.metadata), next));
            }
            Some(_) => {}
        }
        steps
    }

    /// Returns the oldest of the old revisions beyond `limit`, without those that are in use.
    pub(crate) fn surplus(&self, limit: Option<i32>, is_used: impl Fn(&ControllerRevision) -> bool) -> Vec<Step> {
        let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or_default();
        let unused: Vec<&&ControllerRevision> = self.old.iter().filter(|revision| !is_used(revision)).collect();
        let surplus = unused.len().saturating_sub(limit);
        unused.into_iter().take(surplus).map(|revision| Step::Forget(ObjectRef::of(&revision.metadata))).collect()
    }

    /// Returns the hashes that pods of the current template may carry.
    pub(crate) fn current_hashes(&self, keeper: &Keeper<'_>) -> BTreeSet<&'a str> {
        self.current.iter().filter_map(|revision| hash_of(revision, keeper.hash_label)).collect()
    }
}

/// Returns a revision's number.
fn number_of(revision: &ControllerRevision) -> i64 {
    revision.revision.unwrap_or_default()
}

/// Returns the hash that a revision carries.
pub(crate) fn hash_of<'a>(revision: &'a ControllerRevision, label: &str) -> Option<&'a str> {
    revision.metadata.labels.as_ref()?.get(label).map(String::as_str)
}

/// Returns the template that a revision notes down.
pub(crate) fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let template = revision.data.0.pointer("/spec/template")?;
    serde_json::from_value(template.clone()).ok()
}

/// Makes the revision of the current template. What it holds is a patch that brings the template back: clients apply it.
fn build(keeper: &Keeper<'_>, number: i64) -> ControllerRevision {
    let hash = hash::pod_template_hash(keeper.template, keeper.collisions);
    let mut template = serde_json::to_value(keeper.template).unwrap_or_default();
    if let Some(template) = template.as_object_mut() {
        template.insert("$patch".to_owned(), Value::from("replace"));
    }
    let made_of = keeper.template.metadata.as_ref();
    let mut labels = made_of.and_then(|meta| meta.labels.clone()).unwrap_or_default();
    labels.insert(keeper.hash_label.to_owned(), hash.clone());
    let prefix: String = meta::name(keeper.meta).chars().take(PREFIX_LENGTH_MAX).collect();
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{prefix}-{hash}")),
            namespace: keeper.meta.namespace.clone(),
            labels: Some(labels),
            annotations: keeper.meta.annotations.clone(),
            owner_references: Some(vec![keeper.owner.clone()]),
            ..ObjectMeta::default()
        },
        data: RawExtension(json!({ "spec": { "template": template } })),
        revision: Some(number),
    }
}
