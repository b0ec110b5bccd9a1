//! Tests of the type graph.

use serde_json::json;

use super::*;

fn deployment() -> &'static Type {
    Schema::of("io.k8s.api.apps.v1.Deployment").expect("deployments are built in")
}

fn pod_spec() -> &'static Type {
    Schema::of("io.k8s.api.core.v1.PodSpec").expect("pods are built in")
}

fn merge_of(of: &Type) -> &ListMerge {
    match of.shape() {
        Shape::List(list) => &list.merge,
        other => panic!("no list: {other:?}"),
    }
}

#[test]
fn fields_lead_to_types() {
    let replicas = deployment().member("spec").and_then(|spec| spec.member("replicas")).unwrap();
    assert!(matches!(replicas.shape(), Shape::Scalar(Scalar::Int32)));
    assert_eq!(deployment().member("spec").unwrap().name(), "io.k8s.api.apps.v1.DeploymentSpec");
    assert!(deployment().field("spec").unwrap().required);
    assert!(deployment().field("specs").is_none());
    assert!(Schema::of("io.k8s.api.apps.v1.Nothing").is_none());
}

#[test]
fn lists_carry_both_merge_rules() {
    let containers = pod_spec().field("containers").unwrap();
    assert_eq!(merge_of(containers.of()), &ListMerge::Map(vec!["name".into()]));
    assert!(containers.patch.merge);
    assert_eq!(containers.patch.keys, ["name"]);
    let ports = containers.of().items().unwrap().field("ports").unwrap();
    assert_eq!(merge_of(ports.of()), &ListMerge::Map(vec!["containerPort".into(), "protocol".into()]));
    assert_eq!(ports.patch.keys, ["containerPort"]);
    assert_eq!(ports.of().items().unwrap().field("protocol").unwrap().default, Some(json!("TCP")));
    let volumes = pod_spec().field("volumes").unwrap();
    assert!(volumes.patch.merge && volumes.patch.retain_keys);
    assert_eq!(merge_of(pod_spec().field("tolerations").unwrap().of()), &ListMerge::Atomic);
    let finalizers =
        Schema::of("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").unwrap().field("finalizers").unwrap();
    assert_eq!(merge_of(finalizers.of()), &ListMerge::Set);
    assert!(finalizers.patch.merge && finalizers.patch.keys.is_empty());
}

#[test]
fn some_objects_are_owned_as_a_whole() {
    let spec = deployment().member("spec").unwrap();
    assert!(spec.member("selector").unwrap().is_leaf());
    assert!(!spec.member("strategy").unwrap().is_leaf());
    assert!(spec.field("strategy").unwrap().patch.retain_keys);
    assert!(pod_spec().member("nodeSelector").unwrap().is_leaf());
    let data = Schema::of("io.k8s.api.core.v1.ConfigMap").unwrap().member("data").unwrap();
    assert!(!data.is_leaf());
}

#[test]
fn every_key_of_a_merged_list_is_a_field_of_its_items() {
    let mut lists = 0;
    for name in Schema::names() {
        let Shape::Struct(object) = Schema::of(name).unwrap().shape() else { continue };
        for (field_name, field) in object.fields() {
            let Shape::List(list) = field.of().shape() else { continue };
            let ListMerge::Map(keys) = &list.merge else { continue };
            assert!(!keys.is_empty(), "{name}.{field_name} has no keys");
            for key in keys.iter().chain(&field.patch.keys) {
                assert!(list.items().field(key).is_some(), "{name}.{field_name}: items have no {key}");
            }
            lists += 1;
        }
    }
    assert!(lists > 50, "{lists}");
}

#[test]
fn types_are_named_as_in_go() {
    let name = |field: &str| pod_spec().member(field).unwrap().go_name();
    assert_eq!(name("containers"), "[]v1.Container");
    assert_eq!(name("nodeSelector"), "map[string]string");
    assert_eq!(name("activeDeadlineSeconds"), "int64");
    assert_eq!(name("hostNetwork"), "bool");
    assert_eq!(name("affinity"), "v1.Affinity");
    assert_eq!(name("overhead"), "map[string]resource.Quantity");
}

#[test]
fn published_schemas_refer_to_published_schemas() {
    let names = Schema::closure("io.k8s.api.apps.v1.Deployment");
    assert!(names.contains(&"io.k8s.api.core.v1.PodSpec"));
    assert!(!names.contains(&"io.k8s.api.core.v1.Node"));
    assert!(names.iter().all(|name| Schema::json(name).is_some()));
    let spec = &Schema::json("io.k8s.api.apps.v1.Deployment").unwrap()["properties"]["spec"];
    assert_eq!(spec["allOf"], json!([{"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"}]));
    let containers = &Schema::json("io.k8s.api.core.v1.PodSpec").unwrap()["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
}

#[test]
fn a_property_that_is_called_like_a_reference_is_a_property() {
    // Clients cannot read the whole document if one property is no schema.
    let props = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
    let properties = &Schema::json(props).unwrap()["properties"];
    assert_eq!(properties["$ref"]["type"], "string");
    assert!(properties.get("allOf").is_some_and(|list| list["type"] == "array"));
}

#[test]
fn recursive_types_can_be_walked_for_ever() {
    let mut props = Schema::of("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps").unwrap();
    for _ in 0..100 {
        props = props.member("properties").and_then(|map| map.member("anything")).unwrap();
    }
    assert!(props.field("x-kubernetes-list-type").is_some());
}

#[test]
fn a_custom_resource_brings_its_own_schema() {
    let of = Type::custom_resource(&json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "format": "int32", "default": 1},
            "port": {"x-kubernetes-int-or-string": true},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "note": {"type": "string", "nullable": true},
            "members": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
            "tags": {"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": "atomic"},
        }},
    }}));
    let spec = of.member("spec").unwrap();
    assert_eq!(merge_of(spec.member("members").unwrap()), &ListMerge::Map(vec!["name".into()]));
    assert!(matches!(spec.member("port").unwrap().shape(), Shape::Scalar(Scalar::IntOrString)));
    assert!(matches!(spec.member("free").unwrap().shape(), Shape::Untyped));
    assert!(spec.member("tags").unwrap().is_leaf());
    assert!(spec.member("note").unwrap().is_nullable());
    assert_eq!(spec.field("size").unwrap().default, Some(json!(1)));
    assert!(of.member("metadata").and_then(|meta| meta.field("finalizers")).is_some());
    let untyped = Type::custom_resource(&json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
    assert!(matches!(untyped.shape(), Shape::Struct(object) if object.preserves_unknown));
}
