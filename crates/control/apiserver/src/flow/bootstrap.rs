//! The flow schemas and priority levels that every cluster has (`apiserver/pkg/apis/flowcontrol/bootstrap/default.go`).

use serde_json::{Value, json};

use crate::auth::{AUTHENTICATED, MASTERS, NODES, UNAUTHENTICATED};

/// The API group.
pub(crate) const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// What an administrator sets to `"false"` to keep his own version of one of these objects.
pub(crate) const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
/// Objects without which nothing would be answered; they are always as here, whatever anyone writes.
pub(crate) const MANDATORY: [&str; 2] = ["exempt", "catch-all"];

const MANAGER: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";

/// Name, shares, percent that others may borrow, queues (0: none), hand size.
const LEVELS: &[(&str, u32, u32, u32, u32)] = &[
    ("catch-all", 5, 0, 0, 0),
    ("system", 30, 33, 64, 6),
    ("node-high", 40, 25, 64, 6),
    ("leader-election", 10, 0, 16, 4),
    ("workload-high", 40, 50, 128, 6),
    ("workload-low", 100, 90, 128, 6),
    ("global-default", 20, 50, 128, 6),
];
/// The length of every queue.
const QUEUE_LENGTH: u32 = 50;

/// Whom a schema is about.
#[derive(Clone, Copy)]
enum Who {
    Users(&'static [&'static str]),
    Groups(&'static [&'static str]),
    /// Service accounts of `kube-system`.
    Accounts(&'static [&'static str]),
    /// These users, and these service accounts of `kube-system`.
    UsersAndAccounts(&'static [&'static str], &'static [&'static str]),
}

/// What a schema is about.
#[derive(Clone, Copy)]
enum What {
    Everything,
    /// Reads of these paths.
    Paths(&'static [&'static str]),
    /// These resources in every namespace.
    Resources(&'static [Resources]),
}

/// Verbs, group, plurals, and whether at the cluster scope, too.
#[derive(Clone, Copy)]
struct Resources(&'static [&'static str], &'static str, &'static [&'static str], bool);

const ELECT: &[&str] = &["get", "create", "update"];

/// Name, level, precedence, distinguisher, subjects, targets.
const SCHEMAS: &[(&str, &str, u32, &str, Who, What)] = &[
    ("exempt", "exempt", 1, "", Who::Groups(&[MASTERS]), What::Everything),
    (
        "probes",
        "exempt",
        2,
        "",
        Who::Groups(&[UNAUTHENTICATED, AUTHENTICATED]),
        What::Paths(&["/healthz", "/readyz", "/livez"]),
    ),
    (
        "system-leader-election",
        "leader-election",
        100,
        "ByUser",
        Who::UsersAndAccounts(&[MANAGER, SCHEDULER], &["*"]),
        What::Resources(&[Resources(ELECT, "coordination.k8s.io", &["leases"], false)]),
    ),
    (
        "endpoint-controller",
        "workload-high",
        150,
        "ByUser",
        Who::UsersAndAccounts(&[MANAGER], &["endpoint-controller", "endpointslicemirroring-controller"]),
        What::Resources(&[Resources(ELECT, "", &["endpoints"], false)]),
    ),
    (
        "workload-leader-election",
        "leader-election",
        200,
        "ByUser",
        Who::Accounts(&["*"]),
        What::Resources(&[
            Resources(ELECT, "", &["endpoints", "configmaps"], false),
            Resources(ELECT, "coordination.k8s.io", &["leases"], false),
        ]),
    ),
    (
        "system-node-high",
        "node-high",
        400,
        "ByUser",
        Who::Groups(&[NODES]),
        What::Resources(&[
            Resources(&["*"], "", &["nodes", "nodes/status"], true),
            Resources(&["*"], "coordination.k8s.io", &["leases"], false),
        ]),
    ),
    ("system-nodes", "system", 500, "ByUser", Who::Groups(&[NODES]), What::Everything),
    ("kube-controller-manager", "workload-high", 800, "ByNamespace", Who::Users(&[MANAGER]), What::Everything),
    ("kube-scheduler", "workload-high", 800, "ByNamespace", Who::Users(&[SCHEDULER]), What::Everything),
    ("kube-system-service-accounts", "workload-high", 900, "ByNamespace", Who::Accounts(&["*"]), What::Everything),
    ("service-accounts", "workload-low", 9000, "ByUser", Who::Groups(&["system:serviceaccounts"]), What::Everything),
    (
        "global-default",
        "global-default",
        9900,
        "ByUser",
        Who::Groups(&[UNAUTHENTICATED, AUTHENTICATED]),
        What::Everything,
    ),
    ("catch-all", "catch-all", 10_000, "ByUser", Who::Groups(&[UNAUTHENTICATED, AUTHENTICATED]), What::Everything),
];

/// Returns all of them, levels first.
pub(crate) fn documents() -> Vec<Value> {
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let levels = LEVELS.iter().map(|level| (level.0, limited(level)));
    let levels = std::iter::once(("exempt", exempt)).chain(levels);
    let levels = levels.map(|(name, spec)| document("PriorityLevelConfiguration", name, &spec));
    let schemas = SCHEMAS.iter().map(|(name, level, precedence, by, who, what)| {
        let mut spec = json!({
            "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": [rule(*who, *what)],
        });
        if !by.is_empty() {
            spec["distinguisherMethod"] = json!({"type": by});
        }
        document("FlowSchema", name, &spec)
    });
    levels.chain(schemas).collect()
}

fn document(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind,
        "metadata": {"name": name, "annotations": {(AUTOUPDATE): "true"}}, "spec": spec, "status": {},
    })
}

fn limited((_, shares, lendable, queues, hand): &(&str, u32, u32, u32, u32)) -> Value {
    let response = match queues {
        0 => json!({"type": "Reject"}),
        _ => json!({
            "type": "Queue",
            "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": QUEUE_LENGTH},
        }),
    };
    json!({
        "type": "Limited",
        "limited": {"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response},
    })
}

fn rule(who: Who, what: What) -> Value {
    let list = subjects(who);
    match what {
        What::Everything => json!({
            "subjects": list,
            "resourceRules": [resources(Resources(&["*"], "*", &["*"], true))],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }),
        What::Paths(paths) => {
            json!({"subjects": list, "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": paths}]})
        }
        What::Resources(rules) => {
            let rules: Vec<_> = rules.iter().copied().map(resources).collect();
            json!({"subjects": list, "resourceRules": rules})
        }
    }
}

fn subjects(who: Who) -> Vec<Value> {
    let each = |kind: &str, field: &str, names: &[&str]| -> Vec<Value> {
        names.iter().map(|name| json!({"kind": kind, (field): {"name": name}})).collect()
    };
    let of_system = |names: &[&str]| -> Vec<Value> {
        let one =
            |name| json!({"kind": "ServiceAccount", "serviceAccount": {"name": name, "namespace": "kube-system"}});
        names.iter().map(one).collect()
    };
    match who {
        Who::Users(users) => each("User", "user", users),
        Who::Groups(groups) => each("Group", "group", groups),
        Who::Accounts(accounts) => of_system(accounts),
        Who::UsersAndAccounts(users, accounts) => [each("User", "user", users), of_system(accounts)].concat(),
    }
}

fn resources(Resources(verbs, group, plurals, is_cluster_too): Resources) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": plurals, "namespaces": ["*"]});
    if is_cluster_too {
        rule["clusterScope"] = true.into();
    }
    rule
}

/// Whether an administrator keeps one of these objects as he wants it.
pub(crate) fn is_kept_by_hand(object: &wkube_api::Object) -> bool {
    let is_mandatory = MANDATORY.contains(&object.name());
    !is_mandatory && object.str_at(&["metadata", "annotations", AUTOUPDATE]) == "false"
}
