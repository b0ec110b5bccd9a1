//! `Props`: the `OpenAPI` v3 schema of a custom resource, read once and then walked for every document.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;

use crate::kinds::doc::{flag, list, text};

/// One node of a schema.
#[expect(clippy::struct_excessive_bools, reason = "each is a word of the schema language")]
#[derive(Debug, Default)]
pub(super) struct Props {
    /// `None` if any type is fine.
    pub(super) kind: Option<Kind>,
    pub(super) properties: BTreeMap<String, Props>,
    pub(super) additional: Additional,
    pub(super) items: Option<Box<Props>>,
    pub(super) required: BTreeSet<String>,
    pub(super) default: Option<Value>,
    pub(super) nullable: bool,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub(super) preserves: bool,
    /// `x-kubernetes-embedded-resource`.
    pub(super) embedded: bool,
    /// `x-kubernetes-int-or-string`.
    pub(super) int_or_string: bool,
    pub(super) list: ListRule,
    pub(super) limits: Limits,
    pub(super) all_of: Vec<Props>,
    pub(super) any_of: Vec<Props>,
    pub(super) one_of: Vec<Props>,
    pub(super) not: Option<Box<Props>>,
}

/// What a schema says about the size and look of a value.
#[derive(Debug, Default)]
pub(super) struct Limits {
    pub(super) allowed: Vec<Value>,
    pub(super) format: String,
    pub(super) pattern: Option<Regex>,
    /// With whether the bound itself is excluded.
    pub(super) minimum: Option<(Value, bool)>,
    pub(super) maximum: Option<(Value, bool)>,
    pub(super) multiple_of: Option<Value>,
    pub(super) length: Bounds,
    pub(super) items: Bounds,
    pub(super) properties: Bounds,
}

/// A smallest and a largest number.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) min: Option<usize>,
    pub(super) max: Option<usize>,
}

/// What fields without a name of their own may hold.
#[derive(Debug, Default)]
pub(super) enum Additional {
    /// There are none.
    #[default]
    None,
    /// Anything.
    Any,
    /// Values of one schema.
    Of(Box<Props>),
}

/// What tells the items of a list apart.
#[derive(Debug, Default)]
pub(super) enum ListRule {
    /// Nothing: they may repeat.
    #[default]
    Free,
    /// Their values.
    Set,
    /// These fields.
    Map(Vec<String>),
}

/// The types of JSON, as schemas name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    /// Returns the name that schemas use.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

impl Props {
    /// Reads a schema. What it cannot read it passes over: the definition was validated before.
    pub(super) fn parse(schema: &Value) -> Self {
        let many = |field: &str| list(schema, field).iter().map(Self::parse).collect();
        let one = |field: &str| schema.get(field).filter(|of| of.is_object()).map(|of| Box::new(Self::parse(of)));
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        Self {
            kind: Kind::of(text(schema, "type")),
            properties: properties.map(|(name, of)| (name.clone(), Self::parse(of))).collect(),
            additional: match schema.get("additionalProperties") {
                Some(Value::Bool(true)) => Additional::Any,
                Some(of @ Value::Object(_)) => Additional::Of(Box::new(Self::parse(of))),
                _ => Additional::None,
            },
            items: one("items"),
            required: list(schema, "required").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            default: schema.get("default").filter(|value| !value.is_null()).cloned(),
            nullable: flag(schema, "nullable"),
            preserves: flag(schema, "x-kubernetes-preserve-unknown-fields"),
            embedded: flag(schema, "x-kubernetes-embedded-resource"),
            int_or_string: flag(schema, "x-kubernetes-int-or-string"),
            list: list_rule(schema),
            limits: Limits::parse(schema),
            all_of: many("allOf"),
            any_of: many("anyOf"),
            one_of: many("oneOf"),
            not: one("not"),
        }
    }

    /// Returns the schema of a field; `None` if nothing is said about it.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(match &self.additional {
            Additional::Of(of) => Some(of),
            Additional::Any | Additional::None => None,
        })
    }

    /// Whether anything in it has a default.
    pub(super) fn has_defaults(&self) -> bool {
        let additional = matches!(&self.additional, Additional::Of(of) if of.has_defaults());
        self.default.is_some()
            || additional
            || self.properties.values().any(Self::has_defaults)
            || self.items.as_deref().is_some_and(Self::has_defaults)
    }
}

impl Limits {
    fn parse(schema: &Value) -> Self {
        let bounds = |min: &str, max: &str| Bounds { min: size(schema, min), max: size(schema, max) };
        let bound = |field: &str, excluded: &str| {
            schema.get(field).filter(|value| value.is_number()).map(|value| (value.clone(), flag(schema, excluded)))
        };
        Self {
            allowed: list(schema, "enum").to_vec(),
            format: text(schema, "format").to_owned(),
            pattern: Some(text(schema, "pattern"))
                .filter(|text| !text.is_empty())
                .and_then(|text| Regex::new(text).ok()),
            minimum: bound("minimum", "exclusiveMinimum"),
            maximum: bound("maximum", "exclusiveMaximum"),
            multiple_of: schema.get("multipleOf").filter(|value| value.is_number()).cloned(),
            length: bounds("minLength", "maxLength"),
            items: bounds("minItems", "maxItems"),
            properties: bounds("minProperties", "maxProperties"),
        }
    }
}

fn size(schema: &Value, field: &str) -> Option<usize> {
    schema.get(field).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok())
}

fn list_rule(schema: &Value) -> ListRule {
    match text(schema, "x-kubernetes-list-type") {
        "set" => ListRule::Set,
        "map" => {
            let keys = list(schema, "x-kubernetes-list-map-keys");
            ListRule::Map(keys.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        _ => ListRule::Free,
    }
}
