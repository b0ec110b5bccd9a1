//! How objects are kept as bytes: JSON with `kind`, `apiVersion` and `metadata` first and without a resourceVersion, which
//! is unknown before the commit and is spliced in when the bytes are read.

use std::cell::RefCell;

use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};
use wkube_api::Object;
use wkube_store::Revision;

/// Where the metadata's content starts. Nothing before it is free text: `kind` and `apiVersion` are names.
const METADATA: &[u8] = b"\"metadata\":{";

/// The buffer that a longer document leaves behind is cut to this by the next one.
const SCRATCH_MAX: usize = 64 * 1024;

/// Whether spliced bytes keep their `kind` and `apiVersion`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TypeMeta {
    /// An object that stands alone.
    Keep,
    /// An item of a typed list: the list says what it is.
    Drop,
}

/// Returns the bytes to store: in a buffer of just their length, for they stay in memory as long as the object exists.
pub(crate) fn encode(object: &Object) -> Bytes {
    thread_local! {
        static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        scratch.shrink_to(SCRATCH_MAX);
        serde_json::to_writer(&mut *scratch, &Stored(object)).expect("a JSON document serializes");
        Bytes::copy_from_slice(scratch)
    })
}

/// Returns the stored document with its resourceVersion, or `None` if the bytes are damaged.
pub(crate) fn decode(bytes: &[u8], revision: Revision) -> Option<Object> {
    let mut object: Object = serde_json::from_slice(bytes).ok()?;
    object.set(&["metadata", "resourceVersion"], revision.0.to_string());
    Some(object)
}

/// Appends the stored bytes with their resourceVersion to `out`.
pub(crate) fn splice(out: &mut Vec<u8>, stored: &[u8], revision: Revision, types: TypeMeta) {
    let Some(at) = stored.windows(METADATA.len()).position(|window| window == METADATA) else {
        debug_assert!(false, "stored objects have metadata");
        out.extend_from_slice(stored);
        return;
    };
    let (head, rest) = stored.split_at(at + METADATA.len());
    match types {
        TypeMeta::Keep => out.extend_from_slice(head),
        TypeMeta::Drop => {
            out.push(b'{');
            out.extend_from_slice(METADATA);
        }
    }
    // What was never written (a dry run, a computed object) has no version.
    if revision != Revision::default() {
        out.extend_from_slice(b"\"resourceVersion\":\"");
        out.extend_from_slice(revision.0.to_string().as_bytes());
        out.push(b'"');
        if rest.first() != Some(&b'}') {
            out.push(b',');
        }
    }
    out.extend_from_slice(rest);
}

/// An object in stored key order.
struct Stored<'a>(&'a Object);

impl Serialize for Stored<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let empty = Map::new();
        let metadata = self.0.0.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", self.0.kind())?;
        map.serialize_entry("apiVersion", self.0.api_version())?;
        map.serialize_entry("metadata", &Metadata(metadata))?;
        for (key, value) in &self.0.0 {
            if !matches!(key.as_str(), "kind" | "apiVersion" | "metadata") {
                map.serialize_entry(key, value)?;
            }
        }
        map.end()
    }
}

/// Metadata without its resourceVersion.
struct Metadata<'a>(&'a Map<String, Value>);

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().filter(|(key, _)| key.as_str() != "resourceVersion"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).expect("an object")
    }

    fn spliced(stored: &[u8], types: TypeMeta) -> String {
        let mut out = Vec::new();
        splice(&mut out, stored, Revision(7), types);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn key_order_is_kind_version_metadata_then_sorted() {
        let config = object(json!({
            "apiVersion": "v1", "binaryData": {}, "data": {"metadata": "x"}, "kind": "ConfigMap",
            "metadata": {"name": "a", "resourceVersion": "3", "labels": {"b": "1", "a": "2"}},
        }));
        assert_eq!(
            std::str::from_utf8(&encode(&config)).expect("UTF-8"),
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"labels":{"a":"2","b":"1"},"name":"a"},"binaryData":{},"data":{"metadata":"x"}}"#
        );
    }

    #[test]
    fn the_resource_version_is_spliced_into_the_metadata() {
        let stored = encode(&object(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {}})));
        assert_eq!(
            spliced(&stored, TypeMeta::Keep),
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"7","name":"a"},"spec":{}}"#
        );
        assert_eq!(spliced(&stored, TypeMeta::Drop), r#"{"metadata":{"resourceVersion":"7","name":"a"},"spec":{}}"#);
    }

    #[test]
    fn what_was_never_written_has_no_version() {
        let stored = encode(&object(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}})));
        let mut out = Vec::new();
        splice(&mut out, &stored, Revision::default(), TypeMeta::Keep);
        assert_eq!(out, stored);
    }

    #[test]
    fn empty_metadata_gets_no_stray_comma() {
        let stored = encode(&object(json!({"apiVersion": "v1", "kind": "Pod"})));
        assert_eq!(
            spliced(&stored, TypeMeta::Keep),
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"7"}}"#
        );
    }

    #[test]
    fn decoding_returns_what_was_encoded_with_the_new_version() {
        let before =
            object(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "resourceVersion": "9"}}));
        assert_eq!(decode(&encode(&before), Revision(9)), Some(before));
    }
}
