//! From an `OpenAPI` v3 schema with `x-kubernetes-*` extensions to a `Type`.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::{Field, Link, List, ListMerge, Map, PatchRule, Scalar, Shape, Struct, Type};

/// Where references point.
pub(super) const REFERENCE: &str = "#/components/schemas/";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Returns the type of a definition with a name.
pub(super) fn named_type(name: &str, schema: &Value, index: &HashMap<String, usize>) -> Type {
    let shape = match name.rsplit('.').next().unwrap_or_default() {
        "RawExtension" | "FieldsV1" | "JSON" => Shape::Raw,
        "IntOrString" => Shape::Scalar(Scalar::IntOrString),
        "Quantity" => Shape::Scalar(Scalar::Quantity),
        _ => shape_of(schema, index),
    };
    Type { name: name.to_owned(), shape, nullable: false }
}

/// Returns the type of a schema without a name.
pub(super) fn type_of(schema: &Value, index: &HashMap<String, usize>) -> Type {
    let nullable = flag(schema, "nullable");
    Type { name: String::new(), shape: shape_of(schema, index), nullable }
}

/// Adds what every object has: `apiVersion`, `kind`, `metadata`.
pub(super) fn embed_object(of: &mut Type, index: &HashMap<String, usize>) {
    if let Shape::Untyped = of.shape {
        of.shape = Shape::Struct(Struct { preserves_unknown: true, ..Struct::default() });
    }
    let Shape::Struct(object) = &mut of.shape else { return };
    let text =
        || Link::Inline(Box::new(Type { name: String::new(), shape: Shape::Scalar(Scalar::String), nullable: false }));
    let plain = |of| Field { of, required: false, default: None, patch: PatchRule::default() };
    object.fields.insert("apiVersion".to_owned(), plain(text()));
    object.fields.insert("kind".to_owned(), plain(text()));
    if let Some(place) = index.get(OBJECT_META) {
        object.fields.insert("metadata".to_owned(), plain(Link::Named(*place)));
    }
}

fn link_of(schema: &Value, index: &HashMap<String, usize>) -> Link {
    let reference = reference(schema).and_then(|name| index.get(name));
    match reference {
        // An atomic use of a granular type needs a copy of its own.
        Some(place) if text(schema, "x-kubernetes-map-type") != Some("atomic") => Link::Named(*place),
        _ => Link::Inline(Box::new(type_of(schema, index))),
    }
}

/// Returns the name that a schema refers to, alone or inside the `allOf` that lets it carry a description.
pub(super) fn reference(schema: &Value) -> Option<&str> {
    let direct = |schema: &Value| schema.get("$ref").is_some();
    let holder = if direct(schema) { schema } else { schema.get("allOf")?.get(0).filter(|inner| direct(inner))? };
    holder.get("$ref")?.as_str()?.strip_prefix(REFERENCE)
}

fn shape_of(schema: &Value, index: &HashMap<String, usize>) -> Shape {
    if flag(schema, "x-kubernetes-int-or-string") {
        return Shape::Scalar(Scalar::IntOrString);
    }
    let format = text(schema, "format").unwrap_or_default();
    match text(schema, "type") {
        Some("string") => Shape::Scalar(match format {
            "byte" => Scalar::Bytes,
            "date-time" => Scalar::Time,
            _ => Scalar::String,
        }),
        Some("integer") if format == "int32" => Shape::Scalar(Scalar::Int32),
        Some("integer") => Shape::Scalar(Scalar::Int64),
        Some("number") => Shape::Scalar(Scalar::Number),
        Some("boolean") => Shape::Scalar(Scalar::Boolean),
        Some("array") => Shape::List(list_of(schema, index)),
        Some("object") => object_shape(schema, index),
        _ if schema.get("properties").is_some() => object_shape(schema, index),
        _ => Shape::Untyped,
    }
}

fn object_shape(schema: &Value, index: &HashMap<String, usize>) -> Shape {
    let atomic = text(schema, "x-kubernetes-map-type") == Some("atomic");
    let preserves_unknown = flag(schema, "x-kubernetes-preserve-unknown-fields");
    let properties = schema.get("properties").and_then(Value::as_object);
    if let (None, Some(values @ Value::Object(_))) = (properties, schema.get("additionalProperties")) {
        return Shape::Map(Map { values: link_of(values, index), atomic });
    }
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    if properties.is_none()
        && !embedded
        && (preserves_unknown || schema.get("additionalProperties") == Some(&Value::Bool(true)))
    {
        return if atomic { Shape::Raw } else { Shape::Untyped };
    }
    let required = |name: &str| {
        let list = schema.get("required").and_then(Value::as_array);
        list.is_some_and(|list| list.iter().any(|entry| entry == name))
    };
    let fields: BTreeMap<String, Field> = properties
        .into_iter()
        .flatten()
        .map(|(name, property)| (name.clone(), field_of(property, required(name), index)))
        .collect();
    let mut of = Type {
        name: String::new(),
        shape: Shape::Struct(Struct { fields, atomic, preserves_unknown }),
        nullable: false,
    };
    if embedded {
        embed_object(&mut of, index);
    }
    of.shape
}

fn field_of(property: &Value, required: bool, index: &HashMap<String, usize>) -> Field {
    let strategy = text(property, "x-kubernetes-patch-strategy").unwrap_or_default();
    let has = |word| strategy.split(',').any(|part| part == word);
    let keys = text(property, "x-kubernetes-patch-merge-key").map(|keys| keys.split(',').map(str::to_owned).collect());
    let patch = PatchRule {
        merge: has("merge"),
        replace: has("replace"),
        retain_keys: has("retainKeys"),
        keys: keys.unwrap_or_default(),
    };
    Field { of: link_of(property, index), required, default: property.get("default").cloned(), patch }
}

fn list_of(schema: &Value, index: &HashMap<String, usize>) -> List {
    let items = schema.get("items").map_or_else(
        || Link::Inline(Box::new(Type { name: String::new(), shape: Shape::Untyped, nullable: false })),
        |items| link_of(items, index),
    );
    let keys = || {
        let list = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
        let mut keys: Vec<String> = list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        // The canonical form of a key names its fields in order.
        keys.sort_unstable();
        keys
    };
    let merge = match text(schema, "x-kubernetes-list-type") {
        Some("set") => ListMerge::Set,
        Some("map") => ListMerge::Map(keys()),
        _ => ListMerge::Atomic,
    };
    List { items, merge }
}

fn text<'a>(schema: &'a Value, key: &str) -> Option<&'a str> {
    schema.get(key).and_then(Value::as_str)
}

fn flag(schema: &Value, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool).unwrap_or_default()
}
