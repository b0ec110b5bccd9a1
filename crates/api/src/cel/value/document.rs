//! Values as documents and as text.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use super::{Map, Opaque, Val};
use crate::cel::error::EvalError;
use crate::cel::library::time;

/// What is left for a document. A list may hold another many times over, so that few values make a document without
/// an end.
#[derive(Debug)]
pub(in crate::cel) struct Room(usize);

impl Room {
    /// No document is bigger than a request (3 MiB).
    const MAX: usize = 3 << 20;

    pub(in crate::cel) fn new() -> Self {
        Self(Self::MAX)
    }

    /// Takes room for so many octets or values.
    fn take(&mut self, parts: usize) -> Result<(), EvalError> {
        self.0 = self.0.checked_sub(parts).ok_or_else(|| EvalError::failed("the value is too big for a document"))?;
        Ok(())
    }

    /// Returns how much has been taken.
    pub(in crate::cel) fn taken(&self) -> u64 {
        (Self::MAX - self.0) as u64
    }
}

fn parts(json: &Json) -> usize {
    match json {
        Json::String(text) => 1 + text.len(),
        Json::Array(items) => 1 + items.iter().map(parts).sum::<usize>(),
        Json::Object(map) => 1 + map.iter().map(|(key, value)| key.len() + parts(value)).sum::<usize>(),
        Json::Null | Json::Bool(_) | Json::Number(_) => 1,
    }
}

impl Val<'_> {
    /// Returns the value as a document.
    ///
    /// # Errors
    /// If it is nothing that documents have, or too big for one.
    pub fn to_json(&self) -> Result<Json, EvalError> {
        self.document(&mut Room::new())
    }

    /// Returns the value as a document, which takes room.
    pub(in crate::cel) fn document(&self, room: &mut Room) -> Result<Json, EvalError> {
        room.take(1)?;
        Ok(match self {
            Self::Null | Self::Optional(None) => Json::Null,
            Self::Bool(value) => (*value).into(),
            Self::Int(number) => (*number).into(),
            Self::Uint(number) => (*number).into(),
            Self::Double(number) => (*number).into(),
            Self::Text(text) => {
                room.take(text.as_str().len())?;
                text.as_str().into()
            }
            Self::Bytes(bytes) => {
                room.take(bytes.len())?;
                STANDARD.encode(bytes).into()
            }
            Self::Duration(_) | Self::Timestamp(_) | Self::Opaque(Opaque::Quantity(_)) => self.to_text()?.into(),
            Self::List(list) => list.iter().map(|item| item?.document(room)).collect::<Result<Vec<Json>, _>>()?.into(),
            Self::Map(Map::Object(map, _)) => {
                map.values().try_for_each(|value| room.take(parts(value)))?;
                Json::Object((*map).clone())
            }
            Self::Map(map) => {
                let pairs = map.iter().map(|pair| {
                    let (key, value) = pair?;
                    let key = Val::from(key).to_text()?;
                    room.take(key.len())?;
                    Ok::<_, EvalError>((key, value.document(room)?))
                });
                Json::Object(pairs.collect::<Result<_, _>>()?)
            }
            Self::Optional(Some(value)) => value.document(room)?,
            Self::Type(_) | Self::Opaque(_) => {
                return Err(EvalError::failed(format!("type conversion error from {} to JSON", self.type_name())));
            }
        })
    }

    /// Returns the value as `string(x)` makes it.
    pub(in crate::cel) fn to_text(&self) -> Result<String, EvalError> {
        Ok(match self {
            Self::Text(text) => text.as_str().to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(number) => number.to_string(),
            Self::Uint(number) => number.to_string(),
            Self::Double(number) => double_text(*number),
            Self::Bytes(bytes) => String::from_utf8(bytes.to_vec())
                .map_err(|_| EvalError::failed("invalid UTF-8 in bytes, cannot convert to string"))?,
            Self::Duration(nanos) => time::duration_text(*nanos),
            Self::Timestamp(time) => time.to_string(),
            Self::Type(name) => name.to_string(),
            Self::Null => "null".to_owned(),
            Self::Opaque(Opaque::Ip(ip)) => ip.to_string(),
            Self::Opaque(Opaque::Cidr(cidr)) => cidr.to_string(),
            Self::Opaque(Opaque::Url(url)) => url.text.clone(),
            Self::Opaque(Opaque::Quantity(quantity)) => quantity.to_string(),
            Self::Opaque(Opaque::Semver(version)) => version.to_string(),
            _ => return Err(EvalError::no_overload()),
        })
    }
}

/// Go's `%g` for numbers that people write: no exponent up to 21 digits, no fraction if there is none.
pub(in crate::cel) fn double_text(number: f64) -> String {
    let mut text = String::new();
    if number.is_nan() {
        text.push_str("NaN");
    } else if number.is_infinite() {
        text.push_str(if number > 0.0 { "+Inf" } else { "-Inf" });
    } else if number != 0.0 && !(1e-5..1e21).contains(&number.abs()) {
        let _ = write!(text, "{number:e}");
        // Go writes at least two digits: 1e+30, 1e-07.
        if let Some((base, exponent)) = text.clone().split_once('e') {
            let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
            text = format!("{base}e{sign}{digits:0>2}");
        }
    } else {
        let _ = write!(text, "{number}");
    }
    text
}
