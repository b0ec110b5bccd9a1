//! The mirror of a static pod: the object by which the API shows it (`pkg/kubelet/pod/mirror_client.go`). Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{HASH, MIRROR, SOURCE};

/// Whether a pod comes from a file of this node.
pub(crate) fn is_static(pod: &Pod) -> bool {
    annotation(pod, SOURCE) == Some("file") && annotation(pod, MIRROR).is_none()
}

/// Returns the hash of the static pod that an object mirrors; `None` if it is a pod of its own.
pub(crate) fn mirrored(object: &Pod) -> Option<&str> {
    annotation(object, MIRROR)
}

/// Whether an object shows this static pod as it is now, and will go on doing so.
pub(crate) fn is_mirror_of(object: &Pod, pod: &Pod) -> bool {
    let hash = annotation(pod, HASH);
    hash.is_some() && mirrored(object) == hash && object.metadata.deletion_timestamp.is_none()
}

/// Returns the mirror of a static pod, which goes with its node.
pub(crate) fn mirror_of(pod: &Pod, node: &Node) -> Pod {
    let mut annotations: BTreeMap<String, String> = pod.metadata.annotations.clone().unwrap_or_default();
    let hash = annotations.get(HASH).cloned().unwrap_or_default();
    annotations.insert(MIRROR.to_owned(), hash);
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.metadata.name.clone().unwrap_or_default(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    let metadata = ObjectMeta {
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        labels: pod.metadata.labels.clone(),
        annotations: Some(annotations),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec: pod.spec.clone(), status: None }
}

fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    Some(pod.metadata.annotations.as_ref()?.get(key)?.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::static_pods::manifest;

    fn pod() -> Pod {
        let text = "{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}}, spec: {containers: [{name: c, image: i}]}}";
        manifest::read(text, "n").unwrap().remove(0)
    }

    #[test]
    fn a_mirror_shows_its_pod_and_belongs_to_its_node() {
        let pod = pod();
        let mut node = Node::default();
        (node.metadata.name, node.metadata.uid) = (Some("n".to_owned()), Some("u".to_owned()));
        let mut mirror = mirror_of(&pod, &node);
        assert!(is_static(&pod) && !is_static(&mirror));
        assert_eq!(mirrored(&mirror), pod.metadata.uid.as_deref());
        assert_eq!(mirror.metadata.uid, None, "the server gives it one");
        assert_eq!((&mirror.spec, &mirror.metadata.labels), (&pod.spec, &pod.metadata.labels));
        let owner = &mirror.metadata.owner_references.as_ref().unwrap()[0];
        assert_eq!((&*owner.kind, &*owner.name, &*owner.uid, owner.controller), ("Node", "n", "u", Some(true)));

        assert!(is_mirror_of(&mirror, &pod));
        mirror.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        assert!(!is_mirror_of(&mirror, &pod), "it is on its way out");
    }

    #[test]
    fn other_pods_are_neither() {
        let other = Pod::default();
        assert!(!is_static(&other) && mirrored(&other).is_none() && !is_mirror_of(&other, &other));
    }
}
