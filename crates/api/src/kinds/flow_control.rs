//! Flow schemas and priority levels: columns and defaults (`pkg/apis/flowcontrol/v1/defaults.go`).

use serde_json::Value;

use super::doc::{Doc, child, fill, fill_zero, list, text};
use super::print::{self, Col, Text};
use super::rules;
use super::simple::{Parts, Simple};
use crate::object::Object;

/// The manners of flow schemas.
pub(super) const FLOW_SCHEMA: Simple = Simple {
    columns: &[
        print::NAME,
        Col("PriorityLevel", Text, "The name of the priority level configuration being referenced."),
        Col("MatchingPrecedence", Text, "Which schema is chosen among those that match a request."),
        Col("DistinguisherMethod", Text, "How to compute the flow distinguisher for requests that match this schema."),
        print::AGE,
        Col("MissingPL", Text, "references a broken or non-existent PriorityLevelConfiguration"),
    ],
    cells: |object, now| {
        let precedence = object.at(&["spec", "matchingPrecedence"]).and_then(Value::as_i64).unwrap_or_default();
        vec![
            object.name().into(),
            object.str_at(&["spec", "priorityLevelConfiguration", "name"]).into(),
            precedence.into(),
            print::or_none(object.str_at(&["spec", "distinguisherMethod", "type"]).to_owned()).into(),
            print::age(object, now),
            dangling(object).into(),
        ]
    },
    default: |doc| {
        if let Some(spec) = child(doc, "spec") {
            fill_zero(spec, "matchingPrecedence", 1000);
        }
    },
    validate: rules::validate_flow_schema,
    parts: Parts::SpecAndStatus,
    ..Simple::PLAIN
};

/// The manners of priority levels.
pub(super) const PRIORITY_LEVEL: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Type", Text, "Whether this priority level is subject to limitation on request execution."),
        Col("NominalConcurrencyShares", Text, "Contributes to the computation of the nominal concurrency limit."),
        Col("Queues", Text, "The number of queues for this priority level."),
        Col("HandSize", Text, "How the queues of a flow are chosen."),
        Col("QueueLengthLimit", Text, "The maximum number of requests allowed to be waiting in a given queue."),
        print::AGE,
    ],
    cells: |object, now| {
        let limited = |path: &[&str]| {
            let path = [&["spec", "limited"], path].concat();
            object.at(&path).filter(|value| value.is_number()).cloned().unwrap_or_else(|| print::NONE.into())
        };
        let queuing = |field| limited(&["limitResponse", "queuing", field]);
        vec![
            object.name().into(),
            object.str_at(&["spec", "type"]).into(),
            limited(&["nominalConcurrencyShares"]),
            queuing("queues"),
            queuing("handSize"),
            queuing("queueLengthLimit"),
            print::age(object, now),
        ]
    },
    default: default_level,
    validate: rules::validate_priority_level,
    parts: Parts::SpecAndStatus,
    ..Simple::PLAIN
};

fn default_level(doc: &mut Doc) {
    let Some(spec) = child(doc, "spec") else { return };
    if let Some(exempt) = child(spec, "exempt") {
        fill(exempt, "nominalConcurrencyShares", 0);
        fill(exempt, "lendablePercent", 0);
    }
    let Some(limited) = child(spec, "limited") else { return };
    fill(limited, "nominalConcurrencyShares", 30);
    fill(limited, "lendablePercent", 0);
    if let Some(queuing) = child(limited, "limitResponse").and_then(|response| child(response, "queuing")) {
        fill_zero(queuing, "queues", 64);
        fill_zero(queuing, "handSize", 8);
        fill_zero(queuing, "queueLengthLimit", 50);
    }
}

fn dangling(object: &Object) -> &str {
    let conditions = object.at(&["status"]).map(|status| list(status, "conditions")).unwrap_or_default();
    conditions.iter().find(|one| text(one, "type") == "Dangling").map_or("?", |one| text(one, "status"))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::kinds::testing::object;
    use crate::resource::Manners as _;

    #[test]
    fn a_schema_shows_whether_its_level_is_missing() {
        let mut schema = object(json!({"spec": {"priorityLevelConfiguration": {"name": "l"}}}));
        FLOW_SCHEMA.default(&mut schema);
        let shown = |schema: &Object| Value::from(FLOW_SCHEMA.cells(schema, Timestamp::UNIX_EPOCH));
        assert_eq!(shown(&schema), json!(["", "l", 1000, "<none>", "<unknown>", "?"]));
        schema.set(&["status"], json!({"conditions": [{"type": "Dangling", "status": "False"}]}));
        assert_eq!(shown(&schema)[5], "False");
    }

    #[test]
    fn a_limited_level_has_thirty_shares_and_a_queue_its_sizes() {
        let mut level = object(
            json!({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}}),
        );
        PRIORITY_LEVEL.default(&mut level);
        let cells = PRIORITY_LEVEL.cells(&level, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells[1..6].to_vec()), json!(["Limited", 30, 64, 8, 50]));
    }

    #[test]
    fn an_exempt_level_has_no_queues() {
        let mut level = object(json!({"spec": {"type": "Exempt", "exempt": {}}}));
        PRIORITY_LEVEL.default(&mut level);
        assert_eq!(level.at(&["spec", "exempt"]), Some(&json!({"nominalConcurrencyShares": 0, "lendablePercent": 0})));
        let cells = PRIORITY_LEVEL.cells(&level, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells[2..4].to_vec()), json!(["<none>", "<none>"]));
    }
}
