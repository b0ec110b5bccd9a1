//! `wkube describe`: one object as nested text, with its events.

use anyhow::Result;
use jiff::Timestamp;
use serde_json::Value;
use wkube_api::{Object, ObjectKey, Resource};
use wkube_client::{Api, Client, Scope};

use crate::args::Describe;
use crate::connect::connect_in;
use crate::print;
use crate::print::table::Table;
use crate::target;
use crate::verbs::Missing;

/// Fields whose keys are the user's own words, not names of fields.
const MAPS: [&str; 9] =
    ["matchLabels", "selector", "labels", "annotations", "nodeSelector", "data", "binaryData", "limits", "requests"];

/// What a reader of `describe` never looks for.
const HIDDEN_METADATA: [&str; 5] = ["managedFields", "name", "namespace", "labels", "annotations"];

pub(crate) async fn run(mut args: Describe) -> Result<()> {
    let client = connect_in(&args.connection, &mut args.namespace).await?;
    let mut missing = Missing::new(false);
    let mut is_first = true;
    for target in target::parse(&client, &args.resources).await? {
        let namespace = target::namespace_for(&target.resource, &args.namespace.namespace);
        let api = Api::dynamic(&client, &target.resource);
        let mut objects = Vec::new();
        if target.names.is_empty() {
            objects = api.list(&Scope::namespace(namespace).labels(args.selector.as_str())).await?.items;
        }
        for name in &target.names {
            let found = api.get(&ObjectKey::new(namespace, name)).await.map_err(anyhow::Error::from);
            objects.extend(missing.or(found)?);
        }
        for object in &objects {
            if !std::mem::take(&mut is_first) {
                print::line("\n");
            }
            let events = events_of(&client, object).await?;
            describe(&target.resource, object, &events).iter().for_each(print::line);
        }
    }
    if is_first && missing.is_empty() {
        print::note(format!("No resources found in {} namespace.", args.namespace.namespace));
    }
    missing.report()
}

async fn events_of(client: &Client, object: &Object) -> Result<Vec<Object>> {
    let fields = format!("involvedObject.uid={}", object.uid());
    let scope = Scope::namespace(object.namespace()).fields(fields);
    let mut events = Api::dynamic(client, &*target::find("events")?).list(&scope).await?.items;
    events.sort_by_key(|event| event.str_at(&["lastTimestamp"]).to_owned());
    Ok(events)
}

fn describe(resource: &Resource, object: &Object, events: &[Object]) -> Vec<String> {
    let mut lines = vec![format!("Name:         {}", object.name())];
    if !object.namespace().is_empty() {
        lines.push(format!("Namespace:    {}", object.namespace()));
    }
    lines.push(format!("Kind:         {} ({})", resource.kind, resource.api_version()));
    lines.extend(pairs("Labels:       ", object.at(&["metadata", "labels"])));
    lines.extend(pairs("Annotations:  ", object.at(&["metadata", "annotations"])));
    let mut rest = object.0.clone();
    rest.remove("apiVersion");
    rest.remove("kind");
    if let Some(metadata) = rest.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in HIDDEN_METADATA {
            metadata.remove(field);
        }
    }
    if resource.kind == "Secret" {
        hide_data(&mut rest);
    }
    nested(&Value::Object(rest), 0, &mut lines);
    lines.extend(event_lines(events, Timestamp::now()));
    lines
}

/// Replaces a Secret's values by their sizes, as kubectl does.
fn hide_data(object: &mut serde_json::Map<String, Value>) {
    for value in object.get_mut("data").and_then(Value::as_object_mut).into_iter().flat_map(|data| data.values_mut()) {
        let encoded = value.as_str().unwrap_or_default();
        let padding = encoded.bytes().rev().take_while(|&byte| byte == b'=').count();
        *value = format!("{} bytes", encoded.len() / 4 * 3 - padding).into();
    }
}

fn pairs(title: &str, map: Option<&Value>) -> Vec<String> {
    let map = map.and_then(Value::as_object).filter(|map| !map.is_empty());
    let Some(map) = map else { return vec![format!("{title}<none>")] };
    let blank = " ".repeat(title.len());
    let line = |(index, (key, value)): (usize, (&String, &Value))| {
        format!("{}{key}={}", if index == 0 { title } else { &blank }, value.as_str().unwrap_or_default())
    };
    map.iter().enumerate().map(line).collect()
}

/// Writes a document as indented `Title: value` lines; field names become titles.
fn nested(value: &Value, depth: usize, lines: &mut Vec<String>) {
    nested_with(value, depth, title_of, lines);
}

fn nested_with(value: &Value, depth: usize, title_of: fn(&str) -> String, lines: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    let Value::Object(map) = value else {
        lines.push(format!("{indent}{}", scalar(value)));
        return;
    };
    for (key, value) in map {
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                lines.push(format!("{indent}{}:", title_of(key)));
                let is_map = MAPS.contains(&key.as_str()) && inner.values().all(Value::is_string);
                nested_with(value, depth + 1, if is_map { str::to_owned } else { self::title_of }, lines);
            }
            Value::Array(items) if !items.is_empty() => {
                lines.push(format!("{indent}{}:", title_of(key)));
                for item in items {
                    let start = lines.len();
                    nested(item, depth + 2, lines);
                    // The item's first line carries its dash.
                    let at = 2 * (depth + 1);
                    if let Some(first) = lines.get_mut(start) {
                        first.replace_range(at..=at, "-");
                    }
                }
            }
            other => lines.push(format!("{indent}{}:  {}", title_of(key), scalar(other))),
        }
    }
}

/// Returns `Host IP` for `hostIP` and `Restart Policy` for `restartPolicy`.
fn title_of(field: &str) -> String {
    let mut title = String::new();
    let mut was_lower = false;
    for (index, letter) in field.chars().enumerate() {
        if letter.is_uppercase() && was_lower {
            title.push(' ');
        }
        was_lower = letter.is_lowercase() || letter.is_ascii_digit();
        if index == 0 { title.extend(letter.to_uppercase()) } else { title.push(letter) }
    }
    title
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "<none>".to_owned(),
        Value::String(text) if text.is_empty() => "<none>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Array(items) if items.is_empty() => "[]".to_owned(),
        other => other.to_string(),
    }
}

fn event_lines(events: &[Object], now: Timestamp) -> Vec<String> {
    if events.is_empty() {
        return vec!["Events:  <none>".to_owned()];
    }
    let headings = ["Type", "Reason", "Age", "From", "Message"].map(str::to_owned).to_vec();
    let rows = events.iter().map(|event| {
        let from = [event.str_at(&["reportingComponent"]), event.str_at(&["source", "component"])];
        vec![
            event.str_at(&["type"]).to_owned(),
            event.str_at(&["reason"]).to_owned(),
            age(event.str_at(&["lastTimestamp"]), now),
            from.into_iter().find(|name| !name.is_empty()).unwrap_or_default().to_owned(),
            event.str_at(&["message"]).to_owned(),
        ]
    });
    let table = Table { headings, rows: rows.collect() };
    std::iter::once("Events:".to_owned()).chain(table.lines(true).iter().map(|line| format!("  {line}"))).collect()
}

fn age(time: &str, now: Timestamp) -> String {
    let Ok(then) = time.parse::<Timestamp>() else { return "<unknown>".to_owned() };
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_become_titles() {
        for (field, title) in [("hostIP", "Host IP"), ("restartPolicy", "Restart Policy"), ("name", "Name")] {
            assert_eq!(title_of(field), title);
        }
    }

    #[test]
    fn documents_become_indented_lines() {
        let mut lines = Vec::new();
        nested(&json!({"spec": {"containers": [{"image": "a", "name": "b"}], "x": []}}), 0, &mut lines);
        assert_eq!(lines, ["Spec:", "  Containers:", "    - Image:  a", "      Name:  b", "  X:  []"]);
    }

    #[test]
    fn the_keys_of_maps_stay_as_they_are() {
        let mut lines = Vec::new();
        nested(&json!({"selector": {"matchLabels": {"app": "a"}}, "data": {"myKey": "b"}}), 0, &mut lines);
        assert_eq!(lines, ["Data:", "  myKey:  b", "Selector:", "  Match Labels:", "    app:  a"]);
    }

    #[test]
    fn a_secret_shows_sizes_only() {
        let mut secret = json!({"data": {"p": "dw==", "q": "YWJj"}}).as_object().expect("an object").clone();
        hide_data(&mut secret);
        assert_eq!(secret["data"], json!({"p": "1 bytes", "q": "3 bytes"}));
    }

    #[test]
    fn ages_have_one_unit() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().expect("a time");
        assert_eq!(age("2026-01-01T23:59:00Z", now), "60s");
        assert_eq!(age("2026-01-01T12:00:00Z", now), "12h");
        assert_eq!(age("", now), "<unknown>");
    }
}
