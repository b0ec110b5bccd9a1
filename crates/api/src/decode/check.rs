//! A document against its type, as Go's decoder would take it.

use std::fmt::Write;

use base64::DecodeError::{InvalidByte, InvalidLastSymbol, InvalidLength, InvalidPadding};
use base64::Engine;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Error, Problem};
use crate::object::{format_micro_time, format_time};
use crate::quantity::Quantity;
use crate::schema::{Scalar, Shape, Struct, Type};

/// What happens to fields that the type lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// They go, as in a Go struct.
    Prune,
    /// They stay.
    Keep,
}

/// Brings a document into the form that Go would write again: unknown fields gone, `null` gone, times in UTC,
/// quantities canonical. Returns the unknown fields.
///
/// # Errors
/// If a value has the wrong type; the first one found, as in Go.
pub fn check(document: &mut Value, of: &Type, unknown: Unknown) -> Result<Vec<Problem>, Error> {
    let mut walk = Walk { path: String::new(), fields: String::new(), holder: "", unknown, problems: Vec::new() };
    walk.value(document, of)?;
    Ok(walk.problems)
}

struct Walk<'a> {
    /// With indices and keys, for unknown fields: `spec.containers[0].image`.
    path: String,
    /// Without them, as Go names the place of a wrong type: `spec.containers.image`.
    fields: String,
    /// The Go struct that has the field.
    holder: &'a str,
    unknown: Unknown,
    problems: Vec<Problem>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, value: &mut Value, of: &'a Type) -> Result<(), Error> {
        match (of.shape(), &mut *value) {
            (Shape::Raw | Shape::Untyped, _) => Ok(()),
            (Shape::Struct(object), Value::Object(map)) => self.fields_of(map, object, of),
            (Shape::Map(values), Value::Object(map)) => self.entries(map, values.values()),
            (Shape::List(list), Value::Array(items)) => self.items(items, list.items()),
            (Shape::Scalar(scalar), _) => self.scalar(value, *scalar, of),
            _ => Err(self.wrong(value, of)),
        }
    }

    fn fields_of(&mut self, map: &mut Map<String, Value>, object: &'a Struct, of: &'a Type) -> Result<(), Error> {
        let holder = std::mem::replace(&mut self.holder, of.name().rsplit('.').next().unwrap_or_default());
        let (path, fields) = (self.path.len(), self.fields.len());
        let mut gone: Vec<String> = Vec::new();
        for (name, value) in map.iter_mut() {
            self.descend(name);
            let field = object.field(name);
            match field {
                None if object.preserves_unknown => {}
                None => {
                    self.problems.push(Problem::UnknownField(self.path.clone()));
                    if self.unknown == Unknown::Prune {
                        gone.push(name.clone());
                    }
                }
                Some(field) if value.is_null() => {
                    if !field.of().is_nullable() {
                        gone.push(name.clone());
                    }
                }
                Some(field) => {
                    push_name(&mut self.fields, name);
                    self.value(value, field.of())?;
                }
            }
            self.path.truncate(path);
            self.fields.truncate(fields);
        }
        for name in gone {
            map.remove(&name);
        }
        self.holder = holder;
        Ok(())
    }

    fn entries(&mut self, map: &mut Map<String, Value>, of: &'a Type) -> Result<(), Error> {
        let path = self.path.len();
        for (key, value) in map.iter_mut() {
            self.descend(key);
            self.item(value, of)?;
            self.path.truncate(path);
        }
        Ok(())
    }

    fn items(&mut self, items: &mut [Value], of: &'a Type) -> Result<(), Error> {
        let path = self.path.len();
        for (place, value) in items.iter_mut().enumerate() {
            let _ = write!(self.path, "[{place}]");
            self.item(value, of)?;
            self.path.truncate(path);
        }
        Ok(())
    }

    /// In lists and maps Go reads `null` as the empty value.
    fn item(&mut self, value: &mut Value, of: &'a Type) -> Result<(), Error> {
        if value.is_null() && !of.is_nullable() {
            *value = empty(of);
            return Ok(());
        }
        self.value(value, of)
    }

    fn scalar(&self, value: &mut Value, scalar: Scalar, of: &Type) -> Result<(), Error> {
        let fits = match (scalar, &*value) {
            (Scalar::String | Scalar::IntOrString, Value::String(_))
            | (Scalar::Boolean, Value::Bool(_))
            | (Scalar::Number, Value::Number(_)) => true,
            (Scalar::Int64, Value::Number(number)) => number.as_i64().is_some(),
            (Scalar::Int32 | Scalar::IntOrString, Value::Number(number)) => {
                number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
            }
            (Scalar::Bytes, Value::String(text)) => return check_base64(text),
            (Scalar::Time | Scalar::Quantity, _) => match canonical(value, scalar, of)? {
                Some(text) => {
                    *value = text;
                    true
                }
                None => false,
            },
            _ => false,
        };
        if fits { Ok(()) } else { Err(self.wrong(value, of)) }
    }

    fn descend(&mut self, name: &str) {
        push_name(&mut self.path, name);
    }

    /// Words a wrong type as `json.UnmarshalTypeError` does.
    fn wrong(&self, value: &Value, of: &Type) -> Error {
        let found = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
            // Go names the number only if a number is wanted, just not this one.
            Value::Number(number) if wants_integer(of) => format!("number {number}"),
            Value::Number(_) => "number".to_owned(),
        };
        let of = of.go_name();
        Error::Type(if self.fields.is_empty() {
            format!("json: cannot unmarshal {found} into Go value of type {of}")
        } else {
            format!("json: cannot unmarshal {found} into Go struct field {}.{} of type {of}", self.holder, self.fields)
        })
    }
}

fn wants_integer(of: &Type) -> bool {
    matches!(of.shape(), Shape::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::IntOrString))
}

fn push_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

fn empty(of: &Type) -> Value {
    match of.shape() {
        Shape::Struct(_) | Shape::Map(_) => Value::Object(Map::new()),
        Shape::List(_) => Value::Array(Vec::new()),
        Shape::Raw | Shape::Untyped | Shape::Scalar(Scalar::Time) => Value::Null,
        Shape::Scalar(Scalar::String | Scalar::Bytes) => Value::String(String::new()),
        Shape::Scalar(Scalar::Quantity) => Value::String("0".to_owned()),
        Shape::Scalar(Scalar::Boolean) => Value::Bool(false),
        Shape::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Number | Scalar::IntOrString) => Value::from(0),
    }
}

fn check_base64(text: &str) -> Result<(), Error> {
    let clean: String = text.chars().filter(|character| !matches!(character, '\n' | '\r')).collect();
    let Err(error) = base64::engine::general_purpose::STANDARD.decode(&clean) else { return Ok(()) };
    let place = match error {
        InvalidByte(place, _) | InvalidLastSymbol(place, _) => place,
        InvalidLength(_) | InvalidPadding => clean.len(),
    };
    Err(Error::Type(format!("illegal base64 data at input byte {place}")))
}

/// Brings amounts and times of a document into the form in which Go writes them; what is none stays.
pub(crate) fn canonicalize(value: &mut Value, of: &Type) {
    match (of.shape(), &mut *value) {
        (Shape::Struct(_) | Shape::Map(_), Value::Object(map)) => {
            for (key, inner) in map.iter_mut() {
                if let Some(of) = of.member(key) {
                    canonicalize(inner, of);
                }
            }
        }
        (Shape::List(list), Value::Array(items)) => items.iter_mut().for_each(|item| canonicalize(item, list.items())),
        (Shape::Scalar(scalar), _) => {
            if let Ok(Some(text)) = canonical(value, *scalar, of) {
                *value = text;
            }
        }
        _ => {}
    }
}

/// Returns the canonical form of an amount or a time; `None` if the value is neither.
fn canonical(value: &Value, scalar: Scalar, of: &Type) -> Result<Option<Value>, Error> {
    let text = match (scalar, value) {
        (Scalar::Time, Value::String(text)) => canonical_time(text, of)?,
        (Scalar::Quantity, Value::String(text)) => canonical_quantity(text)?,
        (Scalar::Quantity, Value::Number(number)) => canonical_quantity(&number.to_string())?,
        _ => return Ok(None),
    };
    Ok(Some(Value::String(text)))
}

fn canonical_quantity(text: &str) -> Result<String, Error> {
    let quantity: Quantity = text.parse().map_err(|error| Error::Type(format!("{error}")))?;
    Ok(quantity.to_string())
}

/// Returns what is wrong with the text of an amount or a time.
pub(crate) fn text_problem(value: &Value, of: &Type) -> Option<String> {
    match of.shape() {
        Shape::Scalar(scalar) => canonical(value, *scalar, of).err().map(|error| error.to_string()),
        _ => None,
    }
}

fn canonical_time(text: &str, of: &Type) -> Result<String, Error> {
    let time: Timestamp = text.parse().map_err(|_| {
        let layout = "2006-01-02T15:04:05Z07:00";
        Error::Type(format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\""))
    })?;
    Ok(if of.name().ends_with(".MicroTime") { format_micro_time(time) } else { format_time(time) })
}
