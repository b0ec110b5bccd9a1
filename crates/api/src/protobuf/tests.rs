//! Kubernetes' own test vectors, and bodies that no client should send.

mod round_trip;

use serde_json::json;

use super::*;

/// Each pair of `testdata/golden`: the same object written by Kubernetes in both encodings, every field set.
macro_rules! golden {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../testdata/golden/", $name, ".pb")), include_str!(concat!("../../testdata/golden/", $name, ".json")))),*]
    };
}

type Pair = (&'static str, &'static [u8], &'static str);

const GOLDEN: &[Pair] = golden![
    "admissionregistration.k8s.io.v1.MutatingWebhookConfiguration",
    "admissionregistration.k8s.io.v1.ValidatingWebhookConfiguration",
    "apps.v1.ControllerRevision",
    "apps.v1.DaemonSet",
    "apps.v1.Deployment",
    "apps.v1.ReplicaSet",
    "apps.v1.StatefulSet",
    "authentication.k8s.io.v1.TokenRequest",
    "authentication.k8s.io.v1.TokenReview",
    "authorization.k8s.io.v1.SelfSubjectAccessReview",
    "authorization.k8s.io.v1.SubjectAccessReview",
    "autoscaling.v1.Scale",
    "autoscaling.v2.HorizontalPodAutoscaler",
    "batch.v1.CronJob",
    "batch.v1.Job",
    "coordination.k8s.io.v1.Lease",
    "core.v1.Binding",
    "core.v1.ConfigMap",
    "core.v1.Endpoints",
    "core.v1.Event",
    "core.v1.LimitRange",
    "core.v1.Namespace",
    "core.v1.Node",
    "core.v1.PersistentVolume",
    "core.v1.PersistentVolumeClaim",
    "core.v1.Pod",
    "core.v1.ReplicationController",
    "core.v1.ResourceQuota",
    "core.v1.Secret",
    "core.v1.Service",
    "core.v1.ServiceAccount",
    "discovery.k8s.io.v1.EndpointSlice",
    "networking.k8s.io.v1.Ingress",
    "networking.k8s.io.v1.IngressClass",
    "networking.k8s.io.v1.NetworkPolicy",
    "policy.v1.Eviction",
    "policy.v1.PodDisruptionBudget",
    "rbac.authorization.k8s.io.v1.ClusterRole",
    "rbac.authorization.k8s.io.v1.ClusterRoleBinding",
    "rbac.authorization.k8s.io.v1.Role",
    "rbac.authorization.k8s.io.v1.RoleBinding",
    "storage.k8s.io.v1.StorageClass",
];

/// Fields that the table does not know: the crate it is made from is older, and the vectors do not tell their numbers.
const NEWER: &[&str] = &[".status.nodeAllocatableResourceClaimStatuses"];

#[test]
fn kubernetes_own_objects_read_the_same_from_both_encodings() {
    let mut differences = Vec::new();
    for (name, pb, text) in GOLDEN {
        let actual = decode(pb).unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected: Value = serde_json::from_str(text).unwrap();
        compare(&expected, &actual, name, &mut differences);
    }
    differences.retain(|difference| !NEWER.iter().any(|newer| difference.contains(newer)));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn what_is_written_reads_as_kubernetes_own_objects() {
    let mut differences = Vec::new();
    for (name, _, text) in GOLDEN {
        let document: Map<String, Value> = serde_json::from_str(text).unwrap();
        let text = |field: &str| document[field].as_str().unwrap().to_owned();
        let message = encode_kind(&text("apiVersion"), &text("kind"), &document).unwrap();
        let again = decode(&super::envelope(&text("apiVersion"), &text("kind"), &message)).unwrap();
        compare(&Value::Object(document), &again, name, &mut differences);
    }
    differences.retain(|difference| !NEWER.iter().any(|newer| difference.contains(newer)));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Notes where two documents differ; `null` equals nothing.
fn compare(expected: &Value, actual: &Value, path: &str, differences: &mut Vec<String>) {
    match (expected, actual) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let (a, b) = (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
                compare(a, b, &format!("{path}.{key}"), differences);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(a, b, &format!("{path}[{index}]"), differences);
            }
        }
        _ if expected == actual => {}
        _ => differences.push(format!("{path}: JSON has {expected}, protobuf gave {actual}")),
    }
}

/// Builds a message field by field.
fn bytes(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, u8::try_from(value.len()).unwrap()];
    out.extend_from_slice(value);
    out
}

fn varint(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [bytes(1, api_version.as_bytes()), bytes(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), bytes(1, &type_meta), bytes(2, raw)].concat()
}

#[test]
fn a_body_without_the_prefix_is_no_protobuf() {
    assert_eq!(decode(b"{}"), Err(Error::NoMagic));
    assert!(!is_protobuf(b"{}"));
}

#[test]
fn zeros_that_go_writes_for_unset_fields_are_left_out_and_pointers_to_zero_stay() {
    // DeploymentSpec: replicas (1) is a pointer, minReadySeconds (5) is not.
    let spec = [varint(1, 0), varint(5, 0)].concat();
    let body = envelope("apps/v1", "Deployment", &bytes(2, &spec));
    assert_eq!(decode(&body).unwrap(), json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 0}}));
}

#[test]
fn secret_values_are_base64_and_the_zero_time_is_no_time() {
    let metadata = [bytes(1, b"s"), bytes(2, b""), bytes(8, &[])].concat();
    let entry = [bytes(1, b"k"), bytes(2, &[0, 255])].concat();
    let body = envelope("v1", "Secret", &[bytes(1, &metadata), bytes(2, &entry)].concat());
    assert_eq!(
        decode(&body).unwrap(),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "AP8="}})
    );
}

#[test]
fn an_int_or_string_of_zero_is_a_value() {
    // ServicePort: port 80, targetPort {type 0, intVal 0}.
    let port = [varint(3, 80), bytes(4, &[varint(1, 0), varint(2, 0), bytes(3, b"")].concat())].concat();
    let body = envelope("v1", "Service", &bytes(2, &bytes(1, &port)));
    assert_eq!(decode(&body).unwrap()["spec"]["ports"], json!([{"port": 80, "targetPort": 0}]));
}

#[test]
fn negative_numbers_are_ten_byte_varints() {
    let mut spec = vec![1 << 3];
    spec.extend([0xff; 9]);
    spec.push(1);
    let body = envelope("apps/v1", "Deployment", &bytes(2, &spec));
    assert_eq!(decode(&body).unwrap()["spec"]["replicas"], json!(-1));
}

#[test]
fn unknown_fields_are_skipped_whatever_their_wire_type() {
    let unknown = [
        vec![0xa0, 0x1f, 1],
        vec![0xa5, 0x1f, 1, 2, 3, 4],
        vec![0xa1, 0x1f, 1, 2, 3, 4, 5, 6, 7, 8],
        vec![0xa2, 0x1f, 2, 9, 9],
    ];
    let body = envelope("v1", "ConfigMap", &unknown.concat());
    assert_eq!(decode(&body).unwrap(), json!({"apiVersion": "v1", "kind": "ConfigMap"}));
}

#[test]
fn delete_options_of_any_group_are_those_of_meta() {
    let options = [varint(1, 0), bytes(4, b"Background")].concat();
    for version in ["v1", "apps/v1", "meta.k8s.io/v1"] {
        let document = decode(&envelope(version, "DeleteOptions", &options)).unwrap();
        assert_eq!(document["gracePeriodSeconds"], json!(0), "{version}");
        assert_eq!(document["propagationPolicy"], json!("Background"), "{version}");
    }
}

#[test]
fn a_body_that_ends_too_early_is_refused_at_every_byte() {
    for (name, pb, _) in GOLDEN.iter().filter(|(name, ..)| *name == "core.v1.Service") {
        for end in 0..pb.len() {
            // Cut between two fields of the envelope it is a smaller document; it must never panic.
            if let Ok(document) = decode(&pb[..end]) {
                assert!(end > 4 && document["kind"] != json!(""), "{name} at {end}");
            }
        }
    }
}

#[test]
fn a_length_beyond_the_end_is_refused() {
    let mut body = envelope("v1", "Pod", &[]);
    body.extend([0x12, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert_eq!(decode(&body), Err(Error::Malformed("unexpected end")));
}

#[test]
fn custom_resources_have_no_protobuf() {
    let error = decode(&envelope("example.com/v1", "Widget", &[])).unwrap_err();
    assert_eq!(error.to_string(), "no kind \"Widget\" is registered for version \"example.com/v1\"");
}

#[test]
fn bytes_that_are_no_message_never_panic() {
    let mut state = 0x2545_f491_u32;
    for length in 0..400_usize {
        let noise: Vec<u8> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            })
            .collect();
        let _ = decode_kind("v1", "Pod", &noise);
    }
}

#[test]
fn what_kubectl_create_deployment_sends_is_the_manifest_it_would_print() {
    let body = include_bytes!("../../testdata/kubectl-create-deployment.pb");
    assert_eq!(
        decode(body).unwrap(),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {
                "replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "strategy": {},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "i", "image": "i:1", "resources": {}}]}},
            },
            "status": {},
        })
    );
}
