//! Nobody grants what he does not have.

use serde_json::{Value, json};
use wkube_apiserver::auth::User;

use super::Server;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

fn role(kind: &str, name: &str, rules: &Value) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "rules": rules})
}

fn binding(name: &str, role: &str, user: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    })
}

fn bob() -> User {
    User::known("bob", [""; 0])
}

/// Bob may write roles and bindings in `default`, and read config maps.
async fn server() -> Server {
    let server = Server::new().await;
    // `*` would hold `escalate` and `bind`, too.
    let rules = json!([
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["create", "update"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]},
    ]);
    assert_eq!(server.post(&format!("{RBAC}/clusterroles"), role("ClusterRole", "writer", &rules)).await.code, 201);
    let bound = server.post(&format!("{RBAC}/namespaces/default/rolebindings"), binding("bob", "writer", "bob")).await;
    assert_eq!(bound.code, 201, "{bound:?}");
    server
}

#[tokio::test]
async fn a_role_holds_only_what_its_writer_has() {
    let server = server().await;
    let roles = format!("{RBAC}/namespaces/default/roles");
    let small = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]);
    let large = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]);
    assert_eq!(server.as_user(bob(), "POST", &roles, role("Role", "small", &small)).await.code, 201);
    let refused = server.as_user(bob(), "POST", &roles, role("Role", "large", &large)).await;
    assert_eq!((refused.code, refused.at("reason")), (403, "Forbidden".into()));
    let expected = r#"roles.rbac.authorization.k8s.io "large" is forbidden: user "bob" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#;
    assert_eq!(refused.at("message"), expected);
    let widened = server.as_user(bob(), "PUT", &format!("{roles}/small"), role("Role", "small", &large)).await;
    assert_eq!(widened.code, 403, "an update is judged like a create");
}

#[tokio::test]
async fn a_binding_gives_only_what_its_writer_has_unless_he_may_bind() {
    let server = server().await;
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    assert_eq!(server.as_user(bob(), "POST", &bindings, binding("a", "cluster-admin", "bob")).await.code, 403);
    assert_eq!(server.as_user(bob(), "POST", &bindings, binding("a", "nothing", "bob")).await.code, 404);
    let may_bind = json!([{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"],
        "resourceNames": ["view"], "verbs": ["bind"]}]);
    server.post(&format!("{RBAC}/clusterroles"), role("ClusterRole", "binder", &may_bind)).await;
    assert_eq!(server.post(&bindings, binding("bob-binds", "binder", "bob")).await.code, 201);
    assert_eq!(server.as_user(bob(), "POST", &bindings, binding("a", "view", "jane")).await.code, 201);
    assert_eq!(server.as_user(bob(), "POST", &bindings, binding("b", "edit", "jane")).await.code, 403);
}

#[tokio::test]
async fn labels_of_a_strong_role_may_be_changed_by_the_weak() {
    let server = server().await;
    let roles = format!("{RBAC}/namespaces/default/roles");
    let large = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]);
    assert_eq!(server.post(&roles, role("Role", "large", &large)).await.code, 201);
    let mut labelled = role("Role", "large", &large);
    labelled["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(server.as_user(bob(), "PUT", &format!("{roles}/large"), labelled).await.code, 200);
}

#[tokio::test]
async fn a_request_for_a_certificate_grants_nothing() {
    let server = Server::new().await;
    let pem = rcgen::KeyPair::generate().and_then(|key| {
        let params = rcgen::CertificateParams::new(Vec::<String>::new())?;
        params.serialize_request(&key)?.pem()
    });
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem.expect("a request"));
    let body = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "r"},
        "spec": {"signerName": "example.com/s", "usages": ["client auth"], "request": encoded}});
    let joining = User::known("system:bootstrap:abcdef", ["system:bootstrappers"]);
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let made = server.as_user(joining, "POST", requests, body).await;
    assert_eq!(made.code, 201, "{made:?}");
}
