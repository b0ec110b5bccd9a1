//! Who somebody is and what he may do: service accounts, tokens, reviews, certificates.

use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::world::{World, at, object, pod};

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

#[tokio::test]
async fn a_token_of_a_service_account_is_reviewed() {
    let world = World::new().await;
    world.post(ACCOUNTS, &object("v1", "ServiceAccount", "robot", &json!({}))).await.is(201);
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}});
    let token = world.post(&format!("{ACCOUNTS}/robot/token"), &request).await.is(201).at("/status/token");
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let review = world.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.is(201);
    assert_eq!(review.at("/status/authenticated"), "true");
    assert_eq!(review.at("/status/user/username"), "system:serviceaccount:default:robot");
    let groups = review.at("/status/user/groups");
    assert!(groups.contains("system:serviceaccounts:default") && groups.contains("system:authenticated"), "{groups}");
    world.end().await;
}

#[tokio::test]
async fn every_namespace_has_the_root_certificate_and_keeps_it() {
    let world = World::new().await;
    world.namespace("furnished").await;
    let path = "/api/v1/namespaces/furnished/configmaps/kube-root-ca.crt";
    let is_true = |answer: &super::world::Answer| answer.at("/data/ca.crt").contains("BEGIN CERTIFICATE");
    let first = world.until("it is there", path, is_true).await;
    world.delete(path).await.is(200);
    let again = world.until("it comes back", path, is_true).await;
    assert_eq!(again.body["data"], first.body["data"]);
    world.patch(path, &json!({"data": {"ca.crt": "forged"}})).await.is(200);
    world.until("it is restored", path, is_true).await;
    world.end().await;
}

/// Whether a pod of this account and wish gets a token into its containers.
async fn is_mounted(world: &World, name: &str, account: &str, wish: Option<bool>) -> bool {
    let mut spec = json!({"serviceAccountName": account});
    if let Some(wish) = wish {
        spec["automountServiceAccountToken"] = wish.into();
    }
    let made = world.post("/api/v1/namespaces/default/pods", &pod(name, &spec)).await.is(201);
    let mounts = made.at("/spec/containers/0/volumeMounts");
    mounts.contains("/var/run/secrets/kubernetes.io/serviceaccount")
}

#[tokio::test]
async fn tokens_are_mounted_unless_the_pod_or_its_account_opts_out() {
    let world = World::new().await;
    let account = |name: &str, rest: &Value| object("v1", "ServiceAccount", name, rest);
    world.post(ACCOUNTS, &account("open", &json!({}))).await.is(201);
    world.post(ACCOUNTS, &account("mount", &json!({"automountServiceAccountToken": true}))).await.is(201);
    world.post(ACCOUNTS, &account("nomount", &json!({"automountServiceAccountToken": false}))).await.is(201);
    for (name, account, wish, expected) in [
        ("open", "open", None, true),
        ("open-yes", "open", Some(true), true),
        ("open-no", "open", Some(false), false),
        ("mount", "mount", None, true),
        ("mount-yes", "mount", Some(true), true),
        ("mount-no", "mount", Some(false), false),
        ("nomount", "nomount", None, false),
        ("nomount-yes", "nomount", Some(true), true),
        ("nomount-no", "nomount", Some(false), false),
    ] {
        assert_eq!(is_mounted(&world, name, account, wish).await, expected, "{name}");
    }
    world.end().await;
}

#[tokio::test]
async fn access_is_reviewed_for_oneself_and_for_others() {
    let world = World::new().await;
    let attributes = json!({"verb": "get", "resource": "pods", "namespace": "default"});
    let kind = |kind: &str, spec: Value| json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec});
    let reviews = "/apis/authorization.k8s.io/v1";
    let own = kind("SelfSubjectAccessReview", json!({"resourceAttributes": attributes}));
    let own = world.post(&format!("{reviews}/selfsubjectaccessreviews"), &own).await.is(201);
    assert_eq!(own.at("/status/allowed"), "true");
    let about = |user: &str| json!({"resourceAttributes": attributes, "user": user});
    let nobody = kind("SubjectAccessReview", about("nobody"));
    let path = format!("{reviews}/subjectaccessreviews");
    assert_eq!(world.post(&path, &nobody).await.is(201).at("/status/allowed"), "false");
    let may_get = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = object("rbac.authorization.k8s.io/v1", "Role", "reader", &json!({"rules": [may_get]}));
    world.post(&format!("{rbac}/roles"), &role).await.is(201);
    let binding = json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "nobody"}]});
    let binding = object("rbac.authorization.k8s.io/v1", "RoleBinding", "reader", &binding);
    world.post(&format!("{rbac}/rolebindings"), &binding).await.is(201);
    assert_eq!(world.post(&path, &nobody).await.is(201).at("/status/allowed"), "true");
    let mut local = kind("LocalSubjectAccessReview", about("nobody"));
    local["metadata"] = json!({"namespace": "default"});
    let local = world.post(&format!("{reviews}/namespaces/default/localsubjectaccessreviews"), &local).await.is(201);
    assert_eq!(local.at("/status/allowed"), "true");
    world.end().await;
}

/// Asks the server for a certificate with a key that openssl made; what is in it matters to nobody here.
fn request(name: &str) -> Value {
    let spec = json!({"request": include_str!("life-request.b64").trim(), "signerName": "example.com/walker",
        "usages": ["digital signature", "client auth"], "expirationSeconds": 3600});
    object("certificates.k8s.io/v1", "CertificateSigningRequest", name, &json!({"spec": spec}))
}

#[tokio::test]
async fn certificate_requests_support_their_api_operations() {
    let world = World::new().await;
    let mut watch = world.watch(&format!("{REQUESTS}?watch=true")).await;
    let made = world.post(REQUESTS, &request("walk")).await.is(201);
    assert_eq!(made.at("/spec/username"), "kubernetes-admin");
    assert!(made.at("/spec/groups").contains("system:masters"));
    watch.find("ADDED walk").await;
    let path = format!("{REQUESTS}/walk");
    assert_eq!(world.get(REQUESTS).await.names(), ["walk"]);
    world.patch(&path, &json!({"metadata": {"annotations": {"patched": "true"}}})).await.is(200);
    assert_eq!(at(&watch.find("MODIFIED walk").await, "/metadata/annotations/patched"), "true");
    // An approval goes through its own door only.
    let condition = json!({"type": "Approved", "status": "True", "reason": "E2E", "message": "approved"});
    let approval = json!({"status": {"conditions": [condition]}});
    assert_eq!(world.patch(&path, &approval).await.is(200).at("/status/conditions"), "");
    world.get(&format!("{path}/approval")).await.is(200);
    let approved = world.patch(&format!("{path}/approval"), &approval).await.is(200);
    assert_eq!(approved.at("/status/conditions/0/type"), "Approved");
    let denied = json!({"status": {"conditions": [{"type": "Denied", "status": "True", "reason": "E2E"}]}});
    world.patch(&format!("{path}/approval"), &denied).await.is(422);
    let certificate = json!({"status": {"certificate": base64(include_str!("life-ca.pem"))}});
    let signed = world.patch(&format!("{path}/status"), &certificate).await.is(200);
    assert_eq!(signed.at("/status/certificate"), base64(include_str!("life-ca.pem")));
    assert_eq!(signed.at("/status/conditions/0/type"), "Approved");
    world.delete(&path).await.is(200);
    watch.find("DELETED walk").await;
    world.post(REQUESTS, &request("walk")).await.is(201);
    world.delete(REQUESTS).await.is(200);
    assert!(world.get(REQUESTS).await.names().is_empty());
    world.end().await;
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let encode = |chunk: &[u8]| {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let digit =
            |at: usize| if at > chunk.len() { '=' } else { char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]) };
        (0..4).map(digit).collect::<String>()
    };
    text.as_bytes().chunks(3).map(encode).collect()
}

#[tokio::test]
async fn somebody_without_a_role_is_refused_by_name() {
    let world = World::new().await;
    let stranger = world.user(wkube_apiserver::auth::User::known("stranger", ["system:authenticated"]));
    let request = http::Request::get("/api/v1/namespaces/default/pods");
    let request = request.body(http_body_util::Full::<bytes::Bytes>::default()).expect("a request");
    assert_eq!(stranger.oneshot(request).await.expect("never fails").status(), 403);
    world.end().await;
}
