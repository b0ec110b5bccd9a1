//! `ResourceQuota`: refuses a pod or object that would take a namespace over its `hard` limits. Counts are taken from what
//! exists, not from the quota's status, so a burst of creates cannot outrun a controller.

use serde_json::Value;
use wkube_api::{Object, Status};

use super::{Attributes, Operation};
use crate::call::Call;
use crate::registry::Registry;

/// Checks the object counts of every quota in the namespace.
pub(super) async fn validate(attributes: &Attributes<'_>, object: &Object) -> Result<(), Status> {
    let Attributes { registry, call, operation, .. } = attributes;
    if *operation != Operation::Create || !call.subresource.is_empty() {
        return Ok(());
    }
    if call.namespace.is_empty() || !call.resource.is_stored() {
        return Ok(());
    }
    let Some(quotas) = registry.catalog.core("resourcequotas") else { return Ok(()) };
    for quota in registry.objects(quotas, &call.namespace).await {
        let Some(hard) = quota.at(&["spec", "hard"]).and_then(Value::as_object) else { continue };
        for name in counted(call) {
            let Some(limit) = hard.get(&name).and_then(number) else { continue };
            let used = used(registry, call).await;
            if used + 1 > limit {
                let why = format!(
                    "exceeded quota: {}, requested: {name}=1, used: {name}={used}, limited: {name}={limit}",
                    quota.name()
                );
                return Err(Status::admission_refused(&call.resource, object.name(), &why));
            }
        }
    }
    Ok(())
}

/// The names under which a quota may count this kind.
fn counted(call: &Call) -> Vec<String> {
    let plural = &call.resource.plural;
    if call.resource.group.is_empty() {
        vec![plural.to_string(), format!("count/{plural}")]
    } else {
        vec![format!("count/{}", call.resource.qualified())]
    }
}

/// Pods that have ended do not count.
async fn used(registry: &Registry, call: &Call) -> i64 {
    let objects = registry.objects(&call.resource, &call.namespace).await;
    let ended = |object: &Object| {
        call.is_for("", "pods") && matches!(object.str_at(&["status", "phase"]), "Succeeded" | "Failed")
    };
    i64::try_from(objects.iter().filter(|object| !ended(object)).count()).unwrap_or(i64::MAX)
}

fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}
