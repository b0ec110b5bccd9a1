//! `Priority`: turns a pod's `priorityClassName` into a number.

use serde_json::{Value, json};
use wkube_api::{Object, ObjectKey, Resource, Status};

use super::{Attributes, Operation};
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
    let policy = policy.unwrap_or_else(|| json!("PreemptLowerPriority"));
    match pod.at(&["spec", "preemptionPolicy"]).filter(|given| !given.is_null()) {
        Some(given) if *given != policy => {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let why = format!(
                "the string value of PreemptionPolicy ({}) must not be provided in pod spec; priority admission \
                 controller computed {} from the given PriorityClass name",
                text(given),
                text(&policy)
            );
            Err(Status::admission_refused(&call.resource, pod.name(), &why))
        }
        _ => {
            pod.set(&["spec", "preemptionPolicy"], policy);
            Ok(())
        }
    }
}

/// Keeps a second class from being the default, and the system's names for the system.
pub(super) async fn validate(attributes: &Attributes<'_>, class: &Object) -> Result<(), Status> {
    let is_write = matches!(attributes.operation, Operation::Create | Operation::Update);
    let is_default = class.at(&["globalDefault"]) == Some(&Value::Bool(true));
    if !is_write || !attributes.is_for("scheduling.k8s.io", "priorityclasses") || !is_default {
        return Ok(());
    }
    let other = global_default(attributes.registry, &attributes.call.resource).await;
    match other.filter(|other| other.name() != class.name()) {
        Some(other) => {
            let why =
                format!("PriorityClass {} is already marked as default. Only one default can exist", other.name());
            Err(attributes.forbidden(class, why))
        }
        None => Ok(()),
    }
}

/// Of several global defaults the lowest counts.
async fn global_default(registry: &Registry, classes: &Resource) -> Option<Object> {
    let all = registry.objects(classes, "").await;
    let defaults = all.iter().filter(|class| class.at(&["globalDefault"]) == Some(&Value::Bool(true)));
    let lowest = defaults.min_by_key(|class| class.at(&["value"]).and_then(Value::as_i64));
    lowest.map(|class| Object::clone(class))
}
