//! Admission policies and their bindings: columns and defaults (`pkg/apis/admissionregistration/v1/defaults.go`).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{policy_rules, type_check};
use crate::kinds::doc::{Doc, at, child, child_made, children, fill, has, list, text};
use crate::kinds::print::{self, Col, Columns, Number, Text};
use crate::kinds::simple::{Parts, Simple};
use crate::object::Object;

const PARAM_KIND: Col =
    Col("ParamKind", Text, "ParamKind specifies the kind of resources used to parameterize this policy");

/// The manners of validating policies.
pub(in crate::kinds) const VALIDATING_POLICY: Simple = Simple {
    columns: &[
        print::NAME,
        Col(
            "Validations",
            Number,
            "Validations indicates the number of validation rules defined in this configuration",
        ),
        PARAM_KIND,
        print::AGE,
    ],
    cells: |object, now| policy_cells(object, "validations", now),
    default: |doc| {
        default_policy(doc);
        settle_status(doc);
    },
    validate: policy_rules::validate_policy,
    parts: Parts::SpecAndStatus,
    ..Simple::PLAIN
};

/// The manners of mutating policies.
pub(in crate::kinds) const MUTATING_POLICY: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Mutations", Number, "Mutation indicates the number of mutations rules defined in this configuration"),
        PARAM_KIND,
        print::AGE,
    ],
    cells: |object, now| policy_cells(object, "mutations", now),
    default: default_policy,
    validate: policy_rules::validate_mutating_policy,
    parts: Parts::Spec,
    ..Simple::PLAIN
};

const BINDING_COLUMNS: Columns = &[
    print::NAME,
    Col("PolicyName", Text, "PolicyName indicates the policy definition which the policy binding binded to"),
    Col("ParamRef", Text, "ParamRef indicates the param resource which sets the configration param"),
    print::AGE,
];

/// The manners of the bindings of validating policies.
pub(in crate::kinds) const VALIDATING_BINDING: Simple =
    Simple { validate: policy_rules::validate_binding, ..POLICY_BINDING };

/// The manners of the bindings of mutating policies.
pub(in crate::kinds) const MUTATING_BINDING: Simple =
    Simple { validate: policy_rules::validate_mutating_binding, ..POLICY_BINDING };

/// The manners of all bindings.
const POLICY_BINDING: Simple = Simple {
    columns: BINDING_COLUMNS,
    cells: |object, now| {
        let policy = object.str_at(&["spec", "policyName"]).into();
        vec![object.name().into(), policy, param_ref(object.at(&["spec", "paramRef"])).into(), print::age(object, now)]
    },
    default: |doc| {
        if let Some(spec) = child(doc, "spec") {
            default_match(spec, "matchResources");
        }
    },
    parts: Parts::Spec,
    ..Simple::PLAIN
};

fn default_policy(doc: &mut Doc) {
    let Some(spec) = child(doc, "spec") else { return };
    fill(spec, "failurePolicy", "Fail");
    default_match(spec, "matchConstraints");
}

/// Says that the policy's types have been checked, which a controller does in Kubernetes
/// (`controller/validatingadmissionpolicystatus`).
fn settle_status(doc: &mut Doc) {
    let generation = doc.get("metadata").and_then(|metadata| metadata.get("generation")).and_then(Value::as_i64);
    let warnings = doc.get("spec").map(type_check::warnings).unwrap_or_default();
    let mut checked = Doc::new();
    if !warnings.is_empty() {
        checked.insert("expressionWarnings".to_owned(), warnings.into());
    }
    let Some(status) = child_made(doc, "status") else { return };
    status.insert("observedGeneration".to_owned(), generation.unwrap_or(1).into());
    status.insert("typeChecking".to_owned(), checked.into());
}

fn default_match(spec: &mut Doc, field: &str) {
    let Some(resources) = child(spec, field) else { return };
    fill(resources, "matchPolicy", "Equivalent");
    fill(resources, "namespaceSelector", json!({}));
    fill(resources, "objectSelector", json!({}));
    for rules in ["resourceRules", "excludeResourceRules"] {
        children(resources, rules).for_each(|rule| fill(rule, "scope", "*"));
    }
}

fn policy_cells(object: &Object, rules: &str, now: Timestamp) -> Vec<Value> {
    let null = Value::Null;
    let spec = object.at(&["spec"]).unwrap_or(&null);
    let param = match at(spec, "paramKind") {
        Some(kind) => format!("{}/{}", text(kind, "apiVersion"), text(kind, "kind")),
        None => "<unset>".to_owned(),
    };
    vec![object.name().into(), list(spec, rules).len().into(), param.into(), print::age(object, now)]
}

/// Whether a parameter lives in a namespace cannot be told from its reference: `*` stands for "any or none".
fn param_ref(reference: Option<&Value>) -> String {
    let Some(reference) = reference.filter(|reference| reference.is_object()) else { return "<unset>".to_owned() };
    let (namespace, name) = (text(reference, "namespace"), text(reference, "name"));
    match (namespace, name) {
        ("", "") if has(reference, "selector") => print::selector(reference.get("selector")),
        (_, "") => "<unset>".to_owned(),
        ("", name) => format!("*/{name}"),
        (namespace, name) => format!("{namespace}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::object;
    use crate::resource::Manners as _;

    #[test]
    fn a_policy_fails_closed_and_matches_equivalent_versions_in_every_scope() {
        let mut policy = object(json!({"spec": {"matchConstraints": {"resourceRules": [{}]}}}));
        VALIDATING_POLICY.default(&mut policy);
        assert_eq!(
            policy.at(&["spec"]),
            Some(&json!({"failurePolicy": "Fail", "matchConstraints": {"matchPolicy": "Equivalent",
                "namespaceSelector": {}, "objectSelector": {}, "resourceRules": [{"scope": "*"}]}}))
        );
    }

    #[test]
    fn policies_show_how_many_rules_they_have_and_what_parameterizes_them() {
        let spec = json!({"mutations": [{}, {}], "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}});
        let cells = MUTATING_POLICY.cells(&object(json!({"spec": spec})), Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells[1..3].to_vec()), json!([2, "v1/ConfigMap"]));
        let cells = VALIDATING_POLICY.cells(&object(json!({"spec": {}})), Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells[1..3].to_vec()), json!([0, "<unset>"]));
    }

    #[test]
    fn a_binding_shows_its_parameter_by_name_or_selector() {
        let shown = |reference: Value| {
            let binding = object(json!({"spec": {"policyName": "p", "paramRef": reference}}));
            POLICY_BINDING.cells(&binding, Timestamp::UNIX_EPOCH)[2].clone()
        };
        assert_eq!(shown(json!({"name": "a", "namespace": "n"})), "n/a");
        assert_eq!(shown(json!({"name": "a"})), "*/a");
        assert_eq!(shown(json!({"selector": {"matchLabels": {"x": "y"}}})), "x=y");
        assert_eq!(shown(Value::Null), "<unset>");
    }
}
