//! The roles and bindings that every cluster starts with, read from `data/bootstrap-policy.txt` and
//! `data/controller-policy.txt`.

use serde_json::{Map, Value, json};

const RBAC: &str = "rbac.authorization.k8s.io";
const POLICY: &str = include_str!("../../data/bootstrap-policy.txt");
const CONTROLLERS: &str = include_str!("../../data/controller-policy.txt");
/// What nearly every controller may: say what it does.
const EVENTS: &str = "create patch update | core events.k8s.io | events";
const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];

/// Returns the roles and their bindings, in the order of the files.
pub fn documents() -> Vec<Value> {
    let mut documents: Vec<Value> = Vec::new();
    for line in lines(POLICY) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), documents.last_mut()) {
            (["role", place, label @ ..], _) => documents.push(role(place, label.last().copied())),
            (["bind", place, role], _) => documents.push(binding(place, role)),
            (["sum", label], Some(role)) => aggregate(role, label),
            ([kind @ ("user" | "group" | "account"), names @ ..], Some(binding)) => {
                push(binding, "subjects", names.iter().map(|name| subject(kind, name)));
            }
            (_, Some(role)) => push(role, "rules", [rule(line)]),
            (_, None) => unreachable!("the file begins with a role"),
        }
    }
    documents
}

/// Returns the roles of controllers, each bound to the account of its name.
pub fn of_controllers() -> Vec<Value> {
    let (mut roles, mut bindings): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    for line in lines(CONTROLLERS) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), roles.last_mut()) {
            (["controller", name], _) => {
                let place = format!("system:controller:{name}");
                let mut binding = binding(&place, &place);
                push(&mut binding, "subjects", [subject("account", &format!("kube-system/{name}"))]);
                roles.push(role(&place, None));
                bindings.push(binding);
            }
            (["events"], Some(role)) => push(role, "rules", [rule(EVENTS)]),
            (_, Some(role)) => push(role, "rules", [rule(line)]),
            (_, None) => unreachable!("the file begins with a controller"),
        }
    }
    roles.append(&mut bindings);
    roles
}

/// Returns the lines that say something.
fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
}

fn object(kind: &str, place: &str) -> Value {
    let (namespace, name) = place.split_once('/').unwrap_or(("", place));
    let mut metadata = json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    });
    if namespace.is_empty() {
        return json!({"apiVersion": format!("{RBAC}/v1"), "kind": format!("Cluster{kind}"), "metadata": metadata});
    }
    metadata["namespace"] = namespace.into();
    json!({"apiVersion": format!("{RBAC}/v1"), "kind": kind, "metadata": metadata})
}

fn role(place: &str, label: Option<&str>) -> Value {
    let mut role = object("Role", place);
    if let Some(label) = label {
        role["metadata"]["labels"][aggregates_to(label)] = "true".into();
    }
    role["rules"] = json!([]);
    role
}

fn aggregates_to(label: &str) -> String {
    format!("{RBAC}/aggregate-to-{label}")
}

fn aggregate(role: &mut Value, label: &str) {
    let selector = json!({"matchLabels": {(aggregates_to(label)): "true"}});
    role["aggregationRule"] = json!({"clusterRoleSelectors": [selector]});
}

/// Reads `VERBS | GROUPS | RESOURCES [| NAMES]` or `VERBS | /PATHS`.
fn rule(line: &str) -> Value {
    let parts: Vec<Vec<&str>> = line.split('|').map(|part| part.split_whitespace().collect()).collect();
    let mut rule = Map::new();
    let mut put = |field: &str, words: Vec<&str>| rule.insert(field.to_owned(), json!(words));
    if let Some(verbs) = parts.first() {
        put("verbs", verbs.iter().flat_map(verbs_of).copied().collect());
    }
    match &parts[1..] {
        [paths] => {
            // A lone `/*` stands for every path.
            put("nonResourceURLs", paths.iter().map(|path| if *path == "/*" { "*" } else { path }).collect());
        }
        [groups, resources, names @ ..] => {
            put("apiGroups", groups.iter().map(|group| if *group == "core" { "" } else { group }).collect());
            put("resources", resources.clone());
            if let [names] = names {
                put("resourceNames", names.clone());
            }
        }
        [] => {}
    }
    rule.into()
}

fn verbs_of<'a>(word: &'a &'a str) -> &'a [&'a str] {
    match *word {
        "read" => &READ,
        "write" => &WRITE,
        _ => std::slice::from_ref(word),
    }
}

fn binding(place: &str, role: &str) -> Value {
    let mut binding = object("RoleBinding", place);
    let kind = if place.contains('/') { "Role" } else { "ClusterRole" };
    binding["roleRef"] = json!({"apiGroup": RBAC, "kind": kind, "name": role});
    binding
}

fn subject(kind: &str, name: &str) -> Value {
    match (kind, name.split_once('/')) {
        ("account", Some((namespace, name))) => json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}),
        ("user", _) => json!({"apiGroup": RBAC, "kind": "User", "name": name}),
        _ => json!({"apiGroup": RBAC, "kind": "Group", "name": name}),
    }
}

fn push(document: &mut Value, field: &str, more: impl IntoIterator<Item = Value>) {
    let list = document.as_object_mut().map(|fields| fields.entry(field).or_insert_with(|| json!([])));
    if let Some(list) = list.and_then(Value::as_array_mut) {
        list.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::auth::{Attributes, Policy, User};

    fn of_kind<K: DeserializeOwned>(kind: &str) -> Vec<K> {
        let all = documents().into_iter().chain(of_controllers());
        let documents = all.filter(|document| document["kind"] == kind);
        documents.map(|document| serde_json::from_value(document).expect("typed")).collect()
    }

    fn split() -> (Vec<ClusterRole>, Vec<ClusterRoleBinding>) {
        (of_kind("ClusterRole"), of_kind("ClusterRoleBinding"))
    }

    /// Whether somebody with `role` in namespace `d` may `verb group/resource`.
    fn may(role: &str, text: &str) -> bool {
        let (roles, bindings) = split();
        let document = json!({"metadata": {"namespace": "d", "name": "b"}, "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "name": "jane"}]});
        let own: RoleBinding = serde_json::from_value(document).expect("typed");
        let policy = Policy::new(&[], &[own], &roles, &bindings);
        let (verb, target) = text.split_once(' ').expect("a verb and a target");
        let mut parts = target.split('/');
        let mut part = || parts.next().unwrap_or_default();
        let (group, resource, subresource) = (part(), part(), part());
        let attributes = Attributes { verb, group, resource, subresource, namespace: "d", ..Attributes::default() };
        policy.allows(&User::known("jane", [""; 0]), &attributes).is_some()
    }

    #[test]
    fn every_binding_names_a_role_that_exists() {
        let (roles, bindings) = split();
        for binding in &bindings {
            let named = |role: &ClusterRole| role.metadata.name.as_deref() == Some(&*binding.role_ref.name);
            assert!(roles.iter().any(named), "{}", binding.role_ref.name);
        }
        let local: Vec<Role> = of_kind("Role");
        for binding in of_kind::<RoleBinding>("RoleBinding") {
            let named = |role: &Role| {
                role.metadata.name.as_deref() == Some(&*binding.role_ref.name)
                    && role.metadata.namespace == binding.metadata.namespace
            };
            assert!(local.iter().any(named), "{}", binding.role_ref.name);
        }
    }

    #[test]
    fn every_rule_is_read_as_it_is_written() {
        assert_eq!(
            rule("  read delete | core apps | pods pods/log | a"),
            json!({"verbs": ["get", "list", "watch", "delete"], "apiGroups": ["", "apps"], "resources": ["pods", "pods/log"],
                "resourceNames": ["a"]})
        );
        assert_eq!(rule("  * | /*"), json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
        for role in split().0 {
            let name = role.metadata.name.unwrap_or_default();
            let is_sum = role.aggregation_rule.is_some();
            assert_eq!(role.rules.is_some_and(|rules| !rules.is_empty()), !is_sum, "{name} has rules or sums them up");
        }
    }

    #[test]
    fn the_user_roles_contain_each_other() {
        for (text, roles) in [
            ("get apps/deployments", &["view", "edit", "admin"][..]),
            ("get /pods/log", &["view", "edit", "admin"]),
            ("create apps/deployments", &["edit", "admin"]),
            ("get /secrets", &["edit", "admin"]),
            ("create /pods/exec", &["edit", "admin"]),
            ("create wkube.dev/registrytokens", &["edit", "admin"]),
            ("create rbac.authorization.k8s.io/rolebindings", &["admin"]),
            ("update /resourcequotas", &[]),
            ("get /nodes", &[]),
        ] {
            for role in ["view", "edit", "admin"] {
                assert_eq!(may(role, text), roles.contains(&role), "{role}: {text}");
            }
            assert!(may("cluster-admin", text), "{text}");
        }
    }

    #[test]
    fn everyone_may_discover_and_ask_and_strangers_may_look_at_health() {
        let (roles, bindings) = split();
        let policy = Policy::new(&[], &[], &roles, &bindings);
        let path = |user: &User, path| {
            policy.allows(user, &Attributes { verb: "get", path, ..Attributes::default() }).is_some()
        };
        let jane = User::known("jane", [""; 0]);
        assert!(path(&jane, "/apis/apps/v1") && path(&jane, "/openapi/v3") && !path(&jane, "/metrics"));
        assert!(path(&User::anonymous(), "/healthz") && !path(&User::anonymous(), "/api"));
        let ask = Attributes {
            verb: "create",
            group: "authorization.k8s.io",
            resource: "selfsubjectaccessreviews",
            ..Attributes::default()
        };
        assert!(policy.allows(&jane, &ask).is_some() && policy.allows(&User::anonymous(), &ask).is_none());
    }

    #[test]
    fn the_components_may_do_their_work_and_not_each_others() {
        let (roles, bindings) = split();
        let policy = Policy::new(&[], &[], &roles, &bindings);
        let may = |user: &str, verb, group, resource, subresource| {
            let attributes = Attributes { verb, group, resource, subresource, namespace: "d", ..Attributes::default() };
            policy.allows(&User::known(user, [""; 0]), &attributes).is_some()
        };
        let (scheduler, manager) = ("system:kube-scheduler", "system:kube-controller-manager");
        assert!(may(scheduler, "create", "", "pods", "binding") && may(scheduler, "patch", "", "pods", "status"));
        assert!(!may(scheduler, "create", "", "pods", "") && !may(scheduler, "get", "", "secrets", ""));
        assert!(may(manager, "create", "", "pods", "") && may(manager, "delete", "example.com", "widgets", ""));
        assert!(!may(manager, "create", "", "pods", "binding"));
        assert!(
            !may(manager, "create", RBAC, "clusterrolebindings", "") && !may(manager, "impersonate", "", "users", "")
        );
    }

    #[test]
    fn the_account_of_a_controller_may_do_its_work_and_no_more() {
        let (roles, bindings) = split();
        let policy = Policy::new(&[], &[], &roles, &bindings);
        let may = |controller: &str, verb, group, resource, subresource| {
            let user = format!("system:serviceaccount:kube-system:{controller}");
            let attributes = Attributes { verb, group, resource, subresource, namespace: "d", ..Attributes::default() };
            policy.allows(&User::known(user, [""; 0]), &attributes).is_some()
        };
        assert!(may("deployment-controller", "create", "apps", "replicasets", ""));
        assert!(may("deployment-controller", "create", "events.k8s.io", "events", ""));
        assert!(!may("deployment-controller", "create", "", "pods", ""));
        assert!(may("horizontal-pod-autoscaler", "update", "apps", "deployments", "scale"));
        assert!(!may("horizontal-pod-autoscaler", "update", "apps", "deployments", ""));
        assert!(may("generic-garbage-collector", "delete", "example.com", "widgets", ""));
        assert!(!may("pod-garbage-collector", "create", "", "events", ""), "one of the few that say nothing");
        assert_eq!(of_controllers().len() % 2, 0, "a role and a binding for each");
    }
}
