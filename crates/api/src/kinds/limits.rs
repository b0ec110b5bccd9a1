//! Resource quotas and limit ranges: how much a namespace, and each thing in it, may have.

use serde_json::{Value, json};

use super::doc::{child, child_made, children};
use super::print::{self, Col, Text};
use super::rules;
use super::simple::{Parts, Simple};

/// The manners of resource quotas.
pub(super) const RESOURCE_QUOTA: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Request", Text, "Request represents a minimum amount of cpu/memory that a container may consume."),
        Col(
            "Limit",
            Text,
            "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
        ),
        print::AGE,
    ],
    cells: |object, now| {
        let amounts = |limits: bool| {
            let hard = object.at(&["status", "hard"]).and_then(Value::as_object).into_iter().flatten();
            let shown = hard.filter(|(name, _)| name.starts_with("limits.") == limits).map(|(name, hard)| {
                let used = object.str_at(&["status", "used", name]);
                format!("{name}: {}/{}", if used.is_empty() { "0" } else { used }, hard.as_str().unwrap_or_default())
            });
            Value::from(shown.collect::<Vec<_>>().join(", "))
        };
        vec![object.name().into(), amounts(false), amounts(true), print::age(object, now)]
    },
    parts: Parts::StatusOnly,
    validate: rules::validate_quota,
    ..Simple::PLAIN
};

/// The manners of limit ranges, which show the time they were made instead of an age.
pub(super) const LIMIT_RANGE: Simple = Simple {
    columns: print::CREATED_AT_COLUMNS,
    cells: print::created_at_cells,
    default: |doc| {
        let Some(spec) = child(doc, "spec") else { return };
        // A container's default limit is the maximum, its default request the default limit.
        for limit in children(spec, "limits").filter(|limit| limit.get("type") == Some(&json!("Container"))) {
            for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
                let Some(source) = limit.get(from).and_then(Value::as_object).cloned() else { continue };
                let Some(target) = child_made(limit, to) else { continue };
                for (name, amount) in source {
                    target.entry(name).or_insert(amount);
                }
            }
        }
    },
    validate: rules::validate_limit_range,
    ..Simple::PLAIN
};

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::kinds::testing::object;
    use crate::resource::Manners as _;

    #[test]
    fn a_containers_default_limit_is_the_maximum_and_its_default_request_the_default_limit() {
        let mut range = object(
            json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "default": {"memory": "1Gi"}}]}}),
        );
        LIMIT_RANGE.default(&mut range);
        let limit = &range.at(&["spec", "limits"]).unwrap()[0];
        assert_eq!(limit["default"], json!({"cpu": "2", "memory": "1Gi"}));
        assert_eq!(limit["defaultRequest"], json!({"cpu": "2", "memory": "1Gi"}));
    }

    #[test]
    fn a_quota_shows_what_is_used_of_what_is_allowed() {
        let quota = object(json!({"status": {"hard": {"pods": "5", "limits.cpu": "2"}, "used": {"pods": "1"}}}));
        let cells = RESOURCE_QUOTA.cells(&quota, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells[1..3].to_vec()), json!(["pods: 1/5", "limits.cpu: 0/2"]));
    }
}
