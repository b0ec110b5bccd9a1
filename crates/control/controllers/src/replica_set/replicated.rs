//! What the two controllers have in common: a `ReplicationController` is planned as the `ReplicaSet` that it would be
//! (`pkg/controller/replication/conversion.go`). Pure.

use std::borrow::Cow;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    ReplicationController, ReplicationControllerCondition, ReplicationControllerSpec, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use wkube_client::Kind;

/// A kind that keeps a number of pods.
pub(super) trait Replicated: Kind {
    /// The controller's name.
    const CONTROLLER: &'static str;
    /// Whom its events come from.
    const COMPONENT: &'static str;

    /// Returns it as a `ReplicaSet`.
    fn as_set(&self) -> Cow<'_, ReplicaSet>;

    /// Returns it with another status.
    fn with_status(&self, status: ReplicaSetStatus) -> Self;
}

impl Replicated for ReplicaSet {
    const CONTROLLER: &'static str = "replicaset";
    const COMPONENT: &'static str = "replicaset-controller";

    fn as_set(&self) -> Cow<'_, ReplicaSet> {
        Cow::Borrowed(self)
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        Self { status: Some(status), ..self.clone() }
    }
}

impl Replicated for ReplicationController {
    const CONTROLLER: &'static str = "replicationcontroller";
    const COMPONENT: &'static str = "replication-controller";

    fn as_set(&self) -> Cow<'_, ReplicaSet> {
        Cow::Owned(ReplicaSet {
            metadata: self.metadata.clone(),
            spec: self.spec.as_ref().map(spec).unwrap_or_default(),
            status: self.status.as_ref().map(status),
        })
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        Self { status: Some(status_back(status)), ..self.clone() }
    }
}

fn spec(spec: &ReplicationControllerSpec) -> ReplicaSetSpec {
    ReplicaSetSpec {
        replicas: spec.replicas,
        min_ready_seconds: spec.min_ready_seconds,
        selector: LabelSelector { match_labels: spec.selector.clone(), match_expressions: None },
        template: spec.template.clone(),
    }
}

fn status(status: &ReplicationControllerStatus) -> ReplicaSetStatus {
    let condition = |condition: &ReplicationControllerCondition| ReplicaSetCondition {
        type_: Some(condition.type_.clone()),
        status: Some(condition.status.clone()),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        last_transition_time: condition.last_transition_time.clone(),
    };
    ReplicaSetStatus {
        replicas: status.replicas,
        fully_labeled_replicas: status.fully_labeled_replicas,
        ready_replicas: status.ready_replicas,
        available_replicas: status.available_replicas,
        terminating_replicas: None,
        observed_generation: status.observed_generation,
        conditions: status.conditions.as_ref().map(|conditions| conditions.iter().map(condition).collect()),
    }
}

/// Unlike a `ReplicaSet`, a `ReplicationController` does not count the pods on their way out.
fn status_back(status: ReplicaSetStatus) -> ReplicationControllerStatus {
    let condition = |condition: ReplicaSetCondition| ReplicationControllerCondition {
        type_: condition.type_.unwrap_or_default(),
        status: condition.status.unwrap_or_default(),
        reason: condition.reason,
        message: condition.message,
        last_transition_time: condition.last_transition_time,
    };
    ReplicationControllerStatus {
        replicas: status.replicas,
        fully_labeled_replicas: status.fully_labeled_replicas,
        ready_replicas: status.ready_replicas,
        available_replicas: status.available_replicas,
        observed_generation: status.observed_generation,
        conditions: status.conditions.map(|conditions| conditions.into_iter().map(condition).collect()),
    }
}
