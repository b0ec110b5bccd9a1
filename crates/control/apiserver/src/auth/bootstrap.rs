//! The cluster roles and bindings that every cluster starts with (`plugin/pkg/auth/authorizer/rbac/bootstrappolicy`).

use serde_json::{Value, json};

use super::{AUTHENTICATED, MASTERS, UNAUTHENTICATED};

const RBAC: &str = "rbac.authorization.k8s.io";
const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const EVENTS: (&[&str], &[&str], &[&str]) = (&["create", "patch", "update"], &["", "events.k8s.io"], &["events"]);

/// Verbs, groups, resources.
type Rule = (&'static [&'static str], &'static [&'static str], &'static [&'static str]);

/// Kind and name of each.
type Subjects = &'static [(&'static str, &'static str)];

/// Name, label `rbac.authorization.k8s.io/aggregate-to-…: "true"` (or nothing), rules.
const ROLES: &[(&str, &str, &[Rule])] = &[
    ("cluster-admin", "", &[(&["*"], &["*"], &["*"])]),
    (
        "system:aggregate-to-view",
        "view",
        &[
            (
                READ,
                &[""],
                &[
                    "bindings",
                    "configmaps",
                    "endpoints",
                    "events",
                    "limitranges",
                    "namespaces",
                    "namespaces/status",
                    "persistentvolumeclaims",
                    "persistentvolumeclaims/status",
                    "pods",
                    "pods/log",
                    "pods/status",
                    "replicationcontrollers",
                    "replicationcontrollers/scale",
                    "replicationcontrollers/status",
                    "resourcequotas",
                    "resourcequotas/status",
                    "serviceaccounts",
                    "services",
                    "services/status",
                ],
            ),
            (READ, &["discovery.k8s.io"], &["endpointslices"]),
            (READ, &["events.k8s.io"], &["events"]),
            (
                READ,
                &["apps"],
                &[
                    "controllerrevisions",
                    "daemonsets",
                    "daemonsets/status",
                    "deployments",
                    "deployments/scale",
                    "deployments/status",
                    "replicasets",
                    "replicasets/scale",
                    "replicasets/status",
                    "statefulsets",
                    "statefulsets/scale",
                    "statefulsets/status",
                ],
            ),
            (READ, &["autoscaling"], &["horizontalpodautoscalers", "horizontalpodautoscalers/status"]),
            (READ, &["batch"], &["cronjobs", "cronjobs/status", "jobs", "jobs/status"]),
            (READ, &["networking.k8s.io"], &["ingresses", "ingresses/status", "networkpolicies"]),
            (READ, &["policy"], &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
        ],
    ),
    (
        "system:aggregate-to-edit",
        "edit",
        &[
            (READ, &[""], &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"]),
            (&["impersonate"], &[""], &["serviceaccounts"]),
            (&["create"], &[""], &["pods/eviction", "serviceaccounts/token"]),
            (
                WRITE,
                &[""],
                &[
                    "configmaps",
                    "events",
                    "persistentvolumeclaims",
                    "pods",
                    "pods/attach",
                    "pods/exec",
                    "pods/portforward",
                    "pods/proxy",
                    "replicationcontrollers",
                    "replicationcontrollers/scale",
                    "secrets",
                    "serviceaccounts",
                    "services",
                    "services/proxy",
                ],
            ),
            (
                WRITE,
                &["apps"],
                &[
                    "daemonsets",
                    "deployments",
                    "deployments/rollback",
                    "deployments/scale",
                    "replicasets",
                    "replicasets/scale",
                    "statefulsets",
                    "statefulsets/scale",
                ],
            ),
            (WRITE, &["autoscaling"], &["horizontalpodautoscalers"]),
            (WRITE, &["batch"], &["cronjobs", "jobs"]),
            (WRITE, &["networking.k8s.io"], &["ingresses", "networkpolicies"]),
            (WRITE, &["policy"], &["poddisruptionbudgets"]),
            (
                &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
                &["coordination.k8s.io"],
                &["leases"],
            ),
            // Whoever may run pods may push their images.
            (&["create"], &["wkube.dev"], &["registrytokens"]),
        ],
    ),
    (
        "system:aggregate-to-admin",
        "admin",
        &[
            (&["create"], &["authorization.k8s.io"], &["localsubjectaccessreviews"]),
            (
                &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
                &[RBAC],
                &["rolebindings", "roles"],
            ),
        ],
    ),
    (
        "system:basic-user",
        "",
        &[
            (&["create"], &["authorization.k8s.io"], &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
            (&["create"], &["authentication.k8s.io"], &["selfsubjectreviews"]),
        ],
    ),
    (
        "system:node-bootstrapper",
        "",
        &[(&["create", "get", "list", "watch"], &["certificates.k8s.io"], &["certificatesigningrequests"])],
    ),
    (
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        "",
        &[(&["create"], &["certificates.k8s.io"], &["certificatesigningrequests/nodeclient"])],
    ),
    (
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        "",
        &[(&["create"], &["certificates.k8s.io"], &["certificatesigningrequests/selfnodeclient"])],
    ),
    (
        "system:auth-delegator",
        "",
        &[
            (&["create"], &["authentication.k8s.io"], &["tokenreviews"]),
            (&["create"], &["authorization.k8s.io"], &["subjectaccessreviews"]),
        ],
    ),
    (
        "system:kube-scheduler",
        "",
        &[
            EVENTS,
            (&["create", "get", "list", "patch", "update", "watch"], &["coordination.k8s.io"], &["leases"]),
            (
                READ,
                &[""],
                &[
                    "namespaces",
                    "nodes",
                    "persistentvolumeclaims",
                    "persistentvolumes",
                    "replicationcontrollers",
                    "services",
                ],
            ),
            (&["delete", "get", "list", "watch"], &[""], &["pods"]),
            (&["create"], &[""], &["bindings", "pods/binding", "pods/eviction"]),
            (&["patch", "update"], &[""], &["pods/status", "persistentvolumeclaims", "persistentvolumes"]),
            (READ, &["apps"], &["deployments", "replicasets", "statefulsets"]),
            (READ, &["policy"], &["poddisruptionbudgets"]),
            (READ, &["scheduling.k8s.io"], &["priorityclasses"]),
            (
                READ,
                &["storage.k8s.io"],
                &["csidrivers", "csinodes", "csistoragecapacities", "storageclasses", "volumeattachments"],
            ),
            (READ, &["node.k8s.io"], &["runtimeclasses"]),
        ],
    ),
    (
        "system:kube-controller-manager",
        "",
        &[
            EVENTS,
            (&["create", "delete", "get", "list", "patch", "update", "watch"], &["coordination.k8s.io"], &["leases"]),
            // Garbage collection and namespace deletion meet every kind, also kinds that do not exist yet.
            (&["delete", "deletecollection", "get", "list", "patch", "update", "watch"], &["*"], &["*"]),
            (
                &["create"],
                &["", "apps", "batch", "discovery.k8s.io"],
                &[
                    "configmaps",
                    "controllerrevisions",
                    "endpoints",
                    "endpointslices",
                    "jobs",
                    "persistentvolumeclaims",
                    "persistentvolumes",
                    "pods",
                    "pods/eviction",
                    "replicasets",
                    "secrets",
                    "serviceaccounts",
                    "serviceaccounts/token",
                ],
            ),
            (&["approve", "sign"], &["certificates.k8s.io"], &["signers"]),
        ],
    ),
    (
        "system:kube-dns",
        "",
        &[
            (&["list", "watch"], &[""], &["endpoints", "services"]),
            (&["list", "watch"], &["discovery.k8s.io"], &["endpointslices"]),
        ],
    ),
];

/// Roles that consist of others: name, and the label they select and may carry themselves.
const AGGREGATED: &[(&str, &str)] = &[("admin", ""), ("edit", "admin"), ("view", "edit")];

/// Roles of paths: name, paths.
const PATH_ROLES: &[(&str, &[&str])] = &[
    (
        "system:discovery",
        &[
            "/api",
            "/api/*",
            "/apis",
            "/apis/*",
            "/healthz",
            "/livez",
            "/openapi",
            "/openapi/*",
            "/readyz",
            "/version",
            "/version/",
        ],
    ),
    (
        "system:service-account-issuer-discovery",
        &[
            "/.well-known/openid-configuration",
            "/.well-known/openid-configuration/",
            "/openid/v1/jwks",
            "/openid/v1/jwks/",
        ],
    ),
    ("system:public-info-viewer", &["/healthz", "/livez", "/readyz", "/version", "/version/"]),
    (
        "system:monitoring",
        &["/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis", "/readyz", "/readyz/*"],
    ),
];

/// Binding and role of the same name, subjects (kind, name).
const BINDINGS: &[(&str, &str, Subjects)] = &[
    ("cluster-admin", "cluster-admin", &[("Group", MASTERS)]),
    ("system:basic-user", "system:basic-user", &[("Group", AUTHENTICATED)]),
    ("system:discovery", "system:discovery", &[("Group", AUTHENTICATED)]),
    ("system:public-info-viewer", "system:public-info-viewer", &[("Group", AUTHENTICATED), ("Group", UNAUTHENTICATED)]),
    (
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        &[("Group", "system:serviceaccounts")],
    ),
    ("system:monitoring", "system:monitoring", &[("Group", "system:monitoring")]),
    ("system:kube-scheduler", "system:kube-scheduler", &[("User", "system:kube-scheduler")]),
    ("system:kube-controller-manager", "system:kube-controller-manager", &[("User", "system:kube-controller-manager")]),
    ("system:node-bootstrapper", "system:node-bootstrapper", &[("Group", "system:bootstrappers")]),
    (
        "system:node-autoapprove-bootstrap",
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[("Group", "system:bootstrappers")],
    ),
    (
        "system:node-autoapprove-certificate-rotation",
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[("Group", "system:nodes")],
    ),
];

/// Returns the cluster roles and their bindings, roles first.
pub fn documents() -> Vec<Value> {
    let plain = ROLES.iter().map(|(name, aggregate_to, rules)| {
        let mut rules: Vec<Value> = rules
            .iter()
            .map(|(verbs, groups, resources)| json!({"apiGroups": groups, "resources": resources, "verbs": verbs}))
            .collect();
        if *name == "cluster-admin" {
            rules.push(json!({"nonResourceURLs": ["*"], "verbs": ["*"]}));
        }
        role(name, aggregate_to, &json!({"rules": rules}))
    });
    let aggregated = AGGREGATED.iter().map(|(name, aggregate_to)| {
        let selector = json!({"matchLabels": {(format!("{RBAC}/aggregate-to-{name}")): "true"}});
        role(name, aggregate_to, &json!({"aggregationRule": {"clusterRoleSelectors": [selector]}, "rules": []}))
    });
    let paths = PATH_ROLES
        .iter()
        .map(|(name, urls)| role(name, "", &json!({"rules": [{"nonResourceURLs": urls, "verbs": ["get"]}]})));
    plain.chain(aggregated).chain(paths).chain(BINDINGS.iter().map(binding)).collect()
}

fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    })
}

fn role(name: &str, aggregate_to: &str, content: &Value) -> Value {
    let mut role = json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "metadata": metadata(name)});
    if !aggregate_to.is_empty() {
        role["metadata"]["labels"][format!("{RBAC}/aggregate-to-{aggregate_to}")] = json!("true");
    }
    for (key, value) in content.as_object().into_iter().flatten() {
        role[key] = value.clone();
    }
    role
}

fn binding((name, role, subjects): &(&str, &str, Subjects)) -> Value {
    let subjects: Vec<Value> =
        subjects.iter().map(|(kind, name)| json!({"apiGroup": RBAC, "kind": kind, "name": name})).collect();
    json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": "ClusterRoleBinding",
        "metadata": metadata(name),
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": subjects,
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding};

    use super::*;
    use crate::auth::{Attributes, Policy, User};

    fn split() -> (Vec<ClusterRole>, Vec<ClusterRoleBinding>) {
        let (roles, bindings): (Vec<_>, Vec<_>) =
            documents().into_iter().partition(|document| document["kind"] == "ClusterRole");
        let typed = |documents: Vec<Value>| Value::from(documents);
        (serde_json::from_value(typed(roles)).expect("typed"), serde_json::from_value(typed(bindings)).expect("typed"))
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
}
