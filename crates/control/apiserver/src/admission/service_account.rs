//! `ServiceAccount`: a pod without one gets its namespace's `default`; one that is named must exist.

use serde_json::{Value, json};
use wkube_api::{Object, ObjectKey, Status};

use super::amounts::items;
use super::{Attributes, Operation};
use crate::registry::Registry;

/// Says that an account's pods may only use the secrets that it lists.
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
/// Says that a pod is the image of one that a node runs by itself.
const MIRROR: &str = "kubernetes.io/config.mirror";
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
    if pod.annotations().contains_key(MIRROR) {
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
    let has_own = pod.at(&["spec", "imagePullSecrets"]).is_some_and(|own| !items(own).is_empty());
    if let Some(secrets) = account.at(&["imagePullSecrets"]).filter(|_| !has_own) {
        pod.set(&["spec", "imagePullSecrets"], secrets.clone());
    }
    Ok(())
}

/// Holds pods to the secrets of an account that says so, and mirror pods to none at all.
pub(super) fn validate(attributes: &Attributes<'_>, pod: &Object) -> Result<(), Status> {
    let changes_ephemeral =
        attributes.operation == Operation::Update && attributes.is_for_part("", "pods", "ephemeralcontainers");
    if !attributes.creates("", "pods") && !changes_ephemeral {
        return Ok(());
    }
    let name = pod.str_at(&["spec", "serviceAccountName"]);
    if pod.annotations().contains_key(MIRROR) {
        let refused = |why: &str| Err(attributes.forbidden(pod, why));
        if !name.is_empty() {
            return refused("a mirror pod may not reference service accounts");
        }
        return match mirror_problem(pod.at(&["spec"]).unwrap_or(&Value::Null)) {
            Some(why) => refused(why),
            None => Ok(()),
        };
    }
    let Some(accounts) = attributes.registry.catalog.core("serviceaccounts") else { return Ok(()) };
    let account = attributes.registry.find(accounts, &ObjectKey::new(&attributes.call.namespace, name))?;
    let limited = account.filter(|account| account.annotations().get(ENFORCE) == Some(&"true"));
    match limited.and_then(|account| foreign_secret(pod.at(&["spec"]).unwrap_or(&Value::Null), &account)) {
        Some(why) => Err(attributes.forbidden(pod, why)),
        None => Ok(()),
    }
}

fn mirror_problem(spec: &Value) -> Option<&'static str> {
    let sources = items(&spec["volumes"]).iter().flat_map(|volume| items(&volume["projected"]["sources"]));
    if sources.clone().any(|source| !source["serviceAccountToken"].is_null()) {
        return Some("a mirror pod may not use ServiceAccountToken volume projections");
    }
    let in_volumes = items(&spec["volumes"]).iter().any(|volume| !volume["secret"].is_null());
    let in_env = containers(spec).any(|(_, container)| !secrets_of(container).is_empty());
    (in_volumes || in_env).then_some("a mirror pod may not reference secrets")
}

/// Returns the first secret that the account does not list (`limitSecretReferences`).
fn foreign_secret(spec: &Value, account: &Object) -> Option<String> {
    let listed = |field: &str, name: &str| {
        items(account.at(&[field]).unwrap_or(&Value::Null)).iter().any(|entry| entry["name"] == name)
    };
    let account_name = account.name();
    for volume in items(&spec["volumes"]) {
        if let Some(name) = volume["secret"]["secretName"].as_str().filter(|name| !listed("secrets", name)) {
            return Some(format!(
                "volume with secret.secretName={name:?} is not allowed because service account {account_name} does not \
                 reference that secret"
            ));
        }
    }
    for (what, container) in containers(spec) {
        for (via, name) in secrets_of(container) {
            if !listed("secrets", name) {
                let container = container["name"].as_str().unwrap_or_default();
                return Some(format!(
                    "{what} {container} with {via} referencing secret.secretName={name:?} is not allowed because service \
                     account {account_name} does not reference that secret"
                ));
            }
        }
    }
    for (index, secret) in items(&spec["imagePullSecrets"]).iter().enumerate() {
        let name = secret["name"].as_str().unwrap_or_default();
        if !listed("imagePullSecrets", name) {
            return Some(format!(
                "imagePullSecrets[{index}].name={name:?} is not allowed because service account {account_name} does not \
                 reference that imagePullSecret"
            ));
        }
    }
    None
}

fn containers(spec: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    let lists = [
        ("initContainers", "init container"),
        ("containers", "container"),
        ("ephemeralContainers", "ephemeral container"),
    ];
    lists.into_iter().flat_map(|(list, what)| items(&spec[list]).iter().map(move |container| (what, container)))
}

/// Returns the secrets of a container's environment and how it takes them.
fn secrets_of(container: &Value) -> Vec<(String, &str)> {
    let env = items(&container["env"]).iter().filter_map(|env| {
        let name = env["valueFrom"]["secretKeyRef"]["name"].as_str()?;
        Some((format!("envVar {}", env["name"].as_str().unwrap_or_default()), name))
    });
    let from = items(&container["envFrom"])
        .iter()
        .filter_map(|from| Some(("envFrom".to_owned(), from["secretRef"]["name"].as_str()?)));
    env.chain(from).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(spec: &Value) -> String {
        let account: Object = serde_json::from_value(json!({
            "metadata": {"name": "app"}, "secrets": [{"name": "mine"}], "imagePullSecrets": [{"name": "pull"}],
        }))
        .expect("an object");
        foreign_secret(spec, &account).unwrap_or_default()
    }

    #[test]
    fn an_account_may_hold_its_pods_to_its_own_secrets() {
        let volume = |name: &str| json!({"volumes": [{"name": "v", "secret": {"secretName": name}}]});
        assert_eq!(refused(&volume("mine")), "");
        assert_eq!(
            refused(&volume("theirs")),
            "volume with secret.secretName=\"theirs\" is not allowed because service account app does not reference that \
             secret"
        );
        let env = json!({"initContainers": [{"name": "i", "env": [
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "theirs", "key": "k"}}},
        ]}]});
        assert_eq!(
            refused(&env),
            "init container i with envVar KEY referencing secret.secretName=\"theirs\" is not allowed because service \
             account app does not reference that secret"
        );
        assert!(refused(&json!({"imagePullSecrets": [{"name": "x"}]})).starts_with("imagePullSecrets[0].name=\"x\""));
    }

    #[test]
    fn a_mirror_pod_has_no_secrets() {
        assert_eq!(mirror_problem(&json!({"containers": [{"name": "c"}]})), None);
        let token = json!({"volumes": [{"projected": {"sources": [{"serviceAccountToken": {}}]}}]});
        assert_eq!(mirror_problem(&token), Some("a mirror pod may not use ServiceAccountToken volume projections"));
        let env = json!({"containers": [{"envFrom": [{"secretRef": {"name": "s"}}]}]});
        assert_eq!(mirror_problem(&env), Some("a mirror pod may not reference secrets"));
    }
}
