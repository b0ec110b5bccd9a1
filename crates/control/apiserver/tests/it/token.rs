//! Tokens of service accounts: asked for, bound, reviewed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use wkube_apiserver::auth::User;

use super::{Answer, Server, at, pod};

const TOKEN: &str = "/api/v1/namespaces/default/serviceaccounts/bot/token";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// A server with the account `bot`, and the pod `p` of `bot` on node `n1`.
async fn server() -> Server {
    let server = Server::new().await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}});
    assert_eq!(server.post("/api/v1/namespaces/default/serviceaccounts", account).await.code, 201);
    let mut pod = pod("p");
    pod["spec"]["serviceAccountName"] = json!("bot");
    pod["spec"]["nodeName"] = json!("n1");
    assert_eq!(server.post("/api/v1/namespaces/default/pods", pod).await.code, 201);
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
    assert_eq!(server.post("/api/v1/nodes", node).await.code, 201);
    server
}

fn request(spec: &Value) -> Value {
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec})
}

fn to_pod(name: &str) -> Value {
    json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": name}})
}

fn claims(answer: &Answer) -> Value {
    let token = answer.at("status.token");
    let claims = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64")).expect("JSON")
}

async fn review(server: &Server, token: &str, audiences: &[&str]) -> Value {
    let spec = json!({"token": token, "audiences": audiences});
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec});
    let answer = server.post(REVIEWS, review).await;
    assert_eq!(answer.code, 201, "{answer:?}");
    answer.body["status"].clone()
}

#[tokio::test]
async fn a_token_is_for_the_api_server_and_lasts_an_hour_unless_asked_otherwise() {
    let server = server().await;
    let made = server.post(TOKEN, request(&json!({}))).await;
    assert_eq!((made.code, made.at("kind"), made.at("metadata.name")), (201, "TokenRequest".into(), "bot".into()));
    assert_eq!((made.at("spec.expirationSeconds"), made.at("spec.audiences.0")), ("3600".into(), ISSUER.into()));
    let claims = claims(&made);
    assert_eq!(at(&claims, "sub"), "system:serviceaccount:default:bot");
    assert_eq!(claims["exp"].as_i64().zip(claims["iat"].as_i64()).map(|(end, start)| end - start), Some(3600));
    let status = review(&server, &made.at("status.token"), &[]).await;
    assert_eq!((at(&status, "authenticated"), at(&status, "audiences.0")), ("true".into(), ISSUER.into()));
    assert_eq!(
        at(&status, "user.groups"),
        r#"["system:serviceaccounts","system:serviceaccounts:default","system:authenticated"]"#
    );
}

#[tokio::test]
async fn a_token_for_others_is_not_for_the_api_server() {
    let server = server().await;
    let made = server.post(TOKEN, request(&json!({"audiences": ["vault", "db"]}))).await;
    let token = made.at("status.token");
    let status = review(&server, &token, &[]).await;
    assert!(at(&status, "authenticated").is_empty() && at(&status, "error").contains("audiences"), "{status}");
    assert_eq!(review(&server, &token, &["db", "x"]).await["audiences"], json!(["db"]));
}

#[tokio::test]
async fn a_pods_token_ends_with_the_pod_and_tells_its_node() {
    let server = server().await;
    let made = server.post(TOKEN, request(&to_pod("p"))).await;
    assert_eq!(made.code, 201, "{made:?}");
    let token = made.at("status.token");
    let extra = review(&server, &token, &[]).await["user"]["extra"].clone();
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], json!(["p"]));
    assert_eq!(extra["authentication.kubernetes.io/node-name"], json!(["n1"]));
    assert_eq!(server.delete("/api/v1/namespaces/default/pods/p?gracePeriodSeconds=0").await.code, 200);
    assert_eq!(at(&review(&server, &token, &[]).await, "error"), "pod default/p has been deleted");
}

#[tokio::test]
async fn a_token_is_bound_to_what_is_there_only() {
    let server = server().await;
    let ask = |spec: Value| server.post(TOKEN, request(&spec));
    assert_eq!(ask(to_pod("gone")).await.code, 404);
    let mut other = to_pod("p");
    other["boundObjectRef"]["uid"] = json!("other");
    assert_eq!(ask(other).await.code, 409);
    let map = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "ConfigMap", "name": "p"}});
    assert_eq!(ask(map).await.code, 400);
    let short = ask(json!({"expirationSeconds": 10})).await;
    assert_eq!((short.code, short.at("details.causes.0.field")), (422, "spec.expirationSeconds".into()));
    let stranger = TOKEN.replace("bot", "default");
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    server.post("/api/v1/namespaces/default/serviceaccounts", account).await;
    let refused = server.post(&stranger, request(&to_pod("p"))).await;
    assert!(refused.code == 400 && refused.at("message").contains("different serviceaccount"), "{refused:?}");
    assert_eq!(server.post(&TOKEN.replace("bot", "nobody"), request(&json!({}))).await.code, 404);
}

#[tokio::test]
async fn a_node_gets_tokens_for_its_own_pods_only() {
    let server = server().await;
    let ask = |node: &str, spec: Value| {
        let user = User::known(format!("system:node:{node}"), ["system:nodes"]);
        server.as_user(user, "POST", TOKEN, request(&spec))
    };
    assert_eq!(ask("n1", to_pod("p")).await.code, 201);
    let other = ask("n2", to_pod("p")).await;
    assert_eq!(other.code, 403);
    assert!(other.at("message").contains("bound to a pod scheduled on a different node"), "{other:?}");
    assert!(ask("n1", json!({})).await.at("message").contains("not bound to a pod"));
}

#[tokio::test]
async fn a_review_of_nonsense_says_no() {
    let server = server().await;
    let status = review(&server, "nonsense", &[]).await;
    assert_eq!(at(&status, "error"), "invalid bearer token");
    assert!(at(&status, "authenticated").is_empty());
}

#[tokio::test]
async fn others_find_the_keys() {
    let server = server().await;
    let configuration = server.get("/.well-known/openid-configuration").await;
    assert_eq!(configuration.at("issuer"), ISSUER);
    assert!(configuration.at("jwks_uri").ends_with("/openid/v1/jwks"));
    let keys = server.get("/openid/v1/jwks").await;
    assert_eq!(keys.headers["content-type"], "application/jwk-set+json");
    let made = server.post(TOKEN, request(&json!({}))).await;
    let header =
        made.at("status.token").split('.').next().map(|header| URL_SAFE_NO_PAD.decode(header).expect("base64"));
    let header: Value = serde_json::from_slice(&header.expect("a header")).expect("JSON");
    assert_eq!(header["kid"], keys.body["keys"][0]["kid"]);
}
