//! No node is given more than it has to give.

use std::collections::BTreeMap;

use serde_json::Value;
use wkube_api::quantity::Quantity;

use super::{Check, Seen, is_terminal, text, uid};

/// What is counted. A pod counts as one of `pods`.
const RESOURCES: [&str; 3] = ["cpu", "memory", "pods"];

/// Amounts in the order of `RESOURCES`.
type Amounts = [Quantity; 3];

#[derive(Default)]
pub(super) struct Capacity {
    nodes: BTreeMap<String, Amounts>,
    /// Pods that hold something, by UID, with their node.
    pods: BTreeMap<String, (String, Amounts)>,
}

impl Check for Capacity {
    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match (seen.kind, seen.now) {
            ("Node", Some(node)) => {
                let amounts = RESOURCES.map(|resource| quantity(&node["status"]["allocatable"][resource]));
                self.nodes.insert(text(&node["metadata"]["name"]).to_owned(), amounts);
                Ok(())
            }
            ("Pod", now) => self.pod(seen, now),
            _ => Ok(()),
        }
    }
}

impl Capacity {
    fn pod(&mut self, seen: &Seen<'_>, now: Option<&Value>) -> Result<(), String> {
        if let Some(before) = seen.before {
            self.pods.remove(uid(before));
        }
        let Some(pod) = now.filter(|pod| !is_terminal(pod)) else { return Ok(()) };
        let node = text(&pod["spec"]["nodeName"]);
        if node.is_empty() {
            return Ok(());
        }
        self.pods.insert(uid(pod).to_owned(), (node.to_owned(), requests(pod)));
        let is_new = seen.before.is_none_or(|before| text(&before["spec"]["nodeName"]).is_empty());
        // A node may shrink under its pods; only giving more than there is would be wrong.
        if is_new { self.check(node, seen.name) } else { Ok(()) }
    }

    fn check(&self, node: &str, pod: &str) -> Result<(), String> {
        let Some(allocatable) = self.nodes.get(node) else {
            return Err(format!("pod {pod} is bound to {node}, which does not exist"));
        };
        for (index, resource) in RESOURCES.iter().enumerate() {
            let held = self.pods.values().filter(|(on, _)| on == node);
            let sum = held.fold(Quantity::new(0), |sum, (_, amounts)| sum.plus(amounts[index]));
            if sum > allocatable[index] {
                return Err(format!("with pod {pod}, {node} gives {sum} {resource} of {}", allocatable[index]));
            }
        }
        Ok(())
    }
}

fn requests(pod: &Value) -> Amounts {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    containers.fold([Quantity::new(0), Quantity::new(0), Quantity::new(1)], |[cpu, memory, pods], container| {
        let requests = &container["resources"]["requests"];
        [cpu.plus(quantity(&requests["cpu"])), memory.plus(quantity(&requests["memory"])), pods]
    })
}

fn quantity(value: &Value) -> Quantity {
    text(value).parse().unwrap_or(Quantity::new(0))
}
