//! Types: what the checker knows of a value before there is one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The type of an expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// Anything; found out when it runs.
    Dyn,
    /// `null`.
    Null,
    /// `true` and `false`.
    Bool,
    /// Whole numbers with a sign.
    Int,
    /// Whole numbers without.
    Uint,
    /// Numbers with a fraction.
    Double,
    /// Texts.
    String,
    /// Octets.
    Bytes,
    /// Spans of time.
    Duration,
    /// Points in time.
    Timestamp,
    /// Lists of one type, with what tells their items apart.
    List(Arc<Type>, ListKind),
    /// Maps.
    Map(Arc<Type>, Arc<Type>),
    /// Objects with named fields.
    Object(Arc<ObjectType>),
    /// What mutations are written in: `Object.spec`, with any fields, or `JSONPatch`.
    Struct(Arc<str>),
    /// A value that may be missing.
    Optional(Arc<Type>),
    /// Types themselves.
    Type,
    /// What Kubernetes' libraries bring along, by its name: `kubernetes.Quantity`, `net.IP`.
    Opaque(&'static str),
    /// Any one type, the same at every place of a signature.
    Param(u8),
}

/// What tells the items of a list apart (`x-kubernetes-list-type`).
#[derive(Debug, Clone, Default)]
pub enum ListKind {
    /// Nothing but their places.
    #[default]
    Atomic,
    /// Their values.
    Set,
    /// These fields.
    Map(Arc<Vec<String>>),
}

/// How a list is compared is no part of its type: `self.set == ['a']` is fine.
impl PartialEq for ListKind {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A type with named fields.
#[derive(Debug)]
pub struct ObjectType {
    /// Its name in messages.
    pub name: String,
    /// Its fields by the names that expressions use.
    pub fields: BTreeMap<String, FieldType>,
}

/// One field of an object.
#[derive(Debug, Clone)]
pub struct FieldType {
    /// Its name in documents, which need not be a word of the language.
    pub name: String,
    /// What it holds.
    pub of: Type,
}

/// Names tell object types apart: a schema's are numbered by their place.
impl PartialEq for ObjectType {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Type {
    /// Returns the type of lists of one type.
    pub fn list(of: Self) -> Self {
        Self::List(Arc::new(of), ListKind::Atomic)
    }

    /// Returns the type of maps.
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    /// Returns the type of values that may be missing.
    pub fn optional(of: Self) -> Self {
        Self::Optional(Arc::new(of))
    }

    /// Returns the type of objects with these fields, which expressions name as documents do.
    pub fn object<'a>(name: &str, fields: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        let fields = fields.into_iter().map(|(field, of)| (field.to_owned(), FieldType { name: field.to_owned(), of }));
        Self::Object(Arc::new(ObjectType { name: name.to_owned(), fields: fields.collect() }))
    }

    /// Whether values of one type may be compared with, or stand for, those of the other. `params` holds what type
    /// parameters turned out to be, and learns.
    pub(super) fn fits(&self, found: &Self, params: &mut BTreeMap<u8, Self>) -> bool {
        match (self, found) {
            (Self::Param(index), _) => match params.get(index).cloned() {
                None => {
                    params.insert(*index, found.clone());
                    true
                }
                Some(Self::Dyn) => true,
                Some(bound) => {
                    let fits = bound.fits(found, params);
                    // An empty list tells nothing of its items; a later argument may.
                    if fits && bound.is_open() {
                        params.insert(*index, found.clone());
                    }
                    fits
                }
            },
            (_, Self::Param(_) | Self::Dyn) | (Self::Dyn, _) => true,
            (Self::List(wanted, _), Self::List(found, _)) | (Self::Optional(wanted), Self::Optional(found)) => {
                wanted.fits(found, params)
            }
            (Self::Map(key, value), Self::Map(found_key, found_value)) => {
                key.fits(found_key, params) && value.fits(found_value, params)
            }
            // Anything but plain values may be null.
            (Self::Null, other) | (other, Self::Null) => other.is_nullable(),
            (wanted, found) => wanted == found,
        }
    }

    /// Whether its values have an order.
    pub(super) fn is_ordered(&self) -> bool {
        match self {
            Self::Dyn
            | Self::Param(_)
            | Self::Bool
            | Self::Int
            | Self::Uint
            | Self::Double
            | Self::String
            | Self::Bytes
            | Self::Duration
            | Self::Timestamp => true,
            Self::Null
            | Self::List(..)
            | Self::Map(..)
            | Self::Object(_)
            | Self::Struct(_)
            | Self::Optional(_)
            | Self::Type
            | Self::Opaque(_) => false,
        }
    }

    fn is_open(&self) -> bool {
        match self {
            Self::Dyn | Self::Param(_) => true,
            Self::List(of, _) | Self::Optional(of) => of.is_open(),
            Self::Map(key, value) => key.is_open() || value.is_open(),
            _ => false,
        }
    }

    fn is_nullable(&self) -> bool {
        matches!(
            self,
            Self::Null
                | Self::Object(_)
                | Self::Struct(_)
                | Self::Duration
                | Self::Timestamp
                | Self::Opaque(_)
                | Self::Optional(_)
        )
    }

    /// Whether two types are the same: `dyn` is like nothing but itself. What is not known yet is like everything.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Param(_), _) | (_, Self::Param(_)) => true,
            (Self::List(one, _), Self::List(two, _)) | (Self::Optional(one), Self::Optional(two)) => one.is_like(two),
            (Self::Map(key, value), Self::Map(other_key, other_value)) => {
                key.is_like(other_key) && value.is_like(other_value)
            }
            (one, two) => one == two,
        }
    }

    /// Returns a type with its parameters filled in; those that nothing is known of may be anything.
    pub(super) fn filled(&self, params: &BTreeMap<u8, Self>) -> Self {
        match self {
            Self::Param(index) => params.get(index).cloned().unwrap_or(Self::Dyn),
            Self::List(of, kind) => Self::List(Arc::new(of.filled(params)), kind.clone()),
            Self::Map(key, value) => Self::map(key.filled(params), value.filled(params)),
            Self::Optional(of) => Self::optional(of.filled(params)),
            other => other.clone(),
        }
    }

    /// Returns the name that `type(x)` compares with.
    pub(super) fn base_name(&self) -> &str {
        match self {
            Self::Dyn | Self::Param(_) => "dyn",
            Self::Null => "null_type",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Duration => "google.protobuf.Duration",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::List(..) => "list",
            Self::Map(..) => "map",
            Self::Object(of) => &of.name,
            Self::Struct(name) => name,
            Self::Optional(_) => "optional_type",
            Self::Type => "type",
            Self::Opaque(name) => name,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(of, _) => write!(f, "list({of})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Optional(of) => write!(f, "optional_type({of})"),
            Self::Null => f.write_str("null"),
            other => f.write_str(other.base_name()),
        }
    }
}

/// Words of the language that are no names (`apiserver/pkg/cel/escaping.go`).
const RESERVED: [&str; 20] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
];

/// Returns a field's name as expressions write it; `None` if they cannot (`Escape`).
pub fn escape(name: &str) -> Option<String> {
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let first = name.chars().next()?;
    if first.is_ascii_digit() {
        return None;
    }
    let mut escaped = String::new();
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '.' => escaped.push_str("__dot__"),
            '-' => escaped.push_str("__dash__"),
            '/' => escaped.push_str("__slash__"),
            '_' if chars.peek() == Some(&'_') => {
                chars.next();
                escaped.push_str("__underscores__");
            }
            c if c.is_ascii_alphanumeric() || c == '_' => escaped.push(c),
            _ => return None,
        }
    }
    Some(escaped)
}

/// Returns a field's name in documents from the one in expressions; the reverse of [`escape`].
pub(super) fn unescape(name: &str) -> String {
    if let Some(word) = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"))
        && RESERVED.contains(&word)
    {
        return word.to_owned();
    }
    let mut plain = String::new();
    let mut rest = name;
    while !rest.is_empty() {
        let codes = [("__dot__", "."), ("__dash__", "-"), ("__slash__", "/"), ("__underscores__", "__")];
        if let Some((code, text)) = codes.iter().find(|(code, _)| rest.starts_with(code)) {
            plain.push_str(text);
            rest = &rest[code.len()..];
        } else {
            let end = rest.chars().next().map_or(rest.len(), char::len_utf8);
            plain.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    plain
}
