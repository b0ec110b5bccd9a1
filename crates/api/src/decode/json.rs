//! JSON, with the duplicate keys that `serde_json` passes over in silence.

use std::fmt::{self, Write};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{Error, Problem};

/// Reads a JSON document. Of duplicate fields the last one counts, as in Go.
///
/// # Errors
/// If the bytes are not exactly one JSON value.
pub fn json(bytes: &[u8]) -> Result<(Value, Vec<Problem>), Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let (mut path, mut problems) = (String::new(), Vec::new());
    let seed = Node { path: &mut path, problems: &mut problems };
    let value = seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map(|value| (value, problems)).map_err(|error| Error::Syntax(error.to_string()))
}

/// A value at a path.
struct Node<'a> {
    path: &'a mut String,
    problems: &'a mut Vec<Problem>,
}

impl Node<'_> {
    /// Lends itself for a value below.
    fn below(&mut self) -> Node<'_> {
        Node { path: self.path, problems: self.problems }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        let length = self.path.len();
        loop {
            let _ = write!(self.path, "[{}]", items.len());
            let item = list.next_element_seed(self.below())?;
            self.path.truncate(length);
            match item {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let length = self.path.len();
        while let Some(key) = entries.next_key::<String>()? {
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            let value = entries.next_value_seed(self.below())?;
            if map.insert(key, value).is_some() {
                self.problems.push(Problem::DuplicateField(self.path.clone()));
            }
            self.path.truncate(length);
        }
        Ok(Value::Object(map))
    }
}
