//! Nobody grants what he does not have: the check on roles and bindings (`pkg/registry/rbac/*/policybased/storage.go`).
//! Whoever holds the verb `escalate` on a role, or `bind` on what a binding refers to, may.

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::Value;
use wkube_api::{Object, ObjectKey, Status};

use super::Attributes;
use crate::access;
use crate::auth::{self, MASTERS, Policy, User};
use crate::registry::Registry;

/// The group of roles and bindings.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

/// Refuses a new or changed role or binding that gives more than its writer has.
pub(super) fn validate(attributes: &Attributes<'_>, new: &Object) -> Result<(), Status> {
    let Attributes { registry, call, old, .. } = attributes;
    // Others are asked about the policy too, for reasons of their own.
    if &*call.resource.group != GROUP {
        return Ok(());
    }
    // Without a policy it is the server itself that writes.
    let Some(policy) = call.policy.as_deref().filter(|_| !call.user.is_in(MASTERS)) else { return Ok(()) };
    if old.is_some_and(|old| !grants_change(new, old)) {
        return Ok(());
    }
    let may = |verb, resource, name| {
        let wanted = auth::Attributes {
            verb,
            group: GROUP,
            resource,
            namespace: new.namespace(),
            name,
            ..auth::Attributes::default()
        };
        access::authorizer(registry, policy).decide(&call.user, &wanted).is_allowed()
    };
    let granted = if let plural @ ("roles" | "clusterroles") = &*call.resource.plural {
        if may("escalate", plural, new.name()) {
            return Ok(());
        }
        rules_of_role(new)
    } else {
        let role = new.str_at(&["roleRef", "name"]);
        let plural = if new.str_at(&["roleRef", "kind"]) == "Role" { "roles" } else { "clusterroles" };
        if may("bind", plural, role) {
            return Ok(());
        }
        rules_of_reference(registry, policy, plural, new.namespace(), role)?
    };
    let missing = policy.uncovered(&call.user, new.namespace(), &granted);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Status::admission_refused(&call.resource, new.name(), &refusal(&call.user, &missing)))
}

/// Labels and owners may be changed by anybody who may write the object.
fn grants_change(new: &Object, old: &Object) -> bool {
    ["rules", "aggregationRule", "roleRef", "subjects"].iter().any(|field| new.0.get(*field) != old.0.get(*field))
}

/// An aggregated role may come to hold any rule, so that only who holds all rules may make one.
fn rules_of_role(role: &Object) -> Vec<PolicyRule> {
    let mut rules = rules(role);
    if role.0.get("aggregationRule").is_some_and(|rule| !rule.is_null()) {
        let all = || vec!["*".to_owned()];
        rules.push(PolicyRule {
            verbs: all(),
            api_groups: Some(all()),
            resources: Some(all()),
            ..PolicyRule::default()
        });
        rules.push(PolicyRule { verbs: all(), non_resource_urls: Some(all()), ..PolicyRule::default() });
    }
    rules
}

/// Returns what a binding would give. A role that does not exist gives nothing yet, and cannot be judged: 404.
fn rules_of_reference(
    registry: &Registry,
    policy: &Policy,
    plural: &str,
    namespace: &str,
    name: &str,
) -> Result<Vec<PolicyRule>, Status> {
    let resource = registry.catalog.find(GROUP, "v1", plural).ok_or_else(Status::unknown_path)?;
    if plural == "clusterroles" {
        let rules = policy.cluster_role(name).ok_or_else(|| Status::not_found(resource, name))?;
        return Ok(rules.to_vec());
    }
    Ok(rules(&registry.object(resource, &ObjectKey::new(namespace, name))?))
}

fn rules(role: &Object) -> Vec<PolicyRule> {
    let rules = role.0.get("rules").and_then(Value::as_array).into_iter().flatten();
    // The object has been validated: every rule can be read.
    rules.filter_map(|rule| serde_json::from_value(rule.clone()).ok()).collect()
}

/// Words the refusal as `ConfirmNoEscalation` does.
fn refusal(user: &User, missing: &[PolicyRule]) -> String {
    let missing: Vec<_> = missing.iter().map(compact).collect();
    format!(
        "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        user.groups,
        missing.join("\n")
    )
}

/// Writes a rule as `CompactString` does: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
fn compact(rule: &PolicyRule) -> String {
    let lists = [
        ("APIGroups", rule.api_groups.as_ref()),
        ("Resources", rule.resources.as_ref()),
        ("ResourceNames", rule.resource_names.as_ref()),
        ("NonResourceURLs", rule.non_resource_urls.as_ref()),
        ("Verbs", Some(&rule.verbs)),
    ];
    let given = lists.iter().filter_map(|(name, list)| Some((name, (*list)?))).filter(|(_, list)| !list.is_empty());
    let parts: Vec<_> = given.map(|(name, list)| format!("{name}:{list:?}")).collect();
    format!("{{{}}}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn labels_are_no_grant() {
        let old = object(json!({"metadata": {"labels": {"a": "1"}}, "rules": [{"verbs": ["get"]}]}));
        let relabelled = object(json!({"metadata": {}, "rules": [{"verbs": ["get"]}]}));
        let widened = object(json!({"metadata": {}, "rules": [{"verbs": ["*"]}]}));
        assert!(!grants_change(&relabelled, &old));
        assert!(grants_change(&widened, &old));
    }

    #[test]
    fn an_aggregated_role_counts_as_everything() {
        let rules = rules_of_role(&object(json!({"aggregationRule": {"clusterRoleSelectors": []}, "rules": []})));
        assert_eq!(
            rules.iter().map(compact).collect::<Vec<_>>(),
            [r#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#, r#"{NonResourceURLs:["*"], Verbs:["*"]}"#]
        );
    }
}
