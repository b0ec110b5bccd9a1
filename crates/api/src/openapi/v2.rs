//! The `OpenAPI` v2 (Swagger) document of everything that is served, made from the documents of v3.
//!
//! kubectl before 1.29 reads it for `explain`, validation and merge keys, Terraform and older tools as JSON. One document
//! holds all groups: references move from `components/schemas` to `definitions`, request bodies become parameters, and what
//! Swagger has no word for goes (`apiextensions/controller/openapi/v2/conversion.go`).

use serde_json::{Map, Value, json};

use super::{Extra, hash, operations, schemas};
use crate::resource::Resource;

/// Returns what changes when the document may have changed.
pub fn version<'a>(rows: impl IntoIterator<Item = &'a Resource>, extra: &Extra) -> String {
    hash(rows, extra)
}

/// Returns the document.
pub fn document<'a>(rows: impl IntoIterator<Item = &'a Resource>, extra: &Extra) -> Value {
    let rows: Vec<&Resource> = rows.into_iter().collect();
    let mut paths = std::collections::BTreeMap::new();
    for row in &rows {
        operations::add_paths(row, &mut paths);
    }
    let paths: Map<String, Value> = paths.into_iter().map(|(path, item)| (path, path_item(item))).collect();
    let definitions: Map<String, Value> =
        schemas(&rows, extra).into_iter().map(|(name, schema)| (name, definition(schema))).collect();
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "definitions": definitions,
        "securityDefinitions": {
            "BearerToken": {"description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header"},
        },
        "security": [{"BearerToken": []}],
    })
}

/// A number that may be a text is a text in Swagger, told apart by its format.
fn definition(mut schema: Value) -> Value {
    let is_union = schema.get("oneOf").is_some_and(Value::is_array) && schema.get("properties").is_none();
    simplify(&mut schema);
    if is_union && let Some(schema) = schema.as_object_mut() {
        schema.insert("type".to_owned(), "string".into());
    }
    schema
}

/// Takes out what Swagger does not know, and moves references, here and in everything below.
fn simplify(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    // A described reference is wrapped in v3, and stands beside its description in v2.
    if let Some(Value::Array(all)) = map.remove("allOf")
        && let [Value::Object(only)] = all.as_slice()
        && let Some(reference) = only.get("$ref")
    {
        map.insert("$ref".to_owned(), reference.clone());
    }
    for field in ["oneOf", "anyOf", "not", "x-kubernetes-validations"] {
        map.remove(field);
    }
    // Old clients take a missing type for "anything".
    if map.remove("nullable") == Some(Value::Bool(true)) {
        for field in ["type", "items", "properties", "additionalProperties"] {
            map.remove(field);
        }
    }
    if map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        for field in ["items", "properties"] {
            map.remove(field);
        }
    }
    if map.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        map.remove("type");
    }
    if let Some(Value::String(reference)) = map.get_mut("$ref") {
        *reference = reference.replace("#/components/schemas/", "#/definitions/");
        // Only described references had an empty default; beside a reference Swagger allows none.
        map.remove("default");
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(simplify);
    }
    for field in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(field) {
            simplify(inner);
        }
    }
}

fn path_item(mut item: Value) -> Value {
    let Value::Object(methods) = &mut item else { return item };
    for (method, value) in methods {
        *value = match std::mem::take(value) {
            Value::Array(parameters) if method == "parameters" => parameters.into_iter().map(parameter).collect(),
            operation => operation_of(operation),
        };
    }
    item
}

fn operation_of(operation: Value) -> Value {
    let Value::Object(mut operation) = operation else { return operation };
    let parameters = match operation.remove("parameters") {
        Some(Value::Array(parameters)) => parameters,
        _ => Vec::new(),
    };
    let mut parameters: Vec<Value> = parameters.into_iter().map(parameter).collect();
    let mut consumes = vec![json!("*/*")];
    if let Some(body) = operation.remove("requestBody") {
        let (formats, schema) = content(&body);
        consumes = formats;
        let required = body.get("required").cloned().unwrap_or_default();
        parameters.insert(0, json!({"name": "body", "in": "body", "required": required, "schema": schema}));
    }
    let mut produces = vec![json!("*/*")];
    if let Some(Value::Object(responses)) = operation.get_mut("responses") {
        for response in responses.values_mut() {
            let (formats, schema) = content(response);
            if let (Value::Object(response), false) = (response, schema.is_null()) {
                response.remove("content");
                response.insert("schema".to_owned(), schema);
                produces = formats;
            }
        }
    }
    operation.insert("parameters".to_owned(), parameters.into());
    operation.insert("consumes".to_owned(), consumes.into());
    operation.insert("produces".to_owned(), produces.into());
    operation.insert("schemes".to_owned(), json!(["https"]));
    operation.into()
}

/// Returns the formats of a body and the schema that they all have.
fn content(body: &Value) -> (Vec<Value>, Value) {
    let Some(Value::Object(content)) = body.get("content") else { return (Vec::new(), Value::Null) };
    let mut schema = content.values().next().and_then(|format| format.get("schema")).cloned().unwrap_or_default();
    simplify(&mut schema);
    (content.keys().map(|format| format.as_str().into()).collect(), schema)
}

/// A parameter says its type itself.
fn parameter(mut parameter: Value) -> Value {
    let Value::Object(map) = &mut parameter else { return parameter };
    if let Some(Value::Object(schema)) = map.remove("schema") {
        map.extend(schema);
    }
    parameter
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::builtin;

    fn all() -> Value {
        document(builtin().iter().map(AsRef::as_ref), &Extra::new())
    }

    #[test]
    fn every_reference_leads_to_a_definition_and_v3_is_gone() {
        let document = all();
        let definitions = document["definitions"].as_object().unwrap();
        let text = document.to_string();
        for reference in text.split("\"#/definitions/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(definitions.contains_key(name), "{name}");
        }
        for word in ["#/components", "\"allOf\":[", "\"oneOf\":[", "\"requestBody\":", "\"content\":{\"application"] {
            assert!(!text.contains(word), "{word}");
        }
    }

    #[test]
    fn kubectl_finds_kinds_merge_keys_and_described_references() {
        let document = all();
        let pod = &document["definitions"]["io.k8s.api.core.v1.Pod"];
        assert_eq!(pod["x-kubernetes-group-version-kind"], json!([{"group": "", "version": "v1", "kind": "Pod"}]));
        let spec = &pod["properties"]["spec"];
        assert_eq!(spec["$ref"], "#/definitions/io.k8s.api.core.v1.PodSpec");
        assert!(spec["description"].is_string());
        let containers = &document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["items"]["$ref"], "#/definitions/io.k8s.api.core.v1.Container");
    }

    #[test]
    fn a_number_or_a_text_is_a_text_with_a_format() {
        let document = all();
        let both = &document["definitions"]["io.k8s.apimachinery.pkg.util.intstr.IntOrString"];
        assert_eq!((&both["type"], &both["format"]), (&json!("string"), &json!("int-or-string")));
        assert_eq!(document["definitions"]["io.k8s.apimachinery.pkg.api.resource.Quantity"]["type"], "string");
    }

    #[test]
    fn bodies_are_parameters_and_formats_stand_beside_the_operation() {
        let document = all();
        let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert_eq!(patch["parameters"][0]["in"], "body");
        assert_eq!(patch["consumes"][3], "application/strategic-merge-patch+json");
        assert_eq!(patch["produces"][0], "application/json");
        assert_eq!(patch["responses"]["200"]["schema"], json!({"$ref": "#/definitions/io.k8s.api.apps.v1.Deployment"}));
        assert_eq!(patch["x-kubernetes-action"], "patch");
        let validation = patch["parameters"].as_array().unwrap().iter().find(|one| one["name"] == "fieldValidation");
        assert_eq!(validation.unwrap()["type"], "string");
    }

    #[test]
    fn a_custom_schema_loses_what_old_clients_would_misread() {
        let mut schema = json!({"type": "object", "properties": {
            "a": {"type": "string", "nullable": true},
            "b": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"c": {"type": "string"}}},
            "c": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "d": {"type": "array", "items": {"type": "integer", "not": {"minimum": 3}}},
        }});
        simplify(&mut schema);
        assert_eq!(
            schema["properties"],
            json!({"a": {}, "b": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "c": {"x-kubernetes-int-or-string": true}, "d": {"type": "array", "items": {"type": "integer"}}})
        );
    }
}
