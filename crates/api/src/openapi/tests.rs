//! What kubectl looks for in the documents.

use super::*;
use crate::kinds::{builtin, find_kind};

fn rows() -> impl Iterator<Item = &'static Resource> {
    builtin().iter().map(AsRef::as_ref)
}

fn apps() -> Value {
    document(rows(), "apps", "v1", &Extra::new()).unwrap()
}

#[test]
fn the_index_leads_to_one_document_for_each_group_and_version() {
    let index = index(rows(), &Extra::new());
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    assert!(url.starts_with("/openapi/v3/apis/apps/v1?hash="), "{url}");
    assert!(index["paths"]["api/v1"].is_object() && index["paths"]["apis/autoscaling/v1"].is_object());
    for path in index["paths"].as_object().unwrap().keys() {
        let mut parts = path.split('/').skip(1).collect::<Vec<_>>();
        let version = parts.pop().unwrap();
        assert!(document(rows(), parts.first().unwrap_or(&""), version, &Extra::new()).is_some(), "{path}");
    }
}

#[test]
fn every_reference_of_every_document_leads_somewhere() {
    for row in rows() {
        let document = document(rows(), &row.group, &row.version, &Extra::new()).unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{row:?}: {name}");
        }
    }
}

#[test]
fn kubectl_finds_field_validation_in_the_patch_of_the_kind() {
    let patch = &apps()["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch[GVK], json!({"group": "apps", "version": "v1", "kind": "Deployment"}));
    assert_eq!(patch["x-kubernetes-action"], "patch");
    let names: Vec<_> =
        patch["parameters"].as_array().unwrap().iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"fieldValidation") && names.contains(&"force"));
    let formats: Vec<_> = patch["requestBody"]["content"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        formats,
        [
            "application/apply-patch+yaml",
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json"
        ]
    );
}

#[test]
fn explain_finds_the_schema_by_its_kind_and_reads_its_fields() {
    let document = apps();
    let schema = &document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(schema[GVK], json!([{"group": "apps", "version": "v1", "kind": "Deployment"}]));
    assert!(schema["properties"]["spec"].is_object());
    let template = &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert!(template["description"].as_str().is_some_and(|text| text.contains("containers")));
    let operation = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments"]["get"];
    assert_eq!(
        (&operation["operationId"], &operation["x-kubernetes-action"]),
        (&json!("listAppsV1NamespacedDeployment"), &json!("list"))
    );
}

#[test]
fn diff_finds_the_merge_keys_of_lists() {
    let document = apps();
    let containers = &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-list-type"], "map");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
}

#[test]
fn lists_and_subresources_have_schemas_of_their_own() {
    let document = apps();
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["io.k8s.api.apps.v1.DeploymentList"][GVK][0]["kind"], "DeploymentList");
    let scale = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"];
    assert_eq!(scale[GVK], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    assert_eq!(schemas["io.k8s.api.autoscaling.v1.Scale"][GVK][0]["group"], "autoscaling");
}

#[test]
fn exec_is_a_connection_and_a_review_can_only_be_created() {
    let core = document(rows(), "", "v1", &Extra::new()).unwrap();
    let exec = &core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/exec"];
    assert_eq!(exec["post"]["x-kubernetes-action"], "connect");
    let reviews = document(rows(), "authorization.k8s.io", "v1", &Extra::new()).unwrap();
    let review = &reviews["paths"]["/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"];
    assert!(review["post"].is_object() && review.get("get").is_none());
}

#[test]
fn the_hash_follows_the_schema_of_a_custom_resource() {
    let mut row = (*builtin()[0]).clone();
    row.group = "example.com".into();
    row.schema = "com.example.v1.Widget".into();
    let with = |schema: Value| Extra::from([("com.example.v1.Widget".to_owned(), schema)]);
    let (a, b) = (with(json!({"type": "object"})), with(json!({"type": "object", "properties": {}})));
    assert_eq!(hash([&row], &a), hash([&row], &a));
    assert_ne!(hash([&row], &a), hash([&row], &b));
    let schemas = document([&row], "example.com", "v1", &a).unwrap();
    assert_eq!(schemas["components"]["schemas"]["com.example.v1.Widget"]["type"], "object");
}

#[test]
fn a_custom_resource_takes_no_strategic_patch() {
    let mut row = (**find_kind("v1", "ConfigMap").unwrap()).clone();
    row.group = "example.com".into();
    row.schema = "com.example.v1.Widget".into();
    let document = document([&row], "example.com", "v1", &Extra::new()).unwrap();
    let patch = &document["paths"]["/apis/example.com/v1/namespaces/{namespace}/configmaps/{name}"]["patch"];
    let formats = patch["requestBody"]["content"].as_object().unwrap();
    assert!(
        formats.contains_key("application/merge-patch+json")
            && !formats.contains_key("application/strategic-merge-patch+json")
    );
}
