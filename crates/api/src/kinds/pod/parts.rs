//! What `pods/resize` and `pods/ephemeralcontainers` may change, and nothing else (`pkg/registry/core/pod/strategy.go`,
//! `ValidatePodResize` and `ValidatePodEphemeralContainersUpdate` in `pkg/apis/core/validation`).

use serde_json::{Map, Value, json};

use super::qos_class;
use crate::kinds::doc::{at, has, list, text};
use crate::kinds::pod_spec::{self, Owner};
use crate::object::Object;
use crate::resource::Part;
use crate::status::FieldError;

/// The rules of `ephemeralcontainers`.
pub(super) struct EphemeralContainers;

/// The rules of `resize`.
pub(super) struct Resize;

/// Set on the copies of pods that a node runs from its own disk.
const MIRROR: &str = "kubernetes.io/config.mirror";
const NAME_FIELDS: [&str; 4] = ["name", "namespace", "resourceVersion", "uid"];

impl Part for EphemeralContainers {
    fn prepare(&self, new: &mut Object, old: &Object) {
        let containers = new.at(&["spec", "ephemeralContainers"]).cloned();
        keep_all(new, old);
        match containers {
            Some(containers) => new.set(&["spec", "ephemeralContainers"], containers),
            None => drop(new.remove(&["spec", "ephemeralContainers"])),
        }
    }

    fn validate(&self, new: &Object, old: &Object) -> Vec<FieldError> {
        const PATH: &str = "spec.ephemeralContainers";
        if old.annotations().contains_key(MIRROR) {
            return vec![FieldError::forbidden("", "static pods do not support ephemeral containers")];
        }
        let mut errors = pod_spec::validate_pod_spec(new.at(&["spec"]), "spec", Owner::Pod);
        let containers = |pod: &Object| pod.at(&["spec"]).map(|spec| list(spec, "ephemeralContainers").to_vec());
        let (now, before) = (containers(new).unwrap_or_default(), containers(old).unwrap_or_default());
        for container in &before {
            let name = text(container, "name");
            let detail = match now.iter().find(|now| text(now, "name") == name) {
                None => format!("existing ephemeral containers {name:?} may not be removed\n"),
                Some(now) if now != container => format!("existing ephemeral containers {name:?} may not be changed\n"),
                Some(_) => continue,
            };
            errors.push(FieldError::forbidden(PATH, &detail));
        }
        errors
    }
}

impl Part for Resize {
    fn prepare(&self, new: &mut Object, old: &Object) {
        // Containers that were added, renamed or reordered stay, for validation to name them.
        if !ordering_errors(new, old).is_empty() {
            return;
        }
        let wanted = new.at(&["spec"]).cloned().unwrap_or_default();
        keep_all(new, old);
        for field in ["containers", "initContainers"] {
            let Some(Value::Array(containers)) = new.at(&["spec", field]).cloned() else { continue };
            let resized = containers.into_iter().zip(list(&wanted, field)).map(|(mut container, wanted)| {
                for part in ["resources", "resizePolicy"] {
                    match (wanted.get(part), container.as_object_mut()) {
                        (Some(value), Some(container)) => drop(container.insert(part.to_owned(), value.clone())),
                        (None, Some(container)) => drop(container.remove(part)),
                        (_, None) => {}
                    }
                }
                container
            });
            let resized: Vec<Value> = resized.collect();
            new.set(&["spec", field], resized);
        }
    }

    fn validate(&self, new: &Object, old: &Object) -> Vec<FieldError> {
        let is_windows = old.str_at(&["spec", "os", "name"]) == "windows";
        if old.annotations().contains_key(MIRROR) {
            return vec![FieldError::forbidden("", "static pods cannot be resized")];
        }
        if is_windows {
            return vec![FieldError::forbidden("", "windows pods cannot be resized")];
        }
        let mut errors = pod_spec::validate_pod_spec(new.at(&["spec"]), "spec", Owner::Pod);
        let quality = qos_class(new.at(&["spec"]));
        if quality != qos_class(old.at(&["spec"])) {
            let detail = "Pod QOS Class may not change as a result of resizing";
            errors.push(FieldError::invalid("spec", quality, detail));
        }
        if !node_resizes(old) {
            errors.push(FieldError::forbidden("spec", "Pod running on node without support for resize"));
        }
        let ordering = ordering_errors(new, old);
        if !ordering.is_empty() {
            errors.extend(ordering);
            return errors;
        }
        for field in ["initContainers", "containers"] {
            errors.extend(pairs(new, old, field).enumerate().flat_map(|(index, (new, old))| {
                let path = format!("spec.{field}[{index}].resources");
                if is_resizable(old, field) { removal_errors(new, old, &path) } else { Vec::new() }
            }));
        }
        errors.extend(pairs(new, old, "containers").filter_map(|(new, old)| {
            let detail = "only cpu and memory resources are mutable";
            (fixed(new) != fixed(old)).then(|| FieldError::forbidden("spec", detail))
        }));
        errors.extend(pairs(new, old, "initContainers").filter_map(|(new, old)| {
            let detail = match (is_resizable(old, "initContainers"), fixed(new) == fixed(old), new == old) {
                (true, false, _) => "only cpu and memory resources for sidecar containers are mutable",
                (false, _, false) => "resources for non-sidecar init containers are immutable",
                _ => return None,
            };
            Some(FieldError::forbidden("spec", detail))
        }));
        errors
    }
}

/// Restores everything but what says which state was changed.
fn keep_all(new: &mut Object, old: &Object) {
    let names: Map<String, Value> = NAME_FIELDS
        .iter()
        .filter_map(|field| Some(((*field).to_owned(), new.at(&["metadata", field])?.clone())))
        .collect();
    // Whose fields they are is recorded on the new state.
    let managed = new.at(&["metadata", "managedFields"]).cloned();
    new.0.clone_from(&old.0);
    for field in NAME_FIELDS {
        match names.get(field) {
            Some(value) => new.set(&["metadata", field], value.clone()),
            None => drop(new.remove(&["metadata", field])),
        }
    }
    if let Some(managed) = managed {
        new.set(&["metadata", "managedFields"], managed);
    }
}

fn pairs<'a>(new: &'a Object, old: &'a Object, field: &'a str) -> impl Iterator<Item = (&'a Value, &'a Value)> {
    let containers = |pod: &'a Object| pod.at(&["spec"]).map(|spec| list(spec, field)).unwrap_or_default();
    containers(new).iter().zip(containers(old))
}

fn ordering_errors(new: &Object, old: &Object) -> Vec<FieldError> {
    let count = |pod: &Object, field: &str| pod.at(&["spec"]).map_or(0, |spec| list(spec, field).len());
    let fields = ["containers", "initContainers"];
    let moved = fields.iter().filter(|field| count(new, field) != count(old, field));
    let mut errors: Vec<FieldError> = moved
        .map(|field| {
            FieldError::forbidden(format!("spec.{field}"), &format!("{field} may not be added or removed on resize"))
        })
        .collect();
    if errors.is_empty() {
        for field in fields {
            let renamed = pairs(new, old, field).enumerate();
            let renamed = renamed.filter(|(_, (new, old))| text(new, "name") != text(old, "name"));
            errors.extend(renamed.map(|(index, _)| {
                let detail = format!("{field} may not be renamed or reordered on resize");
                FieldError::forbidden(format!("spec.{field}[{index}].name"), &detail)
            }));
        }
    }
    errors
}

/// Init containers that run on beside the others can be resized, those that end cannot.
fn is_resizable(container: &Value, field: &str) -> bool {
    field == "containers" || text(container, "restartPolicy") == "Always"
}

fn removal_errors(new: &Value, old: &Value, path: &str) -> Vec<FieldError> {
    let amounts = |container: &Value, kind: &str| {
        at(container, &format!("resources.{kind}")).and_then(Value::as_object).cloned().unwrap_or_default()
    };
    let is_removed = |kind: &str| {
        let now = amounts(new, kind);
        amounts(old, kind).keys().any(|name| !now.contains_key(name))
    };
    let kinds = ["requests", "limits"].into_iter().filter(|kind| is_removed(kind));
    kinds
        .map(|kind| FieldError::forbidden(format!("{path}.{kind}"), &format!("resource {kind} cannot be removed")))
        .collect()
}

/// Returns a container without the amounts that a resize may change.
fn fixed(container: &Value) -> Value {
    let mut container = container.clone();
    for kind in ["requests", "limits"] {
        if let Some(Value::Object(amounts)) = container.pointer_mut(&format!("/resources/{kind}")) {
            amounts.remove("cpu");
            amounts.remove("memory");
            if amounts.is_empty()
                && let Some(Value::Object(resources)) = container.get_mut("resources")
            {
                resources.remove(kind);
            }
        }
    }
    if container.get("resources") == Some(&json!({}))
        && let Some(container) = container.as_object_mut()
    {
        container.remove("resources");
    }
    if let Some(container) = container.as_object_mut() {
        container.remove("resizePolicy");
    }
    container
}

/// A node that resizes says what its running containers have (`isPodResizeRequestSupported`).
fn node_resizes(pod: &Object) -> bool {
    let statuses = pod.at(&["status"]).map(|status| list(status, "containerStatuses")).unwrap_or_default();
    let running = statuses.iter().find(|status| at(status, "state.running").is_some());
    running.is_none_or(|status| has(status, "resources"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::object;
    use crate::resource::Manners as _;

    #[expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]
    fn pod(containers: Value) -> Object {
        let mut pod = object(json!({"metadata": {"name": "p", "namespace": "d"}, "spec": {"containers": containers}}));
        crate::kinds::pod::Pod.default(&mut pod);
        pod
    }

    fn with_cpu(name: &str, cpu: &str) -> Value {
        json!({"name": name, "image": "i", "resources": {"requests": {"cpu": cpu}}})
    }

    fn check(part: &dyn Part, new: &Object, old: &Object, expected: &[&str]) {
        let mut new = new.clone();
        part.prepare(&mut new, old);
        let errors: Vec<String> = part.validate(&new, old).iter().map(ToString::to_string).collect();
        assert_eq!(errors, expected);
    }

    #[test]
    fn a_resize_changes_amounts_and_nothing_else() {
        let old = pod(json!([with_cpu("c", "1")]));
        let mut new = pod(json!([with_cpu("c", "2")]));
        new.set(&["spec", "nodeName"], "elsewhere");
        new.set_label("a", "b");
        Resize.prepare(&mut new, &old);
        assert_eq!(new.at(&["spec", "containers"]).unwrap()[0]["resources"]["requests"]["cpu"], "2");
        assert_eq!((new.str_at(&["spec", "nodeName"]), new.labels().len()), ("", 0));
        check(&Resize, &new, &old, &[]);
    }

    #[test]
    fn containers_keep_their_places_and_names() {
        let old = pod(json!([with_cpu("a", "1"), with_cpu("b", "1")]));
        check(
            &Resize,
            &pod(json!([with_cpu("b", "1"), with_cpu("a", "1")])),
            &old,
            &[
                "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
                "spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize",
            ],
        );
        check(
            &Resize,
            &pod(json!([with_cpu("a", "1")])),
            &old,
            &["spec.containers: Forbidden: containers may not be added or removed on resize"],
        );
    }

    #[test]
    fn the_quality_of_service_stays_and_amounts_are_not_taken_away() {
        let old = pod(json!([{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]));
        check(
            &Resize,
            &pod(json!([with_cpu("c", "1")])),
            &old,
            &["spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"],
        );
        check(
            &Resize,
            &pod(json!([{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}])),
            &old,
            &["spec: Invalid value: \"Guaranteed\": Pod QOS Class may not change as a result of resizing"],
        );
    }

    #[test]
    fn other_resources_and_the_amounts_of_init_containers_are_fixed() {
        let old = pod(json!([with_cpu("c", "1")]));
        let resources = json!({"requests": {"cpu": "1", "ephemeral-storage": "1Gi"}});
        check(
            &Resize,
            &pod(json!([{"name": "c", "image": "i", "resources": resources}])),
            &old,
            &["spec: Forbidden: only cpu and memory resources are mutable"],
        );
        let with_init = |cpu: &str| {
            let mut pod = pod(json!([with_cpu("c", "1")]));
            let mut init = pod.at(&["spec", "containers"]).unwrap()[0].clone();
            init["name"] = "i".into();
            init["resources"]["requests"]["cpu"] = cpu.into();
            pod.set(&["spec", "initContainers"], vec![init]);
            pod
        };
        check(
            &Resize,
            &with_init("2"),
            &with_init("1"),
            &["spec: Forbidden: resources for non-sidecar init containers are immutable"],
        );
    }

    #[test]
    fn a_running_pod_is_resized_only_where_the_node_can() {
        let mut old = pod(json!([with_cpu("c", "1")]));
        let new = pod(json!([with_cpu("c", "2")]));
        old.set(&["status", "containerStatuses"], json!([{"name": "c", "state": {"running": {}}}]));
        check(&Resize, &new, &old, &["spec: Forbidden: Pod running on node without support for resize"]);
        old.set(&["status", "containerStatuses"], json!([{"name": "c", "state": {"running": {}}, "resources": {}}]));
        check(&Resize, &new, &old, &[]);
    }

    #[test]
    fn ephemeral_containers_are_added_and_stay_as_they_are() {
        let mut old = pod(json!([with_cpu("c", "1")]));
        let debugger = |image: &str| {
            json!([{"name": "debug", "image": image, "imagePullPolicy": "Always",
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "resources": {}}])
        };
        let mut new = old.clone();
        new.set(&["spec", "ephemeralContainers"], debugger("a"));
        new.set_label("x", "y");
        EphemeralContainers.prepare(&mut new, &old);
        assert!(new.labels().is_empty());
        check(&EphemeralContainers, &new, &old, &[]);
        old.set(&["spec", "ephemeralContainers"], debugger("b"));
        check(
            &EphemeralContainers,
            &new,
            &old,
            &["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"debug\" may not be changed\n"],
        );
        new.remove(&["spec", "ephemeralContainers"]);
        check(
            &EphemeralContainers,
            &new,
            &old,
            &["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"debug\" may not be removed\n"],
        );
    }

    #[test]
    fn the_copies_of_static_pods_stay_as_they_are() {
        let mut old = pod(json!([with_cpu("c", "1")]));
        old.set_annotation(MIRROR, "x");
        check(&Resize, &old, &old, &["Forbidden: static pods cannot be resized"]);
        check(&EphemeralContainers, &old, &old, &["Forbidden: static pods do not support ephemeral containers"]);
    }
}
