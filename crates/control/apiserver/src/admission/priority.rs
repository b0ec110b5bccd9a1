//! `Priority`: turns a pod's `priorityClassName` into a number.

use serde_json::{Value, json};
use wkube_api::{Object, ObjectKey, Resource, Status};

use super::Attributes;
use crate::registry::Registry;

/// Sets the pod's priority and preemption policy.
pub(super) async fn admit(attributes: &Attributes<'_>, pod: &mut Object) -> Result<(), Status> {
    let Attributes { registry, call, .. } = attributes;
    if !attributes.creates("", "pods") {
        return Ok(());
    }
    let Some(classes) = registry.catalog.find("scheduling.k8s.io", "v1", "priorityclasses") else { return Ok(()) };
    let name = pod.str_at(&["spec", "priorityClassName"]).to_owned();
    let class = if name.is_empty() {
        global_default(registry, classes).await
    } else {
        let found = registry.find(classes, &ObjectKey::cluster(&name))?;
        let missing = || {
            let why = format!("no PriorityClass with name {name} was found");
            Status::admission_refused(&call.resource, pod.name(), &why)
        };
        Some(found.ok_or_else(missing)?)
    };
    let priority = class.as_ref().and_then(|class| class.at(&["value"])).and_then(Value::as_i64).unwrap_or(0);
    if let Some(given) = pod.at(&["spec", "priority"]).and_then(Value::as_i64)
        && given != priority
    {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {priority} from the given PriorityClass name"
        );
        return Err(Status::admission_refused(&call.resource, pod.name(), &why));
    }
    pod.set(&["spec", "priority"], priority);
    if let Some(class) = &class {
        pod.set(&["spec", "priorityClassName"], class.name());
    }
    let policy = class.as_ref().and_then(|class| class.at(&["preemptionPolicy"]).cloned());
    if pod.at(&["spec", "preemptionPolicy"]).is_none() {
        pod.set(&["spec", "preemptionPolicy"], policy.unwrap_or_else(|| json!("PreemptLowerPriority")));
    }
    Ok(())
}

/// Of several global defaults the lowest counts.
async fn global_default(registry: &Registry, classes: &Resource) -> Option<Object> {
    let all = registry.objects(classes, "").await;
    let defaults = all.iter().filter(|class| class.at(&["globalDefault"]) == Some(&Value::Bool(true)));
    let lowest = defaults.min_by_key(|class| class.at(&["value"]).and_then(Value::as_i64));
    lowest.map(|class| Object::clone(class))
}
