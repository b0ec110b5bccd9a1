//! Documents, and what Kubernetes says about them: one file per group of rules.

#![expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]

mod access;
mod autoscaling;
mod classes;
mod cluster;
mod endpoints;
mod events;
mod flow_control;
mod ingress;
mod limits;
mod network;
mod node;
mod policy;
mod storage;

use serde_json::Value;

use crate::kinds::testing::object;
use crate::object::Object;
use crate::status::FieldError;

type Rule = fn(&Object, Option<&Object>) -> Vec<FieldError>;

/// Checks what is said about a new object.
fn check(rule: Rule, document: Value, expected: &[&str]) {
    assert_eq!(told(rule(&object(document), None)), expected);
}

/// Checks what is said about a changed object.
fn check_update(rule: Rule, new: Value, old: Value, expected: &[&str]) {
    assert_eq!(told(rule(&object(new), Some(&object(old)))), expected);
}

fn told(errors: Vec<FieldError>) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}
