//! Bringing Kubernetes' own objects up to date at every start without taking away what an administrator added
//! (`component-helpers/auth/rbac/reconciliation`, `apiserver/pkg/util/flowcontrol` `bootstrap`). Pure.

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value, json};
use wkube_api::Object;

use crate::auth::rbac;
use crate::flow;

/// Set to `"false"` by whoever wants to keep his own version of a role or binding.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// What happens to an object that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// The user may have changed it.
    Keep,
    /// It describes this server as it runs now.
    Refresh,
    /// A role or binding: what is missing is added.
    Grant,
    /// A flow schema or priority level: the spec is put back.
    Flow,
}

/// Returns the object as it has to be, if it is not so.
pub(crate) fn reconciled(policy: Policy, old: &Object, expected: &Object) -> Option<Object> {
    let new = match policy {
        Policy::Keep => return None,
        Policy::Refresh => refreshed(old, expected),
        Policy::Grant if old.str_at(&["metadata", "annotations", AUTOUPDATE]) == "false" => return None,
        Policy::Grant => granted(old, expected),
        Policy::Flow if flow::is_kept_by_hand(old) => return None,
        Policy::Flow => {
            let mut new = old.clone();
            new.0.insert("spec".to_owned(), expected.0.get("spec").cloned().unwrap_or_default());
            new
        }
    };
    (new != *old).then_some(new)
}

fn refreshed(old: &Object, expected: &Object) -> Object {
    let mut new = old.clone();
    new.0.extend(expected.0.iter().filter(|(field, _)| *field != "metadata").map(|(k, v)| (k.clone(), v.clone())));
    new
}

fn granted(old: &Object, expected: &Object) -> Object {
    let mut new = old.clone();
    for map in ["labels", "annotations"] {
        for (key, value) in expected.at(&["metadata", map]).and_then(Value::as_object).into_iter().flatten() {
            if new.at(&["metadata", map, key]).is_none() {
                new.set(&["metadata", map, key], value.clone());
            }
        }
    }
    if expected.kind().ends_with("Binding") {
        add_missing(&mut new, expected, &["subjects"]);
    } else if expected.at(&["aggregationRule"]).is_some() {
        add_missing(&mut new, expected, &["aggregationRule", "clusterRoleSelectors"]);
    } else {
        let missing = rbac::missing(&rules(old), &rules(expected));
        append(&mut new, &["rules"], missing.iter().map(|rule| json!(rule)));
    }
    new
}

fn rules(role: &Object) -> Vec<PolicyRule> {
    role.at(&["rules"]).and_then(|rules| serde_json::from_value(rules.clone()).ok()).unwrap_or_default()
}

fn add_missing(new: &mut Object, expected: &Object, path: &[&str]) {
    let held = new.at(path).and_then(Value::as_array).cloned().unwrap_or_default();
    let wanted = expected.at(path).and_then(Value::as_array).cloned().unwrap_or_default();
    append(new, path, wanted.into_iter().filter(|one| !held.contains(one)));
}

fn append(object: &mut Object, path: &[&str], more: impl Iterator<Item = Value>) {
    let mut list = object.at(path).and_then(Value::as_array).cloned().unwrap_or_default();
    let before = list.len();
    list.extend(more);
    if list.len() > before {
        object.set(path, list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).expect("an object")
    }

    fn role(rules: &Value, annotations: &Value) -> Object {
        object(json!({"kind": "ClusterRole", "metadata": {"name": "r", "annotations": annotations}, "rules": rules}))
    }

    #[test]
    fn a_role_gets_back_what_it_lost_and_keeps_what_was_added() {
        let expected = role(&json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]), &json!({}));
        let old = role(
            &json!([
                {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
                {"verbs": ["*"], "apiGroups": ["mine"], "resources": ["*"]},
            ]),
            &json!({"mine": "1"}),
        );
        let new = reconciled(Policy::Grant, &old, &expected).expect("something is missing");
        assert_eq!(
            new.at(&["rules"]),
            Some(&json!([
                {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
                {"verbs": ["*"], "apiGroups": ["mine"], "resources": ["*"]},
                {"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]},
            ]))
        );
        assert_eq!(new.str_at(&["metadata", "annotations", "mine"]), "1");
        assert_eq!(reconciled(Policy::Grant, &new, &expected), None, "once is enough");
    }

    #[test]
    fn a_wider_rule_covers_what_is_expected() {
        let expected = role(&json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]), &json!({}));
        let old = role(&json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]), &json!({}));
        assert_eq!(reconciled(Policy::Grant, &old, &expected), None);
    }

    #[test]
    fn who_switches_the_updates_off_is_left_alone() {
        let expected = role(&json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]), &json!({}));
        assert_eq!(reconciled(Policy::Grant, &role(&json!([]), &json!({(AUTOUPDATE): "false"})), &expected), None);
    }

    #[test]
    fn a_binding_gets_its_subjects_back() {
        let binding =
            |subjects: Value| object(json!({"kind": "ClusterRoleBinding", "metadata": {}, "subjects": subjects}));
        let (masters, mine) =
            (json!({"kind": "Group", "name": "system:masters"}), json!({"kind": "User", "name": "me"}));
        let new = reconciled(Policy::Grant, &binding(json!([mine])), &binding(json!([masters]))).expect("missing");
        assert_eq!(new.at(&["subjects"]), Some(&json!([mine, masters])));
    }

    #[test]
    fn an_aggregated_role_keeps_the_rules_that_were_summed_up() {
        let aggregated = |rules: Value, selectors: Value| {
            object(
                json!({"kind": "ClusterRole", "metadata": {}, "aggregationRule": {"clusterRoleSelectors": selectors}, "rules": rules}),
            )
        };
        let selector = json!({"matchLabels": {"a": "true"}});
        let summed = aggregated(json!([{"verbs": ["get"]}]), json!([selector]));
        assert_eq!(reconciled(Policy::Grant, &summed, &aggregated(json!([]), json!([selector]))), None);
    }

    #[test]
    fn the_spec_of_a_flow_schema_is_put_back_unless_somebody_keeps_it() {
        let schema = |name: &str, auto: &str, precedence: u32| {
            object(json!({"metadata": {"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": auto}},
                "spec": {"matchingPrecedence": precedence}}))
        };
        let expected = schema("x", "true", 1);
        let put_back = |old: &Object| reconciled(Policy::Flow, old, &expected).is_some();
        assert!(put_back(&schema("x", "true", 2)));
        assert!(!put_back(&schema("x", "true", 1)));
        assert!(!put_back(&schema("x", "false", 2)));
        assert!(put_back(&schema("catch-all", "false", 2)), "the mandatory ones always");
    }
}
