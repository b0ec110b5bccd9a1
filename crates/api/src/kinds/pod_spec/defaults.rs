//! What a pod spec gets when the user left it out (`pkg/apis/core/v1/defaults.go`).

use serde_json::{Value, json};

use crate::kinds::doc::{Doc, child, child_made, children, fill, fill_zero};

/// The mode of files in volumes, 0644.
const FILE_MODE: i64 = 0o644;
/// How long a projected service account token lives.
const TOKEN_SECONDS: i64 = 3600;
/// Every list of containers in a pod spec.
pub(super) const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
const HOOKS: [&str; 2] = ["postStart", "preStop"];

/// Fills in a pod spec. kubectl relies on all of it: `kubectl debug` reads `securityContext` without looking.
pub(crate) fn default_pod_spec(spec: &mut Doc) {
    fill(spec, "restartPolicy", "Always");
    fill(spec, "dnsPolicy", "ClusterFirst");
    fill(spec, "terminationGracePeriodSeconds", 30);
    fill(spec, "securityContext", json!({}));
    fill(spec, "schedulerName", "default-scheduler");
    mirror_service_account(spec);
    for containers in CONTAINER_LISTS {
        for container in children(spec, containers) {
            default_container(container);
        }
    }
    for volume in children(spec, "volumes") {
        default_volume(volume);
    }
}

/// A limit without a request is also the request (pods only; a template says what its author wrote).
pub(crate) fn requests_from_limits(spec: &mut Doc) {
    for containers in ["initContainers", "containers"] {
        for resources in children(spec, containers).filter_map(|container| child(container, "resources")) {
            let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { continue };
            let Some(requests) = child_made(resources, "requests") else { continue };
            for (name, limit) in limits {
                requests.entry(name).or_insert(limit);
            }
        }
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; the server shows both.
fn mirror_service_account(spec: &mut Doc) {
    let name = ["serviceAccountName", "serviceAccount"]
        .iter()
        .find_map(|field| spec.get(*field).and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned));
    if let Some(name) = name {
        spec.insert("serviceAccountName".to_owned(), name.clone().into());
        spec.insert("serviceAccount".to_owned(), name.into());
    }
}

fn default_container(container: &mut Doc) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = if is_latest(image) { "Always" } else { "IfNotPresent" };
    fill(container, "imagePullPolicy", policy);
    fill(container, "terminationMessagePath", "/dev/termination-log");
    fill(container, "terminationMessagePolicy", "File");
    fill(container, "resources", json!({}));
    for port in children(container, "ports") {
        fill(port, "protocol", "TCP");
    }
    for source in children(container, "env").filter_map(|env| child(env, "valueFrom")) {
        default_field_ref(source);
    }
    for probe in PROBES {
        if let Some(probe) = child(container, probe) {
            default_probe(probe);
        }
    }
    if let Some(lifecycle) = child(container, "lifecycle") {
        for hook in HOOKS {
            if let Some(handler) = child(lifecycle, hook) {
                default_handler(handler);
            }
        }
    }
}

/// Whether an image is pulled anew each time: the tag is `latest`, or there is neither tag nor digest.
pub(super) fn is_latest(image: &str) -> bool {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    // A colon before the last slash belongs to the registry's port.
    let last = name.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => digest.is_none(),
    }
}

fn default_probe(probe: &mut Doc) {
    fill_zero(probe, "timeoutSeconds", 1);
    fill_zero(probe, "periodSeconds", 10);
    fill_zero(probe, "successThreshold", 1);
    fill_zero(probe, "failureThreshold", 3);
    if let Some(grpc) = child(probe, "grpc") {
        // "" is a service of its own here: the server as a whole.
        if grpc.get("service").is_none_or(Value::is_null) {
            grpc.insert("service".to_owned(), "".into());
        }
    }
    default_handler(probe);
}

fn default_handler(handler: &mut Doc) {
    if let Some(http) = child(handler, "httpGet") {
        fill(http, "path", "/");
        fill(http, "scheme", "HTTP");
    }
}

fn default_field_ref(source: &mut Doc) {
    if let Some(field) = child(source, "fieldRef") {
        fill(field, "apiVersion", "v1");
    }
}

fn default_volume(volume: &mut Doc) {
    let has_source = volume.iter().any(|(field, value)| field != "name" && !value.is_null());
    if !has_source {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = child(volume, source) {
            fill(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(source) = child(volume, "downwardAPI") {
        children(source, "items").for_each(default_field_ref);
    }
    if let Some(projected) = child(volume, "projected") {
        for source in children(projected, "sources") {
            if let Some(token) = child(source, "serviceAccountToken") {
                fill(token, "expirationSeconds", TOKEN_SECONDS);
            }
            if let Some(downward) = child(source, "downwardAPI") {
                children(downward, "items").for_each(default_field_ref);
            }
        }
    }
    if let Some(host_path) = child(volume, "hostPath")
        && host_path.get("type").is_none_or(Value::is_null)
    {
        host_path.insert("type".to_owned(), "".into());
    }
    if let Some(image) = child(volume, "image") {
        let reference = image.get("reference").and_then(Value::as_str).unwrap_or_default();
        let policy = if is_latest(reference) { "Always" } else { "IfNotPresent" };
        fill(image, "pullPolicy", policy);
    }
    if let Some(iscsi) = child(volume, "iscsi") {
        fill(iscsi, "iscsiInterface", "default");
    }
    if let Some(template) = child(volume, "ephemeral").and_then(|source| child(source, "volumeClaimTemplate"))
        && let Some(spec) = child(template, "spec")
    {
        fill(spec, "volumeMode", "Filesystem");
    }
}
