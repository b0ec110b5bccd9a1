//! What a cache shows, by cases and against a plain map.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use serde_json::json;
use wkube_base::Rng;

use super::*;

fn pod(namespace: &str, name: &str, revision: u64, node: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "namespace": namespace, "name": name, "uid": format!("{namespace}-{name}"),
            "resourceVersion": revision.to_string(),
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "o", "uid": format!("owner-{node}"), "controller": true }],
        },
        "spec": { "nodeName": node, "containers": [] },
    }))
    .expect("a pod")
}

fn by_node(pod: &Pod) -> Vec<String> {
    pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).into_iter().collect()
}

fn names(pods: &[Arc<Pod>]) -> Vec<String> {
    pods.iter().map(|pod| pod.key().to_string()).collect()
}

#[test]
fn objects_come_in_key_order_and_by_namespace() {
    let lister =
        Lister::fixed([pod("b", "x", 1, "n"), pod("a", "z", 1, "n"), pod("a", "y", 1, "n"), pod("a-b", "w", 1, "n")]);
    assert_eq!(names(&lister.all()), ["a/y", "a/z", "a-b/w", "b/x"]);
    assert_eq!(names(&lister.in_namespace("a")), ["a/y", "a/z"]);
    assert_eq!(names(&lister.matching("a", |pod| pod.name() == "z")), ["a/z"]);
    assert!(lister.get(&ObjectKey::new("b", "x")).is_some() && lister.get(&ObjectKey::new("b", "y")).is_none());
}

#[test]
fn objects_are_found_by_their_owner() {
    let lister = Lister::fixed([pod("a", "x", 1, "n1"), pod("a", "y", 1, "n2")]);
    assert_eq!(names(&lister.owned_by("owner-n2")), ["a/y"]);
    assert_eq!(names(&lister.owned_by("nobody")), [""; 0]);
}

#[test]
fn an_index_declared_late_covers_what_is_there_and_what_comes() {
    let cache = Cache::new(Room::Whole);
    let lister = Lister::new(Arc::clone(&cache));
    cache.apply(pod("a", "x", 1, "n1"));
    cache.declare_index("node", by_node);
    cache.apply(pod("a", "y", 2, "n1"));
    assert_eq!(names(&lister.by_index("node", "n1")), ["a/x", "a/y"]);
    cache.apply(pod("a", "x", 3, "n2"));
    assert_eq!(names(&lister.by_index("node", "n1")), ["a/y"]);
    assert_eq!(names(&lister.by_index("node", "n2")), ["a/x"]);
}

#[test]
fn a_handler_sees_what_is_there_and_then_every_change() {
    let cache = Cache::new(Room::Whole);
    cache.apply(pod("a", "x", 1, "n1"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    Lister::new(Arc::clone(&cache)).on_change(move |change| {
        log.lock().push((change.key().name, change.before().map(|before| before.revision().0)));
    });
    cache.apply(pod("a", "x", 2, "n1"));
    cache.delete(&pod("a", "x", 3, "n1"));
    cache.delete(&pod("a", "never-there", 4, "n1"));
    assert_eq!(*seen.lock(), [("x".into(), None), ("x".into(), Some(1)), ("x".into(), Some(2))]);
}

#[test]
fn a_packed_object_can_be_had_as_it_lies_there() {
    let (packed, whole) = (Cache::new(Room::Packed), Cache::new(Room::Whole));
    let (object, key) = (pod("a", "x", 1, "n1"), ObjectKey::new("a", "x"));
    for cache in [&packed, &whole] {
        cache.apply(object.clone());
    }
    let found = Lister::new(packed).packed(&key).unwrap();
    assert!(found == Packed::of(&object) && found.open() == object);
    assert!(Lister::new(whole).packed(&key).is_none());
}

#[test]
fn a_namesake_after_a_relist_is_a_change() {
    let cache = Cache::new(Room::Whole);
    cache.replace([pod("a", "x", 1, "n1")], Revision(1));
    let changes = Arc::new(Mutex::new(0));
    let count = Arc::clone(&changes);
    Lister::new(Arc::clone(&cache)).on_change(move |_| *count.lock() += 1);
    cache.replace([pod("a", "x", 1, "n1")], Revision(2));
    assert_eq!(*changes.lock(), 1, "only the one that was there at the start");
    let mut other = pod("a", "x", 1, "n1");
    other.metadata.uid = Some("other".into());
    cache.replace([other], Revision(3));
    assert_eq!(*changes.lock(), 2);
}

#[test]
fn the_history_may_go_back_only_with_a_list() {
    let cache = Cache::<Pod>::new(Room::Whole);
    cache.replace([], Revision(50));
    cache.advance(Revision(40));
    assert_eq!(cache.revision(), Revision(50));
    cache.replace([], Revision(10));
    assert_eq!(cache.revision(), Revision(10), "a restored server starts from there");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_revision_ends_when_it_is_reached() {
    let cache = Cache::<Pod>::new(Room::Whole);
    let lister = Lister::new(Arc::clone(&cache));
    let waiting = lister.caught_up(Revision(7));
    let advancing = async {
        for revision in 1..=7 {
            tokio::task::yield_now().await;
            cache.advance(Revision(revision));
        }
    };
    tokio::join!(waiting, advancing);
    assert_eq!(lister.revision(), Revision(7));
}

/// Applies random updates to a cache and to a plain map, with a follower that only sees the changes.
#[test]
fn contents_indexes_and_changes_agree_with_a_plain_map() {
    for seed in 0..200 {
        let rng = Rng::seeded(seed);
        let cache = Cache::new([Room::Whole, Room::Packed][rng.below(2)]);
        cache.declare_index("node", by_node);
        let lister = Lister::new(Arc::clone(&cache));
        let followed = Arc::new(Mutex::new(BTreeMap::new()));
        let told = Arc::clone(&followed);
        lister.on_change(move |change| match change {
            Change::Applied { now, before } => {
                let known = told.lock().insert(now.key(), now.revision());
                assert_eq!(known, before.as_ref().map(|before| before.revision()), "before is what was told before");
            }
            Change::Deleted(before) => assert_eq!(told.lock().remove(&before.key()), Some(before.revision())),
        });
        let mut model: BTreeMap<ObjectKey, Pod> = BTreeMap::new();
        for revision in 1..60 {
            let random =
                pod(["a", "b"][rng.below(2)], ["x", "y", "z"][rng.below(3)], revision, ["n1", "n2"][rng.below(2)]);
            match rng.below(4) {
                0 => {
                    cache.delete(&random);
                    model.remove(&random.key());
                }
                1 => {
                    model.retain(|_, _| rng.below(3) > 0);
                    model.insert(random.key(), random);
                    cache.replace(model.values().cloned(), Revision(revision));
                }
                _ => {
                    cache.apply(random.clone());
                    model.insert(random.key(), random);
                }
            }
            let shown: Vec<Pod> = lister.all().iter().map(|pod| (**pod).clone()).collect();
            assert_eq!(shown, model.values().cloned().collect::<Vec<_>>(), "seed {seed}");
            let on_n1: Vec<String> =
                model.values().filter(|pod| by_node(pod) == ["n1"]).map(|pod| pod.key().to_string()).collect();
            assert_eq!(names(&lister.by_index("node", "n1")), on_n1, "seed {seed}");
            let told: Vec<_> = followed.lock().clone().into_iter().collect();
            assert_eq!(
                told,
                model.iter().map(|(key, pod)| (key.clone(), pod.revision())).collect::<Vec<_>>(),
                "seed {seed}"
            );
        }
    }
}
