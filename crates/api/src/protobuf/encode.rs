//! Turns a JSON document into a message: the way back of `transcode`, led by the same table.
//!
//! What a document does not have is not written; Go reads the absence as its zero.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Error;
use super::schema::{Else, Field, Kind, Message, Schema, Shape};
use super::transcode::SCHEMA;
use super::wire::Writer;

/// Appends the fields of a document.
pub(super) fn message(
    schema: &Schema,
    message: &Message,
    document: &Map<String, Value>,
    out: &mut Writer,
) -> Result<(), Error> {
    for (number, field) in message {
        if field.shape == Shape::Embedded {
            write_embedded(schema, *number, field, document, out)?;
            continue;
        }
        match (field.shape, document.get(field.name)) {
            (_, None | Some(Value::Null)) => {}
            (Shape::List, Some(Value::Array(items))) => {
                items.iter().try_for_each(|item| write(schema, *number, field, item, out))?;
            }
            (Shape::Map, Some(Value::Object(map))) => {
                for (key, value) in map {
                    out.nested(*number, |entry| {
                        entry.bytes(1, key.as_bytes());
                        write(schema, 2, field, value, entry)
                    })?;
                }
            }
            (Shape::Single, Some(value)) => write(schema, *number, field, value, out)?,
            (Shape::List | Shape::Map | Shape::Embedded, Some(_)) => return Err(Error::Mismatch(field.name)),
        }
    }
    Ok(())
}

/// A struct whose fields stand beside ours in JSON is a message of its own; empty, it says nothing.
fn write_embedded(
    schema: &Schema,
    number: u32,
    field: &Field,
    document: &Map<String, Value>,
    out: &mut Writer,
) -> Result<(), Error> {
    let Kind::Message(name) = field.kind else { return Ok(()) };
    let Some(embedded) = schema.message(name) else { return Ok(()) };
    let mut inner = Writer::default();
    message(schema, embedded, document, &mut inner)?;
    let inner = inner.into_bytes();
    if !inner.is_empty() {
        out.bytes(number, &inner);
    }
    Ok(())
}

fn write(schema: &Schema, number: u32, field: &Field, value: &Value, out: &mut Writer) -> Result<(), Error> {
    let mismatch = || Error::Mismatch(field.name);
    match (field.kind, value) {
        (Kind::Int, Value::Number(value)) => out.int(number, value.as_i64().ok_or_else(mismatch)?),
        (Kind::Double, Value::Number(value)) => out.double(number, value.as_f64().unwrap_or_default()),
        (Kind::Bool, Value::Bool(truth)) => out.int(number, i64::from(*truth)),
        (Kind::Text, Value::String(text)) => out.bytes(number, text.as_bytes()),
        (Kind::Bytes, Value::String(text)) => out.bytes(number, &STANDARD.decode(text).map_err(|_| mismatch())?),
        (Kind::Time | Kind::MicroTime, Value::String(text)) => {
            let time: Timestamp = text.parse().map_err(|_| mismatch())?;
            out.leaf(number, |inner| {
                inner.int(1, time.as_second());
                inner.int(2, i64::from(time.subsec_nanosecond()));
            });
        }
        (Kind::Quantity, Value::String(text)) => out.leaf(number, |inner| inner.bytes(1, text.as_bytes())),
        (Kind::Quantity, Value::Number(amount)) => {
            out.leaf(number, |inner| inner.bytes(1, amount.to_string().as_bytes()));
        }
        (Kind::IntOrString, Value::Number(value)) => {
            let value = value.as_i64().ok_or_else(mismatch)?;
            out.leaf(number, |inner| {
                inner.int(1, 0);
                inner.int(2, value);
            });
        }
        (Kind::IntOrString, Value::String(text)) => out.leaf(number, |inner| {
            inner.int(1, 1);
            inner.bytes(3, text.as_bytes());
        }),
        (Kind::Raw | Kind::Fields, value) => out.leaf(number, |inner| inner.bytes(1, value.to_string().as_bytes())),
        (Kind::Texts, Value::Array(items)) => {
            out.leaf(number, |inner| items.iter().for_each(|item| text(inner, 1, item)));
        }
        (Kind::SchemaOr(other), value) => {
            let is_written = out.nested(number, |inner| schema_or(schema, other, value, inner));
            is_written.map_err(|_| mismatch())?;
        }
        (Kind::Message(name), Value::Object(document)) => {
            let of = schema.message(name).ok_or_else(mismatch)?;
            out.nested(number, |inner| message(schema, of, document, inner))?;
        }
        // An item that is null is the zero of its type.
        (Kind::Message(_) | Kind::Text | Kind::Bytes | Kind::Time | Kind::MicroTime, Value::Null) => {
            out.bytes(number, &[]);
        }
        _ => return Err(mismatch()),
    }
    Ok(())
}

fn schema_or(schema: &Schema, other: Else, value: &Value, out: &mut Writer) -> Result<(), Error> {
    let of = schema.message(SCHEMA).ok_or(Error::Mismatch(SCHEMA))?;
    let nested = |number: u32, value: &Value, out: &mut Writer| {
        let document = value.as_object().ok_or(Error::Mismatch(SCHEMA))?;
        out.nested(number, |inner| message(schema, of, document, inner))
    };
    match (other, value) {
        (Else::Bool, Value::Bool(allowed)) => out.int(1, i64::from(*allowed)),
        (Else::Bool, value) => {
            out.int(1, 1);
            nested(2, value, out)?;
        }
        (Else::Schemas, Value::Array(items)) => items.iter().try_for_each(|item| nested(2, item, out))?,
        (Else::Texts, Value::Array(items)) => items.iter().for_each(|item| text(out, 2, item)),
        (Else::Schemas | Else::Texts, value) => nested(1, value, out)?,
    }
    Ok(())
}

fn text(out: &mut Writer, number: u32, value: &Value) {
    out.bytes(number, value.as_str().unwrap_or_default().as_bytes());
}
