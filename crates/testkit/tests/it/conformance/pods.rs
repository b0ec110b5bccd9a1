//! What the API server, admission and the scheduler do with a pod before any node sees it.

use serde_json::{Value, json};

use super::world::{Answer, World, object, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";
const CLASSES: &str = "/apis/node.k8s.io/v1/runtimeclasses";

fn container(resources: &Value) -> Value {
    json!({"containers": [{"name": "main", "image": "pause", "resources": resources}]})
}

#[tokio::test]
async fn the_quality_of_service_is_set_from_requests_and_limits() {
    let world = World::new().await;
    let both = json!({"cpu": "100m", "memory": "100Mi"});
    for (name, resources, class) in [
        ("guaranteed", json!({"requests": both, "limits": both}), "Guaranteed"),
        ("limits-only", json!({"limits": both}), "Guaranteed"),
        ("burstable", json!({"requests": {"cpu": "100m"}}), "Burstable"),
        ("different", json!({"requests": {"cpu": "50m", "memory": "100Mi"}, "limits": both}), "Burstable"),
        ("best-effort", json!({}), "BestEffort"),
    ] {
        let made = world.post(PODS, &pod(name, &container(&resources))).await.is(201);
        assert_eq!(made.at("/status/qosClass"), class, "{name}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_pod_with_an_unknown_or_deleted_runtime_class_is_refused() {
    let world = World::new().await;
    let wish = |name: &str| pod(name, &json!({"runtimeClassName": "special"}));
    let refused = world.post(PODS, &wish("too-early")).await.is(403);
    assert!(refused.at("/message").contains("RuntimeClass \"special\" not found"), "{}", refused.at("/message"));
    world
        .post(CLASSES, &object("node.k8s.io/v1", "RuntimeClass", "special", &json!({"handler": "wasm"})))
        .await
        .is(201);
    world.post(PODS, &wish("in-time")).await.is(201);
    world.delete(&format!("{CLASSES}/special")).await.is(200);
    world.post(PODS, &wish("too-late")).await.is(403);
    world.end().await;
}

/// A node that is ready and large, without anybody behind it.
pub(super) async fn node(world: &World, name: &str) {
    world.post("/api/v1/nodes", &object("v1", "Node", name, &json!({}))).await.is(201);
    let capacity = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
    let ready = json!({"type": "Ready", "status": "True", "reason": "KubeletReady",
        "lastHeartbeatTime": jiff::Timestamp::now().to_string(), "lastTransitionTime": jiff::Timestamp::now().to_string()});
    let status = json!({"status": {"capacity": capacity, "allocatable": capacity, "conditions": [ready]}});
    world.patch(&format!("/api/v1/nodes/{name}/status"), &status).await.is(200);
}

#[tokio::test]
async fn a_pod_gets_the_overhead_of_its_runtime_class_and_is_scheduled() {
    let world = World::new().await;
    node(&world, "n").await;
    let overhead = json!({"podFixed": {"cpu": "10m", "memory": "1Mi"}});
    for (name, rest) in
        [("dear", json!({"handler": "wasm", "overhead": overhead})), ("free", json!({"handler": "wasm"}))]
    {
        world.post(CLASSES, &object("node.k8s.io/v1", "RuntimeClass", name, &rest)).await.is(201);
        let made = world.post(PODS, &pod(name, &json!({"runtimeClassName": name}))).await.is(201);
        assert_eq!(made.body["spec"]["overhead"], rest["overhead"]["podFixed"], "{name}");
        let path = format!("{PODS}/{name}");
        world.until("it is scheduled", &path, |answer: &Answer| answer.at("/spec/nodeName") == "n").await;
    }
    let own = json!({"runtimeClassName": "dear", "overhead": {"cpu": "1"}});
    world.post(PODS, &pod("greedy", &own)).await.is(403);
    world.end().await;
}

#[tokio::test]
async fn invalid_kernel_parameters_are_refused_one_by_one() {
    let world = World::new().await;
    let names = ["foo-", "kernel.shmmax", "safe-and-unsafe", "bar.."];
    let sysctls: Vec<Value> = names.iter().map(|name| json!({"name": name, "value": "100"})).collect();
    let refused = world.post(PODS, &pod("tuned", &json!({"securityContext": {"sysctls": sysctls}}))).await.is(422);
    let fields: Vec<String> = refused.body["details"]["causes"]
        .as_array()
        .expect("causes")
        .iter()
        .filter_map(|cause| cause["field"].as_str().map(str::to_owned))
        .collect();
    let expected = ["spec.securityContext.sysctls[0].name", "spec.securityContext.sysctls[3].name"];
    assert_eq!(fields, expected, "{:#}", refused.body);
    world.end().await;
}

#[tokio::test]
async fn a_certificate_for_a_pod_lasts_between_an_hour_and_ninety_one_days() {
    let world = World::new().await;
    let asking = |seconds: u64| {
        let source = json!({"podCertificate": {"signerName": "example.com/walker", "keyType": "ED25519",
            "credentialBundlePath": "bundle.pem", "maxExpirationSeconds": seconds}});
        pod("certified", &json!({"volumes": [{"name": "v", "projected": {"sources": [source]}}]}))
    };
    for (seconds, reason) in [
        (3599, "if provided, maxExpirationSeconds must be >= 3600"),
        (7_862_401, "if provided, maxExpirationSeconds must be <= 7862400"),
    ] {
        let refused = world.post(PODS, &asking(seconds)).await.is(422);
        let message = refused.at("/message");
        assert!(
            message.contains("sources[0].podCertificate.maxExpirationSeconds") && message.contains(reason),
            "{message}"
        );
    }
    world.post(PODS, &asking(3600)).await.is(201);
    world.end().await;
}

#[tokio::test]
async fn a_pod_may_have_a_volume_of_a_driver() {
    let world = World::new().await;
    let volume = json!({"name": "v", "csi": {"driver": "walker.example.com", "volumeAttributes": {"a": "b"}}});
    let spec = json!({"volumes": [volume]});
    let made = world.post(PODS, &pod("inline", &spec)).await.is(201);
    assert_eq!(made.at("/spec/volumes/0/csi/driver"), "walker.example.com");
    world.patch(&format!("{PODS}/inline"), &json!({"metadata": {"labels": {"a": "b"}}})).await.is(200);
    world.delete(&format!("{PODS}/inline?gracePeriodSeconds=0")).await.is(200);
    let without = json!({"volumes": [{"name": "v", "csi": {}}]});
    world.post(PODS, &pod("nameless", &without)).await.is(422);
    world.end().await;
}

#[tokio::test]
async fn containers_get_the_limits_of_their_namespace() {
    let world = World::new().await;
    let limit = json!({"type": "Container",
        "min": {"cpu": "50m", "memory": "100Mi"}, "max": {"cpu": "500m", "memory": "500Mi"},
        "default": {"cpu": "500m", "memory": "500Mi"}, "defaultRequest": {"cpu": "100m", "memory": "200Mi"}});
    let range = object("v1", "LimitRange", "limits", &json!({"spec": {"limits": [limit]}}));
    world.post("/api/v1/namespaces/default/limitranges", &range).await.is(201);
    let made = world.post(PODS, &pod("silent", &json!({}))).await.is(201);
    let expected =
        json!({"requests": {"cpu": "100m", "memory": "200Mi"}, "limits": {"cpu": "500m", "memory": "500Mi"}});
    assert_eq!(made.body["spec"]["containers"][0]["resources"], expected);
    let partly = container(&json!({"requests": {"memory": "150Mi"}, "limits": {"cpu": "300m"}}));
    let made = world.post(PODS, &pod("partly", &partly)).await.is(201);
    let expected =
        json!({"requests": {"cpu": "300m", "memory": "150Mi"}, "limits": {"cpu": "300m", "memory": "500Mi"}});
    assert_eq!(made.body["spec"]["containers"][0]["resources"], expected);
    for (name, resources, reason) in [
        ("small", json!({"requests": {"cpu": "10m"}}), "minimum cpu usage per Container is 50m"),
        ("large", json!({"limits": {"memory": "600Mi"}}), "maximum memory usage per Container is 500Mi"),
    ] {
        let refused = world.post(PODS, &pod(name, &container(&resources))).await.is(403);
        assert!(refused.at("/message").contains(reason), "{}", refused.at("/message"));
    }
    world.end().await;
}

#[tokio::test]
async fn config_maps_and_secrets_are_judged_by_their_keys_and_may_be_fixed() {
    let world = World::new().await;
    for (plural, kind, value, other) in [("configmaps", "ConfigMap", "1", "2"), ("secrets", "Secret", "MQ==", "Mg==")] {
        let path = format!("/api/v1/namespaces/default/{plural}");
        let refused = world.post(&path, &object("v1", kind, "empty", &json!({"data": {"": value}}))).await.is(422);
        assert!(refused.at("/message").contains("data[]"), "{}", refused.at("/message"));
        world.post(&path, &object("v1", kind, "fixed", &json!({"data": {"a": value}}))).await.is(201);
        let one = format!("{path}/fixed");
        world.patch(&one, &json!({"data": {"a": other}})).await.is(200);
        world.patch(&one, &json!({"immutable": true})).await.is(200);
        for change in [json!({"data": {"a": value}}), json!({"immutable": false}), json!({"data": {"b": value}})] {
            let refused = world.patch(&one, &change).await.is(422);
            assert!(
                refused.at("/message").contains("field is immutable when `immutable` is set"),
                "{}",
                refused.at("/message")
            );
        }
        world.patch(&one, &json!({"metadata": {"labels": {"a": "b"}}})).await.is(200);
        world.delete(&one).await.is(200);
    }
    world.end().await;
}
