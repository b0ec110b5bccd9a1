//! Amounts of resources: what pods ask for and what nodes have.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What a container without a request counts as when nodes are compared (`schedutil.DefaultMilliCPURequest`), so that
/// many such containers do not pile up on one node.
const UNSTATED_MILLI_CPU: i64 = 100;

/// See `UNSTATED_MILLI_CPU` (`schedutil.DefaultMemoryRequest`, 200 MiB).
const UNSTATED_MEMORY: i64 = 200 << 20;

/// Amounts by resource. Missing ones are zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a CPU.
    pub milli_cpu: i64,
    /// Bytes of memory.
    pub memory: i64,
    /// Bytes of ephemeral storage.
    pub ephemeral_storage: i64,
    /// Everything else by name, such as `example.com/gpu`.
    pub extended: BTreeMap<String, i64>,
}

impl Resources {
    /// Reads a `requests` or `allocatable` map. What cannot be read counts as zero; the API server has validated it.
    pub fn read(amounts: &BTreeMap<String, Quantity>) -> Self {
        let mut read = Self::default();
        for (name, quantity) in amounts {
            let Ok(quantity) = quantity.0.parse::<wkube_api::quantity::Quantity>() else { continue };
            match name.as_str() {
                "cpu" => read.milli_cpu = narrow(quantity.milli()),
                "memory" => read.memory = narrow(quantity.value()),
                "ephemeral-storage" => read.ephemeral_storage = narrow(quantity.value()),
                // How many pods a node takes is counted, not requested.
                "pods" => {}
                _ => drop(read.extended.insert(name.clone(), narrow(quantity.value()))),
            }
        }
        read
    }

    /// Adds.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    /// Subtracts.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
        self.extended.retain(|_, amount| *amount != 0);
    }

    /// Takes the larger of each.
    pub fn at_least(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Self, with: fn(i64, i64) -> i64) {
        self.milli_cpu = with(self.milli_cpu, other.milli_cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.extended {
            let mine = self.extended.entry(name.clone()).or_default();
            *mine = with(*mine, *amount);
        }
    }
}

fn narrow(amount: i128) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

/// Returns what a pod asks for: the larger of what its containers need together and what initializing needs at its
/// peak, plus the pod's overhead (`component-helpers/resource/helpers.go`). Sidecars (restartable init containers)
/// run beside everything that starts after them.
pub fn pod_requests(spec: &PodSpec) -> Resources {
    requests_by(spec, &|container| container_requests(container, &Resources::default()))
}

/// Returns what a pod counts as when nodes are compared: unstated CPU and memory have a typical size.
pub fn pod_requests_stated(spec: &PodSpec) -> Resources {
    let unstated = Resources { milli_cpu: UNSTATED_MILLI_CPU, memory: UNSTATED_MEMORY, ..Resources::default() };
    requests_by(spec, &|container| container_requests(container, &unstated))
}

fn requests_by(spec: &PodSpec, of: &dyn Fn(&Container) -> Resources) -> Resources {
    let mut running = Resources::default();
    for container in &spec.containers {
        running.add(&of(container));
    }
    let mut sidecars = Resources::default();
    let mut peak = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        let mut needed = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            running.add(&needed);
            sidecars.add(&needed);
            needed = sidecars.clone();
        } else {
            needed.add(&sidecars);
        }
        peak.at_least(&needed);
    }
    running.at_least(&peak);
    // Pod-level resources replace the sum of the containers' for what they state.
    if let Some(stated) = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()) {
        let whole = Resources::read(stated);
        if stated.contains_key("cpu") {
            running.milli_cpu = whole.milli_cpu;
        }
        if stated.contains_key("memory") {
            running.memory = whole.memory;
        }
    }
    if let Some(overhead) = &spec.overhead {
        running.add(&Resources::read(overhead));
    }
    running
}

fn container_requests(container: &Container, unstated: &Resources) -> Resources {
    let stated = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let Some(stated) = stated else { return unstated.clone() };
    let mut requests = Resources::read(stated);
    if !stated.contains_key("cpu") {
        requests.milli_cpu = unstated.milli_cpu;
    }
    if !stated.contains_key("memory") {
        requests.memory = unstated.memory;
    }
    requests
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(value: Value) -> PodSpec {
        serde_json::from_value(value).expect("a pod spec")
    }

    fn container(cpu: &str) -> Value {
        json!({ "name": "c", "resources": { "requests": { "cpu": cpu } } })
    }

    fn sidecar(cpu: &str) -> Value {
        json!({ "name": "s", "restartPolicy": "Always", "resources": { "requests": { "cpu": cpu } } })
    }

    fn cpu(value: Value) -> i64 {
        pod_requests(&spec(value)).milli_cpu
    }

    #[test]
    fn containers_add_up() {
        assert_eq!(cpu(json!({ "containers": [container("100m"), container("1")] })), 1_100);
    }

    #[test]
    fn init_containers_run_one_after_the_other() {
        let pod = json!({ "initContainers": [container("300m"), container("2")], "containers": [container("500m")] });
        assert_eq!(cpu(pod), 2_000);
    }

    #[test]
    fn sidecars_run_beside_what_starts_after_them() {
        let sidecar_first =
            json!({ "initContainers": [sidecar("1"), container("2")], "containers": [container("500m")] });
        assert_eq!(cpu(sidecar_first), 3_000);
        let sidecar_last =
            json!({ "initContainers": [container("2"), sidecar("1")], "containers": [container("500m")] });
        assert_eq!(cpu(sidecar_last), 2_000);
    }

    #[test]
    fn overhead_comes_on_top() {
        assert_eq!(cpu(json!({ "containers": [container("1")], "overhead": { "cpu": "250m" } })), 1_250);
    }

    #[test]
    fn pod_level_requests_replace_the_containers() {
        let pod = json!({ "containers": [container("1")], "resources": { "requests": { "cpu": "3" } } });
        assert_eq!(cpu(pod), 3_000);
    }

    #[test]
    fn unstated_requests_count_only_when_nodes_are_compared() {
        let pod = spec(json!({ "containers": [{ "name": "a" }, container("50m")] }));
        assert_eq!(pod_requests(&pod).milli_cpu, 50);
        let compared = pod_requests_stated(&pod);
        assert_eq!((compared.milli_cpu, compared.memory), (150, 2 * UNSTATED_MEMORY));
    }

    #[test]
    fn units_are_understood() {
        let amounts = json!({ "cpu": "1500m", "memory": "1Gi", "example.com/gpu": "2", "pods": "110" });
        let read = Resources::read(&serde_json::from_value(amounts).expect("amounts"));
        assert_eq!((read.milli_cpu, read.memory), (1_500, 1 << 30));
        assert_eq!(read.extended, BTreeMap::from([("example.com/gpu".to_owned(), 2)]));
    }

    #[test]
    fn subtracting_what_was_added_leaves_nothing() {
        let amounts = serde_json::from_value(json!({ "cpu": "1", "example.com/gpu": "2" })).expect("amounts");
        let mut sum = Resources::default();
        sum.add(&Resources::read(&amounts));
        sum.subtract(&Resources::read(&amounts));
        assert_eq!(sum, Resources::default());
    }
}
