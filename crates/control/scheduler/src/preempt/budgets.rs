//! Whom a `PodDisruptionBudget` protects (`filterPodsWithPDBViolation`).

use std::sync::Arc;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use wkube_api::selector::LabelSelector;
use wkube_client::Kind as _;

use crate::pod::PodInfo;

/// Parts pods, the most important first, into those whose budget has no disruption left and the others. The first ones
/// of a budget use up what it allows, so the least important ones are protected; those that are to be let stay first.
pub(super) fn split(
    pods: Vec<Arc<PodInfo>>,
    budgets: &[Arc<PodDisruptionBudget>],
) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut protections: Vec<Protection<'_>> = budgets.iter().filter_map(|budget| Protection::read(budget)).collect();
    pods.into_iter().partition(|pod| {
        let mut violates = false;
        for protection in protections.iter_mut().filter(|protection| protection.protects(pod)) {
            protection.allowed -= 1;
            violates |= protection.allowed < 0;
        }
        violates
    })
}

/// A budget and what is left of it.
struct Protection<'b> {
    budget: &'b PodDisruptionBudget,
    selector: LabelSelector,
    allowed: i32,
}

impl<'b> Protection<'b> {
    /// Returns `None` for one without a selector, or with an empty one: it protects nobody here.
    fn read(budget: &'b PodDisruptionBudget) -> Option<Self> {
        let selector = budget.spec.as_ref()?.selector.as_ref()?;
        let selector = LabelSelector::from_typed(Some(selector)).ok().filter(|selector| !selector.is_everything())?;
        let allowed = budget.status.as_ref().and_then(|status| status.disruptions_allowed).unwrap_or_default();
        Some(Self { budget, selector, allowed })
    }

    /// Whether the pod counts against it. One whose eviction has been granted was counted then.
    fn protects(&self, pod: &PodInfo) -> bool {
        let granted = self.budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref());
        self.budget.namespace() == pod.pod.namespace()
            && !pod.pod.labels().is_empty()
            && self.selector.matches_owned(pod.pod.labels())
            && !granted.is_some_and(|granted| granted.contains_key(pod.pod.name()))
    }
}
