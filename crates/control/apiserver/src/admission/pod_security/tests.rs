//! The Pod Security Standards, check by check.

use serde_json::json;

use super::policy::{Level, Version};
use super::*;

fn found(level: Level, version: Version, spec: &Value) -> String {
    let pod = Pod { annotations: BTreeMap::new(), spec };
    violations(LevelVersion { level, version }, &pod).unwrap_or_default()
}

#[expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]
fn baseline(spec: Value, expected: &str) {
    assert_eq!(found(Level::Baseline, Version::Latest, &spec), expected);
}

/// A pod that the restricted level lets in, with one thing changed.
fn hardened(change: impl FnOnce(&mut Value)) -> Value {
    let mut spec = json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        }}],
    });
    change(&mut spec);
    spec
}

fn restricted(change: impl FnOnce(&mut Value), expected: &str) {
    assert_eq!(found(Level::Restricted, Version::Latest, &hardened(change)), expected);
}

#[test]
fn a_plain_pod_is_refused_at_the_restricted_level_with_upstreams_sentence() {
    let plain = json!({"containers": [{"name": "nginx", "image": "nginx"}]});
    assert_eq!(
        found(Level::Restricted, Version::Latest, &plain),
        "allowPrivilegeEscalation != false (container \"nginx\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (container \"nginx\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or container \"nginx\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"nginx\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" \
         or \"Localhost\")"
    );
    assert_eq!(found(Level::Baseline, Version::Latest, &plain), "");
    assert_eq!(found(Level::Privileged, Version::Latest, &json!({"hostPID": true})), "");
}

#[test]
fn a_hardened_pod_passes() {
    restricted(|_| {}, "");
}

#[test]
fn the_baseline_keeps_pods_off_the_host() {
    baseline(json!({"hostNetwork": true, "hostIPC": true}), "host namespaces (hostNetwork=true, hostIPC=true)");
    baseline(
        json!({"containers": [{"name": "a", "securityContext": {"privileged": true}}], "initContainers": [{"name": "i", "securityContext": {"privileged": true}}]}),
        "privileged (containers \"i\", \"a\" must not set securityContext.privileged=true)",
    );
    baseline(
        json!({"volumes": [{"name": "h", "hostPath": {"path": "/"}}, {"name": "e", "emptyDir": {}}]}),
        "hostPath volumes (volume \"h\")",
    );
    baseline(
        json!({"containers": [{"name": "a", "ports": [{"hostPort": 80}, {"hostPort": 443}, {"containerPort": 1}]}]}),
        "hostPort (container \"a\" uses hostPorts 443, 80)",
    );
    baseline(
        json!({"containers": [{"name": "a", "securityContext": {"capabilities": {"add": ["NET_RAW", "CHOWN"]}}}]}),
        "non-default capabilities (container \"a\" must not include \"NET_RAW\" in securityContext.capabilities.add)",
    );
    baseline(
        json!({"containers": [{"name": "a", "securityContext": {"procMount": "Unmasked"}}]}),
        "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
    );
    baseline(
        json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
        "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
    );
}

#[test]
fn the_baseline_knows_profiles_options_and_sysctls() {
    baseline(
        json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
        "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
    );
    baseline(
        json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}),
        "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\")",
    );
    baseline(
        json!({"securityContext": {"seLinuxOptions": {"type": "bad_t", "user": "u"}}}),
        "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"bad_t\"; user may not be set)",
    );
    baseline(
        json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}}),
        "forbidden sysctls (kernel.msgmax)",
    );
}

#[test]
fn a_version_keeps_to_its_checks() {
    let sysctl = json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}});
    assert_eq!(found(Level::Baseline, Version::Minor(31), &sysctl), "forbidden sysctls (net.ipv4.tcp_rmem)");
    assert_eq!(found(Level::Baseline, Version::Minor(32), &sysctl), "");
    let probe = json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "169.254.169.254"}}}]});
    assert_eq!(found(Level::Baseline, Version::Minor(33), &probe), "");
    assert_eq!(
        found(Level::Baseline, Version::Latest, &probe),
        "probe or lifecycle host (container \"a\" uses probe or lifecycle host \"169.254.169.254\")"
    );
    let plain = json!({"containers": [{"name": "a"}], "securityContext": {"runAsNonRoot": true}});
    assert_eq!(found(Level::Restricted, Version::Minor(7), &plain), "");
}

#[test]
fn the_restricted_level_wants_it_in_writing() {
    restricted(
        |spec| {
            spec["containers"][0]["securityContext"]["capabilities"]["add"] = json!(["SYS_ADMIN", "NET_BIND_SERVICE"]);
        },
        "unrestricted capabilities (container \"c\" must not include \"SYS_ADMIN\" in securityContext.capabilities.add)",
    );
    restricted(
        |spec| spec["volumes"] = json!([{"name": "h", "hostPath": {"path": "/"}}, {"name": "n", "nfs": {}}]),
        "restricted volume types (volumes \"h\", \"n\" use restricted volume types \"hostPath\", \"nfs\")",
    );
    restricted(
        |spec| spec["securityContext"]["runAsNonRoot"] = json!(false),
        "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)",
    );
    restricted(
        |spec| spec["containers"][0]["securityContext"]["runAsUser"] = json!(0),
        "runAsUser=0 (container \"c\" must not set runAsUser=0)",
    );
    restricted(
        |spec| spec["containers"][0]["securityContext"]["seccompProfile"] = json!({"type": "Unconfined"}),
        "seccompProfile (container \"c\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
    );
}

#[test]
fn windows_and_user_namespaces_relax_what_they_make_pointless() {
    let mut windows = hardened(|spec| spec["os"] = json!({"name": "windows"}));
    windows["containers"][0]["securityContext"] = Value::Null;
    windows["securityContext"] = json!({"runAsNonRoot": true});
    assert_eq!(found(Level::Restricted, Version::Latest, &windows), "");
    restricted(
        |spec| {
            spec["hostUsers"] = json!(false);
            spec["securityContext"]["runAsNonRoot"] = json!(false);
            spec["securityContext"]["runAsUser"] = json!(0);
        },
        "",
    );
}

#[test]
fn labels_name_levels_and_versions() {
    let read = |labels: &[(&str, &str)]| {
        let keys: Vec<(String, &str)> = labels.iter().map(|(key, value)| (format!("{PREFIX}{key}"), *value)).collect();
        let labels = keys.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        let (policy, errors) = Policy::of(&labels);
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        (format!("{} {} {}", policy.enforce, policy.audit, policy.warn), errors.join(", "))
    };
    assert_eq!(read(&[]).0, "privileged:latest privileged:latest privileged:latest");
    assert_eq!(
        read(&[("enforce", "baseline"), ("enforce-version", "v1.30")]).0,
        "baseline:v1.30 privileged:latest baseline:v1.30"
    );
    assert_eq!(
        read(&[("enforce", "restricted"), ("warn", "privileged")]).0,
        "restricted:latest privileged:latest privileged:latest"
    );
    let (closed, errors) = read(&[("enforce", "strict"), ("audit", "x"), ("warn-version", "1.2")]);
    assert_eq!(closed, "restricted:latest privileged:latest restricted:latest");
    assert_eq!(
        errors,
        "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, baseline, restricted, \
         metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: \"x\": must be one of privileged, baseline, restricted, \
         metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"1.2\": must be \"latest\" or \"v1.x\""
    );
}
