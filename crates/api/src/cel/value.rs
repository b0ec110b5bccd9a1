//! Values: a document's are looked at where they are, not copied.

mod document;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value as Json;

use super::authorizer::{Decision, Question};
use super::error::EvalError;
use super::library::{semver::Version, url::Url};
use super::types::{ListKind, ObjectType, Type};
use crate::cidr::Cidr;
use crate::quantity::Quantity;

pub(super) use document::{Room, double_text};

/// What an expression makes. `'a` is how long the documents live.
#[derive(Debug, Clone)]
pub enum Val<'a> {
    /// `null`.
    Null,
    /// A truth.
    Bool(bool),
    /// A whole number with a sign.
    Int(i64),
    /// A whole number without.
    Uint(u64),
    /// A number with a fraction.
    Double(f64),
    /// A text.
    Text(Text<'a>),
    /// Octets.
    Bytes(Arc<[u8]>),
    /// Nanoseconds.
    Duration(i64),
    /// A point in time.
    Timestamp(Timestamp),
    /// A list.
    List(List<'a>),
    /// A map, or an object with named fields.
    Map(Map<'a>),
    /// A value that may be missing.
    Optional(Option<Arc<Val<'a>>>),
    /// A type, by its name.
    Type(Arc<str>),
    /// A value of one of Kubernetes' libraries.
    Opaque(Opaque),
}

/// A text of a document, or one that was made.
#[derive(Debug, Clone)]
pub enum Text<'a> {
    /// Where it is.
    Borrowed(&'a str),
    /// Made.
    Shared(Arc<str>),
}

/// A list.
#[derive(Debug, Clone)]
pub struct List<'a> {
    pub(super) items: Items<'a>,
    pub(super) kind: ListKind,
}

#[derive(Debug, Clone)]
pub(super) enum Items<'a> {
    Json(&'a [Json], Arc<Type>),
    Made(Arc<Vec<Val<'a>>>),
}

/// A map or an object.
#[derive(Debug, Clone)]
pub enum Map<'a> {
    /// A map of a document, with the type of its values.
    Json(&'a serde_json::Map<String, Json>, Arc<Type>),
    /// An object whose fields are known.
    Object(&'a serde_json::Map<String, Json>, Arc<ObjectType>),
    /// A map that was made.
    Made(Arc<BTreeMap<Key, Val<'a>>>),
    /// An object that was made, by the name of its type.
    Struct(Arc<str>, Arc<BTreeMap<Key, Val<'a>>>),
}

/// What maps may have as keys. Numbers are one kind of key, whatever their type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A truth.
    Bool(bool),
    /// A whole number.
    Number(i128),
    /// A text.
    Text(Arc<str>),
}

/// The values of libraries.
#[derive(Debug, Clone)]
pub enum Opaque {
    /// An amount.
    Quantity(Quantity),
    /// An address.
    Ip(std::net::IpAddr),
    /// A range of addresses.
    Cidr(Cidr),
    /// A URL.
    Url(Arc<Url>),
    /// A version.
    Semver(Arc<Version>),
    /// A named format of texts.
    Format(&'static str),
    /// What the user might want to do.
    Question(Arc<Question>),
    /// Whether the user may.
    Decision(Arc<Decision>),
}

impl Text<'_> {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl<'a> Val<'a> {
    /// Makes a text.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(Text::Shared(text.into()))
    }

    /// Makes a list.
    pub fn list(items: Vec<Self>) -> Self {
        Self::List(List { items: Items::Made(Arc::new(items)), kind: ListKind::Atomic })
    }

    pub(super) fn some(value: Self) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// Returns a document's value as one of this type (`UnstructuredToVal`).
    ///
    /// # Errors
    /// If it is none.
    pub fn of(json: &'a Json, of: &Type) -> Result<Self, EvalError> {
        let wrong = |wanted: &str| EvalError::failed(format!("invalid data, expected {wanted}"));
        Ok(match (of, json) {
            (_, Json::Null) => Self::Null,
            (Type::Double, Json::Number(number)) => Self::Double(number.as_f64().ok_or_else(|| wrong("a number"))?),
            (Type::Int, Json::Number(number)) => match (number.as_i64(), number.as_f64()) {
                (Some(number), _) => Self::Int(number),
                #[expect(clippy::cast_possible_truncation, reason = "it has no fraction, and `as` keeps to the range")]
                (None, Some(number)) if number.fract() == 0.0 => Self::Int(number as i64),
                _ => return Err(wrong("an integer")),
            },
            (Type::Bytes, Json::String(text)) => {
                let octets = STANDARD.decode(text);
                Self::Bytes(octets.map_err(|_| wrong("base64"))?.into())
            }
            (Type::Duration, Json::String(text)) => {
                Self::Duration(super::library::time::parse_duration(text).ok_or_else(|| wrong("a duration"))?)
            }
            (Type::Timestamp, Json::String(text)) => {
                Self::Timestamp(super::library::time::parse_date(text).ok_or_else(|| wrong("a date"))?)
            }
            (Type::List(of, kind), Json::Array(items)) => {
                Self::List(List { items: Items::Json(items, of.clone()), kind: kind.clone() })
            }
            (Type::Map(_, value), Json::Object(map)) => Self::Map(Map::Json(map, value.clone())),
            (Type::Object(of), Json::Object(map)) => Self::Map(Map::Object(map, of.clone())),
            _ => Self::untyped(json),
        })
    }

    /// Returns a document's value, of which nothing else is known.
    pub fn untyped(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Self::Int(number),
                (None, Some(number)) => Self::Uint(number),
                (None, None) => Self::Double(number.as_f64().unwrap_or_default()),
            },
            Json::String(text) => Self::Text(Text::Borrowed(text)),
            Json::Array(items) => {
                Self::List(List { items: Items::Json(items, Arc::new(Type::Dyn)), kind: ListKind::Atomic })
            }
            Json::Object(map) => Self::Map(Map::Json(map, Arc::new(Type::Dyn))),
        }
    }

    /// Returns the text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// Returns the truth, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the name of its type.
    pub fn type_name(&self) -> &str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(Map::Object(_, of)) => &of.name,
            Self::Map(Map::Struct(name, _)) => name,
            Self::Map(_) => "map",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Opaque(opaque) => opaque.type_name(),
        }
    }

    /// Returns how many parts it has, as costs are counted; 1 for what has none.
    pub(super) fn size(&self) -> u64 {
        let size = match self {
            Self::Text(text) => text.as_str().chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.len(),
            Self::Map(map) => map.len(),
            Self::Opaque(Opaque::Ip(ip)) => {
                if ip.is_ipv4() {
                    4
                } else {
                    16
                }
            }
            Self::Opaque(Opaque::Cidr(cidr)) if cidr.ip().is_ipv4() => 4,
            Self::Opaque(Opaque::Cidr(_)) => 16,
            _ => 1,
        };
        size as u64
    }

    /// Returns the map key that it is.
    pub(super) fn key(&self) -> Option<Key> {
        Some(match self {
            Self::Bool(value) => Key::Bool(*value),
            Self::Int(number) => Key::Number((*number).into()),
            Self::Uint(number) => Key::Number((*number).into()),
            #[expect(clippy::cast_possible_truncation, reason = "it has no fraction, and `as` keeps to the range")]
            Self::Double(number) if number.fract() == 0.0 => Key::Number(*number as i128),
            Self::Text(text) => Key::Text(text.as_str().into()),
            _ => return None,
        })
    }
}

impl<'a> From<Key> for Val<'a> {
    fn from(key: Key) -> Val<'a> {
        match key {
            Key::Bool(value) => Val::Bool(value),
            Key::Number(number) => match (i64::try_from(number), u64::try_from(number)) {
                (Ok(number), _) => Val::Int(number),
                (Err(_), Ok(number)) => Val::Uint(number),
                (Err(_), Err(_)) => Val::Null,
            },
            Key::Text(text) => Val::text(text),
        }
    }
}

impl Opaque {
    /// Returns the name of its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Url(_) => "kubernetes.URL",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Question(question) => question.type_name(),
            Self::Decision(_) => "kubernetes.authorization.Decision",
        }
    }
}

impl<'a> List<'a> {
    pub(super) fn len(&self) -> usize {
        match &self.items {
            Items::Json(items, _) => items.len(),
            Items::Made(items) => items.len(),
        }
    }

    pub(super) fn get(&self, place: usize) -> Result<Option<Val<'a>>, EvalError> {
        match &self.items {
            Items::Json(items, of) => items.get(place).map(|item| Val::of(item, of)).transpose(),
            Items::Made(items) => Ok(items.get(place).cloned()),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Result<Val<'a>, EvalError>> + '_ {
        (0..self.len()).map(|place| self.get(place).map(|item| item.unwrap_or(Val::Null)))
    }
}

impl<'a> Map<'a> {
    /// Counts what expressions can see.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(map, _) => map.len(),
            Self::Object(map, of) => of.fields.values().filter(|field| map.contains_key(&field.name)).count(),
            Self::Made(map) | Self::Struct(_, map) => map.len(),
        }
    }

    /// Returns the value under a key.
    pub(super) fn get(&self, key: &Key) -> Result<Option<Val<'a>>, EvalError> {
        match (self, key) {
            (Self::Made(map) | Self::Struct(_, map), _) => Ok(map.get(key).cloned()),
            (Self::Json(map, of), Key::Text(name)) => map.get(&**name).map(|value| Val::of(value, of)).transpose(),
            (Self::Object(map, of), Key::Text(name)) => {
                let Some(field) = of.fields.get(&**name) else { return Ok(None) };
                map.get(&field.name).map(|value| Val::of(value, &field.of)).transpose()
            }
            _ => Ok(None),
        }
    }

    /// Returns the keys, as expressions write them.
    pub(super) fn keys(&self) -> Vec<Key> {
        match self {
            Self::Json(map, _) => map.keys().map(|name| Key::Text(name.as_str().into())).collect(),
            Self::Object(map, of) => {
                let there = of.fields.iter().filter(|(_, field)| map.contains_key(&field.name));
                there.map(|(name, _)| Key::Text(name.as_str().into())).collect()
            }
            Self::Made(map) | Self::Struct(_, map) => map.keys().cloned().collect(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Result<(Key, Val<'a>), EvalError>> + '_ {
        self.keys().into_iter().map(|key| {
            let value = self.get(&key)?.unwrap_or(Val::Null);
            Ok((key, value))
        })
    }
}
