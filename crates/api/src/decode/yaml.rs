//! YAML, as `sigs.k8s.io/yaml` reads it: YAML 1.1, because manifests say `defaultMode: 0644`.

use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, Options};

use super::{Error, Problem};

/// Reads one YAML document; JSON is YAML, too.
///
/// # Errors
/// If it is no YAML; the message has line and column.
pub fn yaml(text: &str) -> Result<(Value, Vec<Problem>), Error> {
    match serde_saphyr::from_str_with_options(text, options(text, DuplicateKeyPolicy::Error)) {
        Ok(value) => Ok((value, Vec::new())),
        Err(error) => {
            let problem = duplicate(&error).ok_or_else(|| syntax(&error))?;
            let value = serde_saphyr::from_str_with_options(text, options(text, DuplicateKeyPolicy::LastWins));
            value.map(|value| (value, vec![problem])).map_err(|error| syntax(&error))
        }
    }
}

/// Reads the documents of a manifest, which `---` separates. Empty ones are left out.
///
/// # Errors
/// If one is no YAML or has a key twice; the message has line and column within the whole text.
pub fn yaml_documents(text: &str) -> Result<Vec<Value>, Error> {
    let documents = serde_saphyr::from_multiple_with_options(text, options(text, DuplicateKeyPolicy::Error));
    let documents: Vec<Value> = documents.map_err(|error| match duplicate(&error) {
        Some(problem) => Error::Syntax(format!("yaml: {problem}")),
        None => syntax(&error),
    })?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// What aliases may add to a document: one of them can stand for nearly all of it.
const REPLAYED_BYTES_MAX: usize = 64 << 20;
/// Parts that aliases may repeat, however short the document is, and however long.
const REPLAYED_PARTS: std::ops::RangeInclusive<usize> = 64..=100_000;

fn options(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Options {
    let replayed = REPLAYED_BYTES_MAX / text.len().max(1);
    serde_saphyr::options! {
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: replayed.clamp(*REPLAYED_PARTS.start(), *REPLAYED_PARTS.end()),
        },
        duplicate_keys: duplicate_keys,
        legacy_octal_numbers: true,
        with_snippet: false,
    }
}

fn duplicate(error: &serde_saphyr::Error) -> Option<Problem> {
    match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { key, location } => {
            Some(Problem::DuplicateKey { line: location.line(), key: key.clone().unwrap_or_default() })
        }
        _ => None,
    }
}

fn syntax(error: &serde_saphyr::Error) -> Error {
    let text = error.without_snippet().to_string();
    let sentence = text.lines().next().unwrap_or_default();
    Error::Syntax(match error.location() {
        Some(at) if !sentence.contains("line ") => {
            format!("yaml: line {}: column {}: {sentence}", at.line(), at.column())
        }
        _ => format!("yaml: {sentence}"),
    })
}
