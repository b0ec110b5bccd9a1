//! `NodeRestriction`: a node writes itself, its pods' states and little else (`plugin/pkg/admission/noderestriction`).
//! The authorizer has let the request through; here its content is looked at.

use std::collections::BTreeSet;

use serde_json::Value;
use wkube_api::kinds::references;
use wkube_api::{Object, ObjectKey, Status};

use super::amounts::items;
use super::{Attributes, Operation};
use crate::auth::node::node_name;

const LEASES: &str = "kube-node-lease";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Labels of Kubernetes' own domains that a kubelet sets (`kubelet/pkg/apis/well_known_labels.go`).
const OWN_LABELS: [&str; 10] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
/// Domains in which a kubelet may set any label.
const OWN_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// Refuses what a node may not write. Everybody else is none of its business.
pub(super) fn admit(attributes: &Attributes<'_>, object: Option<&Object>) -> Result<(), Status> {
    // Streams are the authorizer's: the plugin handles creates, updates and deletes.
    if attributes.operation == Operation::Connect {
        return Ok(());
    }
    let Some(node) = node_name(attributes.user()) else { return Ok(()) };
    let null = Object::default();
    let subject = object.or(attributes.old).unwrap_or(&null);
    let checked = match (&*attributes.call.resource.group, &*attributes.call.resource.plural) {
        ("", "pods") => check_pod(attributes, node, subject),
        ("", "nodes") => check_node(attributes, node, subject),
        ("", "persistentvolumeclaims") => check_claim(attributes, node, subject),
        ("coordination.k8s.io", "leases") => check_lease(attributes, node, subject),
        ("storage.k8s.io", "csinodes") if name(attributes, subject) != node => {
            Err("can only access CSINode with the same name as the requesting node".to_owned())
        }
        ("resource.k8s.io", "resourceslices") if subject.str_at(&["spec", "nodeName"]) != node => {
            Err("can only create ResourceSlice with the same NodeName as the requesting node".to_owned())
        }
        _ => Ok(()),
    };
    checked.map_err(|why| attributes.forbidden(subject, why))
}

fn name<'a>(attributes: &'a Attributes<'_>, subject: &'a Object) -> &'a str {
    if attributes.call.name.is_empty() { subject.name() } else { &attributes.call.name }
}

fn check_pod(attributes: &Attributes<'_>, node: &str, pod: &Object) -> Result<(), String> {
    let operation = attributes.operation;
    let is_own = |pod: &Object| pod.str_at(&["spec", "nodeName"]) == node;
    match (attributes.call.subresource.as_str(), operation) {
        ("", Operation::Create) => check_mirror_pod(pod, node),
        ("", Operation::Delete) if attributes.old.is_none_or(is_own) => Ok(()),
        ("", Operation::Delete) => Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself")),
        ("", _) => {
            Err(format!("unexpected operation {operation}, node {node:?} can only create and delete mirror pods"))
        }
        ("status", Operation::Update) => {
            let old = attributes.old.unwrap_or(pod);
            if !is_own(old) {
                return Err(format!(
                    "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
                ));
            }
            if old.labels() != pod.labels() {
                return Err(format!("node {node:?} cannot update labels through pod status"));
            }
            Ok(())
        }
        ("status", _) => Err(format!("unexpected operation {operation}")),
        ("eviction", Operation::Create) => {
            let key = ObjectKey::new(&attributes.call.namespace, name(attributes, pod));
            let found = attributes.registry.catalog.core("pods").map(|pods| attributes.registry.find(pods, &key));
            match found {
                Some(Ok(Some(pod))) if !is_own(&pod) => {
                    Err(format!("node {node} can only evict pods with spec.nodeName set to itself"))
                }
                _ => Ok(()),
            }
        }
        (other, _) => Err(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed")),
    }
}

fn check_mirror_pod(pod: &Object, node: &str) -> Result<(), String> {
    if !pod.annotations().contains_key(MIRROR) {
        return Err(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"));
    }
    if pod.str_at(&["spec", "nodeName"]) != node {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owners = pod.owners().collect::<Vec<_>>();
    match owners.as_slice() {
        [owner] if owner.kind == "Node" && owner.name == node => {}
        _ => return Err(format!("node {node:?} can only create pods with an owner reference set to itself")),
    }
    let spec = pod.at(&["spec"]).unwrap_or(&Value::Null);
    if !pod.str_at(&["spec", "serviceAccountName"]).is_empty() {
        return Err(format!("node {node:?} can not create pods that reference a service account"));
    }
    match references::first(spec) {
        Some((_, what)) => Err(format!("node {node:?} can not create pods that reference {what}")),
        None => Ok(()),
    }
}

fn check_node(attributes: &Attributes<'_>, node: &str, object: &Object) -> Result<(), String> {
    let requested = name(attributes, object);
    if requested != node {
        return Err(format!("node {node:?} is not allowed to modify node {requested:?}"));
    }
    let old = match (attributes.operation, attributes.old) {
        (Operation::Create, _) => {
            let forbidden = foreign_labels(object, None);
            if forbidden.is_empty() {
                return Ok(());
            }
            return Err(format!("node {node:?} is not allowed to set the following labels: {forbidden}"));
        }
        (Operation::Update, Some(old)) => old,
        _ => return Ok(()),
    };
    let changed =
        |path: &[&str]| items(object.at(path).unwrap_or(&Value::Null)) != items(old.at(path).unwrap_or(&Value::Null));
    if attributes.call.subresource.is_empty() && changed(&["spec", "taints"]) {
        return Err(format!("node {node:?} is not allowed to modify taints"));
    }
    if changed(&["metadata", "ownerReferences"]) {
        return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
    }
    let forbidden = foreign_labels(object, Some(old));
    if forbidden.is_empty() {
        return Ok(());
    }
    Err(format!("node {node:?} is not allowed to modify labels: {forbidden}"))
}

/// Returns the changed labels that are not a kubelet's to set, sorted.
fn foreign_labels(new: &Object, old: Option<&Object>) -> String {
    let (new, old) = (new.labels(), old.map(Object::labels).unwrap_or_default());
    let changed: BTreeSet<&str> =
        new.keys().chain(old.keys()).copied().filter(|key| new.get(key) != old.get(key)).collect();
    changed.into_iter().filter(|key| is_foreign(key)).collect::<Vec<_>>().join(", ")
}

fn is_foreign(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else { return false };
    let within = |parent: &str| domain == parent || domain.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
    if within("node-restriction.kubernetes.io") {
        return true;
    }
    let is_own = OWN_LABELS.contains(&key) || OWN_DOMAINS.into_iter().any(within);
    (within("kubernetes.io") || within("k8s.io")) && !is_own
}

/// What a node may say of a claim: how large its volume became.
fn check_claim(attributes: &Attributes<'_>, node: &str, claim: &Object) -> Result<(), String> {
    if attributes.operation != Operation::Update {
        return Err(format!("unexpected operation {}", attributes.operation));
    }
    if attributes.call.subresource != "status" {
        return Err(format!("unexpected subresource {:?}", attributes.call.subresource));
    }
    let rest = |claim: &Object| {
        let mut rest = claim.clone();
        for field in ["capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"] {
            rest.remove(&["status", field]);
        }
        if rest.at(&["status"]).and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
            rest.0.remove("status");
        }
        for field in ["resourceVersion", "managedFields"] {
            rest.remove(&["metadata", field]);
        }
        rest
    };
    if attributes.old.is_some_and(|old| rest(old) != rest(claim)) {
        return Err(format!(
            "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
        ));
    }
    Ok(())
}

fn check_lease(attributes: &Attributes<'_>, node: &str, lease: &Object) -> Result<(), String> {
    if attributes.call.namespace != LEASES {
        return Err(format!("can only access leases in the {LEASES:?} system namespace"));
    }
    if name(attributes, lease) != node {
        return Err("can only access node lease with the same name as the requesting node".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn labels_of_kubernetes_domains_are_not_a_nodes_but_for_those_it_reports() {
        for key in ["zone", "example.com/rack", "kubernetes.io/hostname", "topology.kubernetes.io/zone"] {
            assert!(!is_foreign(key), "{key}");
        }
        for key in ["kubelet.kubernetes.io/x", "sub.node.kubernetes.io/x"] {
            assert!(!is_foreign(key), "{key}");
        }
        for key in ["node-role.kubernetes.io/control-plane", "a.k8s.io/x", "x.node-restriction.kubernetes.io/y"] {
            assert!(is_foreign(key), "{key}");
        }
    }

    #[test]
    fn only_changed_labels_are_looked_at() {
        let role =
            |value: &str| object(json!({"metadata": {"labels": {"node-role.kubernetes.io/edge": value, "a": value}}}));
        assert_eq!(foreign_labels(&role("1"), Some(&role("1"))), "");
        assert_eq!(foreign_labels(&role("2"), Some(&role("1"))), "node-role.kubernetes.io/edge");
        assert_eq!(foreign_labels(&object(json!({})), Some(&role("1"))), "node-role.kubernetes.io/edge");
    }

    #[test]
    fn a_node_makes_mirrors_of_its_own_pods_only() {
        let mirror = |change: fn(&mut Object)| {
            let mut pod = object(json!({
                "metadata": {"annotations": {MIRROR: "x"}, "ownerReferences": [{"kind": "Node", "name": "n"}]},
                "spec": {"nodeName": "n", "containers": [{"name": "c"}]},
            }));
            change(&mut pod);
            check_mirror_pod(&pod, "n").err().unwrap_or_default()
        };
        assert_eq!(mirror(|_| {}), "");
        assert!(mirror(|pod| drop(pod.remove(&["metadata", "annotations"]))).contains("can only create mirror pods"));
        assert!(mirror(|pod| pod.set(&["spec", "nodeName"], "m")).contains("spec.nodeName set to itself"));
        assert!(mirror(|pod| drop(pod.remove(&["metadata", "ownerReferences"]))).contains("owner reference"));
        assert_eq!(
            mirror(|pod| pod.set(&["spec", "volumes"], vec![json!({"secret": {"secretName": "s"}})])),
            "node \"n\" can not create pods that reference secrets"
        );
    }
}
