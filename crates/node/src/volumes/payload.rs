//! What a volume holds, as a map from relative path to content. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, Volume};
use serde::Serialize;

use crate::env::{self, Sources};

/// The mode of files without one (`defaultMode`).
const MODE_DEFAULT: u32 = 0o644;

/// Files by relative path.
pub type Payload = BTreeMap<String, File>;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
}

/// The objects that volumes are made from. What does not exist is absent.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// `ConfigMap`s, Secrets and addresses.
    pub sources: Sources,
    /// Tokens of the pod's service account by audience (empty: the API server's).
    pub tokens: BTreeMap<String, String>,
}

/// What volumes refer to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Names of `ConfigMap`s.
    pub config_maps: BTreeSet<String>,
    /// Names of Secrets.
    pub secrets: BTreeSet<String>,
    /// Audiences of tokens, with how many seconds they shall be valid.
    pub tokens: BTreeMap<String, i64>,
}

/// Why there is no payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A `ConfigMap` or Secret is not there, or a field cannot be had.
    #[error(transparent)]
    Source(#[from] env::Error),
    /// A key that `items` names is not there.
    #[error("references non-existent {kind} key: {key}")]
    NoKey {
        /// `config` or `secret`.
        kind: &'static str,
        /// The key.
        key: String,
    },
    /// A path that leaves the volume.
    #[error("path \"{0}\" must be relative and not contain \"..\"")]
    Path(String),
    /// A kind of volume that this node does not have.
    #[error(
        "{0} volumes are not supported on this node; it has emptyDir, configMap, secret, projected, downwardAPI and hostPath"
    )]
    Unsupported(String),
}

/// Returns what a pod's volumes refer to.
pub fn needs(pod: &Pod) -> Needs {
    let mut needs = Needs::default();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        needs.config_maps.extend(volume.config_map.iter().map(|map| map.name.clone()));
        needs.secrets.extend(volume.secret.iter().filter_map(|secret| secret.secret_name.clone()));
        for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            needs.config_maps.extend(source.config_map.iter().map(|map| map.name.clone()));
            needs.secrets.extend(source.secret.iter().map(|secret| secret.name.clone()));
            if let Some(token) = &source.service_account_token {
                let audience = token.audience.clone().unwrap_or_default();
                needs.tokens.insert(audience, token.expiration_seconds.unwrap_or(3600));
            }
        }
    }
    needs
}

/// Returns what a volume holds; `None` for one that belongs to the pod and starts empty.
///
/// # Errors
/// If something that is not optional is missing.
pub fn of(volume: &Volume, pod: &Pod, objects: &Objects) -> Result<Option<Payload>, Error> {
    if volume.empty_dir.is_some() {
        return Ok(None);
    }
    if let Some(map) = &volume.config_map {
        let mode = mode(map.default_mode);
        return config_map(&map.name, map.items.as_deref(), map.optional, mode, objects).map(Some);
    }
    if let Some(from) = &volume.secret {
        let name = from.secret_name.as_deref().unwrap_or_default();
        return secret(name, from.items.as_deref(), from.optional, mode(from.default_mode), objects).map(Some);
    }
    if let Some(downward) = &volume.downward_api {
        return downward_api(downward.items.as_deref(), pod, mode(downward.default_mode), objects).map(Some);
    }
    let Some(projected) = &volume.projected else {
        return Err(Error::Unsupported(kind_of(volume)));
    };
    let mode = mode(projected.default_mode);
    let mut payload = Payload::new();
    for source in projected.sources.iter().flatten() {
        if let Some(map) = &source.config_map {
            payload.extend(config_map(&map.name, map.items.as_deref(), map.optional, mode, objects)?);
        }
        if let Some(from) = &source.secret {
            payload.extend(secret(&from.name, from.items.as_deref(), from.optional, mode, objects)?);
        }
        if let Some(downward) = &source.downward_api {
            payload.extend(downward_api(downward.items.as_deref(), pod, mode, objects)?);
        }
        if source.cluster_trust_bundle.is_some() || source.pod_certificate.is_some() {
            return Err(Error::Unsupported(format!("projected {}", kind_of(source))));
        }
        if let Some(token) = &source.service_account_token {
            // Guests that do not talk to the API run without; those that do will say that the file is missing.
            if let Some(text) = objects.tokens.get(token.audience.as_deref().unwrap_or_default()) {
                payload.insert(inside(&token.path)?, File { bytes: text.clone().into_bytes(), mode });
            }
        }
    }
    Ok(Some(payload))
}

/// Returns the name of the volume's one source.
fn kind_of(volume: &impl Serialize) -> String {
    let document = serde_json::to_value(volume).unwrap_or_default();
    let kind = document.as_object().and_then(|fields| fields.keys().find(|field| *field != "name"));
    kind.cloned().unwrap_or_else(|| "empty".to_owned())
}

fn config_map(
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    mode: u32,
    objects: &Objects,
) -> Result<Payload, Error> {
    let Some(map) = objects.sources.config_maps.get(name) else {
        return missing(optional, "configmap", name);
    };
    select("config", bytes_of_map(map), items, optional, mode)
}

fn secret(
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    mode: u32,
    objects: &Objects,
) -> Result<Payload, Error> {
    let Some(secret) = objects.sources.secrets.get(name) else {
        return missing(optional, "secret", name);
    };
    select("secret", bytes_of_secret(secret), items, optional, mode)
}

fn missing(optional: Option<bool>, kind: &'static str, name: &str) -> Result<Payload, Error> {
    match optional {
        Some(true) => Ok(Payload::new()),
        _ => Err(env::Error::NotFound { kind, name: name.to_owned() }.into()),
    }
}

fn bytes_of_map(map: &ConfigMap) -> BTreeMap<&str, &[u8]> {
    let text = map.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_bytes()));
    text.chain(map.binary_data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()))).collect()
}

fn bytes_of_secret(secret: &Secret) -> BTreeMap<&str, &[u8]> {
    secret.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice())).collect()
}

/// Takes every key under its own name, or those that `items` names under the paths it gives.
fn select(
    kind: &'static str,
    data: BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    default_mode: u32,
) -> Result<Payload, Error> {
    let file = |bytes: &[u8], mode| File { bytes: bytes.to_vec(), mode };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(data.into_iter().map(|(key, bytes)| (key.to_owned(), file(bytes, default_mode))).collect());
    };
    let mut payload = Payload::new();
    for item in items {
        match data.get(item.key.as_str()) {
            Some(bytes) => {
                let own = item.mode.and_then(|mode| u32::try_from(mode).ok());
                payload.insert(inside(&item.path)?, file(bytes, own.unwrap_or(default_mode)));
            }
            None if optional == Some(true) => {}
            None => return Err(Error::NoKey { kind, key: item.key.clone() }),
        }
    }
    Ok(payload)
}

fn downward_api(
    items: Option<&[DownwardAPIVolumeFile]>,
    pod: &Pod,
    default_mode: u32,
    objects: &Objects,
) -> Result<Payload, Error> {
    let mut payload = Payload::new();
    for item in items.unwrap_or_default() {
        let text = if let Some(field) = &item.field_ref {
            env::field(pod, &field.field_path, &objects.sources)?
        } else if let Some(resource) = &item.resource_field_ref {
            let container = pod.spec.as_ref().and_then(|spec| spec.containers.first()).cloned().unwrap_or_default();
            env::resource(pod, &container, resource, &objects.sources)?
        } else {
            String::new()
        };
        let mode = item.mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(default_mode);
        payload.insert(inside(&item.path)?, File { bytes: text.into_bytes(), mode });
    }
    Ok(payload)
}

/// Accepts a path that stays inside the volume (`atomic_writer.go`, `validatePath`).
fn inside(path: &str) -> Result<String, Error> {
    let is_inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || path.starts_with("..") || !is_inside {
        return Err(Error::Path(path.to_owned()));
    }
    Ok(path.to_owned())
}

fn mode(default_mode: Option<i32>) -> u32 {
    default_mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(MODE_DEFAULT)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn objects() -> Objects {
        let map = json!({ "metadata": { "name": "m" }, "data": { "a": "1", "b": "2" }, "binaryData": { "c": "AP8=" } });
        let secret = json!({ "metadata": { "name": "s" }, "data": { "password": "aHVudGVyMg==" } });
        let sources = Sources {
            config_maps: BTreeMap::from([("m".into(), serde_json::from_value(map).unwrap())]),
            secrets: BTreeMap::from([("s".into(), serde_json::from_value(secret).unwrap())]),
            ..Sources::default()
        };
        Objects { sources, tokens: BTreeMap::new() }
    }

    fn check(volume: Value) -> Result<Vec<String>, String> {
        let mut volume = volume;
        volume["name"] = json!("v");
        let pod: Pod =
            serde_json::from_value(json!({ "metadata": { "name": "p", "namespace": "n", "labels": { "l": "x" } },
            "spec": { "containers": [{ "name": "c" }], "volumes": [volume] } }))
            .unwrap();
        let volume = &pod.spec.as_ref().unwrap().volumes.as_ref().unwrap()[0];
        let payload = of(volume, &pod, &objects()).map_err(|error| error.to_string())?.unwrap_or_default();
        let line =
            |(path, file): (String, File)| format!("{path} {:o} {}", file.mode, String::from_utf8_lossy(&file.bytes));
        Ok(payload.into_iter().map(line).collect())
    }

    #[test]
    fn all_keys_become_files_unless_items_choose() {
        assert_eq!(check(json!({ "configMap": { "name": "m" } })).unwrap(), ["a 644 1", "b 644 2", "c 644 \0\u{fffd}"]);
        let items = json!([{ "key": "a", "path": "x/y", "mode": 0o400 }]);
        assert_eq!(check(json!({ "configMap": { "name": "m", "items": items } })).unwrap(), ["x/y 400 1"]);
        assert_eq!(
            check(json!({ "secret": { "secretName": "s", "defaultMode": 0o440 } })).unwrap(),
            ["password 440 hunter2"]
        );
    }

    #[test]
    fn what_is_missing_is_named_unless_it_is_optional() {
        assert_eq!(check(json!({ "configMap": { "name": "gone" } })).unwrap_err(), "configmap \"gone\" not found");
        assert_eq!(check(json!({ "secret": { "secretName": "gone", "optional": true } })), Ok(vec![]));
        let items = json!([{ "key": "z", "path": "z" }]);
        let error = check(json!({ "configMap": { "name": "m", "items": items } })).unwrap_err();
        assert_eq!(error, "references non-existent config key: z");
        let claim = json!({ "persistentVolumeClaim": { "claimName": "c" } });
        assert!(check(claim).unwrap_err().starts_with("persistentVolumeClaim volumes are not supported on this node"));
        let bundle = json!({ "projected": { "sources": [{ "clusterTrustBundle": { "path": "ca.crt" } }] } });
        assert!(check(bundle).unwrap_err().starts_with("projected clusterTrustBundle volumes are not supported"));
    }

    #[test]
    fn paths_stay_inside_the_volume() {
        for path in ["../x", "/x", "a/../b", "..data", ""] {
            let items = json!([{ "key": "a", "path": path }]);
            assert!(check(json!({ "configMap": { "name": "m", "items": items } })).is_err(), "{path}");
        }
    }

    #[test]
    fn projections_are_laid_over_one_another_and_a_missing_token_is_left_out() {
        let sources = json!([
            { "serviceAccountToken": { "path": "token" } },
            { "configMap": { "name": "m", "items": [{ "key": "a", "path": "ca.crt" }] } },
            { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": { "fieldPath": "metadata.namespace" } }] } },
        ]);
        assert_eq!(check(json!({ "projected": { "sources": sources } })).unwrap(), ["ca.crt 644 1", "namespace 644 n"]);
    }
}
