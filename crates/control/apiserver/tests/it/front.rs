//! What is no resource: discovery, health, access, and the listener itself.

use std::sync::Arc;

use http::Request;
use serde_json::json;
use wkube_apiserver::auth::User;
use wkube_apiserver::{ApiServer, Flags, Options, StartError};
use wkube_base::{Clock, Rng, Tasks};
use wkube_store::MemoryStore;

use super::{CONFIG_MAPS, Server, config_map};

#[tokio::test]
async fn aggregated_discovery_echoes_its_media_type_and_has_an_etag() {
    let server = Server::new().await;
    let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let get = |tag: &str| {
        let request = Request::get("/apis?timeout=32s").header("accept", format!("{v2},application/json"));
        request.header("if-none-match", tag).body(http_body_util::Full::default()).expect("a request")
    };
    let all = server.send(get("")).await;
    assert_eq!((all.code, all.headers["content-type"].to_str().expect("text")), (200, v2));
    assert_eq!(all.at("kind"), "APIGroupDiscoveryList");
    let tag = all.headers["etag"].to_str().expect("text").to_owned();
    let unchanged = server.send(get(&tag)).await;
    // client-go's cache takes over the headers of a 304, so that a wrong type would spoil the kept document.
    assert_eq!((unchanged.code, unchanged.headers.get("content-type")), (304, None));
}

#[tokio::test]
async fn legacy_discovery_answers_with_and_without_a_slash() {
    let server = Server::new().await;
    for path in ["/api", "/api/"] {
        assert_eq!(server.get(path).await.body["versions"], json!(["v1"]));
    }
    let core = server.get("/api/v1").await;
    let resources = core.body["resources"].as_array().expect("resources");
    assert!(resources.iter().any(|resource| resource["name"] == "pods/eviction" && resource["group"] == "policy"));
    assert_eq!(server.get("/apis").await.at("kind"), "APIGroupList");
    assert_eq!(server.get("/apis/apps/v1/").await.at("groupVersion"), "apps/v1");
}

#[tokio::test]
async fn unknown_paths_are_a_status() {
    let server = Server::new().await;
    for path in ["/apis/nope", "/apis/nope/v1", "/apis/nope/v1/things", "/nope", "/api/v1/namespaces/default/things"] {
        let missing = server.get(path).await;
        let expected = "the server could not find the requested resource";
        assert_eq!((missing.code, missing.at("message")), (404, expected.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_verb_that_a_kind_lacks_is_not_allowed() {
    let server = Server::new().await;
    let refused = server.delete("/api/v1/namespaces").await;
    assert_eq!((refused.code, refused.at("reason")), (405, "MethodNotAllowed".into()));
}

#[tokio::test]
async fn health_and_version_answer() {
    let server = Server::new().await;
    for path in ["/livez", "/readyz", "/healthz", "/readyz/etcd"] {
        let ok = server.get(path).await;
        assert_eq!((ok.code, ok.body), (200, json!("ok")), "{path}");
    }
    let verbose = server.get("/readyz?verbose").await;
    let text = verbose.body.as_str().expect("text");
    for check in
        ["ping", "log", "etcd", "etcd-readiness", "informer-sync", "poststarthook/rbac/bootstrap-roles", "shutdown"]
    {
        assert!(text.contains(&format!("[+]{check} ok\n")), "{check}: {text}");
    }
    assert_eq!(server.get("/livez/poststarthook/rbac/bootstrap-roles").await.code, 200);
    assert_eq!(server.get("/livez/nope").await.code, 404);
    let version = server.get("/version").await;
    assert_eq!((version.at("major"), version.at("minor")), ("1".into(), "37".into()));
    assert!(version.at("gitVersion").starts_with("v1.37.0+wkube"));
}

#[tokio::test]
async fn every_cluster_has_its_first_objects() {
    let server = Server::new().await;
    for path in [
        "/api/v1/namespaces/kube-node-lease",
        "/api/v1/namespaces/default/services/kubernetes",
        "/api/v1/namespaces/default/endpoints/kubernetes",
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes",
        "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin",
    ] {
        assert_eq!(server.get(path).await.code, 200, "{path}");
    }
    let api = server.get("/api/v1/namespaces/default/services/kubernetes").await;
    assert_eq!(api.at("spec.clusterIP"), "10.43.0.1");
}

#[tokio::test]
async fn bootstrap_is_idempotent() {
    let server = Server::new().await;
    let before = wkube_store::Store::revision(&*server.store);
    let again = ApiServer::in_memory(server.store.clone(), Clock::system(), Rng::seeded(2), &Tasks::new()).await;
    drop(again);
    assert_eq!(wkube_store::Store::revision(&*server.store), before);
}

#[tokio::test]
async fn a_stranger_is_forbidden_until_a_role_is_bound() {
    use tower::ServiceExt as _;
    let server = Server::new().await;
    server.config_map("a", json!({})).await;
    let ask = || async {
        let service = server.api.in_process(User::known("nobody", [""; 0]));
        let request = Request::get(CONFIG_MAPS).body(http_body_util::Empty::new()).expect("a request");
        service.oneshot(request).await.expect("never fails").status().as_u16()
    };
    assert_eq!(ask().await, 403);
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "nobody"}],
    });
    assert_eq!(server.post(&format!("{rbac}/roles"), role).await.code, 201);
    assert_eq!(server.post(&format!("{rbac}/rolebindings"), binding).await.code, 201);
    assert_eq!(ask().await, 200);
}

#[tokio::test]
async fn impersonation_asks_as_somebody_else() {
    let server = Server::new().await;
    let request =
        Request::get("/api/v1/pods").header("impersonate-user", "nobody").body(http_body_util::Full::default());
    let refused = server.send(request.expect("a request")).await;
    assert_eq!(refused.code, 403);
    let expected =
        r#"pods is forbidden: User "nobody" cannot list resource "pods" in API group "" at the cluster scope"#;
    assert_eq!(refused.at("message"), expected);
}

#[tokio::test]
async fn a_quota_limits_how_many_pods_there_are() {
    let server = Server::new().await;
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "1"}}});
    assert_eq!(server.post("/api/v1/namespaces/default/resourcequotas", quota).await.code, 201);
    server.config_map("a", json!({})).await;
    let refused = server.post(CONFIG_MAPS, config_map("b", json!({}))).await;
    assert_eq!(refused.code, 403);
    let expected = "exceeded quota: q, requested: configmaps=1, used: configmaps=1, limited: configmaps=1";
    assert!(refused.at("message").contains(expected), "{refused:?}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_its_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let directory = tempfile::tempdir().expect("a directory");
    let options = Options {
        store: Arc::new(MemoryStore::new()),
        data_dir: directory.path().to_owned(),
        listen: taken.local_addr().expect("an address"),
        registry_listen: None,
        clock: Clock::system(),
        rng: Rng::seeded(1),
        names: Vec::new(),
        flags: Flags::default(),
    };
    let failed = ApiServer::start(options, &Tasks::new()).await.err().expect("refused");
    assert!(matches!(failed, StartError::Listen { flag: "--api", .. }));
    let message = failed.to_string();
    assert!(
        message.contains(&taken.local_addr().expect("an address").to_string()) && message.contains("--api"),
        "{message}"
    );
}

#[tokio::test]
async fn openapi_tells_kubectl_that_fields_are_validated() {
    let server = Server::new().await;
    let index = server.get("/openapi/v3").await;
    let url = index.body["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("a URL").to_owned();
    let apps = server.get(&url).await;
    assert_eq!(apps.code, 200);
    assert!(apps.headers["cache-control"].to_str().expect("text").contains("immutable"));
    let path = &apps.body["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert!(path["parameters"].as_array().expect("parameters").iter().any(|one| one["name"] == "fieldValidation"));
}
