//! Kubernetes' protobuf bodies, to and from JSON documents, led by a table of the messages.
//!
//! Clients made with client-go 0.32 or later write nothing else, and have no second way; they prefer it in answers, too.

mod encode;
pub(crate) mod omit;
mod schema;
mod transcode;
mod wire;

use serde_json::{Map, Value};

use schema::Schema;
pub(crate) use wire::Writer;
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
    /// A document is not of the form of its kind.
    #[error("the document does not fit its kind: {0}")]
    Mismatch(&'static str),
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

/// Returns the bare message of a document of a kind, to be put into an [`envelope`] or a list.
///
/// # Errors
/// If the kind is not built in, or the document is not of its form.
pub fn encode_kind(api_version: &str, kind: &str, document: &Map<String, Value>) -> Result<Vec<u8>, Error> {
    let schema = Schema::builtin();
    let unknown = || Error::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() };
    let root = schema.kind(api_version, kind).ok_or_else(unknown)?;
    let mut out = Writer::default();
    encode::message(schema, root, document, &mut out)?;
    Ok(out.into_bytes())
}

/// Whether documents of a kind can be written.
pub fn is_known(api_version: &str, kind: &str) -> bool {
    Schema::builtin().kind(api_version, kind).is_some()
}

/// Returns a message in the `runtime.Unknown` that says what it is.
pub fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut type_meta = Writer::default();
    type_meta.bytes(1, api_version.as_bytes());
    type_meta.bytes(2, kind.as_bytes());
    let mut out = Writer::default();
    out.bytes(1, &type_meta.into_bytes());
    out.bytes(2, message);
    // Go writes the empty encoding and content type, too.
    out.bytes(3, b"");
    out.bytes(4, b"");
    [MAGIC, &out.into_bytes()].concat()
}

/// Returns the message of a list: its metadata, and the messages of its items.
///
/// # Errors
/// If the metadata is not a list's.
pub fn list<'a>(metadata: &Map<String, Value>, items: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, Error> {
    let mut out = Writer::default();
    out.bytes(1, &encode_kind("meta.k8s.io/v1", "ListMeta", metadata)?);
    items.into_iter().for_each(|item| out.bytes(2, item));
    Ok(out.into_bytes())
}

/// Returns the `WatchEvent` of an object in its envelope.
pub fn watch_event(kind: &str, envelope: &[u8]) -> Vec<u8> {
    let mut raw = Writer::default();
    raw.bytes(1, envelope);
    let mut out = Writer::default();
    out.bytes(1, kind.as_bytes());
    out.bytes(2, &raw.into_bytes());
    out.into_bytes()
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
