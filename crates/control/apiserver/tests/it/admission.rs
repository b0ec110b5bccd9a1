//! The built-in admission chain, seen from outside.

use std::sync::Arc;

use serde_json::{Value, json};
use wkube_apiserver::auth::User;

use super::{Answer, Server, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";
const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const MERGE: &str = "application/merge-patch+json";

fn object(api_version: &str, kind: &str, name: &str, rest: &Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    let all = object.as_object_mut().expect("an object");
    all.extend(rest.as_object().expect("an object").clone());
    object
}

async fn make(server: &Server, path: &str, document: Value) -> Answer {
    let answer = server.post(path, document).await;
    assert_eq!(answer.code, 201, "{answer:?}");
    answer
}

async fn quota(server: &Server, spec: Value) {
    make(server, QUOTAS, object("v1", "ResourceQuota", "q", &json!({"spec": spec}))).await;
}

async fn label(server: &Server, labels: Value) -> Answer {
    let body = Some(json!({"metadata": {"labels": labels}}));
    server.call_as("PATCH", "/api/v1/namespaces/default", MERGE, body).await
}

/// Waits until a quota's status says so.
async fn used(server: &Server, path: &str, expected: &str) {
    let wait = async {
        while server.get(&format!("{QUOTAS}/q")).await.at(path) != expected {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(10), wait).await;
    assert!(waited.is_ok(), "{path} is not {expected}: {:?}", server.get(&format!("{QUOTAS}/q")).await.body);
}

#[tokio::test]
async fn forty_creates_at_once_do_not_outrun_a_quota() {
    let server = Arc::new(Server::new().await);
    quota(&server, json!({"hard": {"pods": "7", "requests.cpu": "10"}})).await;
    let creates = (0..40).map(|index| {
        let server = server.clone();
        async move {
            let mut body = pod(&format!("p{index}"));
            body["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "100m"}});
            server.post(PODS, body).await
        }
    });
    let answers = futures::future::join_all(creates).await;
    let made = answers.iter().filter(|answer| answer.code == 201).count();
    let refused = answers.iter().filter(|answer| answer.code == 403).count();
    assert_eq!((made, refused), (7, 33), "{:?}", answers.iter().map(|answer| answer.code).collect::<Vec<_>>());
    let status = server.get(&format!("{QUOTAS}/q")).await.body["status"].clone();
    assert_eq!(
        status,
        json!({"hard": {"pods": "7", "requests.cpu": "10"}, "used": {"pods": "7", "requests.cpu": "700m"}})
    );
}

#[tokio::test]
async fn what_goes_is_given_back() {
    let server = Server::new().await;
    quota(&server, json!({"hard": {"pods": "1", "count/deployments.apps": "3", "services.nodeports": "2"}})).await;
    make(&server, PODS, pod("first")).await;
    let refused = server.post(PODS, pod("second")).await;
    assert_eq!(
        refused.at("message"),
        "pods \"second\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"
    );
    server.call("DELETE", &format!("{PODS}/first"), None).await;
    used(&server, "status.used.pods", "0").await;
    make(&server, PODS, pod("second")).await;
    let over = server.post(PODS, pod("third")).await;
    assert_eq!((over.code, over.at("reason")), (403, "Forbidden".into()));
}

#[tokio::test]
async fn a_dry_run_is_checked_and_not_counted() {
    let server = Server::new().await;
    quota(&server, json!({"hard": {"pods": "1"}})).await;
    assert_eq!(server.post(&format!("{PODS}?dryRun=All"), pod("p")).await.code, 201);
    make(&server, PODS, pod("p")).await;
    assert_eq!(server.post(&format!("{PODS}?dryRun=All"), pod("r")).await.code, 403);
}

#[tokio::test]
async fn a_service_that_grows_is_charged_for_the_difference() {
    let server = Server::new().await;
    quota(&server, json!({"hard": {"services.nodeports": "1"}})).await;
    let path = "/api/v1/namespaces/default/services";
    let spec = json!({"type": "NodePort", "ports": [{"port": 80}]});
    make(&server, path, object("v1", "Service", "s", &json!({"spec": spec}))).await;
    let ports = json!({"spec": {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}});
    let grown = server.call_as("PATCH", &format!("{path}/s"), MERGE, Some(ports)).await;
    let expected =
        "exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1";
    assert!(grown.code == 403 && grown.at("message").ends_with(expected), "{grown:?}");
}

#[tokio::test]
async fn a_limit_range_fills_in_and_refuses() {
    let server = Server::new().await;
    let limits = json!([{"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "1"}}]);
    let range = object("v1", "LimitRange", "r", &json!({"spec": {"limits": limits}}));
    make(&server, "/api/v1/namespaces/default/limitranges", range).await;
    let made = make(&server, PODS, pod("p")).await;
    assert_eq!(
        made.body["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}})
    );
    let note = "LimitRanger plugin set: cpu request for container main; cpu limit for container main";
    assert_eq!(made.body["metadata"]["annotations"]["kubernetes.io/limit-ranger"], note);
    assert_eq!(made.at("status.qosClass"), "Burstable");
    let mut greedy = pod("greedy");
    greedy["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "2"}});
    assert_eq!(
        server.post(PODS, greedy).await.at("message"),
        "pods \"greedy\" is forbidden: maximum cpu usage per Container is 1, but limit is 2"
    );
}

#[tokio::test]
async fn a_namespace_holds_its_pods_to_a_level() {
    let server = Server::new().await;
    assert_eq!(label(&server, json!({"pod-security.kubernetes.io/enforce": "restricted"})).await.code, 200);
    let refused = server.post(PODS, pod("p")).await;
    let expected = "pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false \
                    (container \"main\" must set securityContext.allowPrivilegeEscalation=false), ";
    assert!(refused.code == 403 && refused.at("message").starts_with(expected), "{refused:?}");
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod("x")["spec"]});
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let made = make(&server, deployments, object("apps/v1", "Deployment", "d", &json!({"spec": spec}))).await;
    let warning = made.headers.get("warning").and_then(|text| text.to_str().ok()).unwrap_or_default();
    assert!(warning.contains("would violate PodSecurity"), "{warning}");
    let invalid = label(&server, json!({"pod-security.kubernetes.io/enforce": "tight"})).await;
    assert_eq!(
        (invalid.code, invalid.at("message")),
        (
            422,
            "Namespace \"default\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"tight\": \
             must be one of privileged, baseline, restricted"
                .into()
        )
    );
}

#[tokio::test]
async fn a_namespace_that_gets_stricter_warns_of_its_pods() {
    let server = Server::new().await;
    for name in ["a", "b"] {
        make(&server, PODS, pod(name)).await;
    }
    let labelled = label(&server, json!({"pod-security.kubernetes.io/enforce": "restricted"})).await;
    let warnings: Vec<&str> =
        labelled.headers.get_all("warning").iter().filter_map(|text| text.to_str().ok()).collect();
    assert!(warnings[0].contains("existing pods in namespace"), "{warnings:?}");
    assert!(warnings[1].contains("a (and 1 other pod): allowPrivilegeEscalation != false"), "{warnings:?}");
}

#[tokio::test]
async fn classes_that_nobody_named_are_the_default_ones() {
    let server = Server::new().await;
    let mut class = object("storage.k8s.io/v1", "StorageClass", "fast", &json!({"provisioner": "example.com/p"}));
    class["metadata"]["annotations"] = json!({"storageclass.kubernetes.io/is-default-class": "true"});
    make(&server, "/apis/storage.k8s.io/v1/storageclasses", class).await;
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let claim = object("v1", "PersistentVolumeClaim", "c", &json!({"spec": spec}));
    assert_eq!(make(&server, claims, claim).await.at("spec.storageClassName"), "fast");
    let mut none = object("v1", "PersistentVolumeClaim", "none", &json!({"spec": spec}));
    none["spec"]["storageClassName"] = json!("");
    assert_eq!(make(&server, claims, none).await.body["spec"]["storageClassName"], "");
}

#[tokio::test]
async fn a_pod_learns_its_zone_when_it_is_bound() {
    let server = Server::new().await;
    let mut node = object("v1", "Node", "n", &json!({}));
    node["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": "west"});
    let made = make(&server, "/api/v1/nodes", node).await;
    assert_eq!(made.at("spec.taints.0.key"), "node.kubernetes.io/not-ready");
    make(&server, PODS, pod("p")).await;
    let binding = object("v1", "Binding", "p", &json!({"target": {"kind": "Node", "name": "n"}}));
    make(&server, &format!("{PODS}/p/binding"), binding).await;
    let bound = server.get(&format!("{PODS}/p")).await;
    assert_eq!(bound.body["metadata"]["labels"]["topology.kubernetes.io/zone"], "west");
}

#[tokio::test]
async fn a_node_cannot_give_itself_a_role_or_take_its_taints_away() {
    let server = Server::new().await;
    let node = || User::known("system:node:n", ["system:nodes"]);
    let mut document = object("v1", "Node", "n", &json!({}));
    document["metadata"]["labels"] = json!({"node-role.kubernetes.io/control-plane": ""});
    let refused = server.as_user(node(), "POST", "/api/v1/nodes", document.clone()).await;
    assert_eq!(
        (refused.code, refused.at("message")),
        (
            403,
            "nodes \"n\" is forbidden: node \"n\" is not allowed to set the following labels: \
             node-role.kubernetes.io/control-plane"
                .into()
        )
    );
    document["metadata"]["labels"] = json!({"kubernetes.io/hostname": "n"});
    let made = server.as_user(node(), "POST", "/api/v1/nodes", document).await;
    assert_eq!(made.code, 201, "{made:?}");
    let mut cleared = made.body.clone();
    cleared["spec"] = json!({});
    let refused = server.as_user(node(), "PUT", "/api/v1/nodes/n", cleared).await;
    assert!(refused.at("message").ends_with("node \"n\" is not allowed to modify taints"), "{refused:?}");
    let other = server.as_user(node(), "POST", PODS, pod("p")).await;
    assert!(other.code == 403, "{other:?}");
}

#[tokio::test]
async fn a_pod_of_an_unknown_runtime_class_is_refused() {
    let server = Server::new().await;
    let mut body = pod("p");
    body["spec"]["runtimeClassName"] = json!("none");
    let refused = server.post(PODS, body).await;
    assert_eq!(refused.at("message"), "pods \"p\" is forbidden: pod rejected: RuntimeClass \"none\" not found");
}

#[tokio::test]
async fn a_service_is_told_about_ports_that_its_type_cannot_have_and_gives_them_back_with_its_type() {
    let server = Server::new().await;
    let path = "/api/v1/namespaces/default/services";
    let service = |kind: &str| {
        object("v1", "Service", "s", &json!({"spec": {"type": kind, "ports": [{"port": 80, "nodePort": 30080}]}}))
    };
    let refused = server.post(path, service("ClusterIP")).await;
    let expected =
        "Service \"s\" is invalid: spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'";
    assert_eq!((refused.code, refused.at("message")), (422, expected.into()));
    make(&server, path, service("NodePort")).await;
    let body = Some(json!({"spec": {"type": "ClusterIP"}}));
    let changed = server.call_as("PATCH", &format!("{path}/s"), MERGE, body).await;
    assert_eq!((changed.code, changed.at("spec.ports.0.nodePort")), (200, String::new()), "{changed:?}");
}
