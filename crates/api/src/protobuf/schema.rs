//! The table of messages, `data/protobuf.txt`: parsed once, on the first protobuf body.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

/// What is not of one group.
const META: [&str; 3] = ["ListMeta", "PartialObjectMetadata", "Status"];

/// Every message by its name, such as `core.v1.Pod`.
pub(super) struct Schema {
    messages: HashMap<&'static str, Message>,
}

/// The fields of a message by their numbers, in the order in which they are written.
pub(super) type Message = BTreeMap<u32, Field>;

/// One field.
#[derive(Debug)]
pub(super) struct Field {
    /// Its name in JSON.
    pub(super) name: &'static str,
    /// How often it appears.
    pub(super) shape: Shape,
    /// What it holds.
    pub(super) kind: Kind,
    /// What its zero means.
    pub(super) zero: Zero,
}

/// How often a field appears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Once.
    Single,
    /// A list.
    List,
    /// A map from texts.
    Map,
    /// Once, and its own fields stand beside ours.
    Embedded,
}

/// What a zero on the wire means. Kubernetes writes every field that is no pointer, set or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    /// Nothing was set (`omitempty`).
    Unset,
    /// The value zero: a pointer, or a field that JSON always shows.
    Value,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text.
    Text,
    /// A whole number.
    Int,
    /// A number with a fraction.
    Double,
    /// A truth.
    Bool,
    /// Bytes, base64 in JSON.
    Bytes,
    /// Seconds and nanoseconds, RFC 3339 with seconds in JSON.
    Time,
    /// The same with microseconds.
    MicroTime,
    /// A message with one text.
    Quantity,
    /// A number or a text.
    IntOrString,
    /// JSON inside bytes.
    Raw,
    /// JSON inside bytes, as managed fields have it.
    Fields,
    /// A message that stands for a list of texts.
    Texts,
    /// A message that stands for a schema or for something else.
    SchemaOr(Else),
    /// Another message of the table.
    Message(&'static str),
}

/// What may stand in the place of a schema in a `CustomResourceDefinition`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Else {
    /// Whether anything is allowed.
    Bool,
    /// A schema for each place of a list.
    Schemas,
    /// The names of other properties.
    Texts,
}

impl Schema {
    /// Returns the table of built-in kinds.
    pub(super) fn builtin() -> &'static Self {
        static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::parse(include_str!("../../data/protobuf.txt")));
        &SCHEMA
    }

    /// Returns the message of a kind.
    pub(super) fn kind(&self, api_version: &str, kind: &str) -> Option<&Message> {
        let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
        let (package, domain) = group.split_once('.').unwrap_or((group, "k8s.io"));
        if domain != "k8s.io" && !domain.ends_with(".k8s.io") {
            return None;
        }
        // Every group knows the options of meta.v1 (`DeleteOptions` of `apps/v1`, say).
        let is_meta = kind.ends_with("Options") || META.contains(&kind);
        let own = self.message(&format!("{package}.{version}.{kind}"));
        own.or_else(|| if is_meta { self.message(&format!("meta.v1.{kind}")) } else { None })
    }

    /// Returns a message by its name.
    pub(super) fn message(&self, name: &str) -> Option<&Message> {
        self.messages.get(name)
    }

    fn parse(text: &'static str) -> Self {
        let mut messages: HashMap<&'static str, Message> = HashMap::new();
        let mut current = "";
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some(field) = line.strip_prefix(' ') else {
                current = line;
                messages.entry(current).or_default();
                continue;
            };
            let mut words = field.split(' ');
            let number = words.next().and_then(|number| number.parse().ok());
            if let (Some(number), Some(name), Some(kind)) = (number, words.next(), words.next()) {
                messages
                    .entry(current)
                    .or_default()
                    .insert(number, Field::parse(name, kind, words.next().unwrap_or_default()));
            }
        }
        Self { messages }
    }
}

impl Field {
    fn parse(name: &'static str, kind: &'static str, flags: &str) -> Self {
        let (shape, kind) = match (kind.strip_prefix("[]"), kind.strip_prefix("{}")) {
            (Some(item), _) => (Shape::List, item),
            (_, Some(value)) => (Shape::Map, value),
            _ if flags.contains('^') => (Shape::Embedded, kind),
            _ => (Shape::Single, kind),
        };
        let zero = if flags.contains(['?', '!']) { Zero::Value } else { Zero::Unset };
        Self { name, shape, kind: Kind::parse(kind), zero }
    }
}

impl Kind {
    fn parse(text: &'static str) -> Self {
        match text {
            "string" => Self::Text,
            "int" => Self::Int,
            "double" => Self::Double,
            "bool" => Self::Bool,
            "bytes" => Self::Bytes,
            "time" => Self::Time,
            "microtime" => Self::MicroTime,
            "quantity" => Self::Quantity,
            "intorstring" => Self::IntOrString,
            "raw" => Self::Raw,
            "fields" => Self::Fields,
            "strings" => Self::Texts,
            "schema|bool" => Self::SchemaOr(Else::Bool),
            "schema|schemas" => Self::SchemaOr(Else::Schemas),
            "schema|strings" => Self::SchemaOr(Else::Texts),
            name => Self::Message(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::builtin;

    #[test]
    fn every_message_that_is_named_is_there() {
        let schema = Schema::builtin();
        for (name, message) in &schema.messages {
            for field in message.values() {
                if let Kind::Message(wanted) = field.kind {
                    assert!(schema.message(wanted).is_some(), "{name}.{} wants {wanted}", field.name);
                }
            }
        }
    }

    #[test]
    fn every_built_in_kind_can_be_read() {
        for row in builtin() {
            assert!(Schema::builtin().kind(&row.api_version(), &row.kind).is_some(), "{row:?}");
        }
    }
}
