//! `NodePorts`: a port of the node itself is taken once.

use crate::framework::{Check, ClusterEvent, Filter, Reason, Verdict};
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

const REASON: &str = "node(s) didn't have free ports for the requested pod ports";

/// The rule.
#[derive(Debug)]
pub struct Ports;

impl Filter for Ports {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn prepare<'c>(&'c self, pod: &'c PodInfo, _cluster: &'c Snapshot) -> Check<'c> {
        if pod.host_ports.is_empty() {
            return Check::NotApplicable;
        }
        Check::per_node(move |node| {
            let mut taken = node.pods.values().flat_map(|other| &other.host_ports);
            let collides = taken.any(|taken| pod.host_ports.iter().any(|wanted| wanted.collides_with(taken)));
            if collides { Verdict::Full(vec![Reason::Borrowed(REASON)]) } else { Verdict::Fits }
        })
    }

    fn wakes_on(&self, event: &ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::PodLeft)
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "documents are written in place")]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::build::{cluster, node, pod, verdicts};

    fn both_fit(first: Value, second: Value) -> bool {
        let taken = cluster(&[node("n")], &[pod("a").on("n").container("ports", json!([first]))]);
        verdicts(&Ports, &pod("b").container("ports", json!([second])), &taken) == ["n: ok"]
    }

    #[test]
    fn the_same_host_port_does_not_fit_twice() {
        assert!(!both_fit(json!({ "hostPort": 80 }), json!({ "hostPort": 80 })));
        assert!(both_fit(json!({ "hostPort": 80 }), json!({ "hostPort": 81 })));
    }

    #[test]
    fn container_ports_alone_never_collide() {
        assert!(both_fit(json!({ "containerPort": 80 }), json!({ "containerPort": 80 })));
        assert!(both_fit(json!({ "hostPort": 0 }), json!({ "hostPort": 0 })));
    }

    #[test]
    fn protocols_and_addresses_keep_ports_apart_but_the_wildcard_takes_all() {
        assert!(both_fit(json!({ "hostPort": 53 }), json!({ "hostPort": 53, "protocol": "UDP" })));
        let on = |ip: &str| json!({ "hostPort": 80, "hostIP": ip });
        assert!(both_fit(on("10.0.0.1"), on("10.0.0.2")));
        assert!(!both_fit(on("10.0.0.1"), on("0.0.0.0")));
        assert!(!both_fit(on("10.0.0.1"), json!({ "hostPort": 80 })));
    }
}
