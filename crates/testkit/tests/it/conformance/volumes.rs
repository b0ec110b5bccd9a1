//! Persistent volumes and claims as objects: nobody mounts them here.

use serde_json::{Value, json};

use super::world::{Answer, World, object};

const VOLUMES: &str = "/api/v1/persistentvolumes";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

fn volume(name: &str) -> Value {
    let spec = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "none",
        "persistentVolumeReclaimPolicy": "Retain", "csi": {"driver": "walker.example.com", "volumeHandle": name}});
    object("v1", "PersistentVolume", name, &json!({"metadata": {"labels": {"of": "conformance"}}, "spec": spec}))
}

fn claim(name: &str) -> Value {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "volumeName": "nobodys",
        "resources": {"requests": {"storage": "1Gi"}}});
    object("v1", "PersistentVolumeClaim", name, &json!({"metadata": {"labels": {"of": "conformance"}}, "spec": spec}))
}

/// Takes away the finalizers that protect what is in use.
async fn release(world: &World, path: &str) {
    let released = world.patch(path, &json!({"metadata": {"finalizers": null}})).await;
    assert!([200, 404].contains(&released.code), "{released:?}");
}

#[tokio::test]
async fn volumes_and_claims_run_through_their_life() {
    let world = World::new().await;
    for (path, make) in [(VOLUMES, volume as fn(&str) -> Value), (CLAIMS, claim)] {
        let one = format!("{path}/one");
        let made = world.post(path, &make("one")).await.is(201);
        assert_eq!(world.get(path).await.names(), ["one"]);
        world.patch(&one, &json!({"metadata": {"labels": {"step": "patched"}}})).await.is(200);
        let mut read = world.get(&one).await.is(200).body;
        read["metadata"]["labels"]["step"] = "updated".into();
        assert_eq!(world.put(&one, &read).await.is(200).at("/metadata/uid"), made.at("/metadata/uid"));
        world.delete(&one).await.is(200);
        release(&world, &one).await;
        world.until("it is gone", &one, |answer| answer.code == 404).await;
        world.post(path, &make("two")).await.is(201);
        world.delete(&format!("{path}?labelSelector=of%3Dconformance")).await.is(200);
        release(&world, &format!("{path}/two")).await;
        world.until("the collection is gone", path, |answer: &Answer| answer.names().is_empty()).await;
    }
    world.end().await;
}

#[tokio::test]
async fn volumes_and_claims_have_a_status_of_their_own() {
    let world = World::new().await;
    world.post(VOLUMES, &volume("one")).await.is(201);
    let path = format!("{VOLUMES}/one/status");
    let patched = world.patch(&path, &json!({"status": {"message": "StatusPatched", "reason": "E2E"}})).await.is(200);
    assert_eq!(patched.at("/status/reason"), "E2E");
    assert_eq!(world.get(&path).await.is(200).at("/status/message"), "StatusPatched");
    world.post(CLAIMS, &claim("one")).await.is(201);
    let path = format!("{CLAIMS}/one/status");
    let condition = json!({"type": "StatusPatched", "status": "True", "reason": "E2E", "message": "patched"});
    let patched = world.patch(&path, &json!({"status": {"conditions": [condition]}})).await.is(200);
    assert_eq!(patched.at("/status/conditions/0/type"), "StatusPatched");
    let mut read = world.get(&path).await.is(200).body;
    read["status"]["conditions"][0]["type"] = "StatusUpdate".into();
    assert_eq!(world.put(&path, &read).await.is(200).at("/status/conditions/0/type"), "StatusUpdate");
    world.end().await;
}
