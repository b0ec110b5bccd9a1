//! Each check notices what it is there for.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use wkube_store::{Entry, Event, Key, Revision};

use super::Checks;

/// A store that takes what no API server would write.
struct World {
    checks: Checks,
    revision: u64,
    live: std::collections::BTreeMap<Key, Entry>,
}

impl World {
    fn new() -> Self {
        Self { checks: Checks::new(), revision: 1, live: std::collections::BTreeMap::new() }
    }

    fn put(&mut self, object: &Value) -> Vec<String> {
        self.revision += 1;
        let revision = Revision(self.revision);
        let key: Key = Arc::from(format!("/{}/{}", object["kind"], object["metadata"]["name"]));
        let before = self.live.get(&key).cloned();
        let version = before.as_ref().map_or(1, |before| before.version + 1);
        let value = Bytes::from(object.to_string());
        let now = Entry { key: key.clone(), value, created: revision, modified: revision, version };
        self.live.insert(key.clone(), now.clone());
        self.checks.see(&Event { revision, key, now: Some(now), before })
    }
}

fn node(pods: u32) -> Value {
    let allocatable = json!({ "cpu": "1", "memory": "1Gi", "pods": pods.to_string() });
    json!({ "kind": "Node", "metadata": { "name": "n1" }, "status": { "allocatable": allocatable } })
}

fn pod(name: &str, node: &str, cpu: &str) -> Value {
    let container = json!({ "name": "c", "resources": { "requests": { "cpu": cpu } } });
    json!({ "kind": "Pod", "metadata": { "name": name, "namespace": "d", "uid": name },
        "spec": { "nodeName": node, "containers": [container] }, "status": { "phase": "Running" } })
}

fn deployment(replicas: u32) -> Value {
    json!({ "kind": "Deployment", "metadata": { "name": "d", "uid": "d", "generation": 1 }, "spec": {
        "replicas": replicas, "strategy": { "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 1 } } } })
}

fn set(name: &str, replicas: u32) -> Value {
    json!({ "kind": "ReplicaSet", "spec": { "replicas": replicas },
        "metadata": { "name": name, "uid": name, "ownerReferences": [{ "uid": "d", "controller": true }] } })
}

fn ready_pod(name: &str, set: &str) -> Value {
    let mut pod = pod(name, "n1", "1m");
    pod["metadata"]["ownerReferences"] = json!([{ "uid": set, "controller": true }]);
    pod["status"]["conditions"] = json!([{ "type": "Ready", "status": "True" }]);
    pod
}

#[test]
fn a_pod_that_moves_is_noticed() {
    let mut world = World::new();
    world.put(&node(9));
    assert!(world.put(&pod("p", "n1", "1m")).is_empty());
    assert_eq!(world.put(&pod("p", "n2", "1m")), ["pod d/p moved from n1 to \"n2\""]);
    assert!(world.put(&pod("q", "", "1m")).is_empty());
    assert!(world.put(&pod("q", "n1", "1m")).is_empty(), "binding is no move");
}

#[test]
fn a_node_over_its_allocatable_is_noticed() {
    let mut world = World::new();
    world.put(&node(2));
    assert!(world.put(&pod("p", "n1", "600m")).is_empty());
    assert_eq!(world.put(&pod("q", "n1", "600m")), ["with pod d/q, n1 gives 1200m cpu of 1"]);
    let mut ended = pod("q", "n1", "600m");
    ended["status"]["phase"] = json!("Succeeded");
    assert!(world.put(&ended).is_empty());
    assert!(world.put(&pod("r", "n1", "400m")).is_empty(), "an ended pod holds nothing");
    assert_eq!(world.put(&pod("s", "n1", "0")), ["with pod d/s, n1 gives 3 pods of 2"]);
}

#[test]
fn a_generation_from_the_future_is_noticed() {
    let mut world = World::new();
    let mut object = deployment(1);
    object["status"] = json!({ "observedGeneration": 2 });
    assert_eq!(world.put(&object), ["Deployment /d observed generation 2 of 1"]);
}

#[test]
fn a_rollout_over_its_surge_is_noticed() {
    let mut world = World::new();
    world.put(&deployment(3));
    assert!(world.put(&set("old", 3)).is_empty());
    assert!(world.put(&set("new", 1)).is_empty());
    assert_eq!(world.put(&set("new", 2)), ["ReplicaSet /new goes from 1 to 2: 5 pods of at most 4"]);
}

#[test]
fn a_scale_down_allows_the_old_size_until_it_is_observed() {
    let mut world = World::new();
    world.put(&deployment(9));
    let mut fewer = deployment(3);
    fewer["metadata"]["generation"] = json!(2);
    world.put(&fewer);
    assert!(world.put(&set("s", 9)).is_empty());
    fewer["status"] = json!({ "observedGeneration": 2 });
    world.put(&fewer);
    assert_eq!(world.put(&set("s", 10)), ["ReplicaSet /s goes from 9 to 10: 10 pods of at most 4"]);
}

#[test]
fn a_rollout_that_takes_too_many_pods_away_is_noticed() {
    let mut world = World::new();
    world.put(&node(9));
    world.put(&deployment(3));
    world.put(&set("s", 3));
    for name in ["p", "q", "r"] {
        assert!(world.put(&ready_pod(name, "s")).is_empty());
    }
    let mut gone = ready_pod("p", "s");
    gone["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert!(world.put(&gone).is_empty());
    let mut gone = ready_pod("q", "s");
    gone["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(world.put(&gone), ["pod d/q is taken away: 1 pods are available of at least 2"]);
    let mut unready = ready_pod("r", "s");
    unready["status"]["conditions"] = json!([]);
    assert!(world.put(&unready).is_empty(), "a pod that fails by itself is nobody's fault");
}

#[test]
fn a_gap_in_the_history_is_noticed() {
    let mut world = World::new();
    world.put(&node(9));
    world.revision += 1;
    assert_eq!(world.put(&node(8)), ["revision 4 follows 2"]);
    world.live.clear();
    assert_eq!(world.put(&node(7)), ["revision 5 does not continue the last state of /\"Node\"/\"n1\""]);
}
