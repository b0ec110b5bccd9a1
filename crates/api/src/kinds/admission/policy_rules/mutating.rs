//! What mutating policies and their bindings must look like.

use serde_json::Value;

use super::{binding, common, names};
use crate::cel::mutation::Mutations;
use crate::kinds::doc::{has, list, text};
use crate::object::Object;
use crate::status::FieldError;

/// What may be changed: a delete has nothing that could.
const OPERATIONS: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];
/// The forms of a mutation, and the field that goes with each.
const FORMS: [(&str, &str); 2] = [("ApplyConfiguration", "applyConfiguration"), ("JSONPatch", "jsonPatch")];

/// Returns everything that is wrong with a mutating policy.
pub(in crate::kinds) fn validate_mutating_policy(object: &Object, _old: Option<&Object>) -> Vec<FieldError> {
    let null = Value::Null;
    let spec = object.at(&["spec"]).unwrap_or(&null);
    let mut errors = Vec::new();
    common(spec, &mut errors);
    operations(spec, "matchConstraints", &mut errors);
    names(spec, &mut errors);
    if list(spec, "mutations").is_empty() {
        errors.push(FieldError::required("spec.mutations", "mutations must contain at least one item"));
    }
    for (place, mutation) in list(spec, "mutations").iter().enumerate() {
        form(mutation, &format!("spec.mutations[{place}]"), &mut errors);
    }
    match text(spec, "reinvocationPolicy") {
        "" => errors.push(FieldError::required("spec.reinvocationPolicy", "")),
        "Never" | "IfNeeded" => {}
        other => errors.push(FieldError::not_supported("spec.reinvocationPolicy", other, &["Never", "IfNeeded"])),
    }
    errors.extend(Mutations::compile(spec).err().into_iter().flatten());
    errors
}

/// Returns everything that is wrong with a binding of a mutating policy.
pub(in crate::kinds) fn validate_mutating_binding(object: &Object, _old: Option<&Object>) -> Vec<FieldError> {
    let null = Value::Null;
    let spec = object.at(&["spec"]).unwrap_or(&null);
    let mut errors = binding(spec);
    operations(spec, "matchResources", &mut errors);
    errors
}

fn operations(spec: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let rules = spec.get(field).map(|constraints| list(constraints, "resourceRules")).unwrap_or_default();
    for operation in rules.iter().flat_map(|rule| list(rule, "operations")).filter_map(Value::as_str) {
        if !OPERATIONS.contains(&operation) {
            // Without the place of the rule, as in Kubernetes.
            let path = format!("spec.{field}.resourceRules.operations");
            errors.push(FieldError::not_supported(path, operation, &OPERATIONS));
        }
    }
}

fn form(mutation: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let wanted = text(mutation, "patchType");
    if wanted.is_empty() {
        errors.push(FieldError::required(format!("{path}.patchType"), ""));
        return;
    }
    if !FORMS.iter().any(|(form, _)| *form == wanted) {
        let supported = FORMS.map(|(form, _)| form);
        errors.push(FieldError::not_supported(format!("{path}.patchType"), wanted, &supported));
        return;
    }
    for (form, field) in FORMS {
        let path = format!("{path}.{field}");
        match (form == wanted, has(mutation, field)) {
            (true, false) => {
                errors.push(FieldError::required(path, &format!("must be specified when patchType is {wanted}")));
            }
            (false, true) => {
                let why = format!("must not be specified when patchType is {wanted}");
                errors.push(FieldError::invalid(path, format!("{{{field}}}"), &why));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::testing::object;

    fn policy(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]});
        let mutation = json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{spec: Object.spec{replicas: 1}}"}});
        let mut spec = json!({"failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "matchConstraints": {"resourceRules": [rule]}, "mutations": [mutation]});
        change(&mut spec);
        validate_mutating_policy(&object(json!({ "spec": spec })), None).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_policy_is_silent() {
        assert_eq!(policy(|_| {}), [""; 0]);
        let patch =
            "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: variables.v}]";
        let full = policy(|spec| {
            spec["variables"] = json!([{"name": "v", "expression": "params.data.value"}]);
            spec["paramKind"] = json!({"apiVersion": "v1", "kind": "ConfigMap"});
            spec["matchConditions"] = json!([{"name": "c", "expression": "request.operation == 'CREATE'"}]);
            spec["mutations"] = json!([{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}]);
            spec["reinvocationPolicy"] = "IfNeeded".into();
        });
        assert_eq!(full, [""; 0]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_path() {
        assert_eq!(
            policy(|spec| spec["mutations"] = json!([])),
            ["spec.mutations: Required value: mutations must contain at least one item"]
        );
        assert_eq!(
            policy(|spec| spec["reinvocationPolicy"] = "Always".into()),
            ["spec.reinvocationPolicy: Unsupported value: \"Always\": supported values: \"Never\", \"IfNeeded\""]
        );
        assert_eq!(
            policy(|spec| spec["reinvocationPolicy"] = Value::Null),
            ["spec.reinvocationPolicy: Required value"]
        );
        assert_eq!(
            policy(|spec| spec["matchConstraints"]["resourceRules"][0]["operations"] = json!(["CREATE", "DELETE"])),
            [
                "spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"UPDATE\""
            ]
        );
        assert_eq!(
            policy(|spec| spec["mutations"][0]["applyConfiguration"]["expression"] = "object".into()),
            ["spec.mutations[0].applyConfiguration.expression: Invalid value: \"object\": must evaluate to Object"]
        );
    }

    #[test]
    fn a_mutation_has_the_field_of_its_form() {
        assert_eq!(
            policy(|spec| spec["mutations"][0]["patchType"] = "JSONPatch".into()),
            [
                "spec.mutations[0].applyConfiguration: Invalid value: \"{applyConfiguration}\": must not be specified when patchType is JSONPatch",
                "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
            ]
        );
        assert_eq!(
            policy(|spec| spec["mutations"][0]["patchType"] = Value::Null),
            ["spec.mutations[0].patchType: Required value"]
        );
        assert!(
            policy(|spec| spec["mutations"][0]["patchType"] = "Merge".into())[0]
                .starts_with("spec.mutations[0].patchType: Unsupported value")
        );
    }

    #[test]
    fn bindings_are_about_what_can_be_changed() {
        let check = |spec: Value| {
            let found = validate_mutating_binding(&object(json!({ "spec": spec })), None);
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(check(json!({"policyName": "p"})), [""; 0]);
        assert_eq!(check(json!({})), ["spec.policyName: Required value"]);
        let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["pods"]});
        let found = check(json!({"policyName": "p", "matchResources": {"resourceRules": [rule]}}));
        assert!(
            found.len() == 1 && found[0].starts_with("spec.matchResources.resourceRules.operations: Unsupported value"),
            "{found:?}"
        );
    }
}
