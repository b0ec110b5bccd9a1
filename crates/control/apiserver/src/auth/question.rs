//! What is asked in an access review, checked as Kubernetes checks it (`pkg/apis/authorization/validation`). Pure.

use k8s_openapi::api::authorization::v1::{NonResourceAttributes, ResourceAttributes};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldSelectorRequirement, LabelSelectorRequirement};
use wkube_api::status::FieldError;

/// Returns everything that is wrong with a question.
pub(super) fn problems(resource: Option<&ResourceAttributes>, path: Option<&NonResourceAttributes>) -> Vec<FieldError> {
    let Some(resource) = resource else {
        if path.is_some() {
            return Vec::new();
        }
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        return vec![FieldError::invalid("spec.resourceAttributes", "null", why)];
    };
    let mut problems = Vec::new();
    if path.is_some() {
        let why = "cannot be specified in combination with resourceAttributes";
        problems.push(FieldError::invalid("spec.nonResourceAttributes", "", why));
    }
    if let Some(selector) = &resource.field_selector {
        let requirements: Vec<_> = selector.requirements.iter().flatten().map(Requirement::from).collect();
        let raw = selector.raw_selector.as_deref();
        check("spec.resourceAttributes.fieldSelector", raw, &requirements, &mut problems);
    }
    if let Some(selector) = &resource.label_selector {
        let requirements: Vec<_> = selector.requirements.iter().flatten().map(Requirement::from).collect();
        let raw = selector.raw_selector.as_deref();
        check("spec.resourceAttributes.labelSelector", raw, &requirements, &mut problems);
    }
    problems
}

/// Returns the field selector as a query would have it: what is asked for equality, the rest does not narrow anything.
pub(super) fn field_selector(resource: &ResourceAttributes) -> String {
    let Some(selector) = &resource.field_selector else { return String::new() };
    if let Some(raw) = selector.raw_selector.as_ref().filter(|raw| !raw.is_empty()) {
        return raw.clone();
    }
    let equal = selector.requirements.iter().flatten().filter_map(|requirement| {
        let values = requirement.values.as_deref().unwrap_or_default();
        let [value] = values else { return None };
        (requirement.operator == "In").then(|| format!("{}={value}", requirement.key))
    });
    equal.collect::<Vec<_>>().join(",")
}

struct Requirement<'a> {
    key: &'a str,
    operator: &'a str,
    values: &'a [String],
}

impl<'a> From<&'a FieldSelectorRequirement> for Requirement<'a> {
    fn from(one: &'a FieldSelectorRequirement) -> Self {
        Self { key: &one.key, operator: &one.operator, values: one.values.as_deref().unwrap_or_default() }
    }
}

impl<'a> From<&'a LabelSelectorRequirement> for Requirement<'a> {
    fn from(one: &'a LabelSelectorRequirement) -> Self {
        Self { key: &one.key, operator: &one.operator, values: one.values.as_deref().unwrap_or_default() }
    }
}

fn check(at: &str, raw: Option<&str>, requirements: &[Requirement<'_>], problems: &mut Vec<FieldError>) {
    let raw = raw.unwrap_or_default();
    if !raw.is_empty() && !requirements.is_empty() {
        let why = "may not specified at the same time as requirements";
        problems.push(FieldError::invalid(format!("{at}.rawSelector"), raw, why));
    }
    if raw.is_empty() && requirements.is_empty() {
        let why = format!("when {at} is specified, requirements or rawSelector is required");
        problems.push(FieldError::required(format!("{at}.requirements"), &why));
    }
    for (index, requirement) in requirements.iter().enumerate() {
        let at = format!("{at}.requirements[{index}]");
        if requirement.key.is_empty() {
            problems.push(FieldError::required(format!("{at}.key"), "must be specified"));
        }
        match (requirement.operator, requirement.values) {
            ("In" | "NotIn", []) => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                problems.push(FieldError::required(format!("{at}.values"), why));
            }
            ("Exists" | "DoesNotExist", [_, ..]) => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                problems.push(FieldError::forbidden(format!("{at}.values"), why));
            }
            ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => {}
            (operator, _) => {
                let why = "not a valid selector operator";
                problems.push(FieldError::invalid(format!("{at}.operator"), operator, why));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn attributes(value: Value) -> ResourceAttributes {
        serde_json::from_value(value).expect("attributes")
    }

    fn told(value: Value) -> Vec<String> {
        problems(Some(&attributes(value)), None)
            .into_iter()
            .map(|error| format!("{}: {}", error.field, error.message))
            .collect()
    }

    #[test]
    fn a_selector_is_raw_or_split_up_and_never_empty() {
        assert!(told(json!({"verb": "list"})).is_empty());
        assert!(told(json!({"labelSelector": {"rawSelector": "a=b"}})).is_empty());
        let empty = told(json!({"fieldSelector": {}}));
        assert_eq!(
            empty,
            ["spec.resourceAttributes.fieldSelector.requirements: Required value: when \
              spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required"]
        );
        let both = json!({"rawSelector": "a=b", "requirements": [{"key": "a", "operator": "Exists"}]});
        assert_eq!(told(json!({"labelSelector": both})).len(), 1);
    }

    #[test]
    fn requirements_need_what_their_operator_needs() {
        let requirements = json!([
            {"key": "a", "operator": "In"}, {"key": "", "operator": "Exists"},
            {"key": "a", "operator": "Exists", "values": ["x"]}, {"key": "a", "operator": "Gt", "values": ["1"]},
        ]);
        let fields: Vec<_> = told(json!({"fieldSelector": {"requirements": requirements}}))
            .into_iter()
            .map(|told| {
                told.split(':').next().unwrap_or_default().rsplit_once("requirements").expect("a path").1.to_owned()
            })
            .collect();
        assert_eq!(fields, ["[0].values", "[1].key", "[2].values", "[3].operator"]);
    }
}
