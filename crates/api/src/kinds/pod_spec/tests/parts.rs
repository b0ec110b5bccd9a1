//! The rules of the parts that few pods have.

use serde_json::{Value, json};

use crate::kinds::pod_spec::{affinity, extras, security, spread};
use crate::status::FieldError;

fn check_pod(rule: fn(&Value, &str) -> Vec<FieldError>, spec: Value, expected: &[&str]) {
    let told: Vec<String> = rule(&spec, "spec").iter().map(ToString::to_string).collect();
    assert_eq!(told, expected);
}

#[test]
fn security_contexts_make_sense() {
    check_pod(
        security::validate,
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
        affinity::validate,
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
        extras::validate,
        json!({
            "nodeName": "n", "hostAliases": [{"ip": "x"}], "schedulingGates": [{"name": "a"}, {"name": "a"}],
            "dnsConfig": {"nameservers": ["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"]}, "os": {"name": "plan9"},
        }),
        &[
            "spec.hostAliases[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "spec.schedulingGates[1]: Duplicate value: \"a\"",
            "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
            "spec.dnsConfig.nameservers: Invalid value: [\"1.1.1.1\",\"2.2.2.2\",\"3.3.3.3\",\"4.4.4.4\"]: must not have more than 3 nameservers",
            "spec.os.name: Unsupported value: \"plan9\": supported values: \"linux\", \"windows\"",
        ],
    );
}

#[test]
fn kernel_parameters_have_names_between_dots_or_slashes() {
    let sysctls =
        ["foo-", "kernel.shmmax", "kernel/shmmax", "bar..", "kernel.shmmax"].map(|name| json!({"name": name}));
    let told = security::validate(&json!({"securityContext": {"sysctls": sysctls}}), "spec");
    let fields: Vec<&str> = told.iter().map(|error| error.field.as_str()).collect();
    let at = |index: usize| format!("spec.securityContext.sysctls[{index}].name");
    assert_eq!(fields, [at(0), at(3), at(4)]);
    assert!(told[0].message.starts_with("Invalid value: \"foo-\": must have at most 253 characters and match regex ^"));
}

#[test]
fn pods_are_spread_by_a_key_that_no_other_constraint_has() {
    let selector = json!({"matchLabels": {"app": "a"}});
    check_pod(
        spread::validate,
        json!({"topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 2},
            {"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway", "nodeTaintsPolicy": "Maybe"},
            {"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector, "matchLabelKeys": ["app", "ok"]},
        ]}),
        &[
            "spec.topologySpreadConstraints[0].minDomains: Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
            "spec.topologySpreadConstraints[1].maxSkew: Invalid value: 0: must be greater than zero",
            "spec.topologySpreadConstraints[1].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{z, ScheduleAnyway}\"",
            "spec.topologySpreadConstraints[1].nodeTaintsPolicy: Unsupported value: \"Maybe\": supported values: \"Honor\", \"Ignore\"",
            "spec.topologySpreadConstraints[2].topologyKey: Required value: can not be empty",
            "spec.topologySpreadConstraints[2].matchLabelKeys[0]: Invalid value: \"app\": exists in both matchLabelKeys and labelSelector",
        ],
    );
}

#[test]
fn a_node_is_found_by_its_name_and_no_other_field() {
    let field = |key: &str, operator: &str, values: Value| json!({"matchFields": [{"key": key, "operator": operator, "values": values}]});
    check_pod(
        affinity::validate,
        json!({"affinity": {"nodeAffinity": {REQUIRED_TERM: {"nodeSelectorTerms": [
            field("metadata.name", "In", json!(["n"])),
            field("metadata.uid", "In", json!(["u"])),
            field("metadata.name", "Exists", json!([])),
            field("metadata.name", "In", json!(["a", "b"])),
        ]}}}}),
        &[
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[1].matchFields[0].key: Invalid value: \"metadata.uid\": not a valid field selector key",
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[2].matchFields[0].operator: Invalid value: \"Exists\": not a valid selector operator",
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[3].matchFields[0].values: Required value: must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        ],
    );
}
