//! One table per kind: a document, and what Kubernetes says about it.

use serde_json::json;

use super::*;
use crate::kinds::testing::object;

/// What a claim is told that changes what it asked for.
const FIXED_CLAIM: &str = "spec: Forbidden: spec is immutable after creation except resources.requests and \
                     volumeAttributesClassName for bound claims";

type Rule = fn(&Object, Option<&Object>) -> Vec<FieldError>;

fn check(rule: Rule, document: Value, expected: &[&str]) {
    let told: Vec<String> = rule(&object(document), None).iter().map(ToString::to_string).collect();
    assert_eq!(told, expected);
}

fn check_update(rule: Rule, new: Value, old: Value, expected: &[&str]) {
    let told: Vec<String> = rule(&object(new), Some(&object(old))).iter().map(ToString::to_string).collect();
    assert_eq!(told, expected);
}

#[expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]
fn check_pod(rule: fn(&Value, &str) -> Vec<FieldError>, spec: Value, expected: &[&str]) {
    let told: Vec<String> = rule(&spec, "spec").iter().map(ToString::to_string).collect();
    assert_eq!(told, expected);
}

fn claim(change: impl FnOnce(&mut Value)) -> Value {
    let mut claim = json!({
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": "v",
            "storageClassName": "fast"},
        "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}},
    });
    change(&mut claim);
    claim
}

#[test]
fn a_claim_has_modes_and_a_size() {
    check(validate_claim, claim(|_| {}), &[]);
    check(
        validate_claim,
        json!({"spec": {}}),
        &[
            "spec.accessModes: Required value: at least 1 access mode is required",
            "spec.resources[storage]: Required value",
        ],
    );
    check(
        validate_claim,
        claim(|claim| {
            claim["spec"]["accessModes"] = json!(["Once", "ReadWriteOncePod"]);
            claim["spec"]["resources"]["requests"]["storage"] = json!("0");
            claim["spec"]["volumeMode"] = json!("Tape");
        }),
        &[
            "spec.accessModes: Unsupported value: \"Once\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \
             \"ReadWriteOnce\", \"ReadWriteOncePod\"",
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
            "spec.resources[storage]: Invalid value: \"0\": must be greater than zero",
            "spec.volumeMode: Unsupported value: \"Tape\": supported values: \"Block\", \"Filesystem\"",
        ],
    );
}

#[test]
fn a_bound_claim_may_only_change_its_size() {
    let grown = claim(|claim| claim["spec"]["resources"]["requests"]["storage"] = json!("2Gi"));
    check_update(validate_claim, grown.clone(), claim(|_| {}), &[]);
    check_update(
        validate_claim,
        claim(|claim| claim["spec"]["storageClassName"] = json!("slow")),
        claim(|_| {}),
        &[FIXED_CLAIM],
    );
    check_update(validate_claim, grown, claim(|claim| claim["status"] = json!({"phase": "Pending"})), &[FIXED_CLAIM]);
    check_update(
        validate_claim,
        claim(|claim| claim["spec"]["resources"]["requests"]["storage"] = json!("1Mi")),
        claim(|_| {}),
        &["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"],
    );
    // Binding names the volume.
    let unbound = |claim: &mut Value| {
        claim["status"] = json!({});
        claim["spec"]["volumeName"] = json!("");
    };
    check_update(validate_claim, claim(|claim| claim["status"] = json!({})), claim(unbound), &[]);
}

#[test]
fn a_volume_has_a_size_modes_and_one_source() {
    let volume = |source: Value| {
        let mut volume = json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}});
        volume["spec"].as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        volume
    };
    check(validate_volume, volume(json!({"hostPath": {"path": "/tmp"}})), &[]);
    check(validate_volume, volume(json!({})), &["spec: Required value: must specify a volume type"]);
    check(
        validate_volume,
        volume(json!({"csi": {"driver": "d"}, "nfs": {}})),
        &["spec.csi.volumeHandle: Required value", "spec.nfs: Forbidden: may not specify more than 1 volume type"],
    );
    check(
        validate_volume,
        volume(json!({"local": {"path": "/d"}})),
        &["metadata.annotations: Required value: Local volume requires node affinity"],
    );
    check_update(
        validate_volume,
        volume(json!({"hostPath": {"path": "/b"}})),
        volume(json!({"hostPath": {"path": "/a"}})),
        &["spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"],
    );
}

#[test]
fn a_storage_class_stays_as_it_is() {
    check(validate_storage_class, json!({}), &["provisioner: Required value"]);
    let class = |reclaim: &str, speed: &str| json!({"provisioner": "example.com/p", "reclaimPolicy": reclaim, "parameters": {"speed": speed}});
    check(
        validate_storage_class,
        class("Keep", "1"),
        &["reclaimPolicy: Unsupported value: \"Keep\": supported values: \"Delete\", \"Retain\""],
    );
    check_update(
        validate_storage_class,
        class("Retain", "1"),
        class("Delete", "2"),
        &[
            "parameters: Forbidden: updates to parameters are forbidden.",
            "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.",
        ],
    );
}

#[test]
fn a_quota_counts_what_there_is_to_count() {
    let hard = json!({"pods": "4", "count/jobs.batch": "2", "gold.storageclass.storage.k8s.io/requests.storage": "1Gi", "requests.cpu": "1"});
    check(validate_quota, json!({"spec": {"hard": hard, "scopes": ["BestEffort"]}}), &[]);
    check(
        validate_quota,
        json!({"spec": {"hard": {"cats": "1", "pods": "1.5", "cpu": "-1"}, "scopes": ["Terminating", "NotTerminating", "Odd"]}}),
        &[
            "spec.hard[cats]: Invalid value: \"cats\": must be a standard resource type or fully qualified",
            "spec.hard[cats]: Invalid value: \"cats\": must be a standard resource for quota",
            "spec.hard[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            "spec.hard[pods]: Invalid value: \"1.5\": must be an integer",
            "spec.scopes: Invalid value: [\"Terminating\",\"NotTerminating\",\"Odd\"]: unsupported scope",
            "spec.scopes: Invalid value: [\"Terminating\",\"NotTerminating\",\"Odd\"]: conflicting scopes",
        ],
    );
    check_update(
        validate_quota,
        json!({"spec": {"hard": {}, "scopes": ["BestEffort"]}}),
        json!({"spec": {"hard": {}}}),
        &["spec.scopes: Invalid value: [\"BestEffort\"]: field is immutable"],
    );
}

#[test]
fn the_bounds_of_a_limit_range_agree() {
    check(
        validate_limit_range,
        json!({"spec": {"limits": [
            {"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}, "default": {"cpu": "3"}},
            {"type": "Pod", "default": {"cpu": "1"}},
            {"type": "Pod"},
            {"type": "PersistentVolumeClaim"},
        ]}}),
        &[
            "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
            "spec.limits[0].default[cpu]: Invalid value: \"3\": default value 3 is greater than max value 1",
            "spec.limits[1].default: Forbidden: may not be specified when `type` is 'Pod'",
            "spec.limits[2].type: Duplicate value: \"Pod\"",
            "spec.limits[3].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
        ],
    );
}

#[test]
fn a_budget_says_one_thing() {
    check(
        validate_disruption_budget,
        json!({"spec": {"minAvailable": 1, "maxUnavailable": "x%"}}),
        &[
            "spec: Invalid value: {\"maxUnavailable\":\"x%\",\"minAvailable\":1}: minAvailable and maxUnavailable cannot be both set",
            "spec.maxUnavailable: Invalid value: \"x%\": a valid percent string must be a numeric followed by an ending '%' \
             (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        ],
    );
    check(
        validate_disruption_budget,
        json!({"spec": {"minAvailable": -1, "unhealthyPodEvictionPolicy": "Maybe"}}),
        &[
            "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0",
            "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Maybe\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
        ],
    );
}

#[test]
fn the_highest_priorities_are_the_systems() {
    check(
        validate_priority_class,
        json!({"metadata": {"name": "system-mine"}, "value": 1}),
        &["metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. \
            error: system-mine is not a known system priority class"],
    );
    check(
        validate_priority_class,
        json!({"metadata": {"name": "high"}, "value": 1_000_000_001}),
        &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
    );
    check(validate_priority_class, json!({"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000}), &[]);
    check_update(
        validate_priority_class,
        json!({"value": 2}),
        json!({"value": 1}),
        &["value: Forbidden: may not be changed in an update."],
    );
}

#[test]
fn runtime_classes_leases_and_events_are_looked_at() {
    let told = validate_runtime_class(&object(json!({"handler": "No"})), None);
    assert!(told[0].to_string().starts_with("handler: Invalid value: \"No\": a lowercase RFC 1123 label"), "{told:?}");
    check_update(
        validate_runtime_class,
        json!({"handler": "b"}),
        json!({"handler": "a"}),
        &["handler: Invalid value: \"b\": field is immutable"],
    );
    check(
        validate_lease,
        json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}}),
        &[
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
            "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
        ],
    );
    let event = |namespace: &str| {
        let event = json!({"metadata": {"namespace": "shop"}, "involvedObject": {"namespace": namespace}});
        validate_event(&object(event), "involvedObject", None).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(event("shop").is_empty());
    assert_eq!(event("x"), ["involvedObject.namespace: Invalid value: \"x\": does not match event.namespace"]);
    assert_eq!(event("").len(), 1);
}

#[test]
fn a_rule_is_about_resources_or_about_paths() {
    check(
        validate_role,
        json!({"metadata": {"namespace": "d"}, "rules": [{"verbs": []}, {"verbs": ["get"], "nonResourceURLs": ["/x"]}]}),
        &[
            "rules[0].verbs: Required value: verbs must contain at least one value",
            "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
            "rules[0].resources: Required value: resource rules must supply at least one resource",
            "rules[1].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs",
        ],
    );
    check(
        validate_role,
        json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"], "resources": ["pods"]}], "aggregationRule": {}}),
        &[
            "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: rules cannot apply to both regular resources and non-resource URLs",
            "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil",
        ],
    );
    let binding =
        json!({"roleRef": {"apiGroup": "x"}, "subjects": [{"kind": "ServiceAccount", "name": "s", "apiGroup": "y"}]});
    let told: Vec<String> = validate_subjects(&object(binding)).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "roleRef.apiGroup: Unsupported value: \"x\": supported values: \"rbac.authorization.k8s.io\"",
            "subjects[0].apiGroup: Unsupported value: \"y\": supported values: \"\"",
        ]
    );
}

#[test]
fn an_autoscaler_measures_something_and_stays_in_bounds() {
    check(
        validate_autoscaler,
        json!({"spec": {"minReplicas": 0, "maxReplicas": 0, "scaleTargetRef": {"kind": "Deployment"}, "metrics": [
            {"type": "Resource", "resource": {"target": {"type": "Utilization"}}}, {"type": "Pods"}, {"type": "Moon"},
        ]}}),
        &[
            "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
            "spec.maxReplicas: Invalid value: 0: must be greater than 0",
            "spec.scaleTargetRef.name: Required value",
            "spec.metrics[0].resource.name: Required value: must specify a resource name",
            "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
            "spec.metrics[1].pods: Required value: must populate information for the given metric source",
            "spec.metrics[2].type: Unsupported value: \"Moon\": supported values: \"ContainerResource\", \"External\", \"Object\", \"Pods\", \"Resource\"",
        ],
    );
    let reference = json!({"kind": "Deployment", "name": "web"});
    check(
        validate_autoscaler,
        json!({"spec": {"minReplicas": 3, "maxReplicas": 2, "scaleTargetRef": reference, "behavior": {"scaleDown": {
            "stabilizationWindowSeconds": 4000, "selectPolicy": "Any", "policies": [{"type": "Pods", "value": 0, "periodSeconds": 2000}],
        }}}}),
        &[
            "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`",
            "spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 4000: must be less than or equal to 3600",
            "spec.behavior.scaleDown.selectPolicy: Unsupported value: \"Any\": supported values: \"Disabled\", \"Max\", \"Min\"",
            "spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero",
            "spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 2000: must be less than or equal to 1800",
        ],
    );
}

#[test]
fn one_direction_of_scaling_brings_the_other() {
    let mut spec = json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}}});
    default_behavior(spec.as_object_mut().unwrap());
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    assert_eq!(
        spec["behavior"]["scaleDown"],
        json!({"stabilizationWindowSeconds": 5, "selectPolicy": "Max", "policies": [percent]})
    );
    assert_eq!(
        spec["behavior"]["scaleUp"],
        json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, percent]})
    );
    let mut without = json!({});
    default_behavior(without.as_object_mut().unwrap());
    assert_eq!(without, json!({}));
}

#[test]
fn a_policy_names_its_peers_and_ports() {
    check(
        validate_network_policy,
        json!({"spec": {"podSelector": {}, "policyTypes": ["Sideways"], "ingress": [{
            "ports": [{"port": 80, "endPort": 70}, {"port": "http", "endPort": 90}, {"endPort": 1}, {"protocol": "ICMP"}],
            "from": [{}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "11.0.0.0/16", "10.0.0.0/8"]}},
                {"ipBlock": {"cidr": "10.0.0.0/40"}}, {"ipBlock": {"cidr": "::/200"}, "podSelector": {}}],
        }]}}),
        &[
            "spec.ingress[0].ports[0].endPort: Invalid value: 70: must be greater than or equal to `port`",
            "spec.ingress[0].ports[1].endPort: Invalid value: 90: may not be specified when `port` is non-numeric",
            "spec.ingress[0].ports[2].endPort: Invalid value: 1: may not be specified when `port` is not specified",
            "spec.ingress[0].ports[3].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            "spec.ingress[0].from[0]: Required value: must specify a peer",
            "spec.ingress[0].from[1].ipBlock.except[1]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
            "spec.ingress[0].from[1].ipBlock.except[2]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
            "spec.ingress[0].from[2].ipBlock.cidr: Invalid value: \"10.0.0.0/40\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            "spec.ingress[0].from[3].ipBlock.cidr: Invalid value: \"::/200\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            "spec.ingress[0].from[3]: Forbidden: may not specify both ipBlock and another peer",
            "spec.policyTypes[0]: Unsupported value: \"Sideways\": supported values: \"Egress\", \"Ingress\"",
        ],
    );
}

#[test]
fn an_ingress_class_names_its_controller_for_good() {
    check(validate_ingress_class, json!({"spec": {}}), &["spec.controller: Required value"]);
    check(
        validate_ingress_class,
        json!({"spec": {"controller": "nginx"}}),
        &["spec.controller: Invalid value: \"nginx\": must be a domain-prefixed path (such as \"acme.io/foo\")"],
    );
    check_update(
        validate_ingress_class,
        json!({"spec": {"controller": "a.io/b"}}),
        json!({"spec": {"controller": "a.io/a"}}),
        &["spec.controller: Invalid value: \"a.io/b\": field is immutable"],
    );
}

#[test]
fn endpoints_lead_somewhere_else() {
    check(
        validate_endpoints,
        json!({"subsets": [{}, {"addresses": [{"ip": "127.0.0.1"}, {"ip": "x"}, {"ip": "10.0.0.1"}], "ports": [{"port": 0, "protocol": "TCP"}]}]}),
        &[
            "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
            "subsets[1].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            "subsets[1].addresses[1].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "subsets[1].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ],
    );
    let slice = json!({"addressType": "IPv4", "endpoints": [{"addresses": ["::1", "10.0.0.1", "10.0.0.1"]}]});
    let told: Vec<String> = validate_slice_addresses(&slice).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "endpoints[0].addresses[0]: Invalid value: \"::1\": must be an IPv4 address",
            "endpoints[0].addresses[2]: Duplicate value: \"10.0.0.1\"",
        ]
    );
}

#[test]
fn taints_are_unique_and_have_an_effect() {
    let taint = json!({"key": "a", "effect": "NoSchedule"});
    check(
        validate_node,
        json!({"spec": {"taints": [taint, taint, {"key": "b"}, {"key": "c", "effect": "Maybe"}]}}),
        &[
            "spec.taints[1]: Duplicate value: {\"effect\":\"NoSchedule\",\"key\":\"a\"}: taints must be unique by key and effect pair",
            "spec.taints[2].effect: Required value",
            "spec.taints[3].effect: Unsupported value: \"Maybe\": supported values: \"NoExecute\", \"NoSchedule\", \"PreferNoSchedule\"",
        ],
    );
    check_update(
        validate_node,
        json!({"spec": {"providerID": "b", "podCIDRs": ["10.0.0.0/33"]}}),
        json!({"spec": {"providerID": "a"}}),
        &[
            "spec.podCIDRs[0]: Invalid value: \"10.0.0.0/33\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
        ],
    );
}

#[test]
fn security_contexts_make_sense() {
    check_pod(
        validate_security,
        json!({
            "securityContext": {"runAsUser": -1, "seccompProfile": {"type": "Localhost"}, "sysctls": [{"name": "a"}, {"name": "a"}]},
            "containers": [{"securityContext": {"privileged": true, "allowPrivilegeEscalation": false}}],
        }),
        &[
            "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
            "spec.securityContext.sysctls[1].name: Duplicate value: \"a\"",
            "spec.containers[0].securityContext: Invalid value: {\"allowPrivilegeEscalation\":false,\"privileged\":true}: \
             cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        ],
    );
}

#[test]
fn affinities_name_keys_operators_and_weights() {
    let term = json!({"matchExpressions": [{"key": "a", "operator": "In"}, {"key": "b", "operator": "Like"}, {"key": "c", "operator": "Gt", "values": []}]});
    check_pod(
        validate_affinity,
        json!({"affinity": {
            "nodeAffinity": {REQUIRED_TERM: {"nodeSelectorTerms": [term]}},
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 0, "podAffinityTerm": {}}]},
        }}),
        &[
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[1].operator: Invalid value: \"Like\": not a valid selector operator",
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[2].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'",
            "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100",
            "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Required value: can not be empty",
        ],
    );
}

const REQUIRED_TERM: &str = "requiredDuringSchedulingIgnoredDuringExecution";

#[test]
fn aliases_gates_and_dns_are_looked_at() {
    check_pod(
        validate_extras,
        json!({
            "nodeName": "n", "hostAliases": [{"ip": "x"}], "schedulingGates": [{"name": "a"}, {"name": "a"}],
            "dnsConfig": {"nameservers": ["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"]}, "os": {"name": "plan9"},
            "topologySpreadConstraints": [{"topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 2}],
        }),
        &[
            "spec.hostAliases[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "spec.schedulingGates[1]: Duplicate value: \"a\"",
            "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
            "spec.dnsConfig.nameservers: Invalid value: [\"1.1.1.1\",\"2.2.2.2\",\"3.3.3.3\",\"4.4.4.4\"]: must not have more than 3 nameservers",
            "spec.os.name: Unsupported value: \"plan9\": supported values: \"linux\", \"windows\"",
            "spec.topologySpreadConstraints[0].minDomains: Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
        ],
    );
}

#[test]
fn kernel_parameters_have_names_between_dots_or_slashes() {
    let sysctls =
        ["foo-", "kernel.shmmax", "kernel/shmmax", "bar..", "kernel.shmmax"].map(|name| json!({"name": name}));
    let told = validate_security(&json!({"securityContext": {"sysctls": sysctls}}), "spec");
    let fields: Vec<&str> = told.iter().map(|error| error.field.as_str()).collect();
    let at = |index: usize| format!("spec.securityContext.sysctls[{index}].name");
    assert_eq!(fields, [at(0), at(3), at(4)]);
    assert!(told[0].message.starts_with("Invalid value: \"foo-\": must have at most 253 characters and match regex ^"));
}
