//! Decides what a `PodDisruptionBudget` allows (`pkg/controller/disruption`). No I/O, no clock, no randomness.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use wkube_api::intstr::{self, Round};

use crate::common::counts::count;
use crate::common::{meta, pods, selector};

/// How long an evicted pod may take until its deletion shows, in seconds (`DeletionTimeout`); after that it counts again.
const DELETION_SECONDS: i64 = 120;

const ALLOWED: &str = "DisruptionAllowed";

/// Everything the decision may look at.
pub(super) struct Observed<'a> {
    pub(super) budget: &'a PodDisruptionBudget,
    /// The pods that the budget selects.
    pub(super) pods: &'a [Arc<Pod>],
    /// How many pods their controllers want together, or why nobody can say; asked for only if [`needs_scale`].
    pub(super) scale: &'a Result<i32, String>,
    pub(super) now: Timestamp,
}

/// What to report.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) status: PodDisruptionBudgetStatus,
    /// The pods that were to be evicted and are still there.
    pub(super) not_deleted: Vec<Arc<Pod>>,
    /// Look again then: an evicted pod is given up.
    pub(super) revisit_at: Option<Timestamp>,
}

/// Whether a budget selects a pod. One without a selector selects none, one with an empty selector all.
pub(super) fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let wanted = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    wanted.is_some_and(|wanted| selector::of(wanted).matches_owned(meta::labels(&pod.metadata)))
}

/// Whether the budget is in relation to how many pods there should be, not to how many there are.
pub(super) fn needs_scale(budget: &PodDisruptionBudget) -> bool {
    let Some(spec) = &budget.spec else { return false };
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// Returns the controllers of the pods, each once.
pub(super) fn controllers(pods: &[Arc<Pod>]) -> Vec<&OwnerReference> {
    let by_uid: BTreeMap<&str, &OwnerReference> = pods
        .iter()
        .filter_map(|pod| meta::controller_of(&pod.metadata))
        .map(|owner| (owner.uid.as_str(), owner))
        .collect();
    by_uid.into_values().collect()
}

/// Decides.
pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let before = observed.budget.status.clone().unwrap_or_default();
    let (disrupted, not_deleted) = disrupted(observed, &before);
    let gives_up_at = disrupted.values().map(|since| meta::after_seconds(since.0, DELETION_SECONDS));
    let revisit_at = gives_up_at.min();
    let status = match expected(observed) {
        Ok((expected, desired)) => {
            let is_healthy = |pod: &&Arc<Pod>| {
                let leaves = meta::is_deleting(&pod.metadata) || disrupted.contains_key(meta::name(&pod.metadata));
                !leaves && pods::is_ready(pod)
            };
            let healthy = count(observed.pods.iter().filter(is_healthy));
            // A budget that matches nothing yet allows nothing: its first pods may come before we have looked.
            let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
            PodDisruptionBudgetStatus {
                current_healthy: Some(healthy),
                desired_healthy: Some(desired),
                disruptions_allowed: Some(allowed),
                expected_pods: Some(expected),
                disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
                observed_generation: observed.budget.metadata.generation,
                conditions: before.conditions,
            }
        }
        // In doubt nothing is allowed (`failSafe`).
        Err(problem) => {
            let status = PodDisruptionBudgetStatus { disruptions_allowed: Some(0), ..before };
            return Plan { status: with_condition(observed, status, Some(problem)), not_deleted, revisit_at };
        }
    };
    Plan { status: with_condition(observed, status, None), not_deleted, revisit_at }
}

/// Returns how many pods there should be, and how many of them healthy (`getExpectedPodCount`).
fn expected(observed: &Observed<'_>) -> Result<(i32, i32), String> {
    let spec = observed.budget.spec.as_ref();
    let scaled =
        |value: &IntOrString, total: i32| intstr::scaled(value, total, Round::Up).map_err(|error| error.to_string());
    if let Some(limit) = spec.and_then(|spec| spec.max_unavailable.as_ref()) {
        let expected = observed.scale.clone()?;
        return Ok((expected, (expected - scaled(limit, expected)?).max(0)));
    }
    match spec.and_then(|spec| spec.min_available.as_ref()) {
        Some(IntOrString::Int(least)) => Ok((count(observed.pods.iter()), *least)),
        Some(percentage) => {
            let expected = observed.scale.clone()?;
            Ok((expected, scaled(percentage, expected)?))
        }
        None => Ok((0, 0)),
    }
}

/// Returns the evicted pods whose deletion does not show yet, and those that took too long (`buildDisruptedPodMap`).
fn disrupted(observed: &Observed<'_>, before: &PodDisruptionBudgetStatus) -> (BTreeMap<String, Time>, Vec<Arc<Pod>>) {
    let (mut waiting, mut late) = (BTreeMap::new(), Vec::new());
    for pod in observed.pods.iter().filter(|pod| !meta::is_deleting(&pod.metadata)) {
        let name = meta::name(&pod.metadata);
        let Some(since) = before.disrupted_pods.as_ref().and_then(|pods| pods.get(name)) else { continue };
        if meta::after_seconds(since.0, DELETION_SECONDS) <= observed.now {
            late.push(Arc::clone(pod));
        } else {
            waiting.insert(name.to_owned(), since.clone());
        }
    }
    (waiting, late)
}

/// Says in a condition whether anybody may be disrupted (`UpdateDisruptionAllowedCondition`).
fn with_condition(
    observed: &Observed<'_>,
    mut status: PodDisruptionBudgetStatus,
    problem: Option<String>,
) -> PodDisruptionBudgetStatus {
    let (word, reason) = match (&problem, status.disruptions_allowed.unwrap_or_default()) {
        (Some(_), _) => ("False", "SyncFailed"),
        (None, 0) => ("False", "InsufficientPods"),
        (None, _) => ("True", "SufficientPods"),
    };
    let conditions = status.conditions.get_or_insert_default();
    let known = conditions.iter().find(|known| known.type_ == ALLOWED && known.status == word);
    let since = known.map_or_else(|| meta::time(observed.now), |known| known.last_transition_time.clone());
    conditions.retain(|known| known.type_ != ALLOWED);
    conditions.push(Condition {
        type_: ALLOWED.to_owned(),
        status: word.to_owned(),
        reason: reason.to_owned(),
        message: problem.unwrap_or_default(),
        observed_generation: observed.budget.metadata.generation,
        last_transition_time: since,
    });
    status
}
