//! A container's environment: `env`, `envFrom`, `$(VAR)`, the downward API and the variables of services. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, ResourceFieldSelector, Secret, Service};
use wkube_api::quantity::Quantity;

use crate::pod::spec;

/// Everything an environment is made from. Objects that do not exist are absent from the maps.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The `ConfigMap`s that [`Needs`] named.
    pub config_maps: BTreeMap<String, ConfigMap>,
    /// The Secrets that [`Needs`] named.
    pub secrets: BTreeMap<String, Secret>,
    /// The services of the pod's namespace, and `kubernetes` of `default`.
    pub services: Vec<Service>,
    /// The pod's address.
    pub pod_ip: Option<IpAddr>,
    /// The node's address.
    pub host_ip: Option<IpAddr>,
    /// What the node has for pods: the limit of containers that have none.
    pub allocatable: BTreeMap<String, Quantity>,
}

/// The objects that an environment refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Names of `ConfigMap`s.
    pub config_maps: BTreeSet<String>,
    /// Names of Secrets.
    pub secrets: BTreeSet<String>,
}

/// Why an environment cannot be made; the text of `CreateContainerConfigError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A `ConfigMap` or Secret does not exist.
    #[error("{kind} \"{name}\" not found")]
    NotFound {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It exists but has no such key.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// The pod's namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// A field path that the downward API does not offer.
    #[error("fieldPath \"{0}\" not supported")]
    Field(String),
    /// A resource that the downward API does not offer.
    #[error("unsupported container resource : {0}")]
    Resource(String),
}

/// Returns the objects that the container's environment refers to.
pub fn needs(container: &Container) -> Needs {
    let mut needs = Needs::default();
    for from in container.env_from.iter().flatten() {
        needs.config_maps.extend(from.config_map_ref.iter().map(|from| from.name.clone()));
        needs.secrets.extend(from.secret_ref.iter().map(|from| from.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|var| var.value_from.as_ref()) {
        needs.config_maps.extend(source.config_map_key_ref.iter().map(|from| from.name.clone()));
        needs.secrets.extend(source.secret_key_ref.iter().map(|from| from.name.clone()));
    }
    needs
}

/// Returns a container's environment, sorted by name (`kubelet_pods.go`, `makeEnvironmentVariables`): variables of
/// services first, over them `envFrom`, over those `env`, in which each may use the ones before it.
///
/// # Errors
/// If something that is not optional is missing.
pub fn environment(pod: &Pod, container: &Container, sources: &Sources) -> Result<BTreeMap<String, String>, Error> {
    let spec = pod.spec.as_ref();
    let wants_links = spec.and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let mut result = from_objects(container, sources)?;
    let service_vars = service_variables(&sources.services, spec::namespace(pod), wants_links);
    let mut own: BTreeMap<String, String> = BTreeMap::new();
    for var in container.env.iter().flatten() {
        let value = match (&var.value, &var.value_from) {
            (_, Some(source)) => match resolve(source, pod, container, sources)? {
                Some(value) => value,
                None => continue,
            },
            (value, None) => {
                let text = value.as_deref().unwrap_or_default();
                expand(text, |name| {
                    own.get(name).or_else(|| result.get(name)).or_else(|| service_vars.get(name)).cloned()
                })
            }
        };
        own.insert(var.name.clone(), value);
    }
    result.extend(own);
    for (name, value) in service_vars {
        result.entry(name).or_insert(value);
    }
    Ok(result)
}

fn from_objects(container: &Container, sources: &Sources) -> Result<BTreeMap<String, String>, Error> {
    let mut result = BTreeMap::new();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &from.config_map_ref {
            let Some(map) = sources.config_maps.get(&reference.name) else {
                optional(reference.optional, "configmap", &reference.name)?;
                continue;
            };
            result.extend(map.data.iter().flatten().map(|(key, value)| (format!("{prefix}{key}"), value.clone())));
        }
        if let Some(reference) = &from.secret_ref {
            let Some(secret) = sources.secrets.get(&reference.name) else {
                optional(reference.optional, "secret", &reference.name)?;
                continue;
            };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            result.extend(secret.data.iter().flatten().map(|(key, value)| (format!("{prefix}{key}"), text(&value.0))));
        }
    }
    // A name with `=` cannot be passed on (`validation.IsRelaxedEnvVarName`).
    result.retain(|name, _| {
        !name.is_empty() && !name.contains('=') && name.bytes().all(|byte| (0x20..0x7f).contains(&byte))
    });
    Ok(result)
}

fn optional(is_optional: Option<bool>, kind: &'static str, name: &str) -> Result<(), Error> {
    if is_optional == Some(true) { Ok(()) } else { Err(Error::NotFound { kind, name: name.to_owned() }) }
}

/// Returns the value of a reference; `None` if it is optional and missing.
fn resolve(
    source: &EnvVarSource,
    pod: &Pod,
    container: &Container,
    sources: &Sources,
) -> Result<Option<String>, Error> {
    let no_key = |kind, name: &str, key: &str| Error::NoKey {
        kind,
        namespace: spec::namespace(pod).to_owned(),
        name: name.to_owned(),
        key: key.to_owned(),
    };
    if let Some(reference) = &source.config_map_key_ref {
        let Some(map) = sources.config_maps.get(&reference.name) else {
            return optional(reference.optional, "configmap", &reference.name).map(|()| None);
        };
        let value = map.data.as_ref().and_then(|data| data.get(&reference.key)).cloned();
        return match value {
            None if reference.optional != Some(true) => Err(no_key("ConfigMap", &reference.name, &reference.key)),
            value => Ok(value),
        };
    }
    if let Some(reference) = &source.secret_key_ref {
        let Some(secret) = sources.secrets.get(&reference.name) else {
            return optional(reference.optional, "secret", &reference.name).map(|()| None);
        };
        let value = secret.data.as_ref().and_then(|data| data.get(&reference.key));
        return match value {
            None if reference.optional != Some(true) => Err(no_key("Secret", &reference.name, &reference.key)),
            value => Ok(value.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned())),
        };
    }
    if let Some(reference) = &source.field_ref {
        return field(pod, &reference.field_path, sources).map(Some);
    }
    if let Some(reference) = &source.resource_field_ref {
        return resource(pod, container, reference, sources).map(Some);
    }
    Ok(None)
}

/// Returns a field of the pod as the downward API writes it (`pkg/fieldpath/fieldpath.go`).
///
/// # Errors
/// If the downward API does not offer the path.
pub fn field(pod: &Pod, path: &str, sources: &Sources) -> Result<String, Error> {
    let metadata = &pod.metadata;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let spec = pod.spec.as_ref();
    let ip = |ip: Option<IpAddr>| ip.map(|ip| ip.to_string()).unwrap_or_default();
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => metadata.labels.as_ref(),
            "metadata.annotations" => metadata.annotations.as_ref(),
            _ => return Err(Error::Field(path.to_owned())),
        };
        return Ok(map.and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => text(&metadata.name),
        "metadata.namespace" => spec::namespace(pod).to_owned(),
        "metadata.uid" => text(&metadata.uid),
        "metadata.labels" => lines(metadata.labels.as_ref()),
        "metadata.annotations" => lines(metadata.annotations.as_ref()),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default(),
        "status.podIP" | "status.podIPs" => ip(sources.pod_ip),
        "status.hostIP" | "status.hostIPs" => ip(sources.host_ip),
        other => return Err(Error::Field(other.to_owned())),
    })
}

/// Splits `metadata.labels['a']` into the map and the key.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// Writes a map as `key="value"` lines, sorted, quoted as Go's `%q` (`fieldpath.FormatMap`).
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}")).collect();
    lines.join("\n")
}

/// Returns a container's request or limit in units of the divisor, rounded up (`pkg/api/v1/resource/helpers.go`).
///
/// # Errors
/// If the resource is none of those that the downward API offers.
pub fn resource(
    pod: &Pod,
    container: &Container,
    selector: &ResourceFieldSelector,
    sources: &Sources,
) -> Result<String, Error> {
    let named = selector.container_name.as_deref().and_then(|name| spec::container(pod, name));
    let resources = named.as_deref().unwrap_or(container).resources.as_ref();
    let unsupported = || Error::Resource(selector.resource.clone());
    let (set, name) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let is_known = ["cpu", "memory", "ephemeral-storage"].contains(&name) || name.starts_with("hugepages-");
    let map = match set {
        "limits" if is_known => resources.and_then(|resources| resources.limits.as_ref()),
        "requests" if is_known => resources.and_then(|resources| resources.requests.as_ref()),
        _ => return Err(unsupported()),
    };
    let own = map.and_then(|map| map.get(name)).and_then(|quantity| quantity.0.parse::<Quantity>().ok());
    // Without a limit a container may use all that the node has.
    let fallback = if set == "limits" { sources.allocatable.get(name).copied() } else { None };
    let amount = own.or(fallback).unwrap_or(Quantity::ZERO).milli();
    let divisor = selector.divisor.as_ref().and_then(|divisor| divisor.0.parse::<Quantity>().ok());
    let divisor = divisor.map(Quantity::milli).filter(|divisor| *divisor > 0).unwrap_or(1000);
    Ok((amount / divisor + i128::from(amount % divisor != 0)).to_string())
}

/// Replaces `$(NAME)` by its value, `$$` by `$`; what has no value stays as it is
/// (`third_party/forked/golang/expansion/expand.go`).
pub fn expand(text: &str, value_of: impl Fn(&str) -> Option<String>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some((name, after)) = after.strip_prefix('(').and_then(|after| after.split_once(')')) {
            let as_written = || ["$(", name, ")"].concat();
            result.push_str(&value_of(name).unwrap_or_else(as_written));
            rest = after;
        } else {
            result.push('$');
            rest = after;
        }
    }
    result.push_str(rest);
    result
}

/// Returns the variables that tell about services (`pkg/kubelet/envvars/envvars.go`): those of the pod's own namespace
/// if it wants links, and always those of `default/kubernetes`.
fn service_variables(services: &[Service], namespace: &str, wants_links: bool) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for service in services {
        let (name, of) = (service.metadata.name.as_deref().unwrap_or_default(), service.metadata.namespace.as_deref());
        let is_api = name == "kubernetes" && of == Some("default");
        let is_linked = wants_links && of == Some(namespace);
        if !is_api && !is_linked {
            continue;
        }
        let Some(spec) = &service.spec else { continue };
        let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else { continue };
        let prefix = name.to_uppercase().replace('-', "_");
        variables.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
        for (index, port) in spec.ports.iter().flatten().enumerate() {
            let number = port.port;
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let url = format!("{}://{ip}:{number}", protocol.to_lowercase());
            if index == 0 {
                variables.insert(format!("{prefix}_SERVICE_PORT"), number.to_string());
                variables.insert(format!("{prefix}_PORT"), url.clone());
            }
            if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
                let port_name = port_name.to_uppercase().replace('-', "_");
                variables.insert(format!("{prefix}_SERVICE_PORT_{port_name}"), number.to_string());
            }
            let long = format!("{prefix}_PORT_{number}_{}", protocol.to_uppercase());
            variables.insert(format!("{long}_PROTO"), protocol.to_lowercase());
            variables.insert(format!("{long}_PORT"), number.to_string());
            variables.insert(format!("{long}_ADDR"), ip.to_owned());
            variables.insert(long, url);
        }
    }
    variables
}

#[cfg(test)]
#[path = "env_tests.rs"]
mod tests;
