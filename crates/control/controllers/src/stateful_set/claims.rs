//! The claims of a `StatefulSet`'s pods: one per template and pod, kept or not when the pod or the set goes
//! (`stateful_set_utils.go`, `claimOwnerMatchesSetAndPod`). Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::Resource as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::identity;
use super::plan::Action;
use crate::common::{ObjectRef, meta};

/// The claims of the namespace by name.
pub(super) type Claims = BTreeMap<String, Arc<PersistentVolumeClaim>>;

/// Whether a pod is to stay, or one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Wanted,
    Condemned,
}

/// Returns the claims of the pod with this number that are not there.
pub(super) fn missing(set: &StatefulSet, claims: &Claims, ordinal: i32) -> Vec<Action> {
    let templates = set.spec.volume_claim_templates.iter().flatten();
    let built = templates.map(|template| build(set, template, ordinal));
    let absent = built.filter(|claim| !claims.contains_key(meta::name(&claim.metadata)));
    absent.map(|claim| Action::Claim(Box::new(claim))).collect()
}

fn build(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> PersistentVolumeClaim {
    let mut claim = template.clone();
    claim.status = None;
    claim.metadata.name = Some(identity::claim_name(set, meta::name(&template.metadata), ordinal));
    claim.metadata.namespace.clone_from(&set.metadata.namespace);
    let labels = set.spec.selector.match_labels.clone().unwrap_or_default();
    claim.metadata.labels.get_or_insert_default().extend(labels);
    if goes_with_set(set) {
        claim.metadata.owner_references = Some(vec![meta::controller_ref(set)]);
    }
    claim
}

/// Whether a claim of an earlier pod of this number is on its way out: the new pod waits, or it would lose its data.
pub(super) fn are_stale(set: &StatefulSet, claims: &Claims, ordinal: i32) -> bool {
    of_pod(set, claims, ordinal).any(|claim| {
        let owners = claim.metadata.owner_references.iter().flatten();
        meta::is_deleting(&claim.metadata) || owners.into_iter().any(is_pod)
    })
}

/// Returns what makes the claims of a pod go with whom the retention policy says.
pub(super) fn owned(set: &StatefulSet, claims: &Claims, pod: &Pod, ordinal: i32, standing: Standing) -> Vec<Action> {
    let wanted = wanted_owner(set, pod, standing);
    let wrong = of_pod(set, claims, ordinal).filter_map(|claim| {
        let current = claim.metadata.owner_references.clone().unwrap_or_default();
        let is_ours = |owner: &OwnerReference| is_pod(owner) || owner.uid == meta::uid(&set.metadata);
        // A claim that another controller keeps is that one's.
        if current.iter().any(|owner| owner.controller == Some(true) && !is_ours(owner)) {
            return None;
        }
        let mut owners: Vec<OwnerReference> = current.iter().filter(|owner| !is_ours(owner)).cloned().collect();
        owners.extend(wanted.clone());
        let same = owners.len() == current.len() && owners.iter().all(|owner| current.contains(owner));
        (!same).then(|| Action::Own(ObjectRef::of(&claim.metadata), owners))
    });
    wrong.collect()
}

fn wanted_owner(set: &StatefulSet, pod: &Pod, standing: Standing) -> Option<OwnerReference> {
    if standing == Standing::Condemned && policy(set, |policy| policy.when_scaled.as_deref()) {
        return Some(meta::controller_ref(pod));
    }
    goes_with_set(set).then(|| meta::controller_ref(set))
}

fn goes_with_set(set: &StatefulSet) -> bool {
    policy(set, |policy| policy.when_deleted.as_deref())
}

/// Whether the retention policy says `Delete`; it keeps claims unless told otherwise.
fn policy(
    set: &StatefulSet,
    read: impl Fn(&k8s_openapi::api::apps::v1::StatefulSetPersistentVolumeClaimRetentionPolicy) -> Option<&str>,
) -> bool {
    set.spec.persistent_volume_claim_retention_policy.as_ref().and_then(read) == Some("Delete")
}

fn is_pod(owner: &OwnerReference) -> bool {
    owner.kind == Pod::KIND && owner.api_version == Pod::API_VERSION
}

fn of_pod<'a>(
    set: &'a StatefulSet,
    claims: &'a Claims,
    ordinal: i32,
) -> impl Iterator<Item = &'a PersistentVolumeClaim> {
    let templates = set.spec.volume_claim_templates.iter().flatten();
    let names = templates.map(move |template| identity::claim_name(set, meta::name(&template.metadata), ordinal));
    names.filter_map(|name| claims.get(&name)).map(Arc::as_ref)
}
