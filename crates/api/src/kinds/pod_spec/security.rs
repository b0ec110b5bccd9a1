//! Security contexts of pods and containers (`ValidatePodSecurityContext`, `ValidateSecurityContext`).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::kinds::doc::{at, flag, has, list, text};
use crate::kinds::rules::one_of;
use crate::status::FieldError;

const ID_RANGE: &str = "must be between 0 and 2147483647, inclusive";
/// How long the name of a kernel parameter may be.
const SYSCTL_MAX: usize = 253;
const SYSCTL: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

/// What the security contexts of a pod and of its containers must look like.
pub(super) fn validate(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(context) = at(spec, "securityContext") {
        let path = format!("{path}.securityContext");
        errors.extend(check_context(context, &path, &["runAsUser", "runAsGroup", "fsGroup"]));
        for (index, group) in list(context, "supplementalGroups").iter().filter_map(Value::as_i64).enumerate() {
            errors.extend(check_id(group, &format!("{path}.supplementalGroups[{index}]")));
        }
        errors.extend(one_of(context, &path, "fsGroupChangePolicy", &["Always", "OnRootMismatch"]));
        errors.extend(check_sysctls(list(context, "sysctls"), &format!("{path}.sysctls")));
    }
    for field in ["containers", "initContainers", "ephemeralContainers"] {
        for (index, container) in list(spec, field).iter().enumerate() {
            let Some(context) = at(container, "securityContext") else { continue };
            let path = format!("{path}.{field}[{index}].securityContext");
            errors.extend(check_context(context, &path, &["runAsUser", "runAsGroup"]));
            errors.extend(one_of(context, &path, "procMount", &["Default", "Unmasked"]));
            errors.extend(check_escalation(context, &path));
        }
    }
    errors
}

fn check_context(context: &Value, path: &str, ids: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ids {
        if let Some(id) = context.get(*field).and_then(Value::as_i64) {
            errors.extend(check_id(id, &format!("{path}.{field}")));
        }
    }
    for field in ["seccompProfile", "appArmorProfile"] {
        let Some(profile) = at(context, field) else { continue };
        let path = format!("{path}.{field}");
        let kinds = ["Localhost", "RuntimeDefault", "Unconfined"];
        match (text(profile, "type"), has(profile, "localhostProfile")) {
            ("", _) => errors.push(FieldError::required(format!("{path}.type"), "")),
            ("Localhost", false) => {
                let detail = "must be set when seccomp type is Localhost";
                let detail =
                    if field == "seccompProfile" { detail } else { "must be set when AppArmor type is Localhost" };
                errors.push(FieldError::required(format!("{path}.localhostProfile"), detail));
            }
            ("RuntimeDefault" | "Unconfined", true) => {
                let what = if field == "seccompProfile" { "seccomp" } else { "AppArmor" };
                let detail = format!("can only be set when {what} type is Localhost");
                let path = format!("{path}.localhostProfile");
                errors.push(FieldError::invalid(path, text(profile, "localhostProfile"), &detail));
            }
            _ => errors.extend(one_of(profile, &path, "type", &kinds)),
        }
    }
    errors
}

fn check_id(id: i64, path: &str) -> Option<FieldError> {
    (!(0..=i64::from(i32::MAX)).contains(&id)).then(|| FieldError::invalid(path, id, ID_RANGE))
}

fn check_escalation(context: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if context.get("allowPrivilegeEscalation") != Some(&Value::Bool(false)) {
        return errors;
    }
    if flag(context, "privileged") {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.push(FieldError::invalid(path, context.clone(), detail));
    }
    let added = at(context, "capabilities").map(|capabilities| list(capabilities, "add")).unwrap_or_default();
    if added.iter().any(|name| name == "CAP_SYS_ADMIN") {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        errors.push(FieldError::invalid(path, context.clone(), detail));
    }
    errors
}

fn check_sysctls(sysctls: &[Value], path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, sysctl) in sysctls.iter().enumerate() {
        let name = text(sysctl, "name");
        let path = format!("{path}[{index}].name");
        if name.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else if !is_sysctl(name) {
            let detail = format!("must have at most {SYSCTL_MAX} characters and match regex {SYSCTL}");
            errors.push(FieldError::invalid(path, name, &detail));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(path, name));
        }
    }
    errors
}

/// Segments of small letters, digits, dashes and underscores, between dots or slashes (`IsValidSysctlName`).
fn is_sysctl(name: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = |part: &str| {
        part.starts_with(alphanumeric)
            && part.ends_with(alphanumeric)
            && part.chars().all(|c| alphanumeric(c) || matches!(c, '-' | '_'))
    };
    name.len() <= SYSCTL_MAX && name.split(['.', '/']).all(fits)
}
