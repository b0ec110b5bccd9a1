//! Deployments (`pkg/apis/apps`): a rolling update of a quarter at a time unless told otherwise.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::doc::{at, child_made, fill, number, text};
use super::pod_spec::Owner;
use super::print::{self, Col, Columns, Text};
use super::workload::{self, count};
use crate::object::Object;
use crate::resource::{Column, Manners};
use crate::status::FieldError;

/// The manners of deployments.
pub(super) struct Deployment;

const COLUMNS: Columns = &[
    print::NAME,
    Col("Ready", Text, "Number of the pod with ready state"),
    Col(
        "Up-to-date",
        Text,
        "Total number of non-terminated pods targeted by this deployment that have the desired template spec.",
    ),
    Col(
        "Available",
        Text,
        "Total number of available pods (ready for at least minReadySeconds) targeted by this deployment.",
    ),
    print::AGE,
    print::CONTAINERS,
    print::IMAGES,
    print::SELECTOR,
];

impl Manners for Deployment {
    fn default(&self, object: &mut Object) {
        let Some(spec) = child_made(&mut object.0, "spec") else { return };
        fill(spec, "replicas", 1);
        fill(spec, "revisionHistoryLimit", 10);
        fill(spec, "progressDeadlineSeconds", 600);
        workload::default_rollout(spec, "strategy", [("maxUnavailable", json!("25%")), ("maxSurge", json!("25%"))]);
        workload::default_template(spec);
    }

    fn prepare_create(&self, object: &mut Object) {
        workload::clear_status(object);
    }

    fn validate(&self, object: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = workload::validate(object, "deployment", Owner::Service("ReplicaSet"));
        errors.extend(workload::validate_fixed(object, old, &["selector"]));
        if let Some(spec) = object.at(&["spec"]) {
            errors.extend(validate_strategy(spec));
            let (deadline, ready) = (number(spec, "progressDeadlineSeconds"), number(spec, "minReadySeconds"));
            if deadline <= ready && spec.get("progressDeadlineSeconds").is_some() {
                let path = "spec.progressDeadlineSeconds";
                errors.push(FieldError::invalid(path, deadline, "must be greater than minReadySeconds"));
            }
        }
        errors
    }

    fn columns(&self) -> Vec<Column> {
        print::columns(COLUMNS)
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let (containers, images) = print::containers_and_images(workload::template_spec(object));
        let ready = count(object, &["status", "readyReplicas"]);
        let desired = count(object, &["spec", "replicas"]);
        vec![
            object.name().into(),
            format!("{ready}/{desired}").into(),
            count(object, &["status", "updatedReplicas"]),
            count(object, &["status", "availableReplicas"]),
            print::age(object, now),
            containers.into(),
            images.into(),
            print::selector(object.at(&["spec", "selector"])).into(),
        ]
    }
}

fn validate_strategy(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let Some(strategy) = spec.get("strategy") else { return errors };
    let rolling = at(strategy, "rollingUpdate");
    let path = "spec.strategy.rollingUpdate";
    match (text(strategy, "type"), rolling) {
        ("Recreate", Some(_)) => {
            errors.push(FieldError::forbidden(path, "may not be specified when strategy `type` is 'Recreate'"));
        }
        ("Recreate", None) => {}
        ("RollingUpdate", None) => {
            errors.push(FieldError::required(path, "this should be defaulted and never be nil"));
        }
        ("RollingUpdate", Some(rolling)) => {
            errors.extend(workload::validate_budget(rolling, "maxUnavailable", path));
            errors.extend(workload::validate_surge(rolling, "maxSurge", path));
            if workload::is_zero_budget(rolling, "maxUnavailable") && workload::is_zero_budget(rolling, "maxSurge") {
                let (path, value) = (format!("{path}.maxUnavailable"), rolling["maxUnavailable"].clone());
                errors.push(FieldError::invalid(path, value, "may not be 0 when `maxSurge` is 0"));
            }
        }
        (other, _) => {
            errors.push(FieldError::not_supported("spec.strategy.type", other, &["Recreate", "RollingUpdate"]));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_errors, object};

    fn deployment(change: impl FnOnce(&mut Object)) -> Object {
        let mut object = object(json!({
            "metadata": {"name": "web", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}},
            },
        }));
        change(&mut object);
        Deployment.default(&mut object);
        object
    }

    #[test]
    fn a_deployment_rolls_a_quarter_at_a_time_unless_told_otherwise() {
        let object = deployment(|_| {});
        assert_eq!(
            object.at(&["spec", "strategy"]).unwrap(),
            &json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
        );
        assert_eq!(object.at(&["spec", "replicas"]), Some(&json!(1)));
        assert_eq!(object.at(&["spec", "revisionHistoryLimit"]), Some(&json!(10)));
        assert_eq!(object.at(&["spec", "progressDeadlineSeconds"]), Some(&json!(600)));
        assert_eq!(object.at(&["spec", "template", "spec", "dnsPolicy"]), Some(&json!("ClusterFirst")));
        check_errors(&Deployment, &object, None, &[]);
    }

    #[test]
    fn zero_replicas_is_a_wish_and_not_a_gap() {
        let object = deployment(|object| object.set(&["spec", "replicas"], 0));
        assert_eq!(object.at(&["spec", "replicas"]), Some(&json!(0)));
    }

    #[test]
    fn recreate_gets_no_budgets() {
        let object = deployment(|object| object.set(&["spec", "strategy", "type"], "Recreate"));
        assert_eq!(object.at(&["spec", "strategy"]), Some(&json!({"type": "Recreate"})));
    }

    #[test]
    fn the_selector_must_match_the_template_labels() {
        let object = deployment(|object| object.set(&["spec", "selector"], json!({"matchLabels": {"app": "db"}})));
        check_errors(
            &Deployment,
            &object,
            None,
            &[
                "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
            ],
        );
    }

    #[test]
    fn an_empty_selector_is_invalid() {
        let object = deployment(|object| object.set(&["spec", "selector"], json!({})));
        check_errors(
            &Deployment,
            &object,
            None,
            &["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
        );
    }

    #[test]
    fn the_selector_is_immutable() {
        let old = deployment(|_| {});
        let new = deployment(|object| {
            object.set(&["spec", "selector"], json!({"matchLabels": {"app": "web", "tier": "x"}}));
            object.set(&["spec", "template", "metadata", "labels"], json!({"app": "web", "tier": "x"}));
        });
        check_errors(
            &Deployment,
            &new,
            Some(&old),
            &["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"web\",\"tier\":\"x\"}}: field is immutable"],
        );
    }

    #[test]
    fn both_budgets_cannot_be_zero() {
        let object = deployment(|object| {
            object.set(&["spec", "strategy", "rollingUpdate"], json!({"maxSurge": 0, "maxUnavailable": "0%"}));
        });
        check_errors(
            &Deployment,
            &object,
            None,
            &["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0"],
        );
    }

    #[test]
    fn deployment_pods_always_restart_and_replicas_are_not_negative() {
        let object = deployment(|object| {
            object.set(&["spec", "template", "spec", "restartPolicy"], "Never");
            object.set(&["spec", "replicas"], -1);
        });
        check_errors(
            &Deployment,
            &object,
            None,
            &[
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            ],
        );
    }

    #[test]
    fn the_row_says_how_many_of_how_many_are_ready() {
        let mut object = deployment(|object| object.set(&["spec", "replicas"], 3));
        object.set(&["status"], json!({"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2}));
        let now = "2026-01-01T00:05:00Z".parse().unwrap();
        assert_eq!(
            Value::from(Deployment.cells(&object, now)),
            json!(["web", "2/3", 3, 2, "5m", "c", "i:1", "app=web"])
        );
    }
}
