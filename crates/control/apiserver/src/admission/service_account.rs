//! `ServiceAccount`: a pod without one gets its namespace's `default`; one that is named must exist.

use serde_json::{Value, json};
use wkube_api::{Object, ObjectKey, Status};

use super::Attributes;
use crate::registry::Registry;

/// Where containers find their token.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The volumes' name starts with this.
const VOLUME: &str = "kube-api-access-";
/// The kubelet renews it long before; a second past the hour shows that nobody chose it.
const TOKEN_SECONDS: i64 = 3607;

/// Names the account and mounts its token.
pub(super) fn admit(attributes: &Attributes<'_>, pod: &mut Object) -> Result<(), Status> {
    let Attributes { registry, call, .. } = attributes;
    if !attributes.creates("", "pods") {
        return Ok(());
    }
    if pod.annotations().contains_key("kubernetes.io/config.mirror") {
        return Ok(());
    }
    let named = pod.str_at(&["spec", "serviceAccountName"]).to_owned();
    let name = if named.is_empty() { "default".to_owned() } else { named };
    pod.set(&["spec", "serviceAccountName"], name.as_str());
    pod.set(&["spec", "serviceAccount"], name.as_str());
    let Some(accounts) = registry.catalog.core("serviceaccounts") else { return Ok(()) };
    let account = match registry.find(accounts, &ObjectKey::new(&call.namespace, &name))? {
        Some(account) => account,
        // The controller makes `default` moments after its namespace; a pod need not wait for it.
        None if name == "default" => Object::default(),
        None => {
            let why = format!(
                "error looking up service account {}/{name}: serviceaccount \"{name}\" not found",
                call.namespace
            );
            return Err(Status::admission_refused(&call.resource, pod.name(), &why));
        }
    };
    if mounts_token(pod, &account) {
        mount_token(registry, pod);
    }
    let secrets = account.at(&["imagePullSecrets"]).cloned();
    if let Some(secrets) = secrets
        && pod.at(&["spec", "imagePullSecrets"]).is_none()
    {
        pod.set(&["spec", "imagePullSecrets"], secrets);
    }
    Ok(())
}

fn mounts_token(pod: &Object, account: &Object) -> bool {
    let of_pod = pod.at(&["spec", "automountServiceAccountToken"]).and_then(Value::as_bool);
    of_pod.or_else(|| account.at(&["automountServiceAccountToken"]).and_then(Value::as_bool)).unwrap_or(true)
}

/// Adds the projected volume with the token, the CA and the namespace (`TokenVolumeSource`), and its mounts.
fn mount_token(registry: &Registry, pod: &mut Object) {
    let mounted = |container: &Value| {
        let mounts = container["volumeMounts"].as_array();
        mounts.is_some_and(|mounts| mounts.iter().any(|mount| mount["mountPath"] == MOUNT_PATH))
    };
    let volume = format!("{VOLUME}{}", registry.rng.name_suffix(5));
    let mount = json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH});
    let mut used = false;
    for list in ["initContainers", "containers"] {
        let containers = pod.0.get_mut("spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter(|container| !mounted(container)) {
            push(container, "volumeMounts", mount.clone());
            used = true;
        }
    }
    if !used {
        return;
    }
    let sources = json!([
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]);
    if let Some(spec) = pod.0.get_mut("spec") {
        push(spec, "volumes", json!({"name": volume, "projected": {"defaultMode": 420, "sources": sources}}));
    }
}

fn push(parent: &mut Value, field: &str, item: Value) {
    if !parent[field].is_array() {
        parent[field] = json!([]);
    }
    if let Some(list) = parent[field].as_array_mut() {
        list.push(item);
    }
}
