//! Makes pods go for a more important one.

use futures::future::join_all;
use k8s_openapi::api::core::v1::PodCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;
use tokio::time::Instant;
use tracing::{info, warn};
use wkube_client::{DeleteOptions, Error, EventType, Kind as _, Patch};

use super::report::Nomination;
use super::{REQUESTS_MAX, Scheduler};
use crate::pod::{PREEMPTED, PodInfo, SCHEDULER_NAME};
use crate::preempt::Preemption;
use crate::schedule::Unschedulable;

impl Scheduler {
    /// Keeps a node for a pod and tells those in its way to go. The pod is decided again after its back-off: by then it
    /// shows whether they are leaving, and if they are not, because a request was lost, they are told again.
    pub(super) async fn make_room(&self, pod: &PodInfo, rejected: &Unschedulable, preemption: &Preemption) {
        info!(pod = %pod.key(), node = %preemption.node, victims = preemption.victims.len(), "preempting");
        self.report(pod, rejected, &Nomination::Kept(preemption.node.clone())).await;
        for outbid in &preemption.outbid {
            self.clear_nomination(outbid).await;
        }
        for some in preemption.victims.chunks(REQUESTS_MAX) {
            join_all(some.iter().map(|victim| self.send_away(victim, pod, preemption))).await;
        }
        self.cluster.state.lock().queue.failed(pod, Instant::now());
    }

    /// Makes a pod go, and says so. One that is leaving already is left alone.
    async fn send_away(&self, victim: &PodInfo, pod: &PodInfo, preemption: &Preemption) {
        if victim.pod.is_deleting() {
            return;
        }
        match self.mark_and_delete(victim).await {
            Ok(()) => {
                let message = format!("Preempted by pod {} on node {}", pod.uid(), preemption.node);
                self.recorder.event(&*victim.pod, EventType::Normal, "Preempted", message);
            }
            // Gone, and perhaps a namesake is there.
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(pod = %pod.key(), victim = %victim.key(), error, "failed to preempt, trying again");
            }
        }
    }

    /// Marks a pod as disrupted and deletes it, with its own grace.
    async fn mark_and_delete(&self, victim: &PodInfo) -> Result<(), Error> {
        let status = json!({ "conditions": [disruption(Time(self.clock.now()))] });
        let mark = Patch::Strategic(json!({ "metadata": { "uid": victim.uid() }, "status": status }));
        self.pods.patch_status(&victim.key(), &mark).await?;
        self.pods.delete(&victim.key(), &DeleteOptions::of_uid(victim.uid())).await
    }
}

/// Returns the condition of pods that must go.
fn disruption(now: Time) -> PodCondition {
    PodCondition {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
        reason: Some(PREEMPTED.to_owned()),
        message: Some(format!("{SCHEDULER_NAME}: preempting to accommodate a higher priority pod")),
        last_transition_time: Some(now),
        ..PodCondition::default()
    }
}
