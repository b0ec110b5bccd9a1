//! Amounts of resources by name, and what a pod asks for in all (`component-helpers/resource/helpers.go`). Pure.

use std::collections::BTreeMap;

use serde_json::Value;
use wkube_api::quantity::Quantity;

/// Amounts by the name of the resource.
pub(super) type Amounts = BTreeMap<String, Quantity>;

/// Which of a container's two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// What it is promised.
    Requests,
    /// What it may not go beyond.
    Limits,
}

impl List {
    fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Limits => "limits",
        }
    }
}

/// Reads a map of amounts; what is no quantity is left to validation.
pub(super) fn read(map: &Value) -> Amounts {
    let entries = map.as_object().into_iter().flatten();
    entries.filter_map(|(name, amount)| Some((name.clone(), quantity(amount)?))).collect()
}

/// Reads one amount, written as text or as a number.
pub(super) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Adds amounts to others.
pub(super) fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = to.get(name).copied().unwrap_or(Quantity::ZERO).plus(*amount);
        to.insert(name.clone(), sum);
    }
}

/// Returns `a - b`, by name.
pub(super) fn difference(a: &Amounts, b: &Amounts) -> Amounts {
    let mut result = a.clone();
    for (name, amount) in b {
        let left = result.get(name).copied().unwrap_or(Quantity::ZERO).minus(*amount);
        result.insert(name.clone(), left);
    }
    result
}

fn raise(to: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let larger = to.get(name).copied().unwrap_or(Quantity::ZERO).max(*amount);
        to.insert(name.clone(), larger);
    }
}

/// Returns what a container asks for.
pub(super) fn of_container(container: &Value, list: List) -> Amounts {
    read(&container["resources"][list.name()])
}

/// Returns what a pod asks for: its containers together, or the largest moment while it initializes; with overhead.
pub(super) fn of_pod(spec: &Value, list: List) -> Amounts {
    let mut total = Amounts::new();
    for container in items(&spec["containers"]) {
        add(&mut total, &of_container(container, list));
    }
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in items(&spec["initContainers"]) {
        let mut now = of_container(container, list);
        if container["restartPolicy"] == "Always" {
            // A sidecar stays: with the containers after it, and with those that initialize later.
            add(&mut total, &now);
            add(&mut sidecars, &now);
            now = sidecars.clone();
        } else {
            add(&mut now, &sidecars);
        }
        raise(&mut peak, &now);
    }
    raise(&mut total, &peak);
    // What is said of the pod as a whole counts in place of the sum.
    total.extend(read(&spec["resources"][list.name()]));
    let overhead = read(&spec["overhead"]);
    match list {
        List::Requests => add(&mut total, &overhead),
        List::Limits => {
            // A pod without a limit does not get one through its overhead.
            let limited: Amounts = overhead.into_iter().filter(|(name, _)| total.contains_key(name)).collect();
            add(&mut total, &limited);
        }
    }
    total
}

/// Returns the items of a list.
pub(super) fn items(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn show(amounts: &Amounts) -> String {
        amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
    }

    #[expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]
    fn requests(spec: Value) -> String {
        show(&of_pod(&spec, List::Requests))
    }

    fn asks(cpu: &str) -> Value {
        json!({"resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}})
    }

    #[test]
    fn containers_add_up_and_init_containers_run_alone() {
        assert_eq!(requests(json!({"containers": [asks("1"), asks("500m")]})), "cpu=1500m");
        assert_eq!(requests(json!({"containers": [asks("1")], "initContainers": [asks("3"), asks("2")]})), "cpu=3");
    }

    #[test]
    fn sidecars_run_beside_everything_after_them() {
        let mut sidecar = asks("1");
        sidecar["restartPolicy"] = json!("Always");
        assert_eq!(requests(json!({"containers": [asks("1")], "initContainers": [sidecar, asks("2")]})), "cpu=3");
        assert_eq!(requests(json!({"containers": [asks("2")], "initContainers": [asks("2"), sidecar]})), "cpu=3");
    }

    #[test]
    fn overhead_limits_only_what_is_limited() {
        let spec = json!({"containers": [asks("1")], "overhead": {"cpu": "1", "memory": "1Mi"}});
        assert_eq!(show(&of_pod(&spec, List::Requests)), "cpu=2,memory=1Mi");
        assert_eq!(show(&of_pod(&spec, List::Limits)), "cpu=2");
    }
}
