//! Which flow schema a request belongs to (`util/flowcontrol/rule.go`). Pure.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use k8s_openapi::api::flowcontrol::v1::{
    FlowSchemaSpec, NonResourcePolicyRule, PolicyRulesWithSubjects, ResourcePolicyRule, Subject,
};

use crate::auth::User;

/// A request, as flow schemas see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// Who asks, after impersonation.
    pub(crate) user: &'a User,
    /// The verb of authorization rules.
    pub(crate) verb: &'a str,
    /// On what.
    pub(crate) target: On<'a>,
}

/// What a request is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum On<'a> {
    /// A resource.
    Resource {
        /// Its API group.
        group: &'a str,
        /// Its plural.
        resource: &'a str,
        /// Empty for the object itself.
        subresource: &'a str,
        /// Empty at the cluster scope.
        namespace: &'a str,
    },
    /// Any other path.
    Path(&'a str),
}

/// What tells the flows of one schema apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Distinguisher {
    /// All requests are one flow.
    None,
    /// Each user is a flow.
    User,
    /// Each namespace is a flow.
    Namespace,
}

impl Distinguisher {
    /// Reads `distinguisherMethod`.
    pub(crate) fn of(spec: &FlowSchemaSpec) -> Self {
        match spec.distinguisher_method.as_ref().map(|method| method.type_.as_str()) {
            Some("ByUser") => Self::User,
            Some("ByNamespace") => Self::Namespace,
            _ => Self::None,
        }
    }

    /// Returns the flow that a request belongs to, as a number.
    pub(crate) fn flow(self, schema: &str, asked: &Asked<'_>) -> u64 {
        let value = match (self, asked.target) {
            (Self::User, _) => &asked.user.name,
            (Self::Namespace, On::Resource { namespace, .. }) => namespace,
            (Self::Namespace, On::Path(_)) | (Self::None, _) => "",
        };
        let mut hasher = DefaultHasher::new();
        (schema, value).hash(&mut hasher);
        hasher.finish()
    }
}

/// Whether one of a schema's rules matches.
pub(crate) fn matches(rules: &[PolicyRulesWithSubjects], asked: &Asked<'_>) -> bool {
    rules.iter().any(|rule| {
        rule.subjects.iter().any(|subject| is_subject(subject, asked.user))
            && match asked.target {
                On::Resource { .. } => rule.resource_rules.iter().flatten().any(|rule| is_resource(rule, asked)),
                On::Path(path) => rule.non_resource_rules.iter().flatten().any(|rule| is_path(rule, asked.verb, path)),
            }
    })
}

fn is_subject(subject: &Subject, user: &User) -> bool {
    let named = |wanted: &str, name: &str| wanted == "*" || wanted == name;
    if let Some(wanted) = &subject.user {
        return named(&wanted.name, &user.name);
    }
    if let Some(wanted) = &subject.group {
        return wanted.name == "*" || user.is_in(&wanted.name);
    }
    let Some(wanted) = &subject.service_account else { return false };
    let account = user.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    account.is_some_and(|(namespace, name)| namespace == wanted.namespace && named(&wanted.name, name))
}

fn is_resource(rule: &ResourcePolicyRule, asked: &Asked<'_>) -> bool {
    let On::Resource { group, resource, subresource, namespace } = asked.target else { return false };
    let is_place = if namespace.is_empty() {
        rule.cluster_scope == Some(true)
    } else {
        has(rule.namespaces.as_deref().unwrap_or_default(), namespace)
    };
    is_place
        && has(&rule.verbs, asked.verb)
        && has(&rule.api_groups, group)
        && rule.resources.iter().any(|wanted| {
            wanted == "*"
                || match wanted.split_once('/') {
                    None => subresource.is_empty() && wanted == resource,
                    Some((first, second)) => first == resource && second == subresource,
                }
        })
}

fn is_path(rule: &NonResourcePolicyRule, verb: &str, path: &str) -> bool {
    has(&rule.verbs, verb)
        && rule.non_resource_urls.iter().any(|url| {
            let inside = || url.ends_with("/*") && path.starts_with(url.trim_end_matches('*'));
            url == "*" || url == path || inside()
        })
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(value: &serde_json::Value) -> Vec<PolicyRulesWithSubjects> {
        serde_json::from_value(json!([value])).expect("well-formed")
    }

    fn leases<'a>(user: &'a User, verb: &'a str, namespace: &'a str, subresource: &'a str) -> Asked<'a> {
        let target = On::Resource { group: "coordination.k8s.io", resource: "leases", subresource, namespace };
        Asked { user, verb, target }
    }

    #[test]
    fn a_rule_needs_a_subject_and_a_target() {
        let rules = rules(&json!({
            "subjects": [{"kind": "Group", "group": {"name": "system:nodes"}}],
            "resourceRules": [{"verbs": ["get", "update"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
                "namespaces": ["kube-node-lease"]}],
        }));
        let (node, jane) = (User::known("system:node:a", ["system:nodes"]), User::known("jane", [""; 0]));
        assert!(matches(&rules, &leases(&node, "get", "kube-node-lease", "")));
        for asked in [
            leases(&jane, "get", "kube-node-lease", ""),
            leases(&node, "delete", "kube-node-lease", ""),
            leases(&node, "get", "default", ""),
            leases(&node, "get", "", ""),
            leases(&node, "get", "kube-node-lease", "status"),
            Asked { user: &node, verb: "get", target: On::Path("/leases") },
        ] {
            assert!(!matches(&rules, &asked), "{asked:?}");
        }
    }

    #[test]
    fn service_accounts_are_named_by_namespace_and_name_or_star() {
        let of = |name: &str| {
            rules(&json!({
                "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            }))
        };
        let user = |name: &str| User { name: name.to_owned(), ..User::default() };
        let ask = |rules: &[PolicyRulesWithSubjects], name: &str| {
            matches(rules, &Asked { user: &user(name), verb: "get", target: On::Path("/version") })
        };
        assert!(
            ask(&of("*"), "system:serviceaccount:kube-system:a")
                && ask(&of("a"), "system:serviceaccount:kube-system:a")
        );
        assert!(
            !ask(&of("a"), "system:serviceaccount:kube-system:b") && !ask(&of("*"), "system:serviceaccount:default:a")
        );
        assert!(!ask(&of("*"), "kube-system:a"));
    }

    #[test]
    fn cluster_scope_is_a_place_of_its_own_and_subresources_are_named() {
        let rules = rules(&json!({
            "subjects": [{"kind": "User", "user": {"name": "*"}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": [""], "resources": ["nodes", "nodes/status"], "clusterScope": true}],
        }));
        let user = User::known("x", [""; 0]);
        let ask = |subresource, namespace| {
            let target = On::Resource { group: "", resource: "nodes", subresource, namespace };
            matches(&rules, &Asked { user: &user, verb: "patch", target })
        };
        assert!(ask("", "") && ask("status", ""));
        assert!(!ask("proxy", "") && !ask("", "default"));
    }

    #[test]
    fn paths_match_whole_or_below_a_slash() {
        let rule = NonResourcePolicyRule {
            verbs: vec!["get".into()],
            non_resource_urls: vec!["/healthz".into(), "/apis/*".into()],
        };
        assert!(is_path(&rule, "get", "/healthz") && is_path(&rule, "get", "/apis/apps"));
        assert!(!is_path(&rule, "get", "/healthz/ping") && !is_path(&rule, "post", "/healthz"));
    }

    #[test]
    fn flows_differ_by_what_the_schema_says() {
        let (a, b) = (User::known("a", [""; 0]), User::known("b", [""; 0]));
        let flow = |by: Distinguisher, user, namespace| by.flow("s", &leases(user, "get", namespace, ""));
        assert_ne!(flow(Distinguisher::User, &a, "x"), flow(Distinguisher::User, &b, "x"));
        assert_eq!(flow(Distinguisher::Namespace, &a, "x"), flow(Distinguisher::Namespace, &b, "x"));
        assert_ne!(flow(Distinguisher::Namespace, &a, "x"), flow(Distinguisher::Namespace, &a, "y"));
        assert_eq!(flow(Distinguisher::None, &a, "x"), flow(Distinguisher::None, &b, "y"));
    }
}
