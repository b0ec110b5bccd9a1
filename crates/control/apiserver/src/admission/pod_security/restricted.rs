//! The restricted level: what hardened pods need and no more. One function per check, named as upstream's files
//! `check_*.go`. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::baseline::bad_seccomp;
use super::checks::{Check, Pod, Violation, name, named, quoted_set, setters, violation};
use super::policy::Version;

/// The checks, in upstream's order.
pub(super) const CHECKS: &[Check] =
    &[allow_privilege_escalation, capabilities, restricted_volumes, run_as_non_root, run_as_user, seccomp_profile];

const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

fn allow_privilege_escalation(pod: &Pod<'_>, version: Version) -> Option<Violation> {
    if !version.has(8) || (version.has(25) && pod.is_windows()) {
        return None;
    }
    let bad = pod.containers_where(|container| container["securityContext"]["allowPrivilegeEscalation"] != false);
    let setters = setters(false, &bad)?;
    let detail = format!("{setters} must set securityContext.allowPrivilegeEscalation=false");
    violation("allowPrivilegeEscalation != false", detail)
}

fn capabilities(pod: &Pod<'_>, version: Version) -> Option<Violation> {
    if !version.has(22) || (version.has(25) && pod.is_windows()) {
        return None;
    }
    let of = |container: &Value, list: &str| -> Vec<String> {
        let names = container["securityContext"]["capabilities"][list].as_array().into_iter().flatten();
        names.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let added = |container: &Value| -> Vec<String> {
        of(container, "add").into_iter().filter(|name| name != "NET_BIND_SERVICE").collect()
    };
    let keeping = pod.containers_where(|container| !of(container, "drop").iter().any(|name| name == "ALL"));
    let adding = pod.containers_where(|container| !added(container).is_empty());
    let values: BTreeSet<String> = pod.containers().flat_map(added).collect();
    let values: BTreeSet<&str> = values.iter().map(String::as_str).collect();
    let keeping = setters(false, &keeping)
        .map(|setters| format!("{setters} must set securityContext.capabilities.drop=[\"ALL\"]"));
    let adding = setters(false, &adding).map(|setters| {
        format!("{setters} must not include {} in securityContext.capabilities.add", quoted_set(&values))
    });
    let details: Vec<String> = keeping.into_iter().chain(adding).collect();
    if details.is_empty() { None } else { violation("unrestricted capabilities", details.join("; ")) }
}

fn restricted_volumes(pod: &Pod<'_>, _: Version) -> Option<Violation> {
    let mut names = Vec::new();
    let mut kinds = BTreeSet::new();
    for volume in pod.spec["volumes"].as_array().into_iter().flatten() {
        let set =
            volume.as_object().into_iter().flatten().filter(|(field, value)| *field != "name" && !value.is_null());
        let bad: Vec<&str> = set.map(|(field, _)| field.as_str()).filter(|field| !VOLUMES.contains(field)).collect();
        if !bad.is_empty() {
            names.push(name(volume));
            kinds.extend(bad);
        }
    }
    if names.is_empty() {
        return None;
    }
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let plural = if kinds.len() == 1 { "" } else { "s" };
    let volumes = named("volume", &names);
    let detail = format!("{volumes} {verb} restricted volume type{plural} {}", quoted_set(&kinds));
    violation("restricted volume types", detail)
}

fn run_as_non_root(pod: &Pod<'_>, version: Version) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    if version.has(34) && pod.has_own_users() {
        return None;
    }
    let set = |of: &Value| of["securityContext"]["runAsNonRoot"].as_bool();
    let explicit = pod.containers_where(|container| set(container) == Some(false));
    if let Some(setters) = setters(set(pod.spec) == Some(false), &explicit) {
        return violation(REASON, format!("{setters} must not set securityContext.runAsNonRoot=false"));
    }
    let implicit = pod.containers_where(|container| set(container).is_none() && set(pod.spec).is_none());
    let setters = setters(false, &implicit)?;
    violation(REASON, format!("pod or {setters} must set securityContext.runAsNonRoot=true"))
}

fn run_as_user(pod: &Pod<'_>, version: Version) -> Option<Violation> {
    if !version.has(23) || (version.has(34) && pod.has_own_users()) {
        return None;
    }
    let is_root = |of: &Value| of["securityContext"]["runAsUser"].as_i64() == Some(0);
    let setters = setters(is_root(pod.spec), &pod.containers_where(is_root))?;
    violation("runAsUser=0", format!("{setters} must not set runAsUser=0"))
}

fn seccomp_profile(pod: &Pod<'_>, version: Version) -> Option<Violation> {
    if !version.has(19) || (version.has(25) && pod.is_windows()) {
        return None;
    }
    if let Some(found) = bad_seccomp(pod) {
        return Some(found);
    }
    let set = |of: &Value| !of["securityContext"]["seccompProfile"].is_null();
    if set(pod.spec) {
        return None;
    }
    let implicit = pod.containers_where(|container| !set(container));
    let setters = setters(false, &implicit)?;
    let detail =
        format!("pod or {setters} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"");
    violation("seccompProfile", detail)
}
