//! Reads Kubernetes' protobuf request bodies into JSON documents, led by a table of the messages.
//!
//! Clients made with client-go 0.32 or later write nothing else, and have no second way. Answers may stay JSON.

mod schema;
mod transcode;
mod wire;

use serde_json::Value;

use schema::Schema;
use wire::{Field, Reader};

/// What a Kubernetes protobuf body starts with: `k8s` and a zero.
const MAGIC: &[u8] = b"k8s\0";

/// Why a body could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The body is not Kubernetes' envelope.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoMagic,
    /// The envelope or the document ends too early or has an impossible field.
    #[error("malformed protobuf: {0}")]
    Malformed(&'static str),
    /// No built-in kind has this name.
    #[error("no kind \"{kind}\" is registered for version \"{api_version}\"")]
    UnknownKind {
        /// Such as `apps/v1`.
        api_version: String,
        /// Such as `Deployment`.
        kind: String,
    },
    /// The envelope holds something other than plain protobuf.
    #[error("content encoding \"{0}\" is not supported")]
    Encoding(String),
}

/// Whether a body carries the magic prefix.
pub fn is_protobuf(body: &[u8]) -> bool {
    body.starts_with(MAGIC)
}

/// Returns the document of a `runtime.Unknown` envelope, with `apiVersion` and `kind`.
///
/// # Errors
/// If the body is no envelope, is damaged, or holds a kind that is not built in.
pub fn decode(body: &[u8]) -> Result<Value, Error> {
    let mut reader = Reader::new(body.strip_prefix(MAGIC).ok_or(Error::NoMagic)?);
    let (mut api_version, mut kind, mut raw, mut encoding) = (String::new(), String::new(), None, String::new());
    while let Some((number, field)) = reader.next()? {
        match (number, field) {
            (1, Field::Bytes(type_meta)) => (api_version, kind) = read_type_meta(type_meta)?,
            (2, Field::Bytes(bytes)) => raw = Some(bytes),
            (3, Field::Bytes(text)) => wire::utf8(text)?.clone_into(&mut encoding),
            _ => {}
        }
    }
    if !encoding.is_empty() {
        return Err(Error::Encoding(encoding));
    }
    decode_kind(&api_version, &kind, raw.unwrap_or_default())
}

/// Returns the document of a bare message of a kind.
///
/// # Errors
/// If the message is damaged or the kind is not built in.
pub fn decode_kind(api_version: &str, kind: &str, message: &[u8]) -> Result<Value, Error> {
    let schema = Schema::builtin();
    let unknown = || Error::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() };
    let root = schema.kind(api_version, kind).ok_or_else(unknown)?;
    let mut document = transcode::message(schema, root, message)?;
    document.insert("apiVersion".to_owned(), api_version.into());
    document.insert("kind".to_owned(), kind.into());
    Ok(Value::Object(document))
}

/// Reads `runtime.TypeMeta`: apiVersion and kind.
fn read_type_meta(message: &[u8]) -> Result<(String, String), Error> {
    let (mut api_version, mut kind) = (String::new(), String::new());
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next()? {
        match (number, field) {
            (1, Field::Bytes(text)) => wire::utf8(text)?.clone_into(&mut api_version),
            (2, Field::Bytes(text)) => wire::utf8(text)?.clone_into(&mut kind),
            _ => {}
        }
    }
    Ok((api_version, kind))
}

#[cfg(test)]
mod tests;
