//! What an object counts for in a quota, and which quotas it counts in (`pkg/quota/v1/evaluator/core`). Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use wkube_api::quantity::Quantity;
use wkube_api::{Object, Resource};

use crate::admission::amounts::{self, Amounts, List, items};

/// What the names of storage classes stand in front of.
const CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";
/// What every container has to say when a quota counts it.
const NEEDED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
/// Kinds whose plural alone is a quota's name for their number.
const PLAIN_COUNTS: [&str; 7] =
    ["configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets", "services"];

/// A kind, as quotas tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// By number, cpu, memory and more.
    Pods,
    /// By number and by what they take outside.
    Services,
    /// By number and size, in all and by class.
    Claims,
    /// By number only.
    Others,
}

impl Counted {
    /// Returns how a kind is counted.
    pub(crate) fn of(resource: &Resource) -> Self {
        match (&*resource.group, &*resource.plural) {
            ("", "pods") => Self::Pods,
            ("", "services") => Self::Services,
            ("", "persistentvolumeclaims") => Self::Claims,
            _ => Self::Others,
        }
    }

    /// Whether a change of an object, not only its making, is looked at.
    pub(crate) fn counts_changes(self) -> bool {
        matches!(self, Self::Services | Self::Claims)
    }
}

/// Returns what an object counts for. Pods that have ended, or should be gone, are only there.
pub(crate) fn of(resource: &Resource, object: &Object, now: Timestamp) -> Amounts {
    let mut usage = Amounts::new();
    usage.insert(format!("count/{}", resource.qualified()), Quantity::new(1));
    let spec = object.0.get("spec").unwrap_or(&Value::Null);
    let counted = Counted::of(resource);
    if counted == Counted::Pods && has_ended(object, now) {
        return usage;
    }
    if resource.group.is_empty() && PLAIN_COUNTS.contains(&&*resource.plural) {
        usage.insert(resource.plural.to_string(), Quantity::new(1));
    }
    match counted {
        Counted::Pods => {
            usage.extend(compute(&amounts::of_pod(spec, List::Requests), &amounts::of_pod(spec, List::Limits)));
        }
        Counted::Services => usage.extend(of_service(spec)),
        Counted::Claims => usage.extend(of_claim(object, spec)),
        Counted::Others => {}
    }
    usage
}

/// `QuotaV1Pod`.
fn has_ended(pod: &Object, now: Timestamp) -> bool {
    if matches!(pod.str_at(&["status", "phase"]), "Succeeded" | "Failed") {
        return true;
    }
    let grace = pod.at(&["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64);
    let deadline = pod.str_at(&["metadata", "deletionTimestamp"]).parse::<Timestamp>();
    matches!((grace, deadline), (Some(_), Ok(deadline)) if now > deadline)
}

/// Names amounts as quotas do (`podComputeUsageHelper`).
fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut usage = Amounts::new();
    for (name, amount) in requests {
        let is_plain = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
        if is_plain || name.starts_with("hugepages-") {
            usage.insert(name.clone(), *amount);
            usage.insert(format!("requests.{name}"), *amount);
        } else if is_extended(name) {
            usage.insert(format!("requests.{name}"), *amount);
        }
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = limits.get(name) {
            usage.insert(format!("limits.{name}"), *amount);
        }
    }
    usage
}

fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

fn of_service(spec: &Value) -> Amounts {
    let ports = items(&spec["ports"]);
    let count = |count: usize| Quantity::new(i64::try_from(count).unwrap_or(i64::MAX));
    let mut usage = Amounts::new();
    match spec["type"].as_str() {
        Some("NodePort") => {
            usage.insert("services.nodeports".to_owned(), count(ports.len()));
        }
        Some("LoadBalancer") => {
            let without = spec["allocateLoadBalancerNodePorts"] == false;
            let taken = ports.iter().filter(|port| !without || port["nodePort"].as_i64().unwrap_or(0) != 0);
            usage.insert("services.nodeports".to_owned(), count(taken.count()));
            usage.insert("services.loadbalancers".to_owned(), count(1));
        }
        _ => {}
    }
    usage
}

fn of_claim(claim: &Object, spec: &Value) -> Amounts {
    let mut usage = Amounts::new();
    let beta = claim.annotations().get("volume.beta.kubernetes.io/storage-class").map(|class| (*class).to_owned());
    let class = beta.or_else(|| spec["storageClassName"].as_str().map(str::to_owned)).unwrap_or_default();
    let by_class = |what: &str| format!("{class}{CLASS_SUFFIX}{what}");
    if !class.is_empty() {
        usage.insert(by_class("persistentvolumeclaims"), Quantity::new(1));
    }
    let asked = amounts::quantity(&spec["resources"]["requests"]["storage"]);
    let given = claim.at(&["status", "allocatedResources", "storage"]).and_then(amounts::quantity);
    if let Some(storage) = asked.max(given) {
        usage.insert("requests.storage".to_owned(), storage);
        if !class.is_empty() {
            usage.insert(by_class("requests.storage"), storage);
        }
    }
    usage
}

/// Whether a quota's name for a resource is one that objects of the kind count for.
pub(crate) fn is_about(resource: &Resource, name: &str) -> bool {
    if name.strip_prefix("count/").is_some_and(|rest| rest == resource.qualified()) {
        return true;
    }
    if resource.group.is_empty() && name == resource.plural {
        return PLAIN_COUNTS.contains(&name);
    }
    match Counted::of(resource) {
        Counted::Pods => {
            let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
            matches!(bare, "cpu" | "memory" | "ephemeral-storage")
                || bare.starts_with("hugepages-")
                || (name.starts_with("requests.") && is_extended(bare))
        }
        Counted::Services => name.starts_with("services."),
        Counted::Claims => name == "requests.storage" || name.contains(CLASS_SUFFIX),
        Counted::Others => false,
    }
}

/// Returns which containers leave out what a quota counts (`Constraints`): `must specify limits.cpu for: a,b`.
pub(crate) fn unsaid(pod: &Value, hard: &Amounts) -> Option<String> {
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for container in items(&pod["containers"]).iter().chain(items(&pod["initContainers"])) {
        let of = |list| amounts::of_container(container, list);
        let said = compute(&of(List::Requests), &of(List::Limits));
        for name in NEEDED.into_iter().filter(|name| hard.contains_key(*name) && !said.contains_key(*name)) {
            missing.entry(name).or_default().push(container["name"].as_str().unwrap_or_default());
        }
    }
    if missing.is_empty() || !pod["resources"].is_null() {
        return None;
    }
    let each = missing.into_iter().map(|(name, mut containers)| {
        containers.sort_unstable();
        format!("{name} for: {}", containers.join(","))
    });
    Some(format!("must specify {}", each.collect::<Vec<_>>().join("; ")))
}
