//! Who a pod of a `StatefulSet` is: its number, its name, and what follows from both
//! (`pkg/controller/statefulset/stateful_set_utils.go`). Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume};

use crate::common::history::POD_HASH;
use crate::common::{meta, pods};

/// The label with the name of the pod, so that a Service can select one.
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
/// The label with the number of the pod.
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// Returns the name of the pod with this number.
pub(super) fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", meta::name(&set.metadata))
}

/// Returns the name of a pod's claim from this template.
pub(super) fn claim_name(set: &StatefulSet, template: &str, ordinal: i32) -> String {
    format!("{template}-{}", pod_name(set, ordinal))
}

/// Returns the number of the set's pod of this name; `None` if the name is no such pod's.
pub(super) fn ordinal_of(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let (parent, number) = meta::name(&pod.metadata).rsplit_once('-')?;
    let ordinal = number.parse().ok().filter(|_| number.bytes().all(|byte| byte.is_ascii_digit()));
    ordinal.filter(|_| parent == meta::name(&set.metadata))
}

/// Returns the labels that tell who the pod is.
pub(super) fn labels(set: &StatefulSet, ordinal: i32) -> BTreeMap<String, String> {
    BTreeMap::from([(POD_NAME.to_owned(), pod_name(set, ordinal)), (POD_INDEX.to_owned(), ordinal.to_string())])
}

/// Whether a pod carries its labels; one that was adopted may not.
pub(super) fn is_labelled(set: &StatefulSet, ordinal: i32, pod: &Pod) -> bool {
    let carried = meta::labels(&pod.metadata);
    labels(set, ordinal).iter().all(|(key, value)| carried.get(key) == Some(value))
}

/// Makes the pod with this number of a revision's template.
pub(super) fn build(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let owner = meta::controller_ref(set);
    let mut pod = pods::from_template(template, meta::namespace(&set.metadata), String::new(), owner);
    let name = pod_name(set, ordinal);
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    let own = pod.metadata.labels.get_or_insert_default();
    own.extend(labels(set, ordinal));
    own.insert(POD_HASH.to_owned(), revision.to_owned());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name);
    spec.subdomain = set.spec.service_name.clone().filter(|service| !service.is_empty());

    // A claim takes the place of the template's volume of its name.
    let templates = set.spec.volume_claim_templates.iter().flatten().map(|claim| meta::name(&claim.metadata));
    let mut volumes: Vec<Volume> = templates.map(|template| volume(set, template, ordinal)).collect();
    let named = |volume: &Volume| volumes.iter().any(|claimed| claimed.name == volume.name);
    let others: Vec<Volume> = spec.volumes.take().into_iter().flatten().filter(|volume| !named(volume)).collect();
    volumes.extend(others);
    spec.volumes = (!volumes.is_empty()).then_some(volumes);
    pod
}

fn volume(set: &StatefulSet, template: &str, ordinal: i32) -> Volume {
    let source = PersistentVolumeClaimVolumeSource { claim_name: claim_name(set, template, ordinal), read_only: None };
    Volume { name: template.to_owned(), persistent_volume_claim: Some(source), ..Volume::default() }
}
