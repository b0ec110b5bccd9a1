//! `eviction`: a delete that asks the disruption budgets first (`pkg/registry/core/pod/storage/eviction.go`).

use std::sync::Arc;

use serde_json::{Value, json};
use wkube_api::selector::LabelSelector;
use wkube_api::{Object, ObjectKey, Status, conditions};

use super::binding;
use crate::Api;
use crate::admission::{self, Operation};
use crate::call::Call;
use crate::registry::delete::{self, DeleteOptions};
use crate::registry::object_rules::Part;
use crate::registry::update::{self, Origin};
use crate::registry::{Outcome, create, decode};

/// Answers POST of an `Eviction`.
pub(super) async fn evict(api: &Api, call: &Call, body: &[u8]) -> Result<Outcome, Status> {
    let registry = &api.registry;
    let mut eviction = decode::body(call, body)?;
    admission::pass(registry, call, Operation::Create, &mut eviction).await?;
    let empty = json!({});
    let options = DeleteOptions::read(&document(eviction.at(&["deleteOptions"]).unwrap_or(&empty)))?;
    let pod = registry.object(&call.resource, &ObjectKey::new(&call.namespace, &call.name))?;
    let mut on_pod = call.on(&call.namespace, &call.name);
    on_pod.options.dry_run |= options.dry_run;
    if needs_budget(&pod) {
        take_budget(api, &on_pod, &pod).await?;
        if !on_pod.options.dry_run {
            let now = create::timestamp(registry);
            let marked = |pod: &Object| Ok(disrupted(pod, &now));
            update::change(registry, &on_pod, Part::Whole, Origin::Server, marked).await?;
        }
    }
    delete::one(registry, &on_pod, &options).await?;
    Ok(binding::created())
}

fn document(value: &Value) -> Object {
    Object(value.as_object().cloned().unwrap_or_default())
}

/// Pods that have ended, never started or are going already disturb nobody.
fn needs_budget(pod: &Object) -> bool {
    !matches!(pod.str_at(&["status", "phase"]), "Succeeded" | "Failed" | "Pending") && !pod.is_deleting()
}

/// Takes one disruption from the pod's budget, if it has one.
async fn take_budget(api: &Api, call: &Call, pod: &Object) -> Result<(), Status> {
    let Some(budgets) = api.registry.catalog.find("policy", "v1", "poddisruptionbudgets") else { return Ok(()) };
    let all = api.registry.objects(budgets, &call.namespace).await;
    let selects = |budget: &Object| {
        LabelSelector::from_json(budget.at(&["spec", "selector"])).is_ok_and(|selector| selector.matches(&pod.labels()))
    };
    let matching: Vec<_> = all.iter().filter(|budget| selects(budget)).collect();
    let budget = match matching.as_slice() {
        [] => return Ok(()),
        [one] => one,
        _ => {
            return Err(Status::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    let mut on_budget = call.on(&call.namespace, budget.name());
    on_budget.resource = Arc::clone(budgets);
    let now = create::timestamp(&api.registry);
    let name = pod.name().to_owned();
    let ready = is_ready(pod);
    let taken = |budget: &Object| spend(budget, &name, ready, &now);
    update::change(&api.registry, &on_budget, Part::Whole, Origin::Server, taken).await.map(drop)
}

fn is_ready(pod: &Object) -> bool {
    let conditions = pod.at(&["status", "conditions"]).and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Returns the budget after one disruption, or why there is none to take (`checkAndDecrement`).
fn spend(budget: &Object, pod: &str, ready: bool, now: &str) -> Result<Object, Status> {
    let number = |path: &[&str]| budget.at(path).and_then(Value::as_i64).unwrap_or(0);
    let name = budget.name();
    let (healthy, desired) = (number(&["status", "currentHealthy"]), number(&["status", "desiredHealthy"]));
    // A pod that is not ready takes nothing from a budget that is met, or that lets unhealthy pods go anyway.
    let always = budget.str_at(&["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
    if !ready && (always || (healthy >= desired && desired > 0)) {
        return Ok(budget.clone());
    }
    if number(&["status", "observedGeneration"]) < number(&["metadata", "generation"]) {
        let detail = format!("The disruption budget {name} is still being processed by the server.");
        return Err(Status::disruption_budget(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            &detail,
        ));
    }
    let allowed = number(&["status", "disruptionsAllowed"]);
    if allowed < 1 {
        let detail = format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently");
        return Err(Status::disruption_budget(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            &detail,
        ));
    }
    let mut spent = budget.clone();
    spent.set(&["status", "disruptionsAllowed"], allowed - 1);
    spent.set(&["status", "disruptedPods", pod], now);
    Ok(spent)
}

fn disrupted(pod: &Object, now: &str) -> Object {
    let mut marked = pod.clone();
    conditions::set(
        &mut marked,
        json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": now,
        }),
    );
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(allowed: i64, extra: &Value) -> Object {
        let mut status =
            json!({"disruptionsAllowed": allowed, "currentHealthy": 2, "desiredHealthy": 2, "observedGeneration": 1});
        if let (Some(status), Some(extra)) = (status.as_object_mut(), extra.as_object()) {
            status.extend(extra.clone());
        }
        document(&json!({"metadata": {"name": "b", "generation": 1}, "spec": {}, "status": status}))
    }

    #[test]
    fn a_disruption_is_taken_from_the_budget() {
        let spent = spend(&budget(1, &json!({})), "p", true, "now").expect("allowed");
        assert_eq!(spent.at(&["status", "disruptionsAllowed"]), Some(&json!(0)));
        assert_eq!(spent.str_at(&["status", "disruptedPods", "p"]), "now");
    }

    #[test]
    fn an_empty_budget_says_when_to_try_again() {
        let refused = spend(&budget(0, &json!({})), "p", true, "now").expect_err("refused");
        let details = refused.details.expect("details");
        assert_eq!((refused.code, details.retry_after_seconds), (429, Some(10)));
        assert_eq!(details.causes[0].reason, "DisruptionBudget");
    }

    #[test]
    fn a_budget_that_was_not_looked_at_yet_allows_nothing() {
        assert!(spend(&budget(5, &json!({"observedGeneration": 0})), "p", true, "now").is_err());
    }

    #[test]
    fn a_pod_that_is_not_ready_costs_a_met_budget_nothing() {
        let untouched = spend(&budget(0, &json!({})), "p", false, "now").expect("allowed");
        assert_eq!(untouched, budget(0, &json!({})));
        assert!(spend(&budget(0, &json!({"currentHealthy": 1})), "p", false, "now").is_err());
    }
}
