//! JSON patch (RFC 6902) as Kubernetes carries it out: step by step what `gopkg.in/evanphx/json-patch.v4` does, in its
//! words, because users search for these sentences.
//!
//! It is kinder than the RFC: an index may count from the end (`-1`), `replace` sets a field that an object lacks, a
//! missing `value` is `null`, and a `test` for `null` holds where nothing is (kube-rs' finalizers begin with one).

use std::num::IntErrorKind;

use serde_json::{Map, Value};

use super::Error;
use crate::object::Object;

/// More operations than any honest client sends (`maxJSONPatchOperations`).
const OPERATIONS_MAX: usize = 10_000;
/// What `copy` operations may add together, in bytes of JSON: the size of a request body. Without it, a few hundred
/// bytes of patch could double a document again and again (`JSONPatchMaxCopyBytes`).
const COPY_BYTES_MAX: usize = 3 * 1024 * 1024;

const MISSING: &str = "missing value";
const NULL: &Value = &Value::Null;

/// Returns the document after the patch.
///
/// # Errors
/// [`Error::Malformed`] if the patch is no list of operations, [`Error::TestFailed`] if a test fails,
/// [`Error::Unprocessable`] if a path leads nowhere, [`Error::TooLarge`] if it is or makes too much.
pub fn json(object: &Object, patch: &Value) -> Result<Object, Error> {
    let mut patching = Patching { document: Value::Object(object.0.clone()), copied: 0 };
    for operation in operations(patch)? {
        patching.step(&Operation(operation))?;
    }
    match patching.document {
        Value::Object(map) => Ok(Object(map)),
        _ => Err(Error::Unprocessable("the patch does not leave a JSON object".to_owned())),
    }
}

fn operations(patch: &Value) -> Result<Vec<&Map<String, Value>>, Error> {
    let Value::Array(list) = patch else {
        let what = format!("json: cannot unmarshal {} into Go value of type []interface {{}}", name(patch));
        return Err(Error::Malformed(format!("error decoding patch: {what}")));
    };
    if list.len() > OPERATIONS_MAX {
        let text = format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}", list.len());
        return Err(Error::TooLarge(text));
    }
    let operation = |one: &'_ Value| -> Error {
        Error::Malformed(format!("json: cannot unmarshal {} into Go value of type jsonpatch.Operation", name(one)))
    };
    list.iter().map(|one| one.as_object().ok_or_else(|| operation(one))).collect()
}

/// Names a value's type as Go's decoder does.
fn name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// One operation, whose fields need not be there.
struct Operation<'a>(&'a Map<String, Value>);

impl<'a> Operation<'a> {
    fn kind(&self) -> &'a str {
        self.0.get("op").and_then(Value::as_str).unwrap_or("unknown")
    }

    fn path(&self) -> Result<&'a str, String> {
        self.text("path", "operation missing path field")
    }

    fn from(&self) -> Result<&'a str, String> {
        self.text("from", "operation, missing from field")
    }

    fn text(&self, field: &str, missing: &str) -> Result<&'a str, String> {
        match self.0.get(field) {
            None | Some(Value::Null) => Err(format!("{missing}: {MISSING}")),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(format!("json: cannot unmarshal {} into Go value of type string", name(other))),
        }
    }

    fn value(&self) -> &'a Value {
        self.0.get("value").unwrap_or(NULL)
    }
}

/// A document that is being patched.
struct Patching {
    document: Value,
    /// Bytes that `copy` has added.
    copied: usize,
}

impl Patching {
    fn step(&mut self, operation: &Operation<'_>) -> Result<(), Error> {
        let done = match operation.kind() {
            "test" => return self.test(operation),
            "copy" => return self.copy(operation),
            "add" => self.add(operation),
            "remove" => self.remove(operation),
            "replace" => self.replace(operation),
            "move" => self.rename(operation),
            other => Err(format!("Unexpected kind: {other}")),
        };
        done.map_err(Error::Unprocessable)
    }

    fn add(&mut self, operation: &Operation<'_>) -> Result<(), String> {
        let path = operation.path().map_err(|_| format!("add operation failed to decode path: {MISSING}"))?;
        let place = find(&mut self.document, path)
            .ok_or_else(|| format!("add operation does not apply: doc is missing path: \"{path}\": {MISSING}"))?;
        place.add(operation.value().clone()).map_err(|why| format!("error in add for path: '{path}': {why}"))
    }

    fn remove(&mut self, operation: &Operation<'_>) -> Result<(), String> {
        let path = operation.path().map_err(|_| format!("remove operation failed to decode path: {MISSING}"))?;
        let place = find(&mut self.document, path)
            .ok_or_else(|| format!("remove operation does not apply: doc is missing path: \"{path}\": {MISSING}"))?;
        place.remove().map(drop).map_err(|why| format!("error in remove for path: '{path}': {why}"))
    }

    fn replace(&mut self, operation: &Operation<'_>) -> Result<(), String> {
        let path = operation.path().map_err(|why| format!("replace operation failed to decode path: {why}"))?;
        let value = operation.value();
        if path.is_empty() {
            if !(value.is_object() || value.is_array()) {
                return Err("replace operation value must be object or array".to_owned());
            }
            self.document = value.clone();
            return Ok(());
        }
        let place = find(&mut self.document, path)
            .ok_or_else(|| format!("replace operation does not apply: doc is missing path: {path}: {MISSING}"))?;
        place
            .set(value.clone())
            .map_err(|_| format!("replace operation does not apply: doc is missing key: {path}: {MISSING}"))
    }

    fn rename(&mut self, operation: &Operation<'_>) -> Result<(), String> {
        let from = operation.from().map_err(|why| format!("move operation failed to decode from: {why}"))?;
        let place = find(&mut self.document, from)
            .ok_or_else(|| format!("move operation does not apply: doc is missing from path: {from}: {MISSING}"))?;
        let key = place.key.clone();
        let value = place.remove().map_err(|why| format!("error in move for path: '{key}': {why}"))?;
        let path = operation.path().map_err(|why| format!("move operation failed to decode path: {why}"))?;
        let place = find(&mut self.document, path).ok_or_else(|| {
            format!("move operation does not apply: doc is missing destination path: {path}: {MISSING}")
        })?;
        place.add(value).map_err(|why| format!("error in move for path: '{path}': {why}"))
    }

    fn copy(&mut self, operation: &Operation<'_>) -> Result<(), Error> {
        let (value, path) = self.copied(operation).map_err(Error::Unprocessable)?;
        // `null` costs nothing upstream, where it is no text but a nil pointer.
        self.copied += if value.is_null() { 0 } else { value.to_string().len() };
        if self.copied > COPY_BYTES_MAX {
            return Err(Error::TooLarge(format!(
                "Unable to complete the copy, the accumulated size increase of copy is {}, exceeding the limit {COPY_BYTES_MAX}",
                self.copied
            )));
        }
        let place = find(&mut self.document, path).ok_or_else(|| {
            let why = format!("doc is missing destination path: {path}: {MISSING}");
            Error::Unprocessable(format!("copy operation does not apply: {why}"))
        })?;
        place.add(value).map_err(|why| Error::Unprocessable(format!("error while adding value during copy: {why}")))
    }

    /// Returns what is copied, and to where.
    fn copied<'a>(&mut self, operation: &Operation<'a>) -> Result<(Value, &'a str), String> {
        let from = operation.from().map_err(|why| format!("copy operation failed to decode from: {why}"))?;
        let place = find(&mut self.document, from)
            .ok_or_else(|| format!("copy operation does not apply: doc is missing from path: {from}: {MISSING}"))?;
        let value = place.get().map_err(|why| format!("error in copy for from: '{from}': {why}"))?.clone();
        let path = operation.path().map_err(|_| format!("copy operation failed to decode path: {MISSING}"))?;
        Ok((value, path))
    }

    fn test(&mut self, operation: &Operation<'_>) -> Result<(), Error> {
        let path = operation
            .path()
            .map_err(|why| Error::Unprocessable(format!("test operation failed to decode path: {why}")))?;
        let holds = if path.is_empty() {
            self.document == *operation.value()
        } else {
            let place = find(&mut self.document, path).ok_or_else(|| {
                Error::Unprocessable(format!("test operation does not apply: is missing path: {path}: {MISSING}"))
            })?;
            let found =
                place.get().map_err(|why| Error::Unprocessable(format!("error in test for path: '{path}': {why}")))?;
            found == operation.value()
        };
        if holds { Ok(()) } else { Err(Error::TestFailed(format!("testing value {path} failed: test failed"))) }
    }
}

/// A place in a document: in an object or a list, and there under a key.
struct Place<'a> {
    holder: Holder<'a>,
    key: String,
}

enum Holder<'a> {
    Object(&'a mut Map<String, Value>),
    List(&'a mut Vec<Value>),
}

/// Returns the place that a path names, which may be empty; `None` if it would be inside nothing.
fn find<'a>(document: &'a mut Value, path: &str) -> Option<Place<'a>> {
    // What is before the first slash does not count; without one there is no place.
    let (_, path) = path.split_once('/')?;
    let (parents, key) = path.rsplit_once('/').map_or((None, path), |(parents, key)| (Some(parents), key));
    let mut at = document;
    for part in parents.into_iter().flat_map(|parents| parents.split('/')) {
        at = match at {
            Value::Object(map) => map.get_mut(&unescape(part))?,
            Value::Array(list) => {
                let place = index(part, list.len()).ok()?;
                list.get_mut(place)?
            }
            _ => return None,
        };
    }
    let holder = match at {
        Value::Object(map) => Holder::Object(map),
        Value::Array(list) => Holder::List(list),
        _ => return None,
    };
    Some(Place { holder, key: unescape(key) })
}

fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// Reads an index into so many items; a negative one counts from the end.
fn index(text: &str, len: usize) -> Result<usize, String> {
    let number: i64 = text.parse().map_err(|error: std::num::ParseIntError| {
        let why = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.Atoi: parsing {text:?}: {why}")
    })?;
    let from_start = if number < 0 {
        len.checked_sub(number.unsigned_abs().try_into().unwrap_or(usize::MAX))
    } else {
        number.try_into().ok()
    };
    let inside = from_start.filter(|place| *place < len);
    inside.ok_or_else(|| format!("Unable to access invalid index: {number}: invalid index referenced"))
}

impl Place<'_> {
    /// An object has `null` for what it lacks.
    fn get(&self) -> Result<&Value, String> {
        match &self.holder {
            Holder::Object(map) => Ok(map.get(&self.key).unwrap_or(NULL)),
            Holder::List(list) => Ok(&list[index(&self.key, list.len())?]),
        }
    }

    fn set(self, value: Value) -> Result<(), String> {
        match self.holder {
            Holder::Object(map) => drop(map.insert(self.key, value)),
            Holder::List(list) => {
                let place = index(&self.key, list.len())?;
                list[place] = value;
            }
        }
        Ok(())
    }

    fn add(self, value: Value) -> Result<(), String> {
        match self.holder {
            Holder::Object(map) => drop(map.insert(self.key, value)),
            Holder::List(list) if self.key == "-" => list.push(value),
            Holder::List(list) => {
                let place = index(&self.key, list.len() + 1).map_err(|why| {
                    let is_number = !why.starts_with("strconv");
                    if is_number { why } else { format!("value was not a proper array index: '{}': {why}", self.key) }
                })?;
                list.insert(place, value);
            }
        }
        Ok(())
    }

    fn remove(self) -> Result<Value, String> {
        match self.holder {
            Holder::Object(map) => {
                let removed = map.remove(&self.key);
                removed.ok_or_else(|| format!("Unable to remove nonexistent key: {}: {MISSING}", self.key))
            }
            Holder::List(list) => Ok(list.remove(index(&self.key, list.len())?)),
        }
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
