//! The disruption controller: how many pods evictions may take from each `PodDisruptionBudget` now.

mod plan;
mod scale;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use wkube_api::ObjectKey;
use wkube_base::{Clock, Tasks};
use wkube_client::{Api, Change, Client, Controller, Error, EventType, Kind, Lister, Next, Reconcile, Recorder};

use crate::Context;
use plan::Observed;
use scale::Scales;

struct Reconciler {
    budgets: Lister<PodDisruptionBudget>,
    pods: Lister<Pod>,
    scales: Scales,
    recorder: Recorder,
    clock: Clock,
}

/// Starts the controller.
pub(crate) fn start(context: &Context, tasks: &Tasks) {
    let budgets = context.informers.lister::<PodDisruptionBudget>();
    let pods = context.informers.lister::<Pod>();
    let scales = Scales::new(&context.informers);
    let reconciler = Reconciler {
        budgets: budgets.clone(),
        pods: pods.clone(),
        scales: scales.clone(),
        recorder: context.recorder("controllermanager", tasks),
        clock: context.clock.clone(),
    };
    let concerned = budgets.clone();
    let controller = Controller::new(reconciler, &context.rng)
        .for_each(&budgets)
        .watches(&pods, move |change| budgets_of(&concerned, change));
    scales.read_by(controller).start(&context.client, &context.clock, tasks);
}

/// Returns the budgets that select a pod, or did before it changed.
fn budgets_of(budgets: &Lister<PodDisruptionBudget>, change: &Change<Pod>) -> Vec<ObjectKey> {
    let states = [Some(change.object()), change.before()];
    let selects = |budget: &PodDisruptionBudget| states.iter().flatten().any(|pod| plan::selects(budget, pod));
    budgets.matching(change.object().namespace(), selects).iter().map(|budget| budget.key()).collect()
}

impl Reconcile for Reconciler {
    fn name(&self) -> &'static str {
        "disruption"
    }

    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, Error> {
        let Some(budget) = self.budgets.get(key) else { return Ok(Next::Done) };
        let pods = self.pods.matching(&key.namespace, |pod| plan::selects(&budget, pod));
        let scale = self.scale(client, &budget, &pods).await?;
        let plan = plan::plan(&Observed { budget: &budget, pods: &pods, scale: &scale, now: self.clock.now() });

        if pods.is_empty() {
            self.recorder.event(budget.as_ref(), EventType::Normal, "NoPods", "No matching pods found".to_owned());
        }
        if let Err(problem) = scale {
            let message = format!("Failed to calculate the number of expected pods: {problem}");
            self.recorder.event(budget.as_ref(), EventType::Warning, "CalculateExpectedPodCountFailed", message);
        }
        for pod in &plan.not_deleted {
            let message = format!("Pod was expected by PDB {key} to be deleted but it wasn't");
            self.recorder.event(pod.as_ref(), EventType::Warning, "NotDeleted", message);
        }
        if budget.status.as_ref() != Some(&plan.status) {
            let after = PodDisruptionBudget { status: Some(plan.status), ..budget.as_ref().clone() };
            // An eviction that has just taken its share makes this a conflict: the next look sees it.
            Api::<PodDisruptionBudget>::new(client).replace_status(&after).await?;
        }
        Ok(plan.revisit_at.into())
    }
}

impl Reconciler {
    /// Returns how many pods the controllers of the pods want together, if the budget asks for it.
    async fn scale(
        &self,
        client: &Client,
        budget: &PodDisruptionBudget,
        pods: &[Arc<Pod>],
    ) -> Result<Result<i32, String>, Error> {
        if !plan::needs_scale(budget) {
            return Ok(Ok(0));
        }
        self.scales.total(client, budget.namespace(), &plan::controllers(pods)).await
    }
}
