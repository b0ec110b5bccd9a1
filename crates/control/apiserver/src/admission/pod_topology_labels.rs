//! `PodTopologyLabels`: a pod learns at its binding in which zone and region its node is
//! (`plugin/pkg/admission/podtopologylabels`).

use wkube_api::{Object, ObjectKey, Status};

use super::{Attributes, Operation};

const LABELS: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

/// Copies the node's labels to the binding, which hands them to the pod; or to a pod that names its node itself.
pub(super) fn admit(attributes: &Attributes<'_>, object: &mut Object) -> Result<(), Status> {
    let binds = attributes.operation == Operation::Create
        && (attributes.is_for_part("", "pods", "binding") || attributes.is_for("", "bindings"));
    let node = if binds {
        object.str_at(&["target", "name"])
    } else if attributes.creates("", "pods") {
        object.str_at(&["spec", "nodeName"])
    } else {
        return Ok(());
    };
    let Some(nodes) = attributes.registry.catalog.core("nodes").filter(|_| !node.is_empty()) else { return Ok(()) };
    // A node that is not there yet has no labels to copy.
    if let Some(node) = attributes.registry.find(nodes, &ObjectKey::cluster(node))? {
        copy(&node, object);
    }
    Ok(())
}

fn copy(node: &Object, object: &mut Object) {
    let labels = node.labels();
    for label in LABELS {
        if let Some(value) = labels.get(label) {
            object.set(&["metadata", "labels", label], *value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_binding_carries_zone_and_region_and_nothing_else() {
        let object = |value| -> Object { serde_json::from_value(value).expect("an object") };
        let node = object(json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "a", "rack": "7"}}}));
        let mut binding = object(json!({}));
        copy(&node, &mut binding);
        assert_eq!(binding.labels().into_iter().collect::<Vec<_>>(), [("topology.kubernetes.io/zone", "a")]);
    }
}
