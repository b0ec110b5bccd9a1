//! Says in a pod's status, and as an event, why it has no node.

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use tracing::{debug, warn};
use wkube_client::{EventType, Patch};

use super::Scheduler;
use crate::pod::PodInfo;
use crate::schedule::Unschedulable;
use crate::snapshot::NodeName;

/// What becomes of `status.nominatedNodeName`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Nomination {
    /// It stays as it is.
    AsBefore,
    /// This node is kept.
    Kept(NodeName),
    /// No node is kept any more.
    Cleared,
}

impl Scheduler {
    /// Says why a pod has no node, and which node is kept for it.
    pub(super) async fn report(&self, pod: &PodInfo, rejected: &Unschedulable, nomination: &Nomination) {
        let message = rejected.to_string();
        debug!(pod = %pod.key(), message, "unschedulable");
        self.recorder.event(&*pod.pod, EventType::Warning, "FailedScheduling", message.clone());
        let Some(status) = new_status(pod, &message, nomination, Time(self.clock.now())) else { return };
        self.write_status(pod, status).await;
    }

    /// Tells a pod that the node is not kept for it any more.
    pub(super) async fn clear_nomination(&self, pod: &PodInfo) {
        self.write_status(pod, json!({ "nominatedNodeName": null })).await;
    }

    async fn write_status(&self, pod: &PodInfo, status: Value) {
        let patch = Patch::Strategic(json!({ "metadata": { "uid": pod.uid() }, "status": status }));
        match self.pods.patch_status(&pod.key(), &patch).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            // The next decision reports again.
            Err(error) => {
                warn!(pod = %pod.key(), error = &error as &dyn std::error::Error, "failed to report why a pod has no node");
            }
        }
    }
}

/// Returns what to write into the status, or `None` if it says so already.
fn new_status(pod: &PodInfo, message: &str, nomination: &Nomination, now: Time) -> Option<Value> {
    let mut status = json!({});
    if let Some(condition) = new_condition(&pod.pod, message, now) {
        status["conditions"] = json!([condition]);
    }
    match nomination {
        Nomination::Kept(node) if pod.nominated_node() != Some(&node.0) => status["nominatedNodeName"] = json!(node.0),
        Nomination::Cleared if pod.nominated_node().is_some() => status["nominatedNodeName"] = Value::Null,
        Nomination::AsBefore | Nomination::Kept(_) | Nomination::Cleared => {}
    }
    status.as_object().is_some_and(|status| !status.is_empty()).then_some(status)
}

/// Returns the `PodScheduled` condition to write, or `None` if the pod says so already.
fn new_condition(pod: &Pod, message: &str, now: Time) -> Option<PodCondition> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let known = conditions.iter().find(|condition| condition.type_ == "PodScheduled");
    if known.is_some_and(|known| known.status == "False" && known.message.as_deref() == Some(message)) {
        return None;
    }
    // The time of the transition stays if the status does.
    let since = known.filter(|known| known.status == "False").and_then(|known| known.last_transition_time.clone());
    Some(PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("Unschedulable".to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(since.unwrap_or(now)),
        ..PodCondition::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{PodBuilder, pod};

    fn at(second: i64) -> Time {
        Time(jiff::Timestamp::from_second(second).expect("in range"))
    }

    /// What is written of a nomination into the status of a pod that waits already.
    fn written(waiting: PodBuilder, nomination: &Nomination) -> Option<Value> {
        let condition = new_condition(&waiting.build(), "full", at(1)).expect("news");
        new_status(&waiting.status("conditions", json!([condition])).info(), "full", nomination, at(2))
    }

    #[test]
    fn the_condition_keeps_its_time_while_the_status_stays_and_is_written_only_if_it_is_news() {
        let mut waiting = Pod::default();
        let first = new_condition(&waiting, "too big", at(1)).expect("news");
        waiting.status.get_or_insert_default().conditions = Some(vec![first]);
        assert_eq!(new_condition(&waiting, "too big", at(2)), None);
        let other = new_condition(&waiting, "too many", at(3)).expect("news");
        assert_eq!(other.last_transition_time, Some(at(1)));
    }

    #[test]
    fn a_nomination_is_written_if_it_is_news() {
        let kept = Nomination::Kept(NodeName("n1".to_owned()));
        let on = |node: &str| pod("web").status("nominatedNodeName", json!(node));
        assert_eq!(written(pod("web"), &kept), Some(json!({ "nominatedNodeName": "n1" })));
        assert_eq!(written(on("n2"), &kept), Some(json!({ "nominatedNodeName": "n1" })));
        assert_eq!(written(on("n1"), &kept), None);
        assert_eq!(written(on("n1"), &Nomination::Cleared), Some(json!({ "nominatedNodeName": null })));
        assert_eq!(written(pod("web"), &Nomination::Cleared), None);
        assert_eq!(written(on("n1"), &Nomination::AsBefore), None);
    }
}
