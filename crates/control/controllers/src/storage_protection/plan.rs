//! Decides when a claim or a volume that is being deleted may go (`pkg/controller/volume/pvcprotection`,
//! `pkg/controller/volume/pvprotection`). Pure.

use k8s_openapi::api::core::v1::{PersistentVolume, Pod, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Keeps a claim while pods use it.
pub(super) const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
/// Keeps a volume while a claim is bound to it.
pub(super) const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";

/// Returns the finalizers that are left when the object's protection ends; `None` if there is nothing to end.
pub(super) fn without(metadata: &ObjectMeta, finalizer: &str) -> Option<Vec<String>> {
    let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
    let ends = metadata.deletion_timestamp.is_some() && finalizers.iter().any(|name| name == finalizer);
    ends.then(|| finalizers.iter().filter(|name| *name != finalizer).cloned().collect())
}

/// Whether a pod uses a claim of its namespace: it is on a node, and not shut down there. A pod that is on no node yet
/// will not be started with a claim that goes.
pub(super) fn uses(pod: &Pod, claim: &str) -> bool {
    let Some(spec) = pod.spec.as_ref().filter(|spec| spec.node_name.is_some()) else { return false };
    let shut_down = pod.metadata.deletion_timestamp.is_some() && pod.metadata.deletion_grace_period_seconds == Some(0);
    !shut_down && claims_of(pod, spec.volumes.as_deref().unwrap_or_default()).iter().any(|name| name == claim)
}

/// Returns the names of the claims that a pod mounts; a volume that is a claim of its own is named after both.
pub(super) fn claims_of(pod: &Pod, volumes: &[Volume]) -> Vec<String> {
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    let claim = |volume: &Volume| {
        let own = volume.ephemeral.as_ref().map(|_| format!("{pod_name}-{}", volume.name));
        volume.persistent_volume_claim.as_ref().map(|source| source.claim_name.clone()).or(own)
    };
    volumes.iter().filter_map(claim).collect()
}

/// Whether a claim holds a volume.
pub(super) fn is_bound(volume: &PersistentVolume) -> bool {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(change: impl FnOnce(&mut Value)) -> Pod {
        let mut pod = json!({
            "metadata": {"name": "p"},
            "spec": {"nodeName": "n", "containers": [], "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "scratch", "ephemeral": {}},
            ]},
        });
        change(&mut pod);
        serde_json::from_value(pod).expect("a pod")
    }

    #[test]
    fn a_pod_on_a_node_uses_its_claims() {
        assert!(uses(&pod(|_| {}), "c") && uses(&pod(|_| {}), "p-scratch"));
        assert!(!uses(&pod(|_| {}), "other"));
        assert!(!uses(&pod(|pod| pod["spec"]["nodeName"] = Value::Null), "c"));
    }

    #[test]
    fn a_pod_that_is_shut_down_uses_nothing_and_one_that_only_ended_still_does() {
        let gone = pod(|pod| {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        });
        assert!(!uses(&gone, "c"));
        assert!(uses(&pod(|pod| pod["status"] = json!({"phase": "Succeeded"})), "c"));
    }

    #[test]
    fn protection_ends_only_for_what_is_being_deleted() {
        let metadata = |value: Value| -> ObjectMeta { serde_json::from_value(value).expect("metadata") };
        let kept = json!({"finalizers": [CLAIM_FINALIZER, "a/b"]});
        assert_eq!(without(&metadata(kept.clone()), CLAIM_FINALIZER), None);
        let mut going = kept;
        going["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(without(&metadata(going.clone()), CLAIM_FINALIZER), Some(vec!["a/b".to_owned()]));
        assert_eq!(without(&metadata(going), VOLUME_FINALIZER), None);
    }

    #[test]
    fn a_bound_volume_is_in_use() {
        let volume = |phase: &str| serde_json::from_value(json!({"status": {"phase": phase}})).expect("a volume");
        assert!(is_bound(&volume("Bound")));
        assert!(!is_bound(&volume("Released")));
    }
}
