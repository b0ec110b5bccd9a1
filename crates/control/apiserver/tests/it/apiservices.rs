//! Parts of the API that another server serves, behind this one.

use std::time::Duration;

use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use super::https::{Asked, Certificate, Https, Reply};
use super::{Answer, Server, at};

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const FLUNDERS: &str = "/apis/wardle.io/v1/namespaces/default/flunders";

/// A server of flunders.
fn wardle(asked: &Asked) -> Reply {
    let path = asked.uri.split('?').next().unwrap_or_default();
    Reply::Json(match path {
        "/apis/wardle.io/v1" => json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "wardle.io/v1", "resources": [
                {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get", "list"]},
            ],
        }),
        "/openapi/v3" => {
            json!({"paths": {"apis/wardle.io/v1": {"serverRelativeURL": "/openapi/v3/apis/wardle.io/v1?hash=H"}}})
        }
        "/openapi/v3/apis/wardle.io/v1" => json!({"openapi": "3.0.0", "info": {"title": "wardle"}}),
        _ => {
            json!({"kind": "FlunderList", "apiVersion": "wardle.io/v1", "metadata": {}, "items": [{"asked": asked.uri}]})
        }
    })
}

/// A backend behind a service, which leads out of the cluster by name.
async fn registered(reply: fn(&Asked) -> Reply) -> (Server, Https) {
    let (server, backend) = (Server::new().await, Https::start(Certificate::Signed, &["api.default.svc"], reply).await);
    let port = backend.address.port();
    let service = json!({
        "metadata": {"name": "api"},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
    });
    let made = server.call("POST", "/api/v1/namespaces/default/services", Some(service)).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let registration = json!({
        "metadata": {"name": "v1.wardle.io"},
        "spec": {
            "group": "wardle.io", "version": "v1", "groupPriorityMinimum": 2000, "versionPriority": 10,
            "caBundle": backend.bundle, "service": {"namespace": "default", "name": "api", "port": port},
        },
    });
    let made = server.call("POST", SERVICES, Some(registration)).await;
    assert_eq!(made.code, 201, "{}", made.body);
    (server, backend)
}

/// Waits until an `APIService` says this about itself.
async fn until(server: &Server, name: &str, status: &str, reason: &str) -> Value {
    let path = format!("{SERVICES}/{name}");
    let mut seen = Value::Null;
    let waiting = async {
        loop {
            seen = server.call("GET", &path, None).await.body;
            let condition = &seen["status"]["conditions"][0];
            if condition["status"] == status && condition["reason"] == reason {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    waited.unwrap_or_else(|_| panic!("{name} never became {status} ({reason}): {}", seen["status"]));
    seen
}

async fn accepting(server: &Server, path: &str, accept: &str) -> Answer {
    let request = Request::get(path).header("accept", accept).body(Full::default()).expect("a request");
    server.send(request).await
}

#[tokio::test]
async fn a_request_reaches_the_backend_with_who_asks() {
    let (server, backend) = registered(wardle).await;
    until(&server, "v1.wardle.io", "True", "Passed").await;
    let list = server.call("GET", &format!("{FLUNDERS}?labelSelector=a%3Db"), None).await;
    assert_eq!((list.code, list.at("items.0.asked")), (200, format!("{FLUNDERS}?labelSelector=a%3Db")));
    let asked = backend.asked();
    let passed = asked.iter().find(|one| one.uri.starts_with(FLUNDERS)).expect("the request");
    assert_eq!(passed.headers["x-remote-user"], "admin");
    let groups: Vec<_> = passed.headers.get_all("x-remote-group").iter().collect();
    assert!(groups.contains(&&http::HeaderValue::from_static("system:masters")), "{groups:?}");
    let check = &asked[0];
    assert_eq!(
        (check.uri.as_str(), &check.headers["x-remote-user"]),
        ("/apis/wardle.io/v1", &"system:kube-aggregator".parse().expect("a value"))
    );
}

#[tokio::test]
async fn discovery_and_openapi_show_what_the_backend_serves() {
    let (server, _backend) = registered(wardle).await;
    until(&server, "v1.wardle.io", "True", "Passed").await;
    let groups = server.call("GET", "/apis", None).await;
    let names: Vec<String> =
        groups.body["groups"].as_array().into_iter().flatten().map(|one| at(one, "name")).collect();
    assert!(names.iter().any(|name| name == "wardle.io"), "{names:?}");
    let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let all = accepting(&server, "/apis", v2).await;
    let group = all.body["items"].as_array().into_iter().flatten().find(|one| one["metadata"]["name"] == "wardle.io");
    let version = &group.expect("the group")["versions"][0];
    assert_eq!((&version["freshness"], &version["resources"][0]["resource"]), (&json!("Current"), &json!("flunders")));
    assert_eq!(server.call("GET", "/apis/wardle.io", None).await.at("preferredVersion.version"), "v1");
    assert_eq!(server.call("GET", "/apis/wardle.io/v1", None).await.at("resources.0.kind"), "Flunder");
    let index = server.call("GET", "/openapi/v3", None).await;
    let url = index.body["paths"]["apis/wardle.io/v1"]["serverRelativeURL"].as_str().unwrap_or_default().to_owned();
    assert_eq!(server.call("GET", &url, None).await.at("info.title"), "wardle");
}

#[tokio::test]
async fn a_backend_that_is_gone_is_unavailable_and_stale() {
    let (server, backend) = registered(wardle).await;
    until(&server, "v1.wardle.io", "True", "Passed").await;
    assert_eq!(server.call("DELETE", "/api/v1/namespaces/default/services/api", None).await.code, 200);
    let seen = until(&server, "v1.wardle.io", "False", "ServiceNotFound").await;
    assert_eq!(at(&seen, "status.conditions.0.message"), "service/api in \"default\" is not present");
    assert_eq!(server.call("GET", FLUNDERS, None).await.code, 503);
    let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let all = accepting(&server, "/apis", v2).await;
    let group = all.body["items"].as_array().into_iter().flatten().find(|one| one["metadata"]["name"] == "wardle.io");
    assert_eq!(group.expect("the group")["versions"][0]["freshness"], "Stale");
    drop(backend);
}

#[tokio::test]
async fn a_backend_that_is_no_api_server_fails_its_check() {
    let (server, _backend) = registered(|_| Reply::Text(418, "x", "y", String::new())).await;
    let seen = until(&server, "v1.wardle.io", "False", "FailedDiscoveryCheck").await;
    let message = at(&seen, "status.conditions.0.message");
    assert!(message.starts_with("failing or missing response from https://api.default.svc:"), "{message}");
    assert!(message.ends_with(": 418"), "{message}");
}

#[tokio::test]
async fn a_backend_whose_list_nobody_can_read_is_asked_all_the_same() {
    let (server, _backend) = registered(|_| Reply::Text(200, "x", "y", "hello".to_owned())).await;
    until(&server, "v1.wardle.io", "True", "Passed").await;
    assert_eq!(server.call("GET", FLUNDERS, None).await.code, 200);
    let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let all = accepting(&server, "/apis", v2).await;
    let group = all.body["items"].as_array().into_iter().flatten().find(|one| one["metadata"]["name"] == "wardle.io");
    assert_eq!(group.expect("the group")["versions"][0]["freshness"], "Stale");
}

#[tokio::test]
async fn what_this_server_serves_is_there_as_local() {
    let server = Server::new().await;
    let seen = until(&server, "v1.apps", "True", "Local").await;
    assert_eq!(at(&seen, "metadata.labels.kube-aggregator.kubernetes.io/automanaged"), "");
    assert_eq!(seen["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "onstart");
    assert_eq!(server.call("GET", "/apis/apps/v1/deployments", None).await.code, 200);
}

#[tokio::test]
async fn groups_of_custom_resources_come_and_go() {
    let server = Server::new().await;
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    let definition = json!({
        "metadata": {"name": "gizmos.acme.io"},
        "spec": {
            "group": "acme.io", "scope": "Cluster", "names": {"plural": "gizmos", "kind": "Gizmo"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    });
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(server.call("POST", definitions, Some(definition)).await.code, 201);
    until(&server, "v1.acme.io", "True", "Local").await;
    assert_eq!(server.call("DELETE", &format!("{definitions}/gizmos.acme.io"), None).await.code, 200);
    let gone = async {
        while server.call("GET", &format!("{SERVICES}/v1.acme.io"), None).await.code != 404 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the APIService goes with its group");
}
