//! Minimal builders for the planners' tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition, PodSpec, PodStatus, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};

use crate::common::meta;

/// Returns the moment `second` seconds into a test.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("tests stay within centuries")
}

/// Returns owned labels.
pub(crate) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Returns the selector `app=<app>`.
pub(crate) fn app_selector(app: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(labels(&[("app", app)])), match_expressions: None }
}

/// Returns metadata in the namespace `default`; the uid is `uid-<name>`.
pub(crate) fn metadata(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some("default".to_owned()),
        uid: Some(format!("uid-{name}")),
        generation: Some(1),
        creation_timestamp: Some(meta::time(at(0))),
        ..ObjectMeta::default()
    }
}

/// Returns the template of pods labelled `app=<app>` that run `image`.
pub(crate) fn template(app: &str, image: &str) -> PodTemplateSpec {
    let container = Container { name: "main".to_owned(), image: Some(image.to_owned()), ..Container::default() };
    PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(labels(&[("app", app)])), ..ObjectMeta::default() }),
        spec: Some(PodSpec { containers: vec![container], ..PodSpec::default() }),
    }
}

/// Builds a pod.
pub(crate) struct PodBuilder(pub(crate) Pod);

/// Returns a pending, unassigned pod labelled `app=web` that nobody owns.
pub(crate) fn pod(name: &str) -> PodBuilder {
    let mut pod = Pod { metadata: metadata(name), ..Pod::default() };
    pod.metadata.labels = Some(labels(&[("app", "web")]));
    pod.spec = Some(PodSpec::default());
    pod.status = Some(PodStatus { phase: Some("Pending".to_owned()), ..PodStatus::default() });
    PodBuilder(pod)
}

impl PodBuilder {
    pub(crate) fn owned_by(mut self, owner: OwnerReference) -> Self {
        self.0.metadata.owner_references = Some(vec![owner]);
        self
    }

    pub(crate) fn labelled(mut self, pairs: &[(&str, &str)]) -> Self {
        self.0.metadata.labels = Some(labels(pairs));
        self
    }

    pub(crate) fn annotated(mut self, key: &str, value: &str) -> Self {
        self.0.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn on(mut self, node: &str) -> Self {
        self.0.spec.get_or_insert_default().node_name = Some(node.to_owned());
        self
    }

    pub(crate) fn phase(mut self, phase: &str) -> Self {
        self.0.status.get_or_insert_default().phase = Some(phase.to_owned());
        self
    }

    /// Running on node `n1` unless placed already, and ready since `second`.
    pub(crate) fn ready(mut self, second: i64) -> Self {
        let spec = self.0.spec.get_or_insert_default();
        spec.node_name.get_or_insert_with(|| "n1".to_owned());
        set_ready(&mut self.0, true, at(second));
        self.phase("Running")
    }

    pub(crate) fn deleting(mut self) -> Self {
        self.0.metadata.deletion_timestamp = Some(meta::time(at(1)));
        self
    }

    pub(crate) fn created(mut self, second: i64) -> Self {
        self.0.metadata.creation_timestamp = Some(meta::time(at(second)));
        self
    }

    pub(crate) fn build(self) -> Arc<Pod> {
        Arc::new(self.0)
    }
}

/// Sets the pod's `Ready` condition.
pub(crate) fn set_ready(pod: &mut Pod, ready: bool, since: Timestamp) {
    let status = pod.status.get_or_insert_default();
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != "Ready");
    conditions.push(PodCondition {
        type_: "Ready".to_owned(),
        status: if ready { "True" } else { "False" }.to_owned(),
        last_transition_time: Some(meta::time(since)),
        ..PodCondition::default()
    });
}

/// Returns one line per item.
pub(crate) fn lines<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().fold(String::new(), |text, item| text + &format!("{item}\n"))
}

/// Puts items into an order drawn from `rng`.
pub(crate) fn shuffle<T>(items: &mut [T], rng: &wkube_base::Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, rng.below(last + 1));
    }
}
