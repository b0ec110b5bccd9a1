//! Kubernetes' own objects sort requests as they do there.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::auth::{MASTERS, User};
use crate::flow::bootstrap;
use crate::flow::schema::{self, Asked, On};

fn typed<K: DeserializeOwned>(kind: &str, more: &[Value]) -> Vec<K> {
    let documents = bootstrap::documents().into_iter().chain(more.iter().cloned());
    let of_kind = documents.filter(|document| document["kind"] == kind);
    of_kind.map(|document| serde_json::from_value(document).expect("well-formed")).collect()
}

fn with(more: &[Value]) -> Plan {
    plan(typed("FlowSchema", more), typed("PriorityLevelConfiguration", more))
}

fn sort<'p>(plan: &'p Plan, user: &User, verb: &str, target: On<'_>) -> &'p str {
    let asked = Asked { user, verb, target };
    let found = plan.schemas.iter().find(|schema| schema::matches(&schema.rules, &asked));
    found.map_or("none", |schema| &schema.name)
}

fn resource<'a>(group: &'a str, resource: &'a str, namespace: &'a str) -> On<'a> {
    On::Resource { group, resource, subresource: "", namespace }
}

#[test]
fn everyone_finds_his_schema() {
    let plan = with(&[]);
    let known = |name: &str, group: &str| User::known(name, [group]);
    let node = known("system:node:a", "system:nodes");
    let account = |namespace: &str| known(&format!("system:serviceaccount:{namespace}:x"), "system:serviceaccounts");
    let manager = known("system:kube-controller-manager", "");
    let leases = resource("coordination.k8s.io", "leases", "kube-system");
    let pods = resource("", "pods", "default");
    for (user, verb, target, expected) in [
        (&known("admin", MASTERS), "delete", pods, "exempt"),
        (&User::anonymous(), "get", On::Path("/livez"), "probes"),
        (&known("jane", ""), "get", On::Path("/readyz"), "probes"),
        (&User::anonymous(), "get", On::Path("/version"), "global-default"),
        (&manager, "update", leases, "system-leader-election"),
        (&manager, "update", resource("", "endpoints", "default"), "endpoint-controller"),
        (&manager, "list", pods, "kube-controller-manager"),
        (&known("system:kube-scheduler", ""), "watch", pods, "kube-scheduler"),
        (&account("kube-system"), "update", leases, "system-leader-election"),
        (&account("kube-system"), "update", resource("", "configmaps", "d"), "workload-leader-election"),
        (&account("kube-system"), "list", pods, "kube-system-service-accounts"),
        (&account("default"), "list", pods, "service-accounts"),
        (&node, "patch", resource("", "nodes", ""), "system-node-high"),
        (&node, "update", resource("coordination.k8s.io", "leases", "kube-node-lease"), "system-node-high"),
        (&node, "list", pods, "system-nodes"),
        (&known("jane", ""), "list", pods, "global-default"),
        (&User { name: "nobody".into(), ..User::default() }, "list", pods, "none"),
    ] {
        assert_eq!(sort(&plan, user, verb, target), expected, "{user:?} {verb} {target:?}");
    }
}

#[test]
fn the_lower_precedence_goes_first_and_names_break_ties() {
    let schema = |name: &str, precedence: u32| {
        json!({"kind": "FlowSchema", "metadata": {"name": name}, "spec": {
            "priorityLevelConfiguration": {"name": "exempt"}, "matchingPrecedence": precedence,
            "rules": [{"subjects": [{"kind": "User", "user": {"name": "jane"}}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}],
        }})
    };
    let jane = User::known("jane", [""; 0]);
    let plan = with(&[schema("b", 500), schema("a", 500), schema("late", 501)]);
    assert_eq!(sort(&plan, &jane, "get", On::Path("/version")), "a");
}

#[test]
fn a_schema_without_its_level_matches_nothing() {
    let dangling = json!({"kind": "FlowSchema", "metadata": {"name": "x"},
        "spec": {"priorityLevelConfiguration": {"name": "nope"}, "matchingPrecedence": 3}});
    assert!(with(&[dangling]).schemas.iter().all(|schema| schema.name != "x"));
}

#[test]
fn levels_read_their_queues_and_shares() {
    let plan = with(&[json!({"kind": "PriorityLevelConfiguration", "metadata": {"name": "mine"}, "spec": {
        "type": "Limited", "limited": {"nominalConcurrencyShares": 7, "borrowingLimitPercent": 50,
            "limitResponse": {"type": "Queue", "queuing": {"queues": 2_000_000_000, "handSize": 3}}},
    }})]);
    let mine = &plan.levels["mine"];
    let queuing = Queuing { queues: QUEUES_MAX, hand_size: 3, length_max: 50 };
    assert_eq!(mine.mode, Mode::Queue(queuing));
    assert_eq!(mine.shares, Shares { nominal: 7, lendable_percent: 0, borrowing_percent: Some(50) });
    assert_eq!((plan.levels["exempt"].mode, plan.levels["catch-all"].mode), (Mode::Exempt, Mode::Reject));
}
