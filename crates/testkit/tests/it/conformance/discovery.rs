//! What an API server says of itself: groups, versions, resources, its own version, tables.

use serde_json::{Value, json};

use super::world::{Answer, World, at};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn items(answer: &Answer) -> &[Value] {
    answer.body["items"].as_array().expect("items")
}

/// Returns a resource of an aggregated document.
fn resource<'a>(document: &'a Answer, group: &str, version: &str, plural: &str) -> Option<&'a Value> {
    let group = items(document).iter().find(|each| at(each, "/metadata/name") == group)?;
    let version = group["versions"].as_array()?.iter().find(|each| each["version"] == version)?;
    version["resources"].as_array()?.iter().find(|each| each["resource"] == plural)
}

async fn define(world: &World, plural: &str, kind: &str, versions: &[&str]) {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let versions: Vec<Value> = (0..)
        .zip(versions)
        .map(|(index, name)| json!({"name": name, "served": true, "storage": index == 0, "schema": schema}))
        .collect();
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.discovery.example.com")},
        "spec": {"group": "discovery.example.com", "scope": "Namespaced", "versions": versions,
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")}},
    });
    world.post(DEFINITIONS, &definition).await.is(201);
}

#[tokio::test]
async fn aggregated_discovery_lists_every_group_version_and_resource() {
    let world = World::new().await;
    let (core, groups) =
        (world.accept("/api", AGGREGATED).await.is(200), world.accept("/apis", AGGREGATED).await.is(200));
    for document in [&core, &groups] {
        assert_eq!(document.header("content-type"), AGGREGATED);
        assert_eq!(document.at("/kind"), "APIGroupDiscoveryList");
        for group in items(document) {
            for version in group["versions"].as_array().expect("versions") {
                assert_eq!(version["freshness"], "Current");
                assert!(!version["resources"].as_array().expect("resources").is_empty(), "{group:#}");
            }
        }
    }
    let pods = resource(&core, "", "v1", "pods").expect("pods");
    assert_eq!((at(pods, "/responseKind/kind"), at(pods, "/scope")), ("Pod".into(), "Namespaced".into()));
    let parts: Vec<String> =
        pods["subresources"].as_array().expect("subresources").iter().map(|each| at(each, "/subresource")).collect();
    assert!(
        ["status", "log", "eviction", "binding"].iter().all(|part| parts.iter().any(|each| each == part)),
        "{parts:?}"
    );
    // Both documents tell the same as the older ones.
    let older = world.get("/apis").await;
    for group in older.body["groups"].as_array().expect("groups") {
        let group_name = at(group, "/name");
        for version in group["versions"].as_array().expect("versions") {
            let list = world.get(&format!("/apis/{}", at(version, "/groupVersion"))).await.is(200);
            for each in list.body["resources"].as_array().expect("resources") {
                let name = at(each, "/name");
                if !name.contains('/') {
                    let found = resource(&groups, &group_name, &at(version, "/version"), &name);
                    assert_eq!(found.map(|found| &found["verbs"]), Some(&each["verbs"]), "{group_name} {name}");
                }
            }
        }
    }
    world.end().await;
}

#[tokio::test]
async fn aggregated_discovery_follows_custom_kinds() {
    let world = World::new().await;
    define(&world, "foos", "Foo", &["v1", "v2beta1"]).await;
    let groups = world.accept("/apis", AGGREGATED).await.is(200);
    for version in ["v1", "v2beta1"] {
        let found = resource(&groups, "discovery.example.com", version, "foos").expect("foos");
        assert_eq!(at(found, "/responseKind/kind"), "Foo");
        assert_eq!((at(found, "/singularResource"), at(found, "/scope")), ("foo".into(), "Namespaced".into()));
        let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
        assert_eq!(found["verbs"], json!(verbs));
    }
    world.delete(&format!("{DEFINITIONS}/foos.discovery.example.com")).await.is(200);
    let path = format!("{DEFINITIONS}/foos.discovery.example.com");
    world.until("the definition is gone", &path, |answer| answer.code == 404).await;
    let groups = world.accept("/apis", AGGREGATED).await.is(200);
    assert!(resource(&groups, "discovery.example.com", "v1", "foos").is_none());
    world.end().await;
}

#[tokio::test]
async fn discovery_answers_in_the_form_that_is_accepted() {
    let world = World::new().await;
    for (path, kind) in [("/api", "APIVersions"), ("/apis", "APIGroupList")] {
        for plain in ["application/json", "*/*"] {
            let answer = world.accept(path, plain).await.is(200);
            assert_eq!((answer.header("content-type"), answer.at("/kind")), ("application/json", kind.into()));
        }
        let first = world.accept(path, &format!("{AGGREGATED},application/json")).await.is(200);
        assert_eq!(first.header("content-type"), AGGREGATED);
        let unknown = AGGREGATED.replace("v=v2", "v=v9");
        let fallback = world.accept(path, &format!("{unknown},application/json")).await.is(200);
        assert_eq!(fallback.at("/kind"), kind);
        world.accept(path, "image/png").await.is(406);
    }
    world.end().await;
}

#[tokio::test]
async fn every_group_prefers_a_version_that_it_has() {
    let world = World::new().await;
    define(&world, "foos", "Foo", &["v1"]).await;
    let groups = world.get("/apis").await.is(200);
    let groups = groups.body["groups"].as_array().expect("groups");
    assert!(groups.len() > 15);
    for group in groups {
        let versions: Vec<String> =
            group["versions"].as_array().expect("versions").iter().map(|each| at(each, "/groupVersion")).collect();
        assert!(versions.contains(&at(group, "/preferredVersion/groupVersion")), "{group:#}");
        let alone = world.get(&format!("/apis/{}", at(group, "/name"))).await.is(200);
        assert_eq!(alone.body["preferredVersion"], group["preferredVersion"]);
        assert_eq!(alone.at("/kind"), "APIGroup");
    }
    world.end().await;
}

#[tokio::test]
async fn every_group_version_and_its_resources_are_found() {
    let world = World::new().await;
    let groups = world.get("/apis").await.is(200);
    for (group, plural) in [
        ("apiregistration.k8s.io", "apiservices"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
        ("apps", "daemonsets"),
        ("apps", "deployments"),
        ("apps", "replicasets"),
        ("apps", "statefulsets"),
        ("authentication.k8s.io", "tokenreviews"),
        ("authorization.k8s.io", "localsubjectaccessreviews"),
        ("authorization.k8s.io", "subjectaccessreviews"),
        ("autoscaling", "horizontalpodautoscalers"),
        ("batch", "jobs"),
        ("coordination.k8s.io", "leases"),
        ("discovery.k8s.io", "endpointslices"),
        ("networking.k8s.io", "networkpolicies"),
        ("policy", "poddisruptionbudgets"),
        ("scheduling.k8s.io", "priorityclasses"),
        ("storage.k8s.io", "storageclasses"),
    ] {
        let known = groups.body["groups"].as_array().expect("groups").iter().any(|each| each["name"] == group);
        assert!(known, "{group}");
        let list = world.get(&format!("/apis/{group}/v1")).await.is(200);
        let found = list.body["resources"].as_array().expect("resources").iter().any(|each| each["name"] == plural);
        assert!(found && list.at("/groupVersion") == format!("{group}/v1"), "{group} {plural}");
    }
    world.end().await;
}

#[tokio::test]
async fn the_server_says_its_version() {
    let world = World::new().await;
    let version = world.get("/version").await.is(200);
    assert_eq!((version.at("/major"), version.at("/minor")), ("1".into(), "37".into()));
    assert!(version.at("/gitVersion").starts_with("v1.37."));
    world.end().await;
}

#[tokio::test]
async fn what_is_not_kept_has_no_table() {
    let world = World::new().await;
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let headers = [("content-type", "application/json"), ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let refused = world.send("POST", path, &headers, review.to_string()).await.is(406);
    assert_eq!(refused.at("/reason"), "NotAcceptable");
    world.end().await;
}
