//! `RuntimeClass`: a pod takes its class's overhead and goes where the class can run (`plugin/pkg/admission/runtimeclass`).

use serde_json::{Value, json};
use wkube_api::{Object, ObjectKey, Status};

use super::Attributes;

/// Adds the class's overhead, node selector and tolerations to a new pod.
pub(super) fn admit(attributes: &Attributes<'_>, pod: &mut Object) -> Result<(), Status> {
    if !attributes.creates("", "pods") {
        return Ok(());
    }
    let name = pod.str_at(&["spec", "runtimeClassName"]).to_owned();
    let class = match attributes.registry.catalog.find("node.k8s.io", "v1", "runtimeclasses") {
        Some(kind) if !name.is_empty() => {
            let class = attributes.registry.find(kind, &ObjectKey::cluster(&*name))?;
            let missing = || attributes.forbidden(pod, format!("pod rejected: RuntimeClass {name:?} not found"));
            Some(class.ok_or_else(missing)?)
        }
        _ => None,
    };
    merge(pod, class.as_ref()).map_err(|why| attributes.forbidden(pod, why))
}

fn merge(pod: &mut Object, class: Option<&Object>) -> Result<(), String> {
    let overhead = class.and_then(|class| class.at(&["overhead", "podFixed"])).filter(|overhead| !overhead.is_null());
    let given = pod.at(&["spec", "overhead"]).filter(|given| !given.is_null());
    match (overhead, given) {
        (Some(overhead), Some(given)) if overhead != given => {
            return Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".to_owned());
        }
        (None, Some(_)) => {
            return Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead".to_owned());
        }
        (Some(overhead), _) => pod.set(&["spec", "overhead"], overhead.clone()),
        (None, None) => {}
    }
    let Some(scheduling) = class.and_then(|class| class.at(&["scheduling"])) else { return Ok(()) };
    for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        let before = pod.at(&["spec", "nodeSelector", key]);
        if let Some(before) = before.filter(|before| *before != value) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                text(value),
                text(before)
            ));
        }
        pod.set(&["spec", "nodeSelector", key], value.clone());
    }
    let mut tolerations = pod.at(&["spec", "tolerations"]).cloned().unwrap_or_else(|| json!([]));
    if let (Some(all), Some(more)) = (tolerations.as_array_mut(), scheduling["tolerations"].as_array()) {
        for toleration in more {
            if !all.contains(toleration) {
                all.push(toleration.clone());
            }
        }
        pod.set(&["spec", "tolerations"], tolerations);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]
    fn merged(pod: Value, class: Value) -> Result<Value, String> {
        let object = |value: Value| -> Object { serde_json::from_value(value).expect("an object") };
        let mut pod = object(json!({"spec": pod}));
        merge(&mut pod, Some(&object(class)))?;
        Ok(pod.0["spec"].clone())
    }

    #[test]
    fn a_pod_takes_overhead_place_and_tolerations_from_its_class() {
        let class = json!({
            "overhead": {"podFixed": {"cpu": "250m"}},
            "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]},
        });
        let spec = merged(json!({"nodeSelector": {"zone": "a"}}), class).expect("merged");
        assert_eq!(
            spec,
            json!({
                "overhead": {"cpu": "250m"}, "nodeSelector": {"zone": "a", "vm": "yes"},
                "tolerations": [{"key": "vm", "operator": "Exists"}],
            })
        );
    }

    #[test]
    fn what_the_pod_says_may_not_differ() {
        let overhead = json!({"overhead": {"podFixed": {"cpu": "1"}}});
        let refused = |pod, class| merged(pod, class).expect_err("refused");
        assert!(refused(json!({"overhead": {"cpu": "2"}}), overhead).contains("doesn't match"));
        assert!(refused(json!({"overhead": {"cpu": "2"}}), json!({})).contains("without corresponding"));
        let class = json!({"scheduling": {"nodeSelector": {"os": "a"}}});
        assert_eq!(
            refused(json!({"nodeSelector": {"os": "b"}}), class),
            "conflict: runtimeClass.scheduling.nodeSelector[os] = a; pod.spec.nodeSelector[os] = b"
        );
    }
}
