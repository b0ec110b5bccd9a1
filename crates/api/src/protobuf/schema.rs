//! The table of messages, `data/protobuf.txt`: parsed once, on the first protobuf body.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Every message by its name, such as `core.v1.Pod`.
pub(super) struct Schema {
    messages: HashMap<&'static str, Message>,
}

/// The fields of a message by their numbers.
pub(super) type Message = HashMap<u32, Field>;

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
    /// Nanoseconds, a Go duration in JSON.
    Duration,
    /// JSON inside bytes.
    Raw,
    /// JSON inside bytes, as managed fields have it.
    Fields,
    /// A message that stands for a list of texts.
    Texts,
    /// Another message of the table.
    Message(&'static str),
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
        let group = group.split('.').next().unwrap_or_default();
        // Every group knows the options of meta.v1 (`DeleteOptions` of `apps/v1`, say).
        self.message(&format!("{group}.{version}.{kind}"))
            .or_else(|| if kind.ends_with("Options") { self.message(&format!("meta.v1.{kind}")) } else { None })
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
            "bool" => Self::Bool,
            "bytes" => Self::Bytes,
            "time" => Self::Time,
            "microtime" => Self::MicroTime,
            "quantity" => Self::Quantity,
            "intorstring" => Self::IntOrString,
            "duration" => Self::Duration,
            "raw" => Self::Raw,
            "fields" => Self::Fields,
            "strings" => Self::Texts,
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
        // The crate that the table is made from does not know the first two yet; definitions are written as JSON by
        // everybody, and their schemas have forms (a schema or a boolean) that the table cannot express.
        let missing = ["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "CustomResourceDefinition"];
        for row in builtin().iter().filter(|row| !missing.contains(&row.kind.as_ref())) {
            assert!(Schema::builtin().kind(&row.api_version(), &row.kind).is_some(), "{row:?}");
        }
    }
}
