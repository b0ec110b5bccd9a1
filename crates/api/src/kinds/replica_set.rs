//! Replica sets and replication controllers.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::doc::{Doc, at, child, child_made, fill};
use super::pod_spec::{self, Owner};
use super::print::{self, Col, Columns, Number};
use super::workload::{self, count};
use crate::object::Object;
use crate::resource::{Column, Manners};
use crate::status::FieldError;

/// The manners of replica sets.
pub(super) struct ReplicaSet;

/// The manners of replication controllers, whose selector is a plain map.
pub(super) struct ReplicationController;

const COLUMNS: Columns = &[
    print::NAME,
    Col("Desired", Number, "Replicas is the number of desired replicas."),
    Col("Current", Number, "Replicas is the most recently observed number of replicas."),
    Col("Ready", Number, "The number of pods targeted by this controller with a Ready Condition."),
    print::AGE,
    print::CONTAINERS,
    print::IMAGES,
    print::SELECTOR,
];

impl Manners for ReplicaSet {
    fn default(&self, object: &mut Object) {
        if let Some(spec) = child_made(&mut object.0, "spec") {
            fill(spec, "replicas", 1);
            workload::default_template(spec);
        }
    }

    fn prepare_create(&self, object: &mut Object) {
        clear_status(object);
    }

    fn validate(&self, object: &Object, old: Option<&Object>) -> Vec<FieldError> {
        // Kubernetes' sentence names the kind that most replica sets come from.
        let mut errors = workload::validate(object, "deployment", Owner::Service("ReplicaSet"));
        errors.extend(workload::validate_fixed(object, old, &["selector"]));
        errors
    }

    fn columns(&self) -> Vec<Column> {
        print::columns(COLUMNS)
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        cells(object, now, print::selector(object.at(&["spec", "selector"])))
    }

    fn field(&self, object: &Object, path: &str) -> Option<String> {
        (path == "status.replicas").then(|| count(object, &["status", "replicas"]).to_string())
    }
}

impl Manners for ReplicationController {
    fn default(&self, object: &mut Object) {
        let labels =
            object.at(&["spec", "template", "metadata", "labels"]).filter(|labels| labels.is_object()).cloned();
        let has_labels = !object.labels().is_empty();
        let Some(spec) = child_made(&mut object.0, "spec") else { return };
        fill(spec, "replicas", 1);
        // Unlike those of its successors, its template is a pointer.
        if let Some(template) = child(spec, "template") {
            workload::default_template_itself(template);
        }
        if let Some(labels) = labels {
            if is_empty_map(spec, "selector") {
                spec.insert("selector".to_owned(), labels.clone());
            }
            if !has_labels {
                object.set(&["metadata", "labels"], labels);
            }
        }
    }

    fn prepare_create(&self, object: &mut Object) {
        clear_status(object);
    }

    fn validate(&self, object: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
        let mut errors = workload::validate_counts(spec, &["replicas", "minReadySeconds"]);
        let selector =
            at(spec, "selector").filter(|labels| labels.as_object().is_some_and(|labels| !labels.is_empty()));
        let selector = selector.map(|labels| json!({"matchLabels": labels}));
        if selector.is_none() {
            errors.push(FieldError::required("spec.selector", ""));
        }
        let (template, owner) = (at(spec, "template"), Owner::Service("ReplicationController"));
        errors.extend(pod_spec::validate_template(template, selector.as_ref(), "spec.template", owner));
        errors
    }

    fn columns(&self) -> Vec<Column> {
        print::columns(COLUMNS)
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        cells(object, now, print::labels(object.at(&["spec", "selector"])))
    }

    fn field(&self, object: &Object, path: &str) -> Option<String> {
        (path == "status.replicas").then(|| count(object, &["status", "replicas"]).to_string())
    }
}

fn clear_status(object: &mut Object) {
    // These two write `replicas: 0` where others write nothing.
    object.0.insert("status".to_owned(), json!({"replicas": 0}));
}

fn is_empty_map(doc: &Doc, field: &str) -> bool {
    doc.get(field).and_then(Value::as_object).is_none_or(serde_json::Map::is_empty)
}

fn cells(object: &Object, now: Timestamp, selector: String) -> Vec<Value> {
    let (containers, images) = print::containers_and_images(workload::template_spec(object));
    vec![
        object.name().into(),
        count(object, &["spec", "replicas"]),
        count(object, &["status", "replicas"]),
        count(object, &["status", "readyReplicas"]),
        print::age(object, now),
        containers.into(),
        images.into(),
        selector.into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_errors, object};

    #[test]
    fn a_replication_controller_selects_what_its_template_makes() {
        let mut object = object(json!({"metadata": {"name": "r"}, "spec": {"template": {
            "metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}));
        ReplicationController.default(&mut object);
        assert_eq!(object.at(&["spec", "selector"]), Some(&json!({"app": "a"})));
        assert_eq!(object.at(&["metadata", "labels"]), Some(&json!({"app": "a"})));
        check_errors(&ReplicationController, &object, None, &[]);
    }

    #[test]
    fn a_replica_set_starts_with_a_status_of_zero() {
        let mut object = object(json!({"spec": {}, "status": {"replicas": 7}}));
        ReplicaSet.prepare_create(&mut object);
        assert_eq!(object.at(&["status"]), Some(&json!({"replicas": 0})));
    }

    #[test]
    fn a_workload_without_a_selector_or_template_says_so() {
        for silent in [json!({"spec": {}}), json!({})] {
            let expected = ["spec.selector: Required value", "spec.template: Required value"];
            check_errors(&ReplicaSet, &object(silent), None, &expected);
        }
    }

    #[test]
    fn the_row_counts_desired_current_and_ready() {
        let object =
            object(json!({"metadata": {"name": "r"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}},
            "status": {"replicas": 2, "readyReplicas": 1}}));
        let cells = ReplicaSet.cells(&object, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells), json!(["r", 2, 2, 1, "<unknown>", "", "", "a=b"]));
    }
}
