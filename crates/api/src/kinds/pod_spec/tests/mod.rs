//! The defaults and the rules of pod specs, one test a sentence.

#![expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]

mod parts;

use serde_json::{Value, json};

use super::defaults::is_latest;
use super::*;

fn defaulted(mut spec: Value) -> Value {
    default_pod_spec(spec.as_object_mut().unwrap());
    spec
}

/// A spec with one container to which fields are added.
fn with(container: Value) -> Value {
    let mut base = json!({"name": "c", "image": "i:1"});
    base.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    defaulted(json!({"containers": [base], "volumes": [{"name": "v"}]}))
}

fn check(spec: &Value, expected: &[&str]) {
    let actual: Vec<String> =
        validate_pod_spec(Some(spec), "spec", Owner::Pod).iter().map(ToString::to_string).collect();
    assert_eq!(actual, expected);
}

fn check_container(container: Value, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|text| format!("spec.containers[0]{text}")).collect();
    check(&with(container), &expected.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn a_pod_spec_gets_every_default_that_clients_rely_on() {
    assert_eq!(
        defaulted(json!({"containers": [{"name": "c", "image": "i"}]})),
        json!({
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30, "securityContext": {},
            "schedulerName": "default-scheduler",
            "containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always", "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
        })
    );
}

#[test]
fn latest_images_are_always_pulled() {
    for image in ["i", "i:latest", "registry:5000/i", "localhost:5050/a/b"] {
        assert!(is_latest(image), "{image}");
    }
    for image in ["i:1", "registry:5000/i:1", "i@sha256:abc", "registry:5000/i@sha256:abc", "i:1@sha256:abc"] {
        assert!(!is_latest(image), "{image}");
    }
}

#[test]
fn probes_run_every_ten_seconds_and_fail_after_three() {
    let spec = with(
        json!({"readinessProbe": {"httpGet": {"port": 80}, "timeoutSeconds": 0}, "livenessProbe": {"grpc": {"port": 1}}}),
    );
    assert_eq!(
        spec["containers"][0]["readinessProbe"],
        json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3})
    );
    assert_eq!(spec["containers"][0]["livenessProbe"]["grpc"]["service"], "");
    check(&spec, &[]);
}

#[test]
fn a_volume_without_a_source_is_an_empty_directory_and_files_are_0644() {
    let spec = defaulted(json!({"volumes": [{"name": "a"}, {"name": "b", "secret": {"secretName": "s"}},
        {"name": "c", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}));
    let volumes = &spec["volumes"];
    assert_eq!(volumes[0], json!({"name": "a", "emptyDir": {}}));
    assert_eq!(volumes[1]["secret"]["defaultMode"], 0o644);
    assert_eq!(volumes[2]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"], 3600);
}

#[test]
fn the_old_and_the_new_name_of_the_service_account_agree() {
    for field in ["serviceAccount", "serviceAccountName"] {
        let spec = defaulted(json!({field: "robot"}));
        assert_eq!((&spec["serviceAccount"], &spec["serviceAccountName"]), (&json!("robot"), &json!("robot")));
    }
}

#[test]
fn requests_follow_limits_only_in_pods() {
    let template = with(json!({"resources": {"limits": {"cpu": "1"}}}));
    assert_eq!(template["containers"][0]["resources"].get("requests"), None);
    let mut pod = template;
    requests_from_limits(pod.as_object_mut().unwrap());
    assert_eq!(pod["containers"][0]["resources"]["requests"], json!({"cpu": "1"}));
}

#[test]
fn a_spec_needs_a_container_with_a_name_and_an_image() {
    check(&defaulted(json!({})), &["spec.containers: Required value"]);
    check(
        &defaulted(json!({"containers": [{}]})),
        &["spec.containers[0].name: Required value", "spec.containers[0].image: Required value"],
    );
    assert_eq!(validate_pod_spec(None, "spec", Owner::Pod)[0].to_string(), "spec.containers: Required value");
}

#[test]
fn names_of_containers_are_unique_among_all_lists() {
    check(
        &defaulted(
            json!({"containers": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}], "initContainers": [{"name": "a", "image": "i"}]}),
        ),
        &["spec.containers[1].name: Duplicate value: \"a\"", "spec.initContainers[0].name: Duplicate value: \"a\""],
    );
}

#[test]
fn ports_have_a_range_a_protocol_and_unique_names() {
    check_container(
        json!({"ports": [{"containerPort": 0}, {"containerPort": 70000, "name": "a"}, {"containerPort": 1, "name": "a", "protocol": "ICMP"}]}),
        &[
            ".ports[0].containerPort: Required value",
            ".ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ".ports[2].name: Duplicate value: \"a\"",
            ".ports[2].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ],
    );
}

#[test]
fn the_name_of_a_port_is_a_service_name() {
    assert_eq!(port_name("http-2"), Vec::<&str>::new());
    assert_eq!(port_name("80"), ["must contain at least one letter (a-z)"]);
    assert_eq!(port_name("a-name-that-is-long"), ["must be no more than 15 characters"]);
    assert_eq!(port_name("a--b"), ["must not contain consecutive hyphens"]);
    assert_eq!(
        port_name("A"),
        [
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
            "must contain at least one letter (a-z)"
        ]
    );
}

#[test]
fn two_containers_cannot_have_the_same_host_port() {
    let port = json!([{"containerPort": 80, "hostPort": 80}]);
    check(
        &defaulted(
            json!({"containers": [{"name": "a", "image": "i", "ports": port}, {"name": "b", "image": "i", "ports": port}]}),
        ),
        &["spec.containers[1].ports[0].hostPort: Duplicate value: \"TCP//80\""],
    );
}

#[test]
fn a_probe_has_exactly_one_handler() {
    check_container(
        json!({"livenessProbe": {"periodSeconds": 1}}),
        &[".livenessProbe: Required value: must specify a handler type"],
    );
    check_container(
        json!({"readinessProbe": {"exec": {"command": ["x"]}, "tcpSocket": {"port": 1}}}),
        &[".readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"],
    );
    check_container(
        json!({"livenessProbe": {"tcpSocket": {"port": 0}, "successThreshold": 2}}),
        &[
            ".livenessProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive",
            ".livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ],
    );
}

#[test]
fn init_containers_have_no_probes_unless_they_are_sidecars() {
    let init = |policy: Value| {
        defaulted(json!({"containers": [{"name": "c", "image": "i"}],
            "initContainers": [{"name": "a", "image": "i", "restartPolicy": policy, "readinessProbe": {"tcpSocket": {"port": 1}}}]}))
    };
    check(&init(json!("Always")), &[]);
    check(
        &init(Value::Null),
        &[
            "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ],
    );
}

#[test]
fn an_environment_variable_has_a_name_and_one_source() {
    check_container(
        json!({"env": [{"value": "x"}, {"name": "a=b"}, {"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "B", "valueFrom": {}}, {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}},
            {"name": "D", "valueFrom": {"secretKeyRef": {"name": "s"}}}]}),
        &[
            ".env[0].name: Required value",
            ".env[1].name: Invalid value: \"a=b\": a valid environment variable name must consist only of printable ASCII characters other than '='",
            ".env[2].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
            ".env[3].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
            ".env[4].valueFrom.fieldRef.fieldPath: Unsupported value: \"status.phase\": supported values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
            ".env[5].valueFrom.secretKeyRef.key: Required value",
        ],
    );
    check_container(
        json!({"env": [{"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}}]}),
        &[],
    );
}

#[test]
fn a_mount_names_a_volume_and_a_place_of_its_own() {
    check_container(
        json!({"volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "w", "mountPath": "/b"}, {"name": "v", "mountPath": "/a"}, {"name": "v"}]}),
        &[
            ".volumeMounts[1].name: Not found: \"w\"",
            ".volumeMounts[2].mountPath: Invalid value: \"/a\": must be unique",
            ".volumeMounts[3].mountPath: Required value",
        ],
    );
}

#[test]
fn a_request_is_a_quantity_and_no_more_than_its_limit() {
    check_container(
        json!({"resources": {"limits": {"cpu": "1", "memory": "-1"}, "requests": {"cpu": "2", "memory": "lots", "speed": "1"}}}),
        &[
            ".resources.limits[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
            ".resources.requests[memory]: Invalid value: \"lots\": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ".resources.requests[speed]: Invalid value: \"speed\": must be a standard resource type or fully qualified",
            ".resources.requests[speed]: Invalid value: \"speed\": must be a standard resource for containers",
            ".resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ],
    );
}

#[test]
fn what_is_not_shared_is_asked_for_as_it_is_used() {
    check_container(
        json!({"resources": {"limits": {"a.b/gpu": "2", "hugepages-2Mi": "4Mi"}, "requests": {"a.b/gpu": "2", "hugepages-2Mi": "4Mi"}}}),
        &[".resources: Forbidden: HugePages require cpu or memory"],
    );
    check_container(
        json!({"resources": {"limits": {"a.b/gpu": "2"}, "requests": {"a.b/gpu": "1500m", "a.b/fpga": "1"}}}),
        &[
            ".resources.requests[a.b/gpu]: Invalid value: \"1500m\": must be an integer",
            ".resources.limits: Required value: Limit must be set for non overcommitable resources",
            ".resources.requests: Invalid value: \"1500m\": must be equal to a.b/gpu limit of 2",
        ],
    );
}

#[test]
fn a_volume_has_a_name_and_exactly_one_source() {
    let spec = json!({"containers": [{"name": "c", "image": "i"}], "volumes": [{"emptyDir": {}},
        {"name": "a", "emptyDir": {}, "hostPath": {"path": "/"}}, {"name": "a", "secret": {"defaultMode": 512}}]});
    check(
        &defaulted(spec),
        &[
            "spec.volumes[0].name: Required value",
            "spec.volumes[1].hostPath: Forbidden: may not specify more than 1 volume type",
            "spec.volumes[2].name: Duplicate value: \"a\"",
            "spec.volumes[2].secret.secretName: Required value",
            "spec.volumes[2].secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
        ],
    );
}

#[test]
fn tolerations_without_a_key_tolerate_everything() {
    let toleration = |toleration: Value| {
        defaulted(json!({"containers": [{"name": "c", "image": "i"}], "tolerations": [toleration]}))
    };
    check(&toleration(json!({"operator": "Exists"})), &[]);
    check(
        &toleration(json!({"operator": "Equal"})),
        &[
            "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        ],
    );
    check(
        &toleration(json!({"key": "a", "operator": "Exists", "tolerationSeconds": 5, "effect": "NoSchedule"})),
        &[
            "spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set",
        ],
    );
}

#[test]
fn policies_deadlines_and_affinities_are_checked() {
    check(
        &defaulted(
            json!({"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Sometimes", "dnsPolicy": "None",
            "terminationGracePeriodSeconds": -1, "activeDeadlineSeconds": 0,
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
            "topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]}),
        ),
        &[
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            "spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None",
            "spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0",
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term",
        ],
    );
}

#[test]
fn projections_name_their_source_and_last_long_enough() {
    let sources = json!([
        {"serviceAccountToken": {"expirationSeconds": 60}},
        {"configMap": {}, "secret": {"name": "s"}},
        {"podCertificate": {"signerName": "a/b", "keyType": "ED25519", "maxExpirationSeconds": 1}},
    ]);
    let mut spec = with(json!({}));
    spec["volumes"] = json!([{"name": "v", "projected": {"sources": sources}}]);
    check(
        &spec,
        &[
            "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes",
            "spec.volumes[0].projected.sources[0].serviceAccountToken.path: Required value",
            "spec.volumes[0].projected.sources[1].configMap.name: Required value",
            "spec.volumes[0].projected.sources[1].secret: Forbidden: may not specify more than 1 volume type",
            "spec.volumes[0].projected.sources[2].podCertificate.maxExpirationSeconds: Invalid value: 1: if provided, maxExpirationSeconds must be >= 3600",
            "spec.volumes[0].projected.sources[2].podCertificate: Required value: specify at least one of credentialBundlePath, keyPath, and certificateChainPath",
        ],
    );
}

#[test]
fn an_ephemeral_volume_is_a_claim() {
    let mut spec = with(json!({}));
    spec["volumes"] =
        json!([{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"]}}}}]);
    let expected = "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources[storage]: Required value";
    check(&spec, &[expected]);
}

#[test]
fn an_ephemeral_container_has_a_target_and_nothing_that_is_for_the_start_of_a_pod() {
    let mut spec = with(json!({}));
    let mut debugger = json!({"name": "look", "image": "i:1", "targetContainerName": "c", "resources": {}});
    for (field, value) in [("imagePullPolicy", "Always"), ("terminationMessagePath", "/dev/termination-log")] {
        debugger[field] = value.into();
    }
    debugger["terminationMessagePolicy"] = "File".into();
    spec["ephemeralContainers"] = json!([debugger]);
    check(&spec, &[]);
    debugger["targetContainerName"] = "nope".into();
    debugger["ports"] = json!([{"containerPort": 80, "protocol": "TCP"}]);
    debugger["volumeMounts"] = json!([{"name": "v", "mountPath": "/v", "subPath": "part"}]);
    spec["ephemeralContainers"] = json!([debugger]);
    check(
        &spec,
        &[
            "spec.ephemeralContainers[0].targetContainerName: Not found: \"nope\"",
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
            "spec.ephemeralContainers[0].volumeMounts[0].subPath: Forbidden: cannot be set for an Ephemeral Container",
        ],
    );
}

#[test]
fn a_container_may_say_itself_when_it_starts_again() {
    let rule = json!({"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}});
    check_container(json!({"restartPolicy": "Never", "restartPolicyRules": [rule.clone()]}), &[]);
    check_container(
        json!({"restartPolicyRules": [rule]}),
        &[".restartPolicy: Required value: must specify restartPolicy when restart rules are used"],
    );
    check_container(
        json!({"restartPolicy": "Sometimes", "restartPolicyRules": [
            {"action": "Ignore", "exitCodes": {"operator": "Is", "values": vec![1; 256]}}, {"action": "Restart"}]}),
        &[
            ".restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\"",
            ".restartPolicyRules[0].action: Unsupported value: \"Ignore\": supported values: \"Restart\"",
            ".restartPolicyRules[0].exitCodes.operator: Unsupported value: \"Is\": supported values: \"In\", \"NotIn\"",
            ".restartPolicyRules[0].exitCodes.values: Too many: 256: must have at most 255 items",
            ".restartPolicyRules[1].exitCodes: Required value: must be specified",
        ],
    );
}
