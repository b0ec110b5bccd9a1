//! What the API server says about a definition: which names are its own, and whether it is served
//! (`apiextensions/controller/{status,establish}`).

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::conditions;
use crate::kinds::doc::{flag, list, text};
use crate::object::{Object, format_time};

/// Writes the status of a new or changed definition. `others` are all definitions there are, this one included.
pub fn settle<'a>(definition: &mut Object, others: impl IntoIterator<Item = &'a Object>, now: Timestamp) {
    let others: Vec<&Value> = others
        .into_iter()
        .filter(|other| other.name() != definition.name())
        .filter(|other| other.str_at(&["spec", "group"]) == definition.str_at(&["spec", "group"]))
        .filter_map(|other| other.at(&["status", "acceptedNames"]))
        .collect();
    let names = definition.at(&["spec", "names"]).cloned().unwrap_or_else(|| json!({}));
    let before = definition.at(&["status", "acceptedNames"]).cloned().unwrap_or_else(|| json!({}));
    let Settled { accepted, conflict } = accept(&names, &before, &others);
    definition.set(&["status", "acceptedNames"], accepted);
    let versions = stored_versions(definition);
    definition.set(&["status", "storedVersions"], versions);
    let (reason, message) = match &conflict {
        Some((reason, message)) => (*reason, message.as_str()),
        None => ("NoConflicts", "no conflicts found"),
    };
    write_condition(definition, "NamesAccepted", conflict.is_none(), reason, message, now);
    if super::is_established(definition) {
        // A kind that is served stays, also if somebody takes one of its names later.
        return;
    }
    match conflict {
        None => write_condition(
            definition,
            "Established",
            true,
            "InitialNamesAccepted",
            "the initial names have been accepted",
            now,
        ),
        Some(_) => {
            write_condition(definition, "Established", false, "NotAccepted", "not all names are accepted", now);
        }
    }
}

/// Writes one condition; its time stays if its status does.
pub(super) fn write_condition(
    definition: &mut Object,
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let condition = json!({
        "type": kind, "status": if holds { "True" } else { "False" }, "lastTransitionTime": format_time(now),
        "reason": reason, "message": message,
    });
    conditions::set(definition, condition);
}

/// Which names a definition may call its own.
struct Settled {
    accepted: Value,
    /// The last conflict's reason and message.
    conflict: Option<(&'static str, String)>,
}

/// A name that another definition of the group has is refused; the definition keeps the one it had.
fn accept(names: &Value, before: &Value, others: &[&Value]) -> Settled {
    let mut accepted = Map::new();
    let mut conflict = None;
    let words: Vec<&str> = others
        .iter()
        .flat_map(|names| {
            let short = list(names, "shortNames").iter().filter_map(Value::as_str);
            [text(names, "plural"), text(names, "singular")].into_iter().chain(short)
        })
        .collect();
    let kinds: Vec<&str> = others.iter().flat_map(|names| [text(names, "kind"), text(names, "listKind")]).collect();
    for (field, reason, taken) in [
        ("plural", "PluralConflict", &words),
        ("singular", "SingularConflict", &words),
        ("kind", "KindConflict", &kinds),
        ("listKind", "ListKindConflict", &kinds),
    ] {
        let name = text(names, field);
        if !name.is_empty() && taken.contains(&name) {
            conflict = Some((reason, format!("{} is already in use", Value::from(name))));
            accepted.insert(field.to_owned(), text(before, field).into());
        } else if !name.is_empty() {
            accepted.insert(field.to_owned(), name.into());
        }
    }
    let short = list(names, "shortNames");
    let taken = short.iter().filter_map(Value::as_str).find(|name| words.contains(name));
    if let Some(name) = taken {
        conflict = Some(("ShortNamesConflict", format!("{} is already in use", Value::from(name))));
    }
    let short = if taken.is_some() { list(before, "shortNames") } else { short };
    for (field, list) in [("shortNames", short), ("categories", list(names, "categories"))] {
        if !list.is_empty() {
            accepted.insert(field.to_owned(), list.into());
        }
    }
    Settled { accepted: accepted.into(), conflict }
}

/// Every version in which objects may have been stored, oldest first.
fn stored_versions(definition: &Object) -> Vec<Value> {
    let known = definition.at(&["status", "storedVersions"]).and_then(Value::as_array);
    let mut versions = known.cloned().unwrap_or_default();
    let spec = definition.0.get("spec").unwrap_or(&Value::Null);
    if let Some(storage) = list(spec, "versions").iter().find(|version| flag(version, "storage")) {
        let name = Value::from(text(storage, "name"));
        if !versions.contains(&name) {
            versions.push(name);
        }
    }
    versions
}
