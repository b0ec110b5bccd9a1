//! Who is let in, as whom, and what roles say: legacy tokens, aggregation, reviews, impersonation.

use std::time::Duration;

use http::Request;
use serde_json::{Value, json};
use wkube_apiserver::auth::User;
use wkube_base::{Clock, Rng, Tasks};

use super::{Answer, Server};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";

/// Asks until the answer is as wanted.
async fn becomes(server: &Server, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    for _ in 0..500 {
        let answer = server.get(path).await;
        if wanted(&answer) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{path} does not become what it should: {:?}", server.get(path).await);
}

fn token_secret(name: &str, account: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": name, "annotations": {"kubernetes.io/service-account.name": account}},
    })
}

async fn review(server: &Server, token: &str) -> Answer {
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    server.post("/apis/authentication.k8s.io/v1/tokenreviews", body).await
}

#[tokio::test]
async fn a_secret_of_the_type_gets_a_token_that_holds_as_long_as_the_secret() {
    use base64::Engine as _;
    let server = Server::new().await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}});
    assert_eq!(server.post(ACCOUNTS, account).await.code, 201);
    let made = server.post(SECRETS, token_secret("bot-token", "bot")).await;
    assert_eq!(made.code, 201, "{made:?}");
    let path = format!("{SECRETS}/bot-token");
    let filled = becomes(&server, &path, |answer| !answer.at("data.token").is_empty()).await;
    assert_eq!(filled.at("data.namespace"), base64::engine::general_purpose::STANDARD.encode("default"));
    let token = base64::engine::general_purpose::STANDARD.decode(filled.at("data.token")).expect("base64");
    let token = String::from_utf8(token).expect("text");
    let judged = review(&server, &token).await;
    assert_eq!(judged.at("status.user.username"), "system:serviceaccount:default:bot", "{judged:?}");
    assert_eq!(server.delete(&path).await.code, 200);
    let judged = review(&server, &token).await;
    assert_eq!(
        (judged.at("status.authenticated"), judged.at("status.error")),
        (String::new(), "secret default/bot-token has been deleted".into())
    );
}

#[tokio::test]
async fn token_secrets_go_with_their_account() {
    let server = Server::new().await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}});
    assert_eq!(server.post(ACCOUNTS, account).await.code, 201);
    assert_eq!(server.post(SECRETS, token_secret("bot-token", "bot")).await.code, 201);
    let path = format!("{SECRETS}/bot-token");
    becomes(&server, &path, |answer| !answer.at("data.token").is_empty()).await;
    assert_eq!(server.delete(&format!("{ACCOUNTS}/bot")).await.code, 200);
    becomes(&server, &path, |answer| answer.code == 404).await;
}

#[tokio::test]
async fn an_aggregated_role_holds_at_once_and_shows_its_rules() {
    let server = Server::new().await;
    let view = server.get(&format!("{ROLES}/view")).await;
    assert!(view.body["rules"].as_array().is_some_and(|rules| rules.len() > 8), "{view:?}");
    let part = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "see-widgets", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [{"apiGroups": ["acme.com"], "resources": ["widgets"], "verbs": ["get"]}],
    });
    assert_eq!(server.post(ROLES, part).await.code, 201);
    let bind = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}],
    });
    assert_eq!(server.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", bind).await.code, 201);
    let ask = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": "jane", "resourceAttributes": {"verb": "get", "group": "acme.com", "resource": "widgets"}},
    });
    let answered = server.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", ask).await;
    assert_eq!(answered.at("status.allowed"), "true", "{answered:?}");
    // `edit` sums up `view`, and `admin` sums up `edit`.
    becomes(&server, &format!("{ROLES}/admin"), |role| role.body["rules"].to_string().contains("widgets")).await;
}

#[tokio::test]
async fn default_roles_get_back_what_they_lost_at_the_next_start_unless_somebody_keeps_them() {
    let server = Server::new().await;
    for (name, annotations) in [
        ("system:basic-user", json!({})),
        ("system:node-proxier", json!({"rbac.authorization.kubernetes.io/autoupdate": "false"})),
    ] {
        let patch = json!({"metadata": {"annotations": annotations}, "rules": []});
        let patched =
            server.call_as("PATCH", &format!("{ROLES}/{name}"), "application/merge-patch+json", Some(patch)).await;
        assert_eq!(patched.code, 200, "{patched:?}");
    }
    let tasks = Tasks::new();
    let again =
        wkube_apiserver::ApiServer::in_memory(server.store.clone(), Clock::system(), Rng::seeded(2), &tasks).await;
    drop(again);
    let rules = |role: &Answer| role.body["rules"].as_array().map_or(0, Vec::len);
    // One rule for each verb on each thing.
    becomes(&server, &format!("{ROLES}/system:basic-user"), |role| rules(role) == 3).await;
    assert_eq!(rules(&server.get(&format!("{ROLES}/system:node-proxier")).await), 0);
}

#[tokio::test]
async fn impersonation_carries_uid_and_extra() {
    let server = Server::new().await;
    let request = Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews")
        .header("content-type", "application/json")
        .header("impersonate-user", "jane")
        .header("impersonate-uid", "7")
        .header("impersonate-group", "dev")
        .header("impersonate-extra-acme.com%2fteam", "blue")
        .header("impersonate-extra-acme.com%2fteam", "green");
    let body = r#"{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}"#;
    let me = server.send(request.body(body.into()).expect("a request")).await;
    assert_eq!(
        me.body["status"]["userInfo"],
        json!({"username": "jane", "uid": "7", "groups": ["dev", "system:authenticated"], "extra": {"acme.com/team": ["blue", "green"]}})
    );
}

#[tokio::test]
async fn what_may_i_do_lists_resources_and_paths() {
    let server = Server::new().await;
    let ask = |namespace: &str| json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}});
    let jane = || User::known("jane", [""; 0]);
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let rules = server.as_user(jane(), "POST", path, ask("default")).await;
    assert_eq!(rules.at("status.incomplete"), "false");
    assert!(rules.body["status"]["resourceRules"].to_string().contains("selfsubjectaccessreviews"), "{rules:?}");
    assert!(rules.body["status"]["nonResourceRules"].to_string().contains("/apis/*"), "{rules:?}");
    let refused = server.as_user(jane(), "POST", path, ask("")).await;
    assert_eq!((refused.code, refused.at("message")), (400, "no namespace on request".into()));
}
