//! The `OpenAPI` v2 document as the protobuf message that old kubectl reads: `openapi_v2.Document` of gnostic.
//!
//! A table for each message says which field has which number; what a message only wraps is a shape of the field.

use serde_json::{Map, Value};

use crate::protobuf::Writer;

/// The media type of answers. What clients ask for has an `@`, which is not allowed in a media type.
pub const CONTENT_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// What client-go asks for.
pub const CONTENT_TYPE_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// A field: its number, its name in JSON, and how it is written.
type Field = (u32, &'static str, Shape);

/// How a value is written.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Texts,
    Int,
    Bool,
    Double,
    /// Any value, as YAML (JSON is).
    Any,
    Anys,
    Message(Of),
    /// A message inside a message that has nothing else.
    Wrapped(u32, Of),
    /// A list of texts, or one, inside such a message.
    WrappedTexts,
    /// A map: in a message that has nothing else a list, at this number, of names with messages.
    Named(u32, Of),
    /// A list of messages that say in which of several forms they are.
    Parameters,
    /// A schema or a truth.
    SchemaOrBool,
}

/// The messages.
#[derive(Clone, Copy)]
enum Of {
    Document,
    Info,
    PathItem,
    Operation,
    Body,
    Query,
    Path,
    Response,
    Schema,
}

const SCHEMA: &[Field] = &[
    (1, "$ref", Shape::Text),
    (2, "format", Shape::Text),
    (3, "title", Shape::Text),
    (4, "description", Shape::Text),
    (5, "default", Shape::Any),
    (6, "multipleOf", Shape::Double),
    (7, "maximum", Shape::Double),
    (8, "exclusiveMaximum", Shape::Bool),
    (9, "minimum", Shape::Double),
    (10, "exclusiveMinimum", Shape::Bool),
    (11, "maxLength", Shape::Int),
    (12, "minLength", Shape::Int),
    (13, "pattern", Shape::Text),
    (14, "maxItems", Shape::Int),
    (15, "minItems", Shape::Int),
    (16, "uniqueItems", Shape::Bool),
    (17, "maxProperties", Shape::Int),
    (18, "minProperties", Shape::Int),
    (19, "required", Shape::Texts),
    (20, "enum", Shape::Anys),
    (21, "additionalProperties", Shape::SchemaOrBool),
    (22, "type", Shape::WrappedTexts),
    (23, "items", Shape::Wrapped(1, Of::Schema)),
    (25, "properties", Shape::Named(1, Of::Schema)),
    (30, "example", Shape::Any),
];

impl Of {
    fn fields(self) -> &'static [Field] {
        match self {
            Self::Document => &[
                (1, "swagger", Shape::Text),
                (2, "info", Shape::Message(Of::Info)),
                (8, "paths", Shape::Named(2, Of::PathItem)),
                (9, "definitions", Shape::Named(1, Of::Schema)),
            ],
            Self::Info => &[(1, "title", Shape::Text), (2, "version", Shape::Text)],
            Self::PathItem => &[
                (2, "get", Shape::Message(Of::Operation)),
                (3, "put", Shape::Message(Of::Operation)),
                (4, "post", Shape::Message(Of::Operation)),
                (5, "delete", Shape::Message(Of::Operation)),
                (8, "patch", Shape::Message(Of::Operation)),
                (9, "parameters", Shape::Parameters),
            ],
            Self::Operation => &[
                (1, "tags", Shape::Texts),
                (3, "description", Shape::Text),
                (5, "operationId", Shape::Text),
                (6, "produces", Shape::Texts),
                (7, "consumes", Shape::Texts),
                (8, "parameters", Shape::Parameters),
                (9, "responses", Shape::Named(1, Of::Response)),
                (10, "schemes", Shape::Texts),
            ],
            Self::Body => &[
                (1, "description", Shape::Text),
                (2, "name", Shape::Text),
                (3, "in", Shape::Text),
                (4, "required", Shape::Bool),
                (5, "schema", Shape::Message(Of::Schema)),
            ],
            Self::Query => &[
                (1, "required", Shape::Bool),
                (2, "in", Shape::Text),
                (3, "description", Shape::Text),
                (4, "name", Shape::Text),
                (6, "type", Shape::Text),
                (20, "uniqueItems", Shape::Bool),
            ],
            Self::Path => &[
                (1, "required", Shape::Bool),
                (2, "in", Shape::Text),
                (3, "description", Shape::Text),
                (4, "name", Shape::Text),
                (5, "type", Shape::Text),
                (19, "uniqueItems", Shape::Bool),
            ],
            Self::Response => &[(1, "description", Shape::Text), (2, "schema", Shape::Wrapped(1, Of::Schema))],
            Self::Schema => SCHEMA,
        }
    }

    /// Returns the number of `x-...` fields; 0 where none appear.
    fn extensions(self) -> u32 {
        match self {
            Self::Operation => 13,
            Self::Schema => 31,
            _ => 0,
        }
    }
}

/// Returns the message of a v2 document.
pub fn encode(document: &Value) -> Vec<u8> {
    let mut out = Writer::default();
    message(Of::Document, document, &mut out);
    out.into_bytes()
}

fn message(of: Of, value: &Value, out: &mut Writer) {
    let Value::Object(map) = value else { return };
    for (number, name, shape) in of.fields() {
        if let Some(value) = map.get(*name) {
            write(*number, *shape, value, out);
        }
    }
    if of.extensions() != 0 {
        extensions(of.extensions(), map, out);
    }
}

fn write(number: u32, shape: Shape, value: &Value, out: &mut Writer) {
    let items = || value.as_array().map(Vec::as_slice).unwrap_or_default();
    match shape {
        Shape::Text => text(number, value, out),
        Shape::Texts => items().iter().for_each(|item| text(number, item, out)),
        Shape::Int => out.int(number, value.as_i64().unwrap_or_default()),
        Shape::Bool => out.int(number, i64::from(value == &Value::Bool(true))),
        Shape::Double => out.double(number, value.as_f64().unwrap_or_default()),
        Shape::Any => any(number, value, out),
        Shape::Anys => items().iter().for_each(|item| any(number, item, out)),
        Shape::Message(of) => out.leaf(number, |inner| message(of, value, inner)),
        Shape::Wrapped(at, of) => out.leaf(number, |outer| outer.leaf(at, |inner| message(of, value, inner))),
        Shape::WrappedTexts => out.leaf(number, |outer| match value {
            Value::Array(items) => items.iter().for_each(|item| text(1, item, outer)),
            one => text(1, one, outer),
        }),
        Shape::Named(at, of) => out.leaf(number, |outer| {
            for (name, value) in value.as_object().into_iter().flatten() {
                outer.leaf(at, |entry| {
                    entry.bytes(1, name.as_bytes());
                    match of {
                        // A response may also be a reference, which ours never are.
                        Of::Response => entry.leaf(2, |choice| choice.leaf(1, |inner| message(of, value, inner))),
                        _ => entry.leaf(2, |inner| message(of, value, inner)),
                    }
                });
            }
        }),
        Shape::Parameters => items().iter().for_each(|item| out.leaf(number, |outer| parameter(item, outer))),
        Shape::SchemaOrBool => out.leaf(number, |choice| match value {
            Value::Bool(allowed) => choice.int(2, i64::from(*allowed)),
            schema => choice.leaf(1, |inner| message(Of::Schema, schema, inner)),
        }),
    }
}

/// A parameter is a body, or of the query or path, each in messages that tell which.
fn parameter(value: &Value, out: &mut Writer) {
    out.leaf(1, |choice| match value.get("in").and_then(Value::as_str) {
        Some("body") => choice.leaf(1, |inner| message(Of::Body, value, inner)),
        Some("path") => choice.leaf(2, |other| other.leaf(4, |inner| message(Of::Path, value, inner))),
        _ => choice.leaf(2, |other| other.leaf(3, |inner| message(Of::Query, value, inner))),
    });
}

fn extensions(number: u32, map: &Map<String, Value>, out: &mut Writer) {
    for (name, value) in map.iter().filter(|(name, _)| name.starts_with("x-")) {
        out.leaf(number, |entry| {
            entry.bytes(1, name.as_bytes());
            any(2, value, entry);
        });
    }
}

fn any(number: u32, value: &Value, out: &mut Writer) {
    out.leaf(number, |inner| inner.bytes(2, value.to_string().as_bytes()));
}

fn text(number: u32, value: &Value, out: &mut Writer) {
    out.bytes(number, value.as_str().unwrap_or_default().as_bytes());
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use serde_json::json;

    use super::*;

    /// The part of gnostic's messages that kubectl walks through to a field's description.
    #[derive(Clone, PartialEq, Message)]
    struct Document {
        #[prost(string, tag = "1")]
        swagger: String,
        #[prost(message, optional, tag = "9")]
        definitions: Option<Properties>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Properties {
        #[prost(message, repeated, tag = "1")]
        named: Vec<NamedSchema>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct NamedSchema {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(message, optional, tag = "2")]
        value: Option<Schema>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Schema {
        #[prost(string, tag = "1")]
        reference: String,
        #[prost(string, tag = "4")]
        description: String,
        #[prost(message, optional, tag = "25")]
        properties: Option<Properties>,
        #[prost(message, repeated, tag = "31")]
        extensions: Vec<NamedAny>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct NamedAny {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(message, optional, tag = "2")]
        value: Option<Any>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Any {
        #[prost(string, tag = "2")]
        yaml: String,
    }

    #[test]
    fn a_definition_keeps_its_fields_and_extensions() {
        let document = json!({"swagger": "2.0", "definitions": {"io.k8s.api.core.v1.Pod": {
            "description": "A pod.", "x-kubernetes-group-version-kind": [{"kind": "Pod"}],
            "properties": {"spec": {"$ref": "#/definitions/PodSpec", "description": "What it should do."}},
        }}});
        let read = Document::decode(encode(&document).as_slice()).unwrap();
        assert_eq!(read.swagger, "2.0");
        let definition = &read.definitions.unwrap().named[0];
        let schema = definition.value.clone().unwrap();
        assert_eq!((definition.name.as_str(), schema.description.as_str()), ("io.k8s.api.core.v1.Pod", "A pod."));
        let extension = &schema.extensions[0];
        assert_eq!(extension.name, "x-kubernetes-group-version-kind");
        assert_eq!(extension.value.as_ref().unwrap().yaml, r#"[{"kind":"Pod"}]"#);
        let spec = schema.properties.unwrap().named[0].value.clone().unwrap();
        assert_eq!(
            (spec.reference.as_str(), spec.description.as_str()),
            ("#/definitions/PodSpec", "What it should do.")
        );
    }

    #[test]
    fn odd_documents_are_written_as_far_as_they_go() {
        for document in [json!(null), json!({"paths": 7, "definitions": {"a": []}}), json!({"info": "x"})] {
            let _ = encode(&document);
        }
    }
}
