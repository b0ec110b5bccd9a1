//! Turns one message into a JSON document, as Go would write the struct that it decodes to.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Error;
use super::schema::{Field, Kind, Message, Schema, Shape, Zero};
use super::wire::{self, Reader};

/// The deepest built-in message is a container's probe inside a cron job's template, at about 10.
const DEPTH_MAX: usize = 32;

/// The seconds of Go's zero time, the year 1, which Kubernetes takes for "no time".
const GO_ZERO_TIME: i64 = -62_135_596_800;

/// Returns the document of a message.
pub(super) fn message(schema: &Schema, message: &Message, bytes: &[u8]) -> Result<Map<String, Value>, Error> {
    let mut document = Map::new();
    read_into(schema, message, bytes, 0, &mut document)?;
    Ok(document)
}

fn read_into(
    schema: &Schema,
    message: &Message,
    bytes: &[u8],
    depth: usize,
    document: &mut Map<String, Value>,
) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(Error::Malformed("too deep"));
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        // A newer client may send fields that we have never heard of.
        let Some(field) = message.get(&number) else { continue };
        match field.shape {
            Shape::Single => {
                let value = value(schema, field, wire, depth)?;
                if is_kept(field, &value) {
                    document.insert(field.name.to_owned(), value);
                } else {
                    document.remove(field.name);
                }
            }
            Shape::List => read_item(schema, field, wire, depth, document)?,
            Shape::Map => read_entry(schema, field, wire, depth, document)?,
            Shape::Embedded => {
                if let (Kind::Message(name), wire::Field::Bytes(inner)) = (field.kind, wire)
                    && let Some(embedded) = schema.message(name)
                {
                    read_into(schema, embedded, inner, depth + 1, document)?;
                }
            }
        }
    }
    Ok(())
}

/// Whether Go would write the value: zeros of fields that are no pointers are left out.
fn is_kept(field: &Field, value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => field.zero == Zero::Value || !text.is_empty(),
        Value::Number(number) => {
            field.zero == Zero::Value || field.kind == Kind::IntOrString || number.as_i64() != Some(0)
        }
        Value::Bool(truth) => field.zero == Zero::Value || *truth,
        Value::Array(_) | Value::Object(_) => true,
    }
}

fn read_item(
    schema: &Schema,
    field: &Field,
    wire: wire::Field<'_>,
    depth: usize,
    document: &mut Map<String, Value>,
) -> Result<(), Error> {
    let mut items = Vec::with_capacity(1);
    match (field.kind, wire) {
        // Lists of numbers may be packed into one field.
        (Kind::Int | Kind::Bool, wire::Field::Bytes(packed)) => {
            let mut reader = Reader::new(packed);
            while !reader.is_at_end() {
                items.push(value(schema, field, wire::Field::Varint(reader.varint()?), depth)?);
            }
        }
        _ => items.push(value(schema, field, wire, depth)?),
    }
    if let Value::Array(list) = document.entry(field.name).or_insert_with(|| Value::Array(Vec::new())) {
        list.append(&mut items);
    }
    Ok(())
}

fn read_entry(
    schema: &Schema,
    field: &Field,
    wire: wire::Field<'_>,
    depth: usize,
    document: &mut Map<String, Value>,
) -> Result<(), Error> {
    let wire::Field::Bytes(entry) = wire else { return Err(Error::Malformed("a map entry is no message")) };
    let (mut key, mut held) = (String::new(), None);
    let mut reader = Reader::new(entry);
    while let Some((number, wire)) = reader.next()? {
        match (number, wire) {
            (1, wire::Field::Bytes(text)) => wire::utf8(text)?.clone_into(&mut key),
            (2, wire) => held = Some(value(schema, field, wire, depth)?),
            _ => {}
        }
    }
    let held = match held {
        Some(value) => value,
        // proto3-style writers leave a zero value out.
        None => value(schema, field, wire::Field::Bytes(&[]), depth)?,
    };
    if let Value::Object(map) = document.entry(field.name).or_insert_with(|| Value::Object(Map::new())) {
        map.insert(key, held);
    }
    Ok(())
}

fn value(schema: &Schema, field: &Field, wire: wire::Field<'_>, depth: usize) -> Result<Value, Error> {
    match (field.kind, wire) {
        (Kind::Int, wire::Field::Varint(number)) => Ok(number.cast_signed().into()),
        (Kind::Bool, wire::Field::Varint(number)) => Ok((number != 0).into()),
        (Kind::Text, wire::Field::Bytes(text)) => Ok(wire::utf8(text)?.into()),
        (Kind::Bytes, wire::Field::Bytes(bytes)) => Ok(STANDARD.encode(bytes).into()),
        (Kind::Time, wire::Field::Bytes(bytes)) => time(bytes, Precision::Seconds),
        (Kind::MicroTime, wire::Field::Bytes(bytes)) => time(bytes, Precision::Micros),
        (Kind::Quantity, wire::Field::Bytes(bytes)) => quantity(bytes),
        (Kind::IntOrString, wire::Field::Bytes(bytes)) => int_or_string(bytes),
        (Kind::Duration, wire::Field::Bytes(bytes)) => duration(bytes),
        (Kind::Raw | Kind::Fields, wire::Field::Bytes(bytes)) => raw(bytes),
        (Kind::Texts, wire::Field::Bytes(bytes)) => texts(bytes),
        (Kind::Message(name), wire::Field::Bytes(bytes)) => {
            let mut document = Map::new();
            if let Some(message) = schema.message(name) {
                read_into(schema, message, bytes, depth + 1, &mut document)?;
            }
            Ok(Value::Object(document))
        }
        _ => Err(Error::Malformed("a field has the wrong wire type")),
    }
}

#[derive(Clone, Copy)]
enum Precision {
    Seconds,
    Micros,
}

/// Reads `Time` and `MicroTime`: seconds and nanoseconds since 1970; nothing at all is Go's zero time.
fn time(bytes: &[u8], precision: Precision) -> Result<Value, Error> {
    let (mut seconds, mut nanos) = (None, 0);
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        match (number, field) {
            (1, wire::Field::Varint(value)) => seconds = Some(value.cast_signed()),
            (2, wire::Field::Varint(value)) => nanos = i32::try_from(value.cast_signed()).unwrap_or_default(),
            _ => {}
        }
    }
    let Some(seconds) = seconds.filter(|seconds| *seconds != GO_ZERO_TIME) else { return Ok(Value::Null) };
    let time = Timestamp::new(seconds, nanos).map_err(|_| Error::Malformed("time out of range"))?;
    Ok(match precision {
        Precision::Seconds => format!("{}", time.strftime("%Y-%m-%dT%H:%M:%SZ")),
        Precision::Micros => format!("{}", time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ")),
    }
    .into())
}

/// Reads `Quantity`: a message with one text. Nothing is zero.
fn quantity(bytes: &[u8]) -> Result<Value, Error> {
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        if let (1, wire::Field::Bytes(text)) = (number, field)
            && !text.is_empty()
        {
            return Ok(wire::utf8(text)?.into());
        }
    }
    Ok("0".into())
}

/// Reads `IntOrString`: type 0 is the number, type 1 the text.
fn int_or_string(bytes: &[u8]) -> Result<Value, Error> {
    let (mut is_text, mut number, mut text) = (false, 0_i64, String::new());
    let mut reader = Reader::new(bytes);
    while let Some((tag, field)) = reader.next()? {
        match (tag, field) {
            (1, wire::Field::Varint(value)) => is_text = value == 1,
            (2, wire::Field::Varint(value)) => number = value.cast_signed(),
            (3, wire::Field::Bytes(value)) => wire::utf8(value)?.clone_into(&mut text),
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

/// Reads `Duration`, which JSON writes as Go does; no built-in kind has one with more than seconds.
fn duration(bytes: &[u8]) -> Result<Value, Error> {
    let mut nanos = 0_i64;
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        if let (1, wire::Field::Varint(value)) = (number, field) {
            nanos = value.cast_signed();
        }
    }
    Ok(format!("{}s", nanos / 1_000_000_000).into())
}

/// Reads `RawExtension` and `FieldsV1`: JSON inside bytes.
fn raw(bytes: &[u8]) -> Result<Value, Error> {
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        if let (1, wire::Field::Bytes(json)) = (number, field)
            && !json.is_empty()
        {
            return serde_json::from_slice(json).map_err(|_| Error::Malformed("an embedded document is not JSON"));
        }
    }
    Ok(Value::Null)
}

/// Reads `ExtraValue`: a message that is a list of texts in JSON.
fn texts(bytes: &[u8]) -> Result<Value, Error> {
    let mut items = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        if let (1, wire::Field::Bytes(text)) = (number, field) {
            items.push(Value::from(wire::utf8(text)?));
        }
    }
    Ok(items.into())
}
