//! The baseline level: nothing that is known to lead out of a container. One function per check, named as upstream's
//! files `check_*.go`. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::checks::{Check, Pod, Violation, name, named, quoted_set, setters, violation};
use super::policy::Version;

/// The checks that the restricted level has, too.
pub(super) const CHECKS: &[Check] = &[
    app_armor_profile,
    host_namespaces,
    host_ports,
    host_probes_and_lifecycle,
    privileged,
    proc_mount,
    se_linux_options,
    sysctls,
    windows_host_process,
];

/// The checks in whose place the restricted level has stricter ones.
pub(super) const OVERLAPPING: &[Check] = &[capabilities, host_path_volumes, seccomp_profile];

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Safe kernel settings, and the minor version since which they count as safe.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

fn app_armor_profile(pod: &Pod<'_>, _: Version) -> Option<Violation> {
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let allowed = |profile: &str| matches!(profile, "" | "runtime/default") || profile.starts_with("localhost/");
    let kind = |of: &Value| of["securityContext"]["appArmorProfile"]["type"].as_str().unwrap_or_default().to_owned();
    let is_bad = |kind: &str| !matches!(kind, "" | "RuntimeDefault" | "Localhost");
    let old: Vec<String> = pod
        .annotations
        .iter()
        .filter(|(key, profile)| key.starts_with(ANNOTATION) && !allowed(profile))
        .map(|(key, profile)| format!("{key}={profile:?}"))
        .collect();
    let containers = pod.containers_where(|container| is_bad(&kind(container)));
    let values: BTreeSet<String> = pod.containers().chain([pod.spec]).map(kind).filter(|kind| is_bad(kind)).collect();
    let setters = setters(is_bad(&kind(pod.spec)), &containers);
    let count = values.len() + old.len();
    let reason = if count == 1 { "forbidden AppArmor profile" } else { "forbidden AppArmor profiles" };
    let set = setters.map(|setters| {
        let values: BTreeSet<&str> = values.iter().map(String::as_str).collect();
        format!("{setters} must not set AppArmor profile type to {}", quoted_set(&values))
    });
    let details: Vec<String> = set.into_iter().chain(old).collect();
    if details.is_empty() { None } else { violation(reason, details.join(", ")) }
}

fn capabilities(pod: &Pod<'_>, _: Version) -> Option<Violation> {
    let added = |container: &Value| -> Vec<String> {
        let added = container["securityContext"]["capabilities"]["add"].as_array().into_iter().flatten();
        added.filter_map(Value::as_str).filter(|name| !CAPABILITIES.contains(name)).map(str::to_owned).collect()
    };
    let containers = pod.containers_where(|container| !added(container).is_empty());
    let values: BTreeSet<String> = pod.containers().flat_map(added).collect();
    let values: BTreeSet<&str> = values.iter().map(String::as_str).collect();
    let setters = setters(false, &containers)?;
    let detail = format!("{setters} must not include {} in securityContext.capabilities.add", quoted_set(&values));
    violation("non-default capabilities", detail)
}

fn host_namespaces(pod: &Pod<'_>, _: Version) -> Option<Violation> {
    let fields = ["hostNetwork", "hostPID", "hostIPC"];
    let shared: Vec<String> =
        fields.into_iter().filter(|field| pod.spec[*field] == true).map(|field| format!("{field}=true")).collect();
    if shared.is_empty() { None } else { violation("host namespaces", shared.join(", ")) }
}

fn host_path_volumes(pod: &Pod<'_>, _: Version) -> Option<Violation> {
    let volumes = pod.spec["volumes"].as_array().into_iter().flatten();
    let bad: Vec<&str> = volumes.filter(|volume| !volume["hostPath"].is_null()).map(name).collect();
    if bad.is_empty() { None } else { violation("hostPath volumes", named("volume", &bad)) }
}

fn host_ports(pod: &Pod<'_>, _: Version) -> Option<Violation> {
    let ports = |container: &Value| -> Vec<i64> {
        let ports = container["ports"].as_array().into_iter().flatten();
        ports.filter_map(|port| port["hostPort"].as_i64()).filter(|port| *port != 0).collect()
    };
    let containers = pod.containers_where(|container| !ports(container).is_empty());
    // Sorted as texts, as Go's set of strings is.
    let values: BTreeSet<String> = pod.containers().flat_map(ports).map(|port| port.to_string()).collect();
    let detail = uses(&containers, "hostPort", values.len())?;
    violation("hostPort", format!("{detail} {}", values.into_iter().collect::<Vec<_>>().join(", ")))
}

fn host_probes_and_lifecycle(pod: &Pod<'_>, version: Version) -> Option<Violation> {
    if !version.has(34) {
        return None;
    }
    let hosts = |container: &Value| -> Vec<String> {
        let probes = ["livenessProbe", "readinessProbe", "startupProbe"].map(|probe| &container[probe]);
        let hooks = ["postStart", "preStop"].map(|hook| &container["lifecycle"][hook]);
        let actions = probes.into_iter().chain(hooks).flat_map(|handler| [&handler["httpGet"], &handler["tcpSocket"]]);
        let hosts = actions.filter_map(|action| action["host"].as_str()).filter(|host| !host.is_empty());
        hosts.map(str::to_owned).collect()
    };
    let mut containers = pod.containers_where(|container| !hosts(container).is_empty());
    containers.sort_unstable();
    let values: BTreeSet<String> = pod.containers().flat_map(hosts).collect();
    let values: BTreeSet<&str> = values.iter().map(String::as_str).collect();
    let detail = uses(&containers, "probe or lifecycle host", values.len())?;
    violation("probe or lifecycle host", format!("{detail} {}", quoted_set(&values)))
}

/// `container "a" uses hostPort`, `containers "a", "b" use hostPorts`; `None` without containers.
fn uses(containers: &[&str], what: &str, values: usize) -> Option<String> {
    let setters = setters(false, containers)?;
    let verb = if containers.len() == 1 { "uses" } else { "use" };
    let plural = if values == 1 { "" } else { "s" };
    Some(format!("{setters} {verb} {what}{plural}"))
}

fn privileged(pod: &Pod<'_>, _: Version) -> Option<Violation> {
    let containers = pod.containers_where(|container| container["securityContext"]["privileged"] == true);
    let setters = setters(false, &containers)?;
    violation("privileged", format!("{setters} must not set securityContext.privileged=true"))
}

fn proc_mount(pod: &Pod<'_>, version: Version) -> Option<Violation> {
    if version.has(34) && pod.has_own_users() {
        return None;
    }
    let mount = |container: &Value| -> Option<String> {
        let mount = container["securityContext"]["procMount"].as_str()?;
        (mount != "Default").then(|| mount.to_owned())
    };
    let containers = pod.containers_where(|container| mount(container).is_some());
    let values: BTreeSet<String> = pod.containers().filter_map(mount).collect();
    let values: BTreeSet<&str> = values.iter().map(String::as_str).collect();
    let setters = setters(false, &containers)?;
    violation("procMount", format!("{setters} must not set securityContext.procMount to {}", quoted_set(&values)))
}

fn se_linux_options(pod: &Pod<'_>, version: Version) -> Option<Violation> {
    let options = |of: &Value| of["securityContext"]["seLinuxOptions"].clone();
    let bad_kind = |options: &Value| -> Option<String> {
        let kind = options["type"].as_str().unwrap_or_default();
        let fine = matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t")
            || (kind == "container_engine_t" && version.has(31));
        (!fine).then(|| kind.to_owned())
    };
    let sets = |options: &Value, field: &str| !options[field].as_str().unwrap_or_default().is_empty();
    let is_bad = |of: &Value| {
        let options = options(of);
        bad_kind(&options).is_some() || sets(&options, "user") || sets(&options, "role")
    };
    let setters = setters(is_bad(pod.spec), &pod.containers_where(is_bad))?;
    let all: Vec<Value> = pod.containers().chain([pod.spec]).map(options).collect();
    let kinds: BTreeSet<String> = all.iter().filter_map(bad_kind).collect();
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    let mut data = Vec::new();
    if !kinds.is_empty() {
        data.push(named("type", &kinds));
    }
    for field in ["user", "role"] {
        if all.iter().any(|options| sets(options, field)) {
            data.push(format!("{field} may not be set"));
        }
    }
    let detail = format!("{setters} set forbidden securityContext.seLinuxOptions: {}", data.join("; "));
    violation("seLinuxOptions", detail)
}

fn seccomp_profile(pod: &Pod<'_>, version: Version) -> Option<Violation> {
    if version.has(19) { bad_seccomp(pod) } else { old_seccomp(pod) }
}

/// Before v1.19 the profiles were annotations.
fn old_seccomp(pod: &Pod<'_>) -> Option<Violation> {
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
    let fine = |value: &str| matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
    let bad =
        pod.annotations.iter().filter(|(key, value)| (**key == POD || key.starts_with(CONTAINER)) && !fine(value));
    let bad: Vec<String> = bad.map(|(key, value)| format!("{key}={value:?}")).collect();
    let plural = if bad.len() == 1 { "" } else { "s" };
    if bad.is_empty() {
        return None;
    }
    violation("seccompProfile", format!("forbidden annotation{plural} {}", bad.join(", ")))
}

/// Profiles that are set to something that is not allowed at any level.
pub(super) fn bad_seccomp(pod: &Pod<'_>) -> Option<Violation> {
    let bad = |of: &Value| -> Option<String> {
        let profile = of["securityContext"].get("seccompProfile").filter(|profile| !profile.is_null())?;
        let kind = profile["type"].as_str().unwrap_or_default();
        (!matches!(kind, "RuntimeDefault" | "Localhost")).then(|| kind.to_owned())
    };
    let containers = pod.containers_where(|container| bad(container).is_some());
    let setters = setters(bad(pod.spec).is_some(), &containers)?;
    let values: BTreeSet<String> = pod.containers().chain([pod.spec]).filter_map(bad).collect();
    let values: BTreeSet<&str> = values.iter().map(String::as_str).collect();
    let detail = format!("{setters} must not set securityContext.seccompProfile.type to {}", quoted_set(&values));
    violation("seccompProfile", detail)
}

fn sysctls(pod: &Pod<'_>, version: Version) -> Option<Violation> {
    let names = pod.spec["securityContext"]["sysctls"].as_array().into_iter().flatten().map(name);
    let is_safe = |name: &str| SYSCTLS.iter().any(|(known, since)| *known == name && version.has(*since));
    let bad: Vec<&str> = names.filter(|name| !is_safe(name)).collect();
    if bad.is_empty() { None } else { violation("forbidden sysctls", bad.join(", ")) }
}

fn windows_host_process(pod: &Pod<'_>, _: Version) -> Option<Violation> {
    let is_bad = |of: &Value| of["securityContext"]["windowsOptions"]["hostProcess"] == true;
    let setters = setters(is_bad(pod.spec), &pod.containers_where(is_bad))?;
    violation("hostProcess", format!("{setters} must not set securityContext.windowsOptions.hostProcess=true"))
}
