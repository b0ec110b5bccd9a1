//! Custom kinds: their definitions, what is published of them, and how their objects are judged.

use serde_json::{Value, json};

use super::world::{APPLY, Answer, JSON, World, at, object};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const GROUP: &str = "custom.example.com";

fn version(name: &str, schema: &Value) -> Value {
    json!({"name": name, "served": true, "storage": false, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema}})
}

fn definition(group: &str, plural: &str, kind: &str, mut versions: Vec<Value>) -> Value {
    versions[0]["storage"] = true.into();
    let names =
        json!({"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")});
    let spec = json!({"group": group, "scope": "Namespaced", "names": names, "versions": versions});
    object("apiextensions.k8s.io/v1", "CustomResourceDefinition", &format!("{plural}.{group}"), &json!({"spec": spec}))
}

/// Anything goes.
fn open() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// What is not named does not go.
fn closed() -> Value {
    let port = json!({"type": "object", "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}});
    json!({"type": "object", "description": "Foo CRD for Testing", "properties": {
        "spec": {"type": "object", "description": "Specification of Foo", "required": ["bars"], "properties": {
            "bars": {"type": "array", "description": "List of Bars and their specs.", "items": port}}},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
}

async fn define(world: &World, definition: &Value) -> String {
    world.post(DEFINITIONS, definition).await.is(201);
    format!("{DEFINITIONS}/{}", at(definition, "/metadata/name"))
}

/// Returns what `OpenAPI` v3 and v2 publish of a kind: the same, or nothing.
async fn published(world: &World, group: &str, version: &str, kind: &str) -> Option<Value> {
    let is_it = |schema: &&Value| {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        kinds.is_some_and(|kinds| kinds.contains(&json!({"group": group, "version": version, "kind": kind})))
    };
    let three = world.get(&format!("/openapi/v3/apis/{group}/{version}")).await;
    let schemas = three.body["components"]["schemas"].as_object();
    let three = schemas.and_then(|schemas| schemas.values().find(is_it)).cloned();
    let two = world.get("/openapi/v2").await.is(200);
    let two = two.body["definitions"].as_object().expect("definitions").values().find(is_it).cloned();
    assert_eq!(three.is_some(), two.is_some(), "both versions publish {kind} of {group}/{version}, or neither");
    let description = |schema: &Option<Value>| schema.as_ref().map(|schema| at(schema, "/description"));
    assert_eq!(description(&three), description(&two));
    three
}

#[tokio::test]
async fn a_schema_is_published_for_clients() {
    let world = World::new().await;
    define(&world, &definition(GROUP, "foos", "Foo", vec![version("v1", &closed())])).await;
    let schema = published(&world, GROUP, "v1", "Foo").await.expect("published");
    assert_eq!(at(&schema, "/description"), "Foo CRD for Testing");
    let bars = &schema["properties"]["spec"]["properties"]["bars"];
    assert_eq!((at(bars, "/type"), at(bars, "/description")), ("array".into(), "List of Bars and their specs.".into()));
    assert!(!at(&schema, "/properties/metadata").is_empty() && !at(&schema, "/properties/kind").is_empty());
    world.end().await;
}

#[tokio::test]
async fn kinds_that_keep_unknown_fields_are_published_as_such() {
    let world = World::new().await;
    define(&world, &definition(GROUP, "roots", "Root", vec![version("v1", &open())])).await;
    let root = published(&world, GROUP, "v1", "Root").await.expect("published");
    assert_eq!(at(&root, "/x-kubernetes-preserve-unknown-fields"), "true");
    let embedded = json!({"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-embedded-resource": true,
        "x-kubernetes-preserve-unknown-fields": true}}});
    define(&world, &definition(GROUP, "wraps", "Wrap", vec![version("v1", &embedded)])).await;
    let wrap = published(&world, GROUP, "v1", "Wrap").await.expect("published");
    assert_eq!(at(&wrap, "/properties/spec/x-kubernetes-embedded-resource"), "true");
    assert_eq!(at(&wrap, "/properties/spec/x-kubernetes-preserve-unknown-fields"), "true");
    world.end().await;
}

#[tokio::test]
async fn kinds_of_one_group_and_of_several_are_all_published() {
    let world = World::new().await;
    let two = vec![version("v2", &closed()), version("v3", &closed())];
    define(&world, &definition(GROUP, "twos", "Two", two)).await;
    define(&world, &definition(GROUP, "ones", "One", vec![version("v2", &open())])).await;
    define(&world, &definition("other.example.com", "ones", "One", vec![version("v2", &closed())])).await;
    for (group, version, kind) in
        [(GROUP, "v2", "Two"), (GROUP, "v3", "Two"), (GROUP, "v2", "One"), ("other.example.com", "v2", "One")]
    {
        assert!(published(&world, group, version, kind).await.is_some(), "{group}/{version} {kind}");
    }
    world.end().await;
}

#[tokio::test]
async fn what_is_published_follows_the_versions() {
    let world = World::new().await;
    let versions = vec![version("v2", &closed()), version("v3", &closed())];
    let path = define(&world, &definition(GROUP, "foos", "Foo", versions)).await;
    let mut renamed = world.get(&path).await.is(200).body;
    renamed["spec"]["versions"][1]["name"] = "v4".into();
    world.put(&path, &renamed).await.is(200);
    assert!(published(&world, GROUP, "v4", "Foo").await.is_some());
    assert!(published(&world, GROUP, "v3", "Foo").await.is_none());
    let mut unserved = world.get(&path).await.is(200).body;
    unserved["spec"]["versions"][1]["served"] = false.into();
    world.put(&path, &unserved).await.is(200);
    assert!(published(&world, GROUP, "v4", "Foo").await.is_none());
    assert!(published(&world, GROUP, "v2", "Foo").await.is_some(), "the other version stays");
    world.get(&format!("/apis/{GROUP}/v4")).await.is(404);
    world.end().await;
}

#[tokio::test]
async fn definitions_are_created_listed_and_deleted() {
    let world = World::new().await;
    for number in 0..10 {
        let mut each = definition(&format!("g{number}.example.com"), "foos", "Foo", vec![version("v1", &open())]);
        each["metadata"]["labels"] = json!({"of": "conformance"});
        world.post(DEFINITIONS, &each).await.is(201);
    }
    let path = format!("{DEFINITIONS}?labelSelector=of%3Dconformance");
    assert_eq!(world.get(&path).await.names().len(), 10);
    world.delete(&path).await.is(200);
    world.until("all are gone", &path, |answer| answer.names().is_empty()).await;
    world.end().await;
}

#[tokio::test]
async fn a_definition_has_a_status_of_its_own() {
    let world = World::new().await;
    let path = define(&world, &definition(GROUP, "foos", "Foo", vec![version("v1", &open())])).await;
    let path = format!("{path}/status");
    let read = world.get(&path).await.is(200);
    assert_eq!(read.at("/kind"), "CustomResourceDefinition");
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "E2E", "message": "set"});
    let mut wanted = read.body;
    wanted["status"]["conditions"].as_array_mut().expect("conditions").push(condition("StatusUpdate"));
    assert!(world.put(&path, &wanted).await.is(200).at("/status/conditions").contains("StatusUpdate"));
    let patched = world.patch(&path, &json!({"status": {"conditions": [condition("StatusPatched")]}})).await.is(200);
    assert_eq!(patched.at("/status/conditions/0/type"), "StatusPatched");
    world.end().await;
}

#[tokio::test]
async fn custom_objects_are_watched_one_by_one() {
    let world = World::new().await;
    define(&world, &definition(GROUP, "foos", "Foo", vec![version("v1", &open())])).await;
    let foos = format!("/apis/{GROUP}/v1/namespaces/default/foos");
    let mut a = world.watch(&format!("{foos}?watch=true&fieldSelector=metadata.name%3Da")).await;
    let mut b = world.watch(&format!("{foos}?watch=true&fieldSelector=metadata.name%3Db")).await;
    for name in ["a", "b"] {
        world.post(&foos, &object(&format!("{GROUP}/v1"), "Foo", name, &json!({"value": 1}))).await.is(201);
        world.patch(&format!("{foos}/{name}"), &json!({"value": 2})).await.is(200);
        world.delete(&format!("{foos}/{name}")).await.is(200);
    }
    for line in ["ADDED", "MODIFIED", "DELETED"] {
        assert_eq!(a.line().await, format!("{line} a"));
        assert_eq!(b.line().await, format!("{line} b"));
    }
    world.end().await;
}

#[tokio::test]
async fn defaults_come_with_requests_and_from_storage() {
    let world = World::new().await;
    let path = define(&world, &definition(GROUP, "foos", "Foo", vec![version("v1", &open())])).await;
    let foos = format!("/apis/{GROUP}/v1/namespaces/default/foos");
    let foo = |name: &str| object(&format!("{GROUP}/v1"), "Foo", name, &json!({}));
    assert_eq!(world.post(&foos, &foo("first")).await.is(201).at("/a"), "");
    let with_defaults = |defaults: &Value| {
        let mut schema = open();
        schema["properties"] = defaults.clone();
        json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": schema}])
    };
    let json_patch = "application/json-patch+json";
    let a = with_defaults(&json!({"a": {"type": "string", "default": "A"}}));
    world.call("PATCH", &path, json_patch, &a).await.is(200);
    assert_eq!(world.post(&foos, &foo("second")).await.is(201).at("/a"), "A", "with a request");
    assert_eq!(world.get(&format!("{foos}/first")).await.is(200).at("/a"), "A", "from storage");
    let b = with_defaults(&json!({"a": {"type": "string"}, "b": {"type": "string", "default": "B"}}));
    world.call("PATCH", &path, json_patch, &b).await.is(200);
    let second = world.get(&format!("{foos}/second")).await.is(200);
    assert_eq!((second.at("/a"), second.at("/b")), ("A".into(), "B".into()), "what was written with a default stays");
    let first = world.get(&format!("{foos}/first")).await.is(200);
    assert_eq!((first.at("/a"), first.at("/b")), (String::new(), "B".into()), "what was only shown does not");
    world.end().await;
}

/// Writes YAML by POST and by apply.
async fn write(world: &World, path: &str, name: &str, yaml: &str, validation: &str) -> [Answer; 2] {
    let post = format!("{path}?fieldValidation={validation}");
    let apply = format!("{path}/{name}?fieldManager=validator&force=true&fieldValidation={validation}");
    let yaml_type = ("content-type", "application/yaml");
    let posted = world.send("POST", &post, &[yaml_type], yaml.to_owned()).await;
    let applied = world.send("PATCH", &apply, &[("content-type", APPLY)], yaml.to_owned()).await;
    [posted, applied]
}

#[tokio::test]
async fn unknown_and_duplicate_fields_of_a_typed_object_are_told() {
    let world = World::new().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let body = |metadata: &str| {
        format!(
            "{{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{{\"name\":\"d\"{metadata}}},\"spec\":{{\
             \"unknown1\":\"val1\",\"unknownDupe\":\"valDupe\",\"unknownDupe\":\"valDupe2\",\"paused\":true,\"paused\":false,\
             \"replicas\":0,\"selector\":{{\"matchLabels\":{{\"app\":\"d\"}}}},\"template\":{{\"metadata\":{{\"labels\":{{\
             \"app\":\"d\"}}}},\"spec\":{{\"containers\":[{{\"name\":\"main\",\"image\":\"pause\",\"unknownNested\":\"val1\"\
             }}]}}}}}}}}"
        )
    };
    let send = async |validation: &str, metadata: &str| {
        let url = format!("{path}?fieldValidation={validation}&dryRun=All");
        world.send("POST", &url, &[("content-type", JSON)], body(metadata)).await
    };
    let strict = send("Strict", "").await.is(400).at("/message");
    for problem in [
        "strict decoding error",
        "unknown field \"spec.unknown1\"",
        "duplicate field \"spec.paused\"",
        "unknown field \"spec.unknownDupe\"",
        "unknown field \"spec.template.spec.containers[0].unknownNested\"",
    ] {
        assert!(strict.contains(problem), "{problem} in {strict}");
    }
    let warned = send("Warn", "").await.is(201);
    let warnings: Vec<&str> =
        warned.headers.get_all("warning").iter().map(|value| value.to_str().expect("text")).collect();
    assert!(warnings.iter().any(|text| text.contains("unknown field \\\"spec.unknown1\\\"")), "{warnings:?}");
    assert!(warnings.iter().any(|text| text.contains("duplicate field \\\"spec.paused\\\"")), "{warnings:?}");
    let ignored = send("Ignore", "").await.is(201);
    assert!(ignored.headers.get("warning").is_none());
    // In metadata, too.
    let meta = send("Strict", ",\"unknownMeta\":\"foo\"").await.is(400).at("/message");
    assert!(meta.contains("unknown field \"metadata.unknownMeta\""), "{meta}");
    world.end().await;
}

#[tokio::test]
async fn a_custom_object_is_held_to_its_schema() {
    let world = World::new().await;
    define(&world, &definition(GROUP, "foos", "Foo", vec![version("v1", &closed())])).await;
    let path = format!("/apis/{GROUP}/v1/namespaces/default/foos");
    let yaml = |name: &str, extra: &str| {
        format!(
            "apiVersion: {GROUP}/v1\nkind: Foo\nmetadata: {{name: {name}}}\nspec:\n  bars: [{{name: a, port: 1}}]\n{extra}"
        )
    };
    for answer in write(&world, &path, "valid", &yaml("valid", ""), "Strict").await {
        assert!([200, 201].contains(&answer.code), "{answer:?}");
    }
    for answer in write(&world, &path, "extra", &yaml("extra", "  extraProperty: x\n"), "Strict").await {
        assert!([400, 422, 500].contains(&answer.code), "{answer:?}");
        let message = answer.at("/message");
        assert!(message.contains("extraProperty"), "{message}");
    }
    let missing = format!("apiVersion: {GROUP}/v1\nkind: Foo\nmetadata: {{name: missing}}\nspec: {{}}\n");
    for answer in write(&world, &path, "missing", &missing, "Strict").await {
        let message = answer.is(422).at("/message");
        assert!(message.contains("spec.bars: Required value"), "{message}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_custom_object_without_a_schema_may_hold_anything_but_duplicates() {
    let world = World::new().await;
    define(&world, &definition(GROUP, "anys", "Any", vec![version("v1", &open())])).await;
    let path = format!("/apis/{GROUP}/v1/namespaces/default/anys");
    let yaml =
        |name: &str, rest: &str| format!("apiVersion: {GROUP}/v1\nkind: Any\nmetadata: {{name: {name}}}\n{rest}");
    for answer in write(&world, &path, "free", &yaml("free", "spec: {unknown: 1, more: {of: it}}\n"), "Strict").await {
        assert!([200, 201].contains(&answer.code), "{answer:?}");
        assert_eq!(answer.at("/spec/more/of"), "it");
    }
    let twice = yaml("twice", "spec:\n  unknown: 1\n  unknown: 2\n");
    for answer in write(&world, &path, "twice", &twice, "Strict").await {
        let message = answer.is(400).at("/message");
        assert!(message.contains("unknown") && message.contains("already"), "{message}");
    }
    world.end().await;
}

#[tokio::test]
async fn unknown_metadata_is_told_at_the_root_and_in_embedded_objects() {
    let world = World::new().await;
    let template =
        json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true});
    let schema =
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"template": template}}}});
    define(&world, &definition(GROUP, "wraps", "Wrap", vec![version("v1", &schema)])).await;
    let path = format!("/apis/{GROUP}/v1/namespaces/default/wraps");
    let yaml = format!(
        "apiVersion: {GROUP}/v1\nkind: Wrap\nmetadata: {{name: w, unknownMeta: foo}}\nspec:\n  template:\n    apiVersion: v1\n    \
         kind: Pod\n    metadata: {{name: p, unknownSubMeta: foo}}\n"
    );
    let [posted, _] = write(&world, &path, "w", &yaml, "Strict").await;
    let message = posted.is(400).at("/message");
    assert!(message.contains("unknown field \"metadata.unknownMeta\""), "{message}");
    assert!(message.contains("unknown field \"spec.template.metadata.unknownSubMeta\""), "{message}");
    world.end().await;
}
