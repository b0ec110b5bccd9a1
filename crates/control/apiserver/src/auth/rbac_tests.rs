//! One test per sentence of Kubernetes' RBAC page.

use serde_json::{Value, json};

use super::*;

fn typed<T: serde::de::DeserializeOwned>(documents: Value) -> Vec<T> {
    serde_json::from_value(documents).expect("well-formed")
}

fn rule(rule: Value) -> PolicyRule {
    serde_json::from_value(rule).expect("well-formed")
}

/// Parses `verb group/resource[/subresource] [name]`; the core group is empty: `get /pods/log web`.
fn wanted(text: &str) -> Attributes<'_> {
    let mut words = text.split(' ');
    let (verb, target) = (words.next().expect("a verb"), words.next().expect("a target"));
    let mut parts = target.split('/');
    let mut part = || parts.next().unwrap_or_default();
    let (group, resource, subresource) = (part(), part(), part());
    let name = words.next().unwrap_or_default();
    Attributes { verb, group, resource, subresource, name, namespace: "d", ..Attributes::default() }
}

#[track_caller]
fn check(rule: &PolicyRule, allowed: &[&str], refused: &[&str]) {
    for text in allowed {
        assert!(rule_allows(rule, &wanted(text)), "{text} is allowed");
    }
    for text in refused {
        assert!(!rule_allows(rule, &wanted(text)), "{text} is refused");
    }
}

#[test]
fn a_rule_names_verbs_groups_and_resources() {
    let rule = rule(json!({"verbs": ["get", "list"], "apiGroups": ["", "apps"], "resources": ["pods", "deployments"]}));
    check(
        &rule,
        &["get /pods", "list apps/deployments", "get /pods web"],
        &["watch /pods", "get batch/jobs", "get /secrets", "get batch/pods"],
    );
}

#[test]
fn stars_stand_for_everything() {
    let rule = rule(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
    check(&rule, &["delete /pods", "get apps/deployments/scale web", "use policy/psp x"], &[]);
    assert!(!rule_allows(&rule, &Attributes { verb: "get", path: "/metrics", ..Attributes::default() }));
}

#[test]
fn a_subresource_is_named_on_its_own() {
    let pods = rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}));
    check(&pods, &["get /pods web"], &["get /pods/log web"]);
    let log = rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"]}));
    check(&log, &["get /pods/log web"], &["get /pods web", "get /pods/exec web", "get /nodes/log n"]);
    let scale = rule(json!({"verbs": ["get"], "apiGroups": ["*"], "resources": ["*/scale"]}));
    check(
        &scale,
        &["get apps/deployments/scale web"],
        &["get apps/deployments web", "get apps/deployments/status web"],
    );
}

#[test]
fn resource_names_do_not_allow_what_has_no_name() {
    let rule =
        rule(json!({"verbs": ["*"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a", "b"]}));
    check(
        &rule,
        &["get /configmaps a", "delete /configmaps b"],
        &["get /configmaps c", "create /configmaps", "list /configmaps"],
    );
    check(&rule, &["list /configmaps a"], &[]);
}

#[test]
fn non_resource_urls_match_whole_paths_or_a_prefix_with_a_star() {
    let rule = rule(json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez/*"]}));
    let allows = |verb, path| rule_allows(&rule, &Attributes { verb, path, ..Attributes::default() });
    assert!(allows("get", "/healthz") && allows("get", "/livez/ping"));
    assert!(!allows("get", "/healthz/ping") && !allows("get", "/livez") && !allows("post", "/healthz"));
    let all = self::rule(json!({"verbs": ["get"], "nonResourceURLs": ["*"]}));
    assert!(rule_allows(&all, &Attributes { verb: "get", path: "/anything", ..Attributes::default() }));
}

fn policy() -> Policy {
    let reader = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
    Policy::new(
        &typed(json!([{"metadata": {"namespace": "d", "name": "reader"}, "rules": [reader]}])),
        &typed(json!([
            {"metadata": {"namespace": "d", "name": "read"}, "roleRef": {"apiGroup": "", "kind": "Role", "name": "reader"},
             "subjects": [{"kind": "User", "name": "jane"}, {"kind": "ServiceAccount", "name": "bot"}]},
            {"metadata": {"namespace": "e", "name": "read"}, "roleRef": {"apiGroup": "", "kind": "Role", "name": "reader"},
             "subjects": [{"kind": "User", "name": "jane"}]},
            {"metadata": {"namespace": "e", "name": "urls"}, "roleRef": {"apiGroup": "", "kind": "ClusterRole", "name": "metrics"},
             "subjects": [{"kind": "User", "name": "jane"}]},
        ])),
        &typed(json!([
            {"metadata": {"name": "metrics"}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}, reader]},
        ])),
        &typed(json!([
            {"metadata": {"name": "ops"}, "roleRef": {"apiGroup": "", "kind": "ClusterRole", "name": "metrics"},
             "subjects": [{"kind": "Group", "name": "ops"}]},
            {"metadata": {"name": "gone"}, "roleRef": {"apiGroup": "", "kind": "ClusterRole", "name": "no-such-role"},
             "subjects": [{"kind": "Group", "name": "ops"}]},
        ])),
    )
}

fn get_pods(namespace: &str) -> Attributes<'_> {
    Attributes { verb: "get", resource: "pods", namespace, ..Attributes::default() }
}

fn user(name: &str) -> User {
    User::known(name, [""; 0])
}

#[test]
fn a_role_binding_grants_in_its_namespace_only() {
    assert!(policy().allows(&user("jane"), &get_pods("d")).is_some());
    assert!(policy().allows(&user("jane"), &get_pods("")).is_none());
    assert!(policy().allows(&user("john"), &get_pods("d")).is_none());
}

#[test]
fn a_role_binding_can_use_a_cluster_role_in_its_namespace_but_not_its_urls() {
    assert!(policy().allows(&user("jane"), &get_pods("e")).is_some());
    let path = Attributes { verb: "get", path: "/metrics", ..Attributes::default() };
    assert!(policy().allows(&user("jane"), &path).is_none());
    assert!(policy().allows(&User::known("x", ["ops"]), &path).is_some());
}

#[test]
fn a_cluster_role_binding_grants_everywhere() {
    let operator = User::known("x", ["ops"]);
    for namespace in ["", "d", "anywhere"] {
        assert!(policy().allows(&operator, &get_pods(namespace)).is_some(), "{namespace}");
    }
}

#[test]
fn a_service_account_without_namespace_lives_where_the_binding_does() {
    assert!(policy().allows(&user("system:serviceaccount:d:bot"), &get_pods("d")).is_some());
    assert!(policy().allows(&user("system:serviceaccount:e:bot"), &get_pods("d")).is_none());
}

#[test]
fn the_reason_names_binding_role_and_subject() {
    assert_eq!(
        policy().allows(&user("jane"), &get_pods("d")).as_deref(),
        Some(r#"RBAC: allowed by RoleBinding "read/d" of Role "reader" to User "jane""#)
    );
    assert_eq!(
        policy().allows(&user("system:serviceaccount:d:bot"), &get_pods("d")).as_deref(),
        Some(r#"RBAC: allowed by RoleBinding "read/d" of Role "reader" to ServiceAccount "bot/d""#)
    );
}

#[test]
fn an_aggregated_role_has_the_rules_of_the_roles_it_selects_also_through_another_one() {
    let rules = |resource: &str| json!([{"verbs": ["get"], "apiGroups": [""], "resources": [resource]}]);
    let select = |label: &str| json!({"clusterRoleSelectors": [{"matchLabels": {(label): "true"}}]});
    let policy = Policy::new(
        &[],
        &[],
        &typed(json!([
            {"metadata": {"name": "admin"}, "aggregationRule": select("to-admin"), "rules": rules("stale")},
            {"metadata": {"name": "edit", "labels": {"to-admin": "true"}}, "aggregationRule": select("to-edit")},
            {"metadata": {"name": "pods", "labels": {"to-edit": "true"}}, "rules": rules("pods")},
            {"metadata": {"name": "more", "labels": {"to-admin": "true"}}, "rules": rules("roles")},
            {"metadata": {"name": "loop", "labels": {"loop": "true"}}, "aggregationRule": select("loop")},
        ])),
        &[],
    );
    let resources = |name| -> Vec<String> {
        let rules = policy.cluster_role(name).expect("exists");
        rules.iter().flat_map(|rule| rule.resources.clone().unwrap_or_default()).collect()
    };
    assert_eq!(resources("admin"), ["pods", "roles"]);
    assert_eq!(resources("edit"), ["pods"]);
    assert_eq!(resources("loop"), [""; 0]);
}

#[test]
fn nobody_gives_away_what_he_does_not_have() {
    let policy = policy();
    let own = rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["web"]}));
    assert_eq!(policy.uncovered(&user("jane"), "d", std::slice::from_ref(&own)), []);
    assert_eq!(policy.uncovered(&user("jane"), "", &[own]).len(), 1);
    let more = rule(json!({"verbs": ["get", "delete"], "apiGroups": [""], "resources": ["pods", "pods/log"]}));
    let uncovered = policy.uncovered(&user("jane"), "d", &[more]);
    let shown: Vec<_> =
        uncovered.iter().map(|rule| format!("{} {}", rule.verbs[0], some(rule.resources.as_ref())[0])).collect();
    assert_eq!(shown, ["get pods/log", "delete pods", "delete pods/log"]);
    let everything = rule(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
    assert_eq!(policy.uncovered(&user("jane"), "d", &[everything]).len(), 1);
    let url = rule(json!({"verbs": ["get"], "nonResourceURLs": ["/metrics", "/*"]}));
    assert_eq!(policy.uncovered(&User::known("x", ["ops"]), "", &[url]).len(), 1);
}
