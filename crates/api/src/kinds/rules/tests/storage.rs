//! Claims and volumes.

use serde_json::{Value, json};

use super::{check, check_update};
use crate::kinds::rules::{validate_claim, validate_volume};

/// What a claim is told that changes what it asked for.
const FIXED_CLAIM: &str = "spec: Forbidden: spec is immutable after creation except resources.requests and \
                     volumeAttributesClassName for bound claims";

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
fn a_claim_is_filled_from_one_source() {
    let filled = |source: Value, reference: Value| {
        claim(|claim| {
            claim["spec"]["dataSource"] = source;
            claim["spec"]["dataSourceRef"] = reference;
        })
    };
    let snapshot = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
    check(validate_claim, filled(snapshot.clone(), snapshot.clone()), &[]);
    check(
        validate_claim,
        filled(json!({"kind": "VolumeSnapshot"}), Value::Null),
        &[
            "spec.dataSource.name: Required value",
            "spec.dataSource: Invalid value: \"VolumeSnapshot\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
        ],
    );
    check(
        validate_claim,
        filled(snapshot, json!({"kind": "PersistentVolumeClaim", "name": "c"})),
        &["spec: Invalid value: \"spec.dataSource\": must match dataSourceRef"],
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
