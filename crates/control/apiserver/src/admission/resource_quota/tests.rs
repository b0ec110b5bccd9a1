//! What counts, how it is compared, and how a refusal reads.

use jiff::Timestamp;

use super::*;

fn object(value: Value) -> Object {
    serde_json::from_value(value).expect("an object")
}

fn kind(group: &str, plural: &str) -> &'static Resource {
    wkube_api::kinds::find(group, "v1", plural).expect("a built-in kind")
}

fn show(amounts: &Amounts) -> String {
    amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
}

fn usage_of(group: &str, plural: &str, value: Value) -> String {
    show(&usage::of(kind(group, plural), &object(value), Timestamp::UNIX_EPOCH))
}

#[test]
fn a_pod_counts_by_number_requests_and_limits() {
    let spec = json!({"containers": [{"name": "c", "resources": {
        "requests": {"cpu": "1", "nvidia.com/gpu": 2, "hugepages-2Mi": "4Mi"}, "limits": {"memory": "1Gi"},
    }}]});
    assert_eq!(
        usage_of("", "pods", json!({"spec": spec})),
        "count/pods=1,cpu=1,hugepages-2Mi=4Mi,limits.memory=1Gi,pods=1,requests.cpu=1,requests.hugepages-2Mi=4Mi,\
         requests.nvidia.com/gpu=2"
    );
    assert_eq!(usage_of("", "pods", json!({"spec": spec, "status": {"phase": "Failed"}})), "count/pods=1");
}

#[test]
fn services_claims_and_others_count_in_their_ways() {
    let ports = json!([{"port": 1}, {"port": 2, "nodePort": 30000}]);
    assert_eq!(
        usage_of("", "services", json!({"spec": {"type": "NodePort", "ports": ports}})),
        "count/services=1,services=1,services.nodeports=2"
    );
    let balancer = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": ports});
    assert_eq!(
        usage_of("", "services", json!({"spec": balancer})),
        "count/services=1,services=1,services.loadbalancers=1,services.nodeports=1"
    );
    let claim = json!({"storageClassName": "fast", "resources": {"requests": {"storage": "5Gi"}}});
    assert_eq!(
        usage_of("", "persistentvolumeclaims", json!({"spec": claim})),
        "count/persistentvolumeclaims=1,fast.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
         fast.storageclass.storage.k8s.io/requests.storage=5Gi,persistentvolumeclaims=1,requests.storage=5Gi"
    );
    assert_eq!(usage_of("apps", "deployments", json!({})), "count/deployments.apps=1");
    assert_eq!(usage_of("", "secrets", json!({})), "count/secrets=1,secrets=1");
}

#[test]
fn a_quota_is_about_the_kinds_that_its_names_say() {
    let about = |group: &str, plural: &str, name: &str| usage::is_about(kind(group, plural), name);
    assert!(about("", "pods", "limits.cpu") && about("", "pods", "requests.nvidia.com/gpu"));
    assert!(!about("", "pods", "requests.storage") && !about("", "pods", "services"));
    assert!(about("", "persistentvolumeclaims", "gold.storageclass.storage.k8s.io/requests.storage"));
    assert!(about("apps", "deployments", "count/deployments.apps") && !about("apps", "deployments", "deployments"));
    assert!(about("", "services", "services.nodeports") && !about("", "secrets", "configmaps"));
}

#[test]
fn a_refusal_names_what_is_over_and_only_that() {
    let amounts = |value: Value| amounts::read(&value);
    let requested = amounts(json!({"pods": 1, "cpu": "500m", "memory": "1Gi"}));
    let used = amounts(json!({"pods": 1, "cpu": "600m", "memory": "1Gi"}));
    let hard = amounts(json!({"pods": 1, "cpu": "1", "memory": "2Gi"}));
    assert_eq!(
        exceeded(&requested, &used, &hard).as_deref(),
        Some("requested: cpu=500m,pods=1, used: cpu=600m,pods=1, limited: cpu=1,pods=1")
    );
    assert_eq!(exceeded(&amounts(json!({"memory": "-1Gi"})), &amounts(json!({"memory": "9Gi"})), &hard), None);
    assert_eq!(exceeded(&requested, &amounts(json!({})), &hard), None);
}

#[test]
fn what_a_quota_counts_every_container_has_to_say() {
    let hard = amounts::read(&json!({"limits.cpu": "1", "requests.memory": "1Gi", "pods": 5}));
    let pod = json!({"containers": [
        {"name": "main"}, {"name": "also", "resources": {"requests": {"memory": "1Mi"}}},
    ]});
    assert_eq!(
        usage::unsaid(&pod, &hard).as_deref(),
        Some("must specify limits.cpu for: also,main; requests.memory for: main")
    );
    assert_eq!(usage::unsaid(&pod, &amounts::read(&json!({"pods": 1}))), None);
}

#[test]
fn scopes_tell_pods_apart() {
    let holds = |scopes: Value, pod: Value| {
        scope::holds(&object(json!({"spec": scopes})), Counted::Pods, &object(json!({"spec": pod})))
    };
    let asking = json!({"containers": [{"resources": {"requests": {"cpu": "1"}}}]});
    assert!(holds(json!({"scopes": ["BestEffort"]}), json!({"containers": [{}]})));
    assert!(!holds(json!({"scopes": ["BestEffort"]}), asking.clone()));
    assert!(holds(json!({"scopes": ["NotBestEffort", "NotTerminating"]}), asking));
    assert!(holds(json!({"scopes": ["Terminating"]}), json!({"activeDeadlineSeconds": 5})));
    let class = |operator: &str, values: Value| json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": operator, "values": values}]}});
    assert!(holds(class("In", json!(["high"])), json!({"priorityClassName": "high"})));
    assert!(!holds(class("In", json!(["high"])), json!({"priorityClassName": "low"})));
    assert!(holds(class("DoesNotExist", json!([])), json!({})));
    assert!(holds(json!({"scopes": ["PriorityClass"]}), json!({"priorityClassName": "any"})));
    let term = json!({"namespaces": ["other"]});
    let affinity = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
    assert!(holds(json!({"scopes": ["CrossNamespacePodAffinity"]}), affinity));
}

#[test]
fn a_quota_with_scopes_is_about_nothing_that_has_none() {
    let quota = object(json!({"spec": {"scopes": ["BestEffort"]}}));
    assert!(!scope::holds(&quota, Counted::Services, &object(json!({}))));
    assert!(scope::holds(&object(json!({"spec": {}})), Counted::Services, &object(json!({}))));
}

#[test]
fn the_status_follows_the_spec() {
    let quota = object(json!({
        "spec": {"hard": {"pods": "2", "services": "1"}}, "status": {"used": {"secrets": "1", "services": "1"}},
    }));
    let new = with_used(&quota, &amounts::read(&json!({"pods": 1})));
    assert_eq!(
        new.at(&["status"]),
        Some(&json!({"hard": {"pods": "2", "services": "1"}, "used": {"pods": "1", "services": "1"}}))
    );
}
