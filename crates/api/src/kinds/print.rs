//! What the cells of `kubectl get` have in common (`pkg/printers/internalversion/printers.go`).

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::doc::{list, text};
use crate::object::Object;
use crate::resource::Column;

/// How a kind describes its columns.
pub(super) type Columns = &'static [Col];

/// Heading, type, description, and whether only `-o wide` shows it.
pub(super) struct Col(pub(super) &'static str, pub(super) Type, pub(super) &'static str);

/// The type of a column's cells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// The name column.
    Name,
    /// A text.
    Text,
    /// A number.
    Number,
    /// A truth.
    Boolean,
    /// A time, as it stands in the object.
    Date,
    /// A text that only `-o wide` shows.
    Wide,
    /// The name column of kinds that begin with something else.
    WideName,
}

pub(super) use Type::{Boolean, Date, Name, Number, Text, Wide, WideName};

pub(super) const NAME: Col = Col(
    "Name",
    Name,
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a \
     client to request the generation of an appropriate name automatically.",
);
pub(super) const AGE: Col =
    Col("Age", Text, "CreationTimestamp is a timestamp representing the server time when this object was created.");
/// The columns of kinds for which Kubernetes has none: they show when they were made (`registry/rest/table.go`).
pub(super) const CREATED_AT_COLUMNS: Columns = &[NAME, Col("Created At", Date, AGE.2)];
pub(super) const CONTAINERS: Col = Col("Containers", Wide, "Names of each container in the template.");
pub(super) const IMAGES: Col = Col("Images", Wide, "Images referenced by each container in the template.");
pub(super) const SELECTOR: Col = Col("Selector", Wide, "A label query over pods.");

/// What kubectl shows where there is nothing.
pub(super) const NONE: &str = "<none>";
const UNKNOWN: &str = "<unknown>";

/// Returns the columns of a kind.
pub(super) fn columns(columns: Columns) -> Vec<Column> {
    let column = |&Col(name, kind, description): &Col| Column {
        name: name.into(),
        kind: match kind {
            Number => "integer",
            Boolean => "boolean",
            Date => "date",
            Name | Text | Wide | WideName => "string",
        }
        .into(),
        format: if matches!(kind, Name | WideName) { "name" } else { "" }.into(),
        description: description.into(),
        priority: i32::from(matches!(kind, Wide | WideName)),
    };
    columns.iter().map(column).collect()
}

/// Returns the cells of [`CREATED_AT_COLUMNS`].
pub(super) fn created_at_cells(object: &Object, _now: Timestamp) -> Vec<Value> {
    vec![object.name().into(), object.str_at(&["metadata", "creationTimestamp"]).into()]
}

/// Returns how long ago the object was made.
pub(super) fn age(object: &Object, now: Timestamp) -> Value {
    since(object.str_at(&["metadata", "creationTimestamp"]), now).into()
}

/// Returns how long ago an RFC 3339 time was, `<unknown>` if there is none.
pub(super) fn since(timestamp: &str, now: Timestamp) -> String {
    timestamp
        .parse::<Timestamp>()
        .map_or_else(|_| UNKNOWN.to_owned(), |then| human_duration(now.as_second() - then.as_second()))
}

/// Returns a duration as kubectl prints it (`apimachinery/pkg/util/duration`): two units at most, rounded down.
pub fn human_duration(seconds: i64) -> String {
    let two = |big: i64, big_unit: char, small: i64, small_unit: char| {
        if small == 0 { format!("{big}{big_unit}") } else { format!("{big}{big_unit}{small}{small_unit}") }
    };
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        // Clocks of two machines may differ by a second.
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, 'y', days % 365, 'd'),
        _ => format!("{}y", days / 365),
    }
}

/// Returns `a,b` of one field of a list of objects.
pub(super) fn joined(items: &[Value], field: &str) -> String {
    items.iter().map(|item| text(item, field)).collect::<Vec<_>>().join(",")
}

/// Returns the names and the images of a pod template's containers.
pub(super) fn containers_and_images(pod_spec: Option<&Value>) -> (String, String) {
    let containers = pod_spec.map(|spec| list(spec, "containers")).unwrap_or_default();
    (joined(containers, "name"), joined(containers, "image"))
}

/// Returns the text, or `<none>`.
pub(super) fn or_none(text: String) -> String {
    if text.is_empty() { NONE.to_owned() } else { text }
}

/// Returns `a=b,c=d`, or `<none>`.
pub(super) fn labels(map: Option<&Value>) -> String {
    let pairs = map.and_then(Value::as_object).into_iter().flatten();
    or_none(
        pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect::<Vec<_>>().join(","),
    )
}

/// Returns a `LabelSelector` as text (`metav1.FormatLabelSelector`).
pub(super) fn selector(selector: Option<&Value>) -> String {
    let Some(selector) = selector else { return NONE.to_owned() };
    let mut parts: Vec<(String, String)> = Vec::new();
    for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
        parts.push((key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())));
    }
    for rule in list(selector, "matchExpressions") {
        let key = text(rule, "key");
        let mut values: Vec<&str> = list(rule, "values").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let part = match text(rule, "operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        parts.push((key.to_owned(), part));
    }
    // Selectors print their requirements sorted by key (`labels.Selector`).
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    or_none(parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join(","))
}

/// Returns the addresses of a load balancer's status, sorted, each once (`loadBalancerStatusStringer`).
pub(super) fn load_balancer(status: Option<&Value>) -> Vec<String> {
    let points = status.and_then(|status| status.get("loadBalancer")).map(|status| list(status, "ingress"));
    let address = |point: &Value| match (text(point, "ip"), text(point, "hostname")) {
        ("", hostname) => hostname.to_owned(),
        (ip, _) => ip.to_owned(),
    };
    let addresses: BTreeSet<String> = points.unwrap_or_default().iter().map(address).collect();
    addresses.into_iter().filter(|address| !address.is_empty()).collect()
}

/// Returns the first three items and how many more there are, as kubectl shortens lists.
pub(super) fn shortened(items: &[String], shown: usize) -> String {
    if items.len() <= shown {
        return or_none(items.join(","));
    }
    format!("{} + {} more...", items[..shown].join(","), items.len() - shown)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_are_shown_in_two_units_at_most() {
        const MINUTE: i64 = 60;
        const HOUR: i64 = 60 * MINUTE;
        const DAY: i64 = 24 * HOUR;
        let cases = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (121, "2m1s"),
            (10 * MINUTE + 5, "10m"),
            (179 * MINUTE, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + MINUTE, "3h1m"),
            (8 * HOUR + MINUTE, "8h"),
            (47 * HOUR, "47h"),
            (2 * DAY, "2d"),
            (2 * DAY + HOUR, "2d1h"),
            (8 * DAY + HOUR, "8d"),
            (729 * DAY, "729d"),
            (730 * DAY, "2y"),
            (731 * DAY, "2y1d"),
            (8 * 365 * DAY + DAY, "8y"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn selectors_are_shown_sorted_by_key() {
        let expressions =
            json!([{"key": "b", "operator": "In", "values": ["y", "x"]}, {"key": "a", "operator": "DoesNotExist"}]);
        let shown = selector(Some(&json!({"matchLabels": {"c": "1"}, "matchExpressions": expressions})));
        assert_eq!(shown, "!a,b in (x,y),c=1");
        assert_eq!(selector(Some(&json!({}))), "<none>");
    }

    #[test]
    fn an_object_without_a_time_has_an_unknown_age() {
        assert_eq!(age(&Object::default(), Timestamp::UNIX_EPOCH), "<unknown>");
    }
}
