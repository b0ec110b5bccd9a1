//! Turns one message into a JSON document, as Go would write the struct that it decodes to.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Error;
use super::schema::{Else, Field, Kind, Message, Schema, Shape, Zero};
use super::wire::{self, Reader};

/// Everything but the schemas of definitions ends at about 10. JSON is read to the same depth (`decode`).
const DEPTH_MAX: usize = 128;

/// What the schemas in definitions are made of.
pub(super) const SCHEMA: &str = "apiextensions.v1.JSONSchemaProps";

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
    if matches!(field.kind, Kind::Raw | Kind::SchemaOr(_)) {
        // A default of `false` is a default, and `additionalProperties: false` forbids them.
        return !value.is_null();
    }
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
        (Kind::Double, wire::Field::Fixed64(bits)) => double(f64::from_bits(bits)),
        (Kind::Text, wire::Field::Bytes(text)) => Ok(wire::utf8(text)?.into()),
        (Kind::Bytes, wire::Field::Bytes(bytes)) => Ok(STANDARD.encode(bytes).into()),
        (Kind::Time, wire::Field::Bytes(bytes)) => time(bytes, Precision::Seconds),
        (Kind::MicroTime, wire::Field::Bytes(bytes)) => time(bytes, Precision::Micros),
        (Kind::Quantity, wire::Field::Bytes(bytes)) => quantity(bytes),
        (Kind::IntOrString, wire::Field::Bytes(bytes)) => int_or_string(bytes),
        (Kind::Raw | Kind::Fields, wire::Field::Bytes(bytes)) => raw(bytes),
        (Kind::Texts, wire::Field::Bytes(bytes)) => texts(bytes),
        (Kind::SchemaOr(other), wire::Field::Bytes(bytes)) => schema_or(schema, other, bytes, depth + 1),
        (Kind::Message(name), wire::Field::Bytes(bytes)) => nested(schema, name, bytes, depth),
        _ => Err(Error::Malformed("a field has the wrong wire type")),
    }
}

fn nested(schema: &Schema, name: &str, bytes: &[u8], depth: usize) -> Result<Value, Error> {
    let mut document = Map::new();
    if let Some(message) = schema.message(name) {
        read_into(schema, message, bytes, depth + 1, &mut document)?;
    }
    Ok(Value::Object(document))
}

/// Reads what is a schema in field 1 (or 2, beside a truth), or something else (`JSONSchemaPropsOr...`).
fn schema_or(schema: &Schema, other: Else, bytes: &[u8], depth: usize) -> Result<Value, Error> {
    let (mut found, mut allowed, mut items) = (None, false, Vec::new());
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        match (other, number, field) {
            (Else::Bool, 1, wire::Field::Varint(truth)) => allowed = truth != 0,
            (Else::Bool, 2, wire::Field::Bytes(inner))
            | (Else::Schemas | Else::Texts, 1, wire::Field::Bytes(inner)) => {
                found = Some(nested(schema, SCHEMA, inner, depth)?);
            }
            (Else::Schemas, 2, wire::Field::Bytes(inner)) => items.push(nested(schema, SCHEMA, inner, depth)?),
            (Else::Texts, 2, wire::Field::Bytes(text)) => items.push(wire::utf8(text)?.into()),
            _ => {}
        }
    }
    Ok(match (other, found) {
        (Else::Bool, None) => allowed.into(),
        (Else::Schemas | Else::Texts, _) if !items.is_empty() => items.into(),
        (_, found) => found.unwrap_or_default(),
    })
}

/// Go writes a whole number without a fraction.
fn double(value: f64) -> Result<Value, Error> {
    // Up to here every whole number has a double of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
        return Ok((value as i64).into());
    }
    serde_json::Number::from_f64(value).map(Value::Number).ok_or(Error::Malformed("a number is not finite"))
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
