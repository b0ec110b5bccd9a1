//! What of a pod may change once it is there (`ValidatePodUpdate`).

use serde_json::Value;

use crate::kinds::doc::{at, children, list, number, strings, text};
use crate::object::Object;
use crate::status::FieldError;

/// What the API says when an update touches a fixed field; clients match on its start.
pub(super) const FIXED: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
    tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

const ADDITIONS: &str = "only additions are allowed (no mutations or deletions)";
const TERMS: &str = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";

/// Returns what an update changed that is fixed.
pub(super) fn validate(object: &Object, old: &Object) -> Vec<FieldError> {
    let (Some(new_spec), Some(old_spec)) = (object.at(&["spec"]), old.at(&["spec"])) else { return Vec::new() };
    for field in ["containers", "initContainers"] {
        if list(new_spec, field).len() != list(old_spec, field).len() {
            // What else differs says nothing then.
            let detail = "pod updates may not add or remove containers";
            return vec![FieldError::forbidden(format!("spec.{field}"), detail)];
        }
    }
    let mut errors: Vec<FieldError> = check_deadline(new_spec, old_spec).into_iter().collect();
    errors.extend(check_tolerations(list(new_spec, "tolerations"), list(old_spec, "tolerations")));
    let gates = list(old_spec, "schedulingGates");
    errors.extend(check_gates(list(new_spec, "schedulingGates"), gates));
    if !gates.is_empty() {
        errors.extend(check_narrowing(new_spec, old_spec));
    }
    if fixed_part(new_spec, old_spec) != fixed_part(old_spec, old_spec) {
        errors.push(FieldError::forbidden("spec", FIXED));
    }
    errors
}

/// A deadline may come, and come closer.
fn check_deadline(new: &Value, old: &Value) -> Option<FieldError> {
    const PATH: &str = "spec.activeDeadlineSeconds";
    let deadline = |spec: &Value| spec.get("activeDeadlineSeconds").and_then(Value::as_i64);
    match (deadline(new), deadline(old)) {
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            Some(FieldError::invalid(PATH, Value::Null, detail))
        }
        (Some(new), Some(old)) if new > old => {
            Some(FieldError::invalid(PATH, new, "must be less than or equal to previous value"))
        }
        _ => None,
    }
}

/// What a pod tolerates it goes on to tolerate, if not for as long.
fn check_tolerations(new: &[Value], old: &[Value]) -> Option<FieldError> {
    let without_time = |toleration: &Value| {
        let mut toleration = toleration.as_object().cloned().unwrap_or_default();
        toleration.remove("tolerationSeconds");
        toleration
    };
    let is_kept = |toleration: &Value| new.iter().any(|kept| without_time(kept) == without_time(toleration));
    let detail = "existing toleration can not be modified except its tolerationSeconds";
    (!old.iter().all(is_kept)).then(|| FieldError::forbidden("spec.tolerations", detail))
}

/// Gates only open.
fn check_gates(new: &[Value], old: &[Value]) -> Vec<FieldError> {
    let names = new.iter().map(|gate| text(gate, "name")).enumerate();
    let added = names.filter(|(_, name)| !old.iter().any(|gate| text(gate, "name") == *name));
    added
        .map(|(index, name)| {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            FieldError::forbidden(format!("spec.schedulingGates[{index}].name"), &detail)
        })
        .collect()
}

/// A pod that is held back may be narrowed down to fewer nodes.
fn check_narrowing(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let selector = strings(new.get("nodeSelector"));
    if strings(old.get("nodeSelector")).iter().any(|(key, value)| selector.get(key) != Some(value)) {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(FieldError::invalid(
            "spec.nodeSelector",
            new.get("nodeSelector").cloned().unwrap_or_default(),
            detail,
        ));
    }
    let (now, before) = (terms(new), terms(old));
    if !before.is_empty() && now.len() != before.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(FieldError::invalid(TERMS, now.to_vec(), detail));
        return errors;
    }
    for (index, (now, before)) in now.iter().zip(before).enumerate() {
        let keeps = |field: &str| list(now, field).starts_with(list(before, field));
        // A term that demands nothing fits no node: to add to it would widen it.
        let was_empty = ["matchExpressions", "matchFields"].iter().all(|field| list(before, field).is_empty());
        if !keeps("matchExpressions") || !keeps("matchFields") || was_empty && now != before {
            errors.push(FieldError::invalid(format!("{TERMS}[{index}]"), now.clone(), ADDITIONS));
        }
    }
    errors
}

fn terms(spec: &Value) -> &[Value] {
    let required = at(spec, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");
    required.map(|required| list(required, "nodeSelectorTerms")).unwrap_or_default()
}

/// Returns a spec with everything that may change taken out; what only other endpoints change is taken from `old`.
fn fixed_part(spec: &Value, old: &Value) -> Value {
    let Some(mut fixed) = spec.as_object().cloned() else { return Value::Null };
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        fixed.remove(field);
    }
    for containers in ["containers", "initContainers"] {
        for container in children(&mut fixed, containers) {
            container.remove("image");
        }
    }
    let (new_grace, old_grace) =
        (number(spec, "terminationGracePeriodSeconds"), number(old, "terminationGracePeriodSeconds"));
    if old_grace < 0 && new_grace == 1 {
        fixed.insert("terminationGracePeriodSeconds".to_owned(), old_grace.into());
    }
    if !list(old, "schedulingGates").is_empty() {
        fixed.remove("nodeSelector");
        if let Some(affinity) = fixed.get_mut("affinity").and_then(Value::as_object_mut) {
            affinity.remove("nodeAffinity");
            let is_empty = affinity.is_empty();
            fixed.retain(|field, _| field != "affinity" || !is_empty);
        }
    }
    // An empty value that one side leaves out is no change.
    fixed.retain(|_, value| !value.is_null());
    if text(spec, "hostname").is_empty() {
        fixed.remove("hostname");
    }
    Value::Object(fixed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::testing::object;

    #[expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]
    fn told(new: Value, old: Value) -> Vec<String> {
        let pod = |spec: &Value| object(json!({"spec": spec}));
        validate(&pod(&new), &pod(&old)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn containers_are_as_many_as_they_were() {
        let one = json!({"containers": [{"name": "a"}]});
        let two = json!({"containers": [{"name": "a"}, {"name": "b"}], "nodeName": "n"});
        assert_eq!(told(two, one), ["spec.containers: Forbidden: pod updates may not add or remove containers"]);
    }

    #[test]
    fn a_toleration_may_last_for_another_time() {
        let tolerates =
            |seconds: i64| json!({"tolerations": [{"key": "a", "effect": "NoExecute", "tolerationSeconds": seconds}]});
        assert_eq!(told(tolerates(5), tolerates(60)), [""; 0]);
        assert_eq!(
            told(json!({}), tolerates(60)),
            ["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"]
        );
    }

    #[test]
    fn gates_only_open() {
        let gates = |names: &[&str]| json!({"schedulingGates": names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>()});
        assert_eq!(told(gates(&["b"]), gates(&["a", "b"])), [""; 0]);
        assert_eq!(
            told(gates(&["a", "c"]), gates(&["a"])),
            ["spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'c'"]
        );
    }

    #[test]
    fn a_pod_that_is_held_back_is_narrowed_down_and_not_widened() {
        let gated = |spec: Value| {
            let mut gated = json!({"schedulingGates": [{"name": "g"}]});
            gated.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
            gated
        };
        let on = |terms: Value| {
            gated(
                json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}),
            )
        };
        let zone = json!({"key": "zone", "operator": "Exists"});
        let disk = json!({"key": "disk", "operator": "Exists"});
        assert_eq!(told(gated(json!({"nodeSelector": {"a": "b"}})), gated(json!({}))), [""; 0]);
        assert_eq!(
            told(gated(json!({})), gated(json!({"nodeSelector": {"a": "b"}}))),
            [
                "spec.nodeSelector: Invalid value: null: only additions to spec.nodeSelector are allowed (no mutations or deletions)"
            ]
        );
        let narrow = on(json!([{"matchExpressions": [zone]}]));
        assert_eq!(told(narrow.clone(), gated(json!({}))), [""; 0]);
        assert_eq!(told(on(json!([{"matchExpressions": [zone, disk]}])), narrow.clone()), [""; 0]);
        let errors = told(on(json!([{"matchExpressions": [disk]}])), narrow.clone());
        assert!(errors.len() == 1 && errors[0].starts_with(&format!("{TERMS}[0]: Invalid value: {{")), "{errors:?}");
        assert!(errors[0].ends_with(ADDITIONS), "{errors:?}");
        let errors = told(on(json!([{"matchExpressions": [zone]}, {"matchExpressions": [disk]}])), narrow.clone());
        assert!(
            errors[0].ends_with("no additions/deletions to non-empty NodeSelectorTerms list are allowed"),
            "{errors:?}"
        );
        // Other affinities are as fixed as on any pod.
        let with_others = gated(json!({"affinity": {"podAffinity": {"x": []}}}));
        assert_eq!(told(with_others, gated(json!({}))), [format!("spec: Forbidden: {FIXED}")]);
    }
}
