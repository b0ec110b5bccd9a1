//! `PodSecurity`: holds pods to the Pod Security Standard that their namespace's labels name
//! (`pod-security-admission/admission`).

use std::collections::BTreeMap;

use serde_json::Value;
use wkube_api::{Object, ObjectKey, Status};

use super::{Attributes, Operation};
use checks::Pod;
use policy::{LevelVersion, Policy};

mod baseline;
mod checks;
mod policy;
mod restricted;
#[cfg(test)]
mod tests;

const PREFIX: &str = "pod-security.kubernetes.io/";
/// Parts of pods that say nothing about what the pod may do.
const HARMLESS_PARTS: [&str; 8] = ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];
/// Pods that are looked at when a namespace's level rises (`defaultNamespaceMaxPodsToCheck`).
const PODS_MAX: usize = 3000;

/// Refuses pods beyond the enforced level; warns of pods and templates beyond the others.
pub(super) async fn validate(attributes: &Attributes<'_>, object: &Object) -> Result<(), Status> {
    if !matches!(attributes.operation, Operation::Create | Operation::Update) {
        return Ok(());
    }
    let call = attributes.call;
    if attributes.is_for("", "namespaces") {
        return namespace(attributes, object).await;
    }
    if call.is_for("", "pods") {
        let changed = attributes.old.is_none_or(|old| is_significant(object, old));
        if HARMLESS_PARTS.contains(&call.subresource.as_str()) || !changed {
            return Ok(());
        }
        let pod = Pod { annotations: object.annotations(), spec: object.0.get("spec").unwrap_or(&Value::Null) };
        return judge(attributes, object, &pod, true);
    }
    let Some(template) = template(attributes, object) else { return Ok(()) };
    let annotations = template["metadata"]["annotations"].as_object().into_iter().flatten();
    let annotations = annotations.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect();
    judge(attributes, object, &Pod { annotations, spec: &template["spec"] }, false)
}

/// Returns the pod template of a workload.
fn template<'a>(attributes: &Attributes<'_>, object: &'a Object) -> Option<&'a Value> {
    let call = attributes.call;
    let path: &[&str] = match (&*call.resource.group, &*call.resource.plural) {
        _ if !call.subresource.is_empty() => return None,
        ("", "podtemplates") => &["template"],
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => &["spec", "template"],
        ("batch", "cronjobs") => &["spec", "jobTemplate", "spec", "template"],
        _ => return None,
    };
    object.at(path)
}

/// Only images, ephemeral containers and old annotations can change in a pod; anything else changes nothing here.
fn is_significant(new: &Object, old: &Object) -> bool {
    new.at(&["spec"]) != old.at(&["spec"]) || new.annotations() != old.annotations()
}

fn judge(attributes: &Attributes<'_>, object: &Object, pod: &Pod<'_>, enforce: bool) -> Result<(), Status> {
    let call = attributes.call;
    let Some(namespaces) = attributes.registry.catalog.core("namespaces") else { return Ok(()) };
    let namespace = attributes.registry.object(namespaces, &ObjectKey::cluster(&call.namespace))?;
    let (policy, errors) = Policy::of(&namespace.labels());
    if !errors.is_empty() {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        call.annotate(format!("{PREFIX}error"), format!("Failed to parse policy: {}", texts.join(", ")));
    }
    if enforce {
        call.annotate(format!("{PREFIX}enforce-policy"), policy.enforce.to_string());
        if let Some(violations) = violations(policy.enforce, pod) {
            let why = format!("violates PodSecurity \"{}\": {violations}", policy.enforce);
            return Err(attributes.forbidden(object, why));
        }
    }
    if let Some(violations) = violations(policy.audit, pod) {
        let text = format!("would violate PodSecurity \"{}\": {violations}", policy.audit);
        call.annotate(format!("{PREFIX}audit-violations"), text);
    }
    if let Some(violations) = violations(policy.warn, pod) {
        call.warn(format!("would violate PodSecurity \"{}\": {violations}", policy.warn));
    }
    Ok(())
}

/// Words what a pod does beyond a level: `reason (detail), reason (detail)`.
fn violations(level: LevelVersion, pod: &Pod<'_>) -> Option<String> {
    let found = checks::evaluate(level, pod);
    let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

/// Checks a namespace's labels, and warns of the pods that a higher level would not let in.
async fn namespace(attributes: &Attributes<'_>, object: &Object) -> Result<(), Status> {
    let (policy, errors) = Policy::of(&object.labels());
    let before = attributes.old.map(|old| Policy::of(&old.labels()));
    let known = before.as_ref().is_some_and(|(_, before)| *before == errors);
    if !errors.is_empty() && !known {
        return Err(Status::invalid_object(&attributes.call.resource, object.name(), errors));
    }
    let Some((before, _)) = before else { return Ok(()) };
    if !policy.enforce.is_stricter_than(before.enforce) {
        return Ok(());
    }
    let Some(pods) = attributes.registry.catalog.core("pods") else { return Ok(()) };
    let pods = attributes.registry.objects(pods, object.name()).await;
    let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX) {
        let seen = Pod { annotations: pod.annotations(), spec: pod.0.get("spec").unwrap_or(&Value::Null) };
        let found = checks::evaluate(policy.enforce, &seen);
        if !found.is_empty() {
            let reasons: Vec<&str> = found.iter().map(|violation| violation.reason.as_str()).collect();
            groups.entry(reasons.join(", ")).or_default().push(pod.name());
        }
    }
    warn_of(attributes, object.name(), policy.enforce, &groups);
    Ok(())
}

fn warn_of(attributes: &Attributes<'_>, name: &str, level: LevelVersion, groups: &BTreeMap<String, Vec<&str>>) {
    if groups.is_empty() {
        return;
    }
    let call = attributes.call;
    call.warn(format!("existing pods in namespace {name:?} violate the new PodSecurity enforce level \"{level}\""));
    for (reasons, pods) in groups {
        let first = pods.first().copied().unwrap_or_default();
        match pods.len() {
            0 | 1 => call.warn(format!("{first}: {reasons}")),
            2 => call.warn(format!("{first} (and 1 other pod): {reasons}")),
            more => call.warn(format!("{first} (and {} other pods): {reasons}", more - 1)),
        }
    }
}
