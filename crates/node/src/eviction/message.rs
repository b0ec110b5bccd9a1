//! What an evicted pod's status and event say (`pkg/kubelet/eviction/helpers.go`, `evictionMessage`). Pure.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::Pod;
use wkube_api::quantity::Quantity;

use super::signals::{Observation, Signal};
use super::thresholds::Threshold;
use crate::pod::{qos, spec};

/// Says why the node could not keep a pod: what was scarce, and which containers used more than they had asked for.
pub fn message(pod: &Pod, threshold: &Threshold, seen: &Observation, used: impl Fn(&str) -> Option<u64>) -> String {
    let signal = threshold.signal;
    let resource = signal.resource();
    let least = amount(signal, threshold.amount(seen.capacity));
    let available = amount(signal, seen.available);
    let mut text =
        format!("The node was low on resource: {resource}. Threshold quantity: {least}, available: {available}. ");
    for (container, _) in spec::containers(pod) {
        let name = &container.name;
        let request = qos::request(&container, resource);
        if let Some(used) = used(name).filter(|used| *used > request.map_or(0, qos::units)) {
            let request = request.map_or_else(|| "0".to_owned(), |request| request.to_string());
            let used = amount(signal, used);
            let _ = write!(
                text,
                "Container {name} was using {used}, request is {request}, has larger consumption of {resource}. "
            );
        }
    }
    text
}

/// Bytes are written in binary suffixes, pieces are counted.
fn amount(signal: Signal, amount: u64) -> Quantity {
    let amount = i64::try_from(amount).unwrap_or(i64::MAX);
    match signal {
        Signal::Memory | Signal::NodeDisk | Signal::ImageDisk => Quantity::from_bytes(amount),
        Signal::NodeInodes | Signal::Pids => Quantity::new(amount),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::eviction::thresholds::Least;

    #[test]
    fn the_sentence_names_what_was_scarce_and_who_used_more_than_asked() {
        let pod: Pod = serde_json::from_value(json!({ "spec": { "containers": [
            { "name": "greedy", "resources": { "requests": { "memory": "10Mi" } } },
            { "name": "modest", "resources": { "requests": { "memory": "10Mi" } } },
            { "name": "careless" },
        ] } }))
        .unwrap();
        let threshold = Threshold { signal: Signal::Memory, least: Least::Amount(100 << 20) };
        let seen = Observation { signal: Signal::Memory, available: (50 << 20) + 1_024, capacity: 4 << 30 };
        let used = |name: &str| Some(if name == "modest" { 10 << 20 } else { 20 << 20 });
        assert_eq!(
            message(&pod, &threshold, &seen, used),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 51201Ki. \
             Container greedy was using 20Mi, request is 10Mi, has larger consumption of memory. \
             Container careless was using 20Mi, request is 0, has larger consumption of memory. "
        );
    }

    #[test]
    fn files_are_counted_in_pieces() {
        let threshold = Threshold { signal: Signal::NodeInodes, least: Least::Percent(5) };
        let seen = Observation { signal: Signal::NodeInodes, available: 4, capacity: 1_000 };
        assert_eq!(
            message(&Pod::default(), &threshold, &seen, |_| None),
            "The node was low on resource: inodes. Threshold quantity: 50, available: 4. "
        );
    }
}
