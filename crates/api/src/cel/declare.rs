//! `Decl`: what a schema says of a value, as expressions see it, and how big it can be (`cel/common/schemas.go`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::types::{FieldType, ListKind, ObjectType, Type, escape};

/// How big a request may be, and so everything in it.
const REQUEST_MAX: u64 = 3 * 1024 * 1024;
/// `""`.
const TEXT_MIN: u64 = 2;

/// A value's type, with bounds.
#[derive(Debug, Clone)]
pub struct Decl {
    /// Its type.
    pub of: Type,
    /// How many characters, items or entries it has at most.
    pub size_max: u64,
    /// The fewest bytes in which it can be written.
    written_min: u64,
    /// What a list or map holds.
    pub items: Option<Arc<Decl>>,
    /// The fields, by the names that expressions use.
    pub fields: BTreeMap<String, Arc<Decl>>,
}

/// Whether a schema is that of a whole object of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// It has `apiVersion`, `kind` and `metadata`, whatever it says.
    Yes,
    /// It has what it says.
    No,
}

impl Decl {
    /// Reads a structural schema; `None` if expressions cannot see such values.
    pub fn of_schema(schema: &Json, root: Root) -> Option<Self> {
        Self::read(schema, root, "self")
    }

    fn plain(of: Type, size_max: u64, written_min: u64) -> Self {
        Self { of, size_max, written_min, items: None, fields: BTreeMap::new() }
    }

    fn read(schema: &Json, root: Root, name: &str) -> Option<Self> {
        let flag = |field: &str| schema.get(field) == Some(&Json::Bool(true));
        if flag("x-kubernetes-int-or-string") {
            return Some(Self::plain(Type::Dyn, text_max(schema).unwrap_or(REQUEST_MAX - 2), 1));
        }
        match word(schema, "type") {
            "array" => Self::list(schema, name),
            "object" => Self::map_or_object(schema, root, name),
            "string" => Some(Self::text(schema)),
            "boolean" => Some(Self::plain(Type::Bool, 1, 4)),
            "number" => Some(Self::plain(Type::Double, 1, 1)),
            "integer" => Some(Self::plain(Type::Int, 1, 1)),
            _ if root == Root::Yes => Self::map_or_object(schema, root, name),
            _ => None,
        }
    }

    fn list(schema: &Json, name: &str) -> Option<Self> {
        let items = Self::nested(schema.get("items")?, &format!("{name}.@idx"))?;
        let size_max = bound(schema, "maxItems").unwrap_or((REQUEST_MAX - 2) / (items.written_min + 1));
        let kind = match word(schema, "x-kubernetes-list-type") {
            "set" => ListKind::Set,
            "map" => {
                let keys = schema.get("x-kubernetes-list-map-keys").and_then(Json::as_array).into_iter().flatten();
                ListKind::Map(Arc::new(keys.filter_map(Json::as_str).map(str::to_owned).collect()))
            }
            _ => ListKind::Atomic,
        };
        let of = Type::List(Arc::new(items.of.clone()), kind);
        Some(Self { items: Some(Arc::new(items)), ..Self::plain(of, size_max, 2) })
    }

    fn map_or_object(schema: &Json, root: Root, name: &str) -> Option<Self> {
        if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
            let values = Self::nested(values, &format!("{name}.@elem"))?;
            let size_max = bound(schema, "maxProperties").unwrap_or((REQUEST_MAX - 2) / (values.written_min + 6));
            let of = Type::map(Type::String, values.of.clone());
            return Some(Self { items: Some(Arc::new(values)), ..Self::plain(of, size_max, 2) });
        }
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Json::as_object).unwrap_or(&empty);
        let required = |name: &str| {
            schema.get("required").and_then(Json::as_array).is_some_and(|names| names.iter().any(|one| one == name))
        };
        let (mut fields, mut types, mut written_min) = (BTreeMap::new(), BTreeMap::new(), 2);
        let mut add = |field: &str, of: Self| {
            if let Some(escaped) = escape(field) {
                types.insert(escaped.clone(), FieldType { name: field.to_owned(), of: of.of.clone() });
                fields.insert(escaped, Arc::new(of));
            }
        };
        for (field, of) in properties {
            let Some(of) = Self::nested(of, &format!("{name}.{field}")) else { continue };
            if required(field) && properties[field].get("default").is_none() {
                written_min += field.len() as u64 + of.written_min + 4;
            }
            add(field, of);
        }
        if root == Root::Yes {
            for field in ["apiVersion", "kind"] {
                add(field, Self::text(&Json::Null));
            }
            add("metadata", Self::metadata(name));
        }
        let of = Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields: types }));
        Some(Self { fields, ..Self::plain(of, 1, written_min) })
    }

    fn nested(schema: &Json, name: &str) -> Option<Self> {
        let embedded = schema.get("x-kubernetes-embedded-resource") == Some(&Json::Bool(true));
        Self::read(schema, if embedded { Root::Yes } else { Root::No }, name)
    }

    /// Of metadata, rules see the names alone.
    fn metadata(name: &str) -> Self {
        let text = || Arc::new(Self::text(&Json::Null));
        let fields = BTreeMap::from([("name".to_owned(), text()), ("generateName".to_owned(), text())]);
        let of = Type::object(&format!("{name}.metadata"), [("name", Type::String), ("generateName", Type::String)]);
        Self { fields, ..Self::plain(of, 1, 2) }
    }

    fn text(schema: &Json) -> Self {
        match word(schema, "format") {
            "byte" => Self::plain(Type::Bytes, bound(schema, "maxLength").unwrap_or(REQUEST_MAX - 2), TEXT_MIN),
            "duration" => Self::plain(Type::Duration, 32, 4),
            "date" => Self::plain(Type::Timestamp, 12, 12),
            "date-time" => Self::plain(Type::Timestamp, 37, 22),
            _ => {
                let names = schema.get("enum").and_then(Json::as_array);
                let longest = names.and_then(|names| names.iter().filter_map(Json::as_str).map(str::len).max());
                let size_max = text_max(schema).or(longest.map(|length| length as u64)).unwrap_or(REQUEST_MAX - 2);
                Self::plain(Type::String, size_max, TEXT_MIN)
            }
        }
    }

    /// Returns how many of such values fit into one request.
    pub fn count_max(&self) -> u64 {
        // With a comma behind each.
        REQUEST_MAX / (self.written_min + 1)
    }

    /// Returns the declaration of a field, by the name that expressions use.
    pub(super) fn field(&self, name: &str) -> Option<&Arc<Self>> {
        self.fields.get(name).or(match self.of {
            Type::Map(..) => self.items.as_ref(),
            _ => None,
        })
    }

    /// Returns the declaration of a list's items or a map's values.
    pub(super) fn item(&self) -> Option<&Arc<Self>> {
        self.items.as_ref()
    }
}

fn word<'a>(schema: &'a Json, field: &str) -> &'a str {
    schema.get(field).and_then(Json::as_str).unwrap_or_default()
}

fn bound(schema: &Json, field: &str) -> Option<u64> {
    schema.get(field).and_then(Json::as_i64).map(|bound| u64::try_from(bound).unwrap_or(0))
}

/// Lengths are in characters, and a character takes up to four bytes.
fn text_max(schema: &Json) -> Option<u64> {
    bound(schema, "maxLength").map(|length| length.saturating_mul(4))
}
