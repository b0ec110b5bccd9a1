//! `Type`: what the fields of a kind are, and how its lists and maps merge.
//!
//! One graph serves field validation, pruning, strategic merge, server-side apply and `OpenAPI`. It is made on first use
//! from the JSON schemas of `k8s-openapi` plus the merge rules of `data/merge-rules-v1.37.tsv`, which those schemas do
//! not carry. A custom resource brings its own schema; it becomes the same `Type`.

mod build;
mod registry;
mod rules;

use std::collections::BTreeMap;
use std::ops::Deref;

use serde_json::Value;

/// What a value is.
#[derive(Debug, Clone)]
pub struct Type {
    name: String,
    shape: Shape,
    nullable: bool,
}

/// The forms that a value can have.
#[derive(Debug, Clone)]
pub enum Shape {
    /// An object with named fields.
    Struct(Struct),
    /// An object with free keys and values of one type.
    Map(Map),
    /// A list.
    List(List),
    /// A single value.
    Scalar(Scalar),
    /// Any JSON, owned and replaced as a whole (`RawExtension`, `FieldsV1`).
    Raw,
    /// Any JSON, merged as if nothing were known: objects key by key, lists as a whole.
    Untyped,
}

/// An object with named fields.
#[derive(Debug, Clone, Default)]
pub struct Struct {
    fields: BTreeMap<String, Field>,
    /// Owned and replaced as a whole, such as a `LabelSelector`.
    pub atomic: bool,
    /// Keeps fields that it does not name (`x-kubernetes-preserve-unknown-fields`).
    pub preserves_unknown: bool,
}

/// A named field of a [`Struct`].
#[derive(Debug, Clone)]
pub struct Field {
    of: Link,
    /// Whether it must be there.
    pub required: bool,
    /// What a missing value means when it is part of a list key (`protocol: TCP`), and what a CRD fills in.
    pub default: Option<Value>,
    /// How a strategic merge patch treats it.
    pub patch: PatchRule,
}

/// How a strategic merge patch treats a field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PatchRule {
    /// Whether a list is merged item by item, and not replaced.
    pub merge: bool,
    /// Whether an object is replaced, and not merged.
    pub replace: bool,
    /// Whether clients may say which keys to keep (`$retainKeys`).
    pub retain_keys: bool,
    /// What tells the items of a merged list apart; empty for lists of plain values.
    pub keys: Vec<String>,
}

/// An object with free keys.
#[derive(Debug, Clone)]
pub struct Map {
    values: Link,
    /// Owned and replaced as a whole, such as a `nodeSelector`.
    pub atomic: bool,
}

/// A list.
#[derive(Debug, Clone)]
pub struct List {
    items: Link,
    /// How server-side apply merges it.
    pub merge: ListMerge,
}

/// How server-side apply merges a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListMerge {
    /// As a whole.
    Atomic,
    /// By its values.
    Set,
    /// By these fields of its items, in the order of their names.
    Map(Vec<String>),
}

/// Single values, as Go reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    /// Text.
    String,
    /// Text that is base64.
    Bytes,
    /// An RFC 3339 time.
    Time,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A 32-bit integer or text.
    IntOrString,
    /// A number or a text with a suffix.
    Quantity,
}

/// Where a type refers to another: inside itself, or by its place in the graph, so that types may be recursive.
#[derive(Debug, Clone)]
enum Link {
    Inline(Box<Type>),
    Named(usize),
}

impl Deref for Link {
    type Target = Type;

    fn deref(&self) -> &Type {
        match self {
            Self::Inline(inner) => inner,
            Self::Named(index) => &registry::get().types[*index],
        }
    }
}

/// The graph of everything that is built in.
#[derive(Debug)]
pub struct Schema;

impl Schema {
    /// Returns the type of an `OpenAPI` name such as `io.k8s.api.apps.v1.Deployment`.
    pub fn of(name: &str) -> Option<&'static Type> {
        let registry = registry::get();
        registry.index.get(name).map(|index| &registry.types[*index])
    }

    /// Returns the `OpenAPI` v3 schema of a name, with `x-kubernetes-*` extensions; it refers to others as
    /// `#/components/schemas/NAME`.
    pub fn json(name: &str) -> Option<&'static Value> {
        registry::get().json.get(name)
    }

    /// Returns the names of a root and of everything that it refers to, in order.
    pub fn closure(root: &str) -> Vec<&'static str> {
        registry::closure(root)
    }

    /// Returns all names, in order.
    pub fn names() -> impl Iterator<Item = &'static str> {
        registry::get().json.keys().map(String::as_str)
    }
}

/// Returns the `OpenAPI` name of a built-in kind, `group` empty for core.
pub fn builtin_name(group: &str, version: &str, kind: &str) -> String {
    match group {
        "" => format!("io.k8s.api.core.{version}.{kind}"),
        "apiextensions.k8s.io" => {
            format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{version}.{kind}")
        }
        "apiregistration.k8s.io" => format!("io.k8s.kube-aggregator.pkg.apis.apiregistration.{version}.{kind}"),
        _ => format!("io.k8s.api.{}.{version}.{kind}", group.split('.').next().unwrap_or_default()),
    }
}

impl Type {
    /// Returns the type that an `OpenAPI` v3 schema describes (a structural schema of a CRD).
    pub fn from_openapi(schema: &Value) -> Self {
        build::type_of(schema, &registry::get().index)
    }

    /// Returns the type of a custom resource: its schema plus `apiVersion`, `kind` and `metadata`.
    pub fn custom_resource(schema: &Value) -> Self {
        let mut of = Self::from_openapi(schema);
        build::embed_object(&mut of, &registry::get().index);
        of
    }

    /// Returns the `OpenAPI` name, empty for types without one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the form of its values.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Whether `null` is a value of its own, and not the absence of one.
    pub fn is_nullable(&self) -> bool {
        self.nullable
    }

    /// Returns the field of this name; `None` if there is none, or this is no object with named fields.
    pub fn field(&self, name: &str) -> Option<&Field> {
        match &self.shape {
            Shape::Struct(object) => object.field(name),
            _ => None,
        }
    }

    /// Returns the type of the value at a key of an object; `None` if nothing is known of it.
    pub fn member(&self, key: &str) -> Option<&Self> {
        match &self.shape {
            Shape::Struct(object) => object.field(key).map(Field::of),
            Shape::Map(map) => Some(map.values()),
            Shape::List(_) | Shape::Scalar(_) | Shape::Raw | Shape::Untyped => None,
        }
    }

    /// Returns the type of a list's items.
    pub fn items(&self) -> Option<&Self> {
        match &self.shape {
            Shape::List(list) => Some(list.items()),
            _ => None,
        }
    }

    /// Whether server-side apply owns a value of this type as a whole.
    pub fn is_leaf(&self) -> bool {
        match &self.shape {
            Shape::Struct(object) => object.atomic,
            Shape::Map(map) => map.atomic,
            Shape::List(list) => list.merge == ListMerge::Atomic,
            Shape::Scalar(_) | Shape::Raw => true,
            Shape::Untyped => false,
        }
    }

    /// Returns the name that Go's decoder gives the type, such as `int32`, `[]v1.Container` or `map[string]string`.
    pub fn go_name(&self) -> String {
        match &self.shape {
            Shape::List(list) => format!("[]{}", list.items().go_name()),
            Shape::Map(map) => format!("map[string]{}", map.values().go_name()),
            Shape::Scalar(scalar) => scalar.go_name().to_owned(),
            Shape::Struct(_) | Shape::Raw | Shape::Untyped => {
                let mut parts = self.name.rsplitn(3, '.');
                match (parts.next(), parts.next()) {
                    (Some(kind), Some(package)) => format!("{package}.{kind}"),
                    _ => "map[string]interface {}".to_owned(),
                }
            }
        }
    }
}

impl Struct {
    /// Returns the field of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.get(name)
    }

    /// Returns all fields, by name.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Field)> {
        self.fields.iter().map(|(name, field)| (name.as_str(), field))
    }
}

impl Field {
    /// Returns what the field holds.
    pub fn of(&self) -> &Type {
        &self.of
    }
}

impl Map {
    /// Returns what the values are.
    pub fn values(&self) -> &Type {
        &self.values
    }
}

impl List {
    /// Returns what the items are.
    pub fn items(&self) -> &Type {
        &self.items
    }
}

impl Scalar {
    /// Returns Go's name.
    pub fn go_name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Bytes => "[]uint8",
            Self::Time => "v1.Time",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Number => "float64",
            Self::Boolean => "bool",
            Self::IntOrString => "intstr.IntOrString",
            Self::Quantity => "resource.Quantity",
        }
    }
}

#[cfg(test)]
mod tests;
