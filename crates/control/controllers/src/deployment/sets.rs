//! The `ReplicaSets` of a Deployment: which one is new, and how a new one is made.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::budget::Budget;
use super::revision;
use crate::common::hash::{self, TEMPLATE_HASH};
use crate::common::meta;

/// The Deployment's own sets.
pub(super) struct Sets<'a> {
    /// The set of the current template.
    pub(super) new: Option<&'a ReplicaSet>,
    /// The others, the oldest first.
    pub(super) old: Vec<&'a ReplicaSet>,
}

impl<'a> Sets<'a> {
    /// Splits the sets. If two have the current template, the older one is the new set, always (`FindNewReplicaSet`).
    pub(super) fn split(template: &PodTemplateSpec, mut sets: Vec<&'a ReplicaSet>) -> Self {
        sets.sort_by_key(|set| (meta::created_at(&set.metadata), meta::name(&set.metadata)));
        let wanted = hash::canonical(template);
        let is_new = |set: &&ReplicaSet| set.spec.template.as_ref().map(hash::canonical).as_ref() == Some(&wanted);
        let new = sets.iter().position(is_new).map(|index| sets.remove(index));
        Self { new, old: sets }
    }

    /// All sets, the new one last.
    pub(super) fn all(&self) -> impl Iterator<Item = &'a ReplicaSet> + '_ {
        self.old.iter().copied().chain(self.new)
    }

    /// The sets that want pods.
    pub(super) fn active(&self) -> impl Iterator<Item = &'a ReplicaSet> + '_ {
        self.all().filter(|set| replicas(set) > 0)
    }

    /// The old sets that want pods.
    pub(super) fn old_active(&self) -> impl Iterator<Item = &'a ReplicaSet> + '_ {
        self.old.iter().copied().filter(|set| replicas(set) > 0)
    }

    /// How many pods all sets want.
    pub(super) fn replicas(&self) -> i32 {
        self.all().map(replicas).sum()
    }
}

/// How many pods the set wants.
pub(super) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

/// How many pods of the set are available.
pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default()
}

/// Makes the set of the current template.
pub(super) fn build(deployment: &Deployment, budget: &Budget, sets: &Sets<'_>, replicas: i32) -> ReplicaSet {
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = hash::pod_template_hash(&deployment.spec.template, collisions);

    let mut template = deployment.spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(TEMPLATE_HASH.to_owned(), hash.clone());
    let labels = labels.clone();

    let mut selector = deployment.spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(TEMPLATE_HASH.to_owned(), hash.clone());

    let mut annotations: BTreeMap<String, String> = revision::copied_annotations(deployment);
    annotations.insert(revision::REVISION.to_owned(), revision::next(sets).to_string());
    annotations.insert(revision::DESIRED_REPLICAS.to_owned(), budget.replicas().to_string());
    annotations.insert(revision::MAX_REPLICAS.to_owned(), budget.max().to_string());

    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", meta::name(&deployment.metadata))),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![meta::controller_ref(deployment)]),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: deployment.spec.min_ready_seconds,
            selector,
            template: Some(template),
        },
        status: None,
    }
}

/// Whether a set that exists is the one that was to be made: of the same owner and template.
pub(super) fn is_same(known: &ReplicaSet, wanted: &ReplicaSet) -> bool {
    let owner = |set: &ReplicaSet| meta::controller_of(&set.metadata).map(|owner| owner.uid.clone());
    let template = |set: &ReplicaSet| set.spec.template.as_ref().map(hash::canonical);
    owner(known) == owner(wanted) && template(known) == template(wanted)
}
