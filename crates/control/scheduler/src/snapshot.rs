//! What the scheduler believes of the cluster: nodes, the pods on them, and what those ask for together.
//!
//! A pod is *assumed* on its node from the decision until the watch shows it bound (or the binding failed), so that the
//! next decision already counts it. A pod is *nominated* to a node while it waits for others to leave it; it is on none.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};
use wkube_api::quantity::Quantity;
use wkube_client::Kind as _;

use crate::pod::PodInfo;
use crate::resources::Resources;

/// The name of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(pub String);

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A node with what is on it.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    /// The node as last seen.
    pub node: Arc<Node>,
    /// What it has for pods.
    pub allocatable: Resources,
    /// How many pods it takes.
    pub pods_max: usize,
    /// What its pods ask for together.
    pub requested: Resources,
    /// What its pods count as when nodes are compared.
    pub requested_stated: Resources,
    /// Its pods by uid, those that have ended left out.
    pub pods: BTreeMap<String, Arc<PodInfo>>,
}

impl NodeInfo {
    /// Returns a node with nothing on it.
    pub fn new(node: Arc<Node>) -> Self {
        let mut info = Self {
            node: Arc::default(),
            allocatable: Resources::default(),
            pods_max: 0,
            requested: Resources::default(),
            requested_stated: Resources::default(),
            pods: BTreeMap::new(),
        };
        info.set_node(node);
        info
    }

    fn set_node(&mut self, node: Arc<Node>) {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        self.allocatable = allocatable.map(Resources::read).unwrap_or_default();
        // A quantity like the others: 4,000 pods are written as `4k`.
        let pods = allocatable.and_then(|amounts| amounts.get("pods")?.0.parse::<Quantity>().ok());
        self.pods_max = pods.and_then(|pods| pods.value().try_into().ok()).unwrap_or(0);
        self.node = node;
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        self.node.name()
    }

    /// Returns the labels.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        self.node.labels()
    }

    /// Returns the taints.
    pub fn taints(&self) -> &[Taint] {
        self.node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
    }

    /// Whether an operator has cordoned it.
    pub fn is_unschedulable(&self) -> bool {
        self.node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default()
    }

    /// Puts a pod on this node.
    pub fn add(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.requested_stated.add(&pod.requests_stated);
        let before = self.pods.insert(pod.uid().to_owned(), pod);
        debug_assert!(before.is_none(), "a pod is counted once");
    }

    /// Takes a pod off this node.
    pub fn remove(&mut self, uid: &str) {
        if let Some(pod) = self.pods.remove(uid) {
            self.requested.subtract(&pod.requests);
            self.requested_stated.subtract(&pod.requests_stated);
        }
    }
}

/// Where a pod is, by what we know.
#[derive(Debug, Clone)]
struct Placed {
    node: NodeName,
    pod: Arc<PodInfo>,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// We decided it; the API server may not know yet.
    Assumed,
    /// The watch has shown it.
    Confirmed,
}

/// The cluster as the scheduler sees it. Clones share what they have in common.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    nodes: BTreeMap<NodeName, Arc<NodeInfo>>,
    /// Every pod with a node, by uid, also those whose node we have not seen yet.
    placed: BTreeMap<String, Placed>,
    /// Pods that others make room for, by uid, and where.
    nominated: BTreeMap<String, (NodeName, Arc<PodInfo>)>,
}

impl Snapshot {
    /// Returns the nodes in name order.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &NodeInfo> {
        self.nodes.values().map(AsRef::as_ref)
    }

    /// Returns the node of this name.
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.nodes.get(&NodeName(name.to_owned())).map(AsRef::as_ref)
    }

    /// Takes in a node as it is now. Pods that were seen before their node are counted from now on.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let name = NodeName(node.name().to_owned());
        if let Some(known) = self.nodes.get_mut(&name) {
            Arc::make_mut(known).set_node(node);
            return;
        }
        let mut info = NodeInfo::new(node);
        for placed in self.placed.values().filter(|placed| placed.node == name) {
            info.add(Arc::clone(&placed.pod));
        }
        self.nodes.insert(name, Arc::new(info));
    }

    /// Takes in that a node is gone. Its pods stay known until they are deleted too.
    pub fn remove_node(&mut self, name: &str) {
        self.nodes.remove(&NodeName(name.to_owned()));
    }

    /// Takes in a pod as the watch shows it: on its node, or on none.
    pub fn set_pod(&mut self, pod: &Arc<PodInfo>) {
        match pod.node_name() {
            Some(node) if !pod.is_terminal() => {
                self.place(&NodeName(node.to_owned()), Arc::clone(pod), Standing::Confirmed);
            }
            Some(_) => self.remove_pod(pod.uid()),
            // An older state than our decision; the binding is still to come.
            None => {}
        }
    }

    /// Counts a pod on a node before the API server has bound it.
    pub fn assume(&mut self, pod: &Arc<PodInfo>, node: &NodeName) {
        self.place(node, Arc::clone(pod), Standing::Assumed);
    }

    /// Takes an assumption back, unless the watch has confirmed it meanwhile.
    pub fn forget(&mut self, uid: &str) {
        if self.is_assumed(uid) {
            self.displace(uid);
        }
    }

    /// Whether a pod has been given a node that the watch has not shown yet.
    pub fn is_assumed(&self, uid: &str) -> bool {
        self.placed.get(uid).is_some_and(|placed| placed.standing == Standing::Assumed)
    }

    /// Takes in that a pod is gone, or has ended.
    pub fn remove_pod(&mut self, uid: &str) {
        self.displace(uid);
        self.nominated.remove(uid);
    }

    /// Keeps room on a node for a pod that waits for others to leave it.
    pub fn nominate(&mut self, pod: &Arc<PodInfo>, node: &NodeName) {
        self.nominated.insert(pod.uid().to_owned(), (node.clone(), Arc::clone(pod)));
    }

    /// Gives up the room that is kept for a pod. Returns whether there was any.
    pub fn withdraw(&mut self, uid: &str) -> bool {
        self.nominated.remove(uid).is_some()
    }

    /// Returns the node that has room kept for this pod.
    pub fn nomination(&self, uid: &str) -> Option<&NodeName> {
        self.nominated.get(uid).map(|(node, _)| node)
    }

    /// Returns the pods that room is kept for on a node.
    pub fn nominated_to(&self, node: &NodeName) -> impl Iterator<Item = &Arc<PodInfo>> {
        let waiting = self.nominated.iter().filter(|(uid, _)| !self.placed.contains_key(*uid));
        waiting.filter(move |(_, (wanted, _))| wanted == node).map(|(_, (_, pod))| pod)
    }

    /// Returns whether room is kept for any pod.
    pub fn has_nominations(&self) -> bool {
        !self.nominated.is_empty()
    }

    /// Returns a copy to see what would be if: nodes, what is on them, and whom they are kept for.
    pub(crate) fn what_if(&self) -> Self {
        let waiting = self.nominated.iter().filter(|(uid, _)| !self.placed.contains_key(*uid));
        let nominated = waiting.map(|(uid, kept)| (uid.clone(), kept.clone())).collect();
        Self { nodes: self.nodes.clone(), placed: BTreeMap::new(), nominated }
    }

    /// Replaces a node and what is on it, and returns what was.
    pub(crate) fn exchange(&mut self, node: Arc<NodeInfo>) -> Option<Arc<NodeInfo>> {
        self.nodes.insert(NodeName(node.name().to_owned()), node)
    }

    fn place(&mut self, node: &NodeName, pod: Arc<PodInfo>, standing: Standing) {
        self.displace(pod.uid());
        if standing == Standing::Confirmed {
            self.nominated.remove(pod.uid());
        }
        if let Some(info) = self.nodes.get_mut(node) {
            Arc::make_mut(info).add(Arc::clone(&pod));
        }
        self.placed.insert(pod.uid().to_owned(), Placed { node: node.clone(), pod, standing });
    }

    fn displace(&mut self, uid: &str) {
        let Some(placed) = self.placed.remove(uid) else { return };
        if let Some(node) = self.nodes.get_mut(&placed.node) {
            Arc::make_mut(node).remove(uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{node, pod};

    fn requested(snapshot: &Snapshot, node: &str) -> (i64, usize) {
        let node = snapshot.node(node).expect("known");
        (node.requested.milli_cpu, node.pods.len())
    }

    fn name(name: &str) -> NodeName {
        NodeName(name.to_owned())
    }

    #[test]
    fn a_node_says_how_many_pods_it_takes_as_a_quantity() {
        let snapshot = node("n1").allocatable("pods", "4k").in_snapshot();
        assert_eq!(snapshot.node("n1").map(|node| node.pods_max), Some(4_000));
    }

    #[test]
    fn an_assumed_pod_counts_until_it_is_forgotten() {
        let mut snapshot = node("n1").in_snapshot();
        let web = pod("web").cpu("500m").info();
        snapshot.assume(&web, &name("n1"));
        assert_eq!(requested(&snapshot, "n1"), (500, 1));
        snapshot.forget(web.uid());
        assert_eq!(requested(&snapshot, "n1"), (0, 0));
    }

    #[test]
    fn a_confirmed_pod_is_counted_once_and_not_forgotten() {
        let mut snapshot = node("n1").in_snapshot();
        let web = pod("web").cpu("500m");
        snapshot.assume(&web.info(), &name("n1"));
        snapshot.set_pod(&web.clone().on("n1").info());
        snapshot.forget("web");
        assert_eq!(requested(&snapshot, "n1"), (500, 1));
        assert!(!snapshot.is_assumed("web"));
    }

    #[test]
    fn a_state_from_before_the_binding_does_not_undo_the_assumption() {
        let mut snapshot = node("n1").in_snapshot();
        let web = pod("web").cpu("500m").info();
        snapshot.assume(&web, &name("n1"));
        snapshot.set_pod(&web);
        assert!(snapshot.is_assumed("web"));
    }

    #[test]
    fn a_pod_that_was_bound_elsewhere_moves() {
        let mut snapshot = node("n1").in_snapshot();
        snapshot.set_node(node("n2").build());
        let web = pod("web").cpu("500m");
        snapshot.assume(&web.info(), &name("n1"));
        snapshot.set_pod(&web.on("n2").info());
        assert_eq!((requested(&snapshot, "n1"), requested(&snapshot, "n2")), ((0, 0), (500, 1)));
    }

    #[test]
    fn a_pod_that_has_ended_frees_its_node() {
        let mut snapshot = node("n1").in_snapshot();
        let web = pod("web").cpu("500m").on("n1");
        snapshot.set_pod(&web.info());
        snapshot.set_pod(&web.phase("Succeeded").info());
        assert_eq!(requested(&snapshot, "n1"), (0, 0));
    }

    #[test]
    fn pods_seen_before_their_node_are_counted_once_it_appears() {
        let mut snapshot = Snapshot::default();
        snapshot.set_pod(&pod("web").cpu("500m").on("n1").info());
        assert_eq!(snapshot.nodes().len(), 0);
        snapshot.set_node(node("n1").build());
        assert_eq!(requested(&snapshot, "n1"), (500, 1));
    }

    #[test]
    fn a_node_that_comes_back_has_its_pods_still() {
        let mut snapshot = node("n1").in_snapshot();
        snapshot.set_pod(&pod("web").cpu("500m").on("n1").info());
        snapshot.remove_node("n1");
        snapshot.set_node(node("n1").build());
        assert_eq!(requested(&snapshot, "n1"), (500, 1));
    }

    #[test]
    fn a_clone_does_not_see_later_changes() {
        let mut snapshot = node("n1").in_snapshot();
        let before = snapshot.clone();
        snapshot.assume(&pod("web").cpu("1").info(), &name("n1"));
        assert_eq!((requested(&before, "n1"), requested(&snapshot, "n1")), ((0, 0), (1_000, 1)));
    }

    fn nominated(snapshot: &Snapshot, node: &str) -> Vec<String> {
        snapshot.nominated_to(&name(node)).map(|pod| pod.key().name).collect()
    }

    #[test]
    fn a_nominated_pod_is_on_no_node_and_is_forgotten_once_it_is_bound_or_gone() {
        let mut snapshot = node("n1").in_snapshot();
        let web = pod("web").cpu("500m");
        snapshot.nominate(&web.info(), &name("n1"));
        assert_eq!((requested(&snapshot, "n1"), nominated(&snapshot, "n1")), ((0, 0), vec!["web".to_owned()]));
        assert_eq!(nominated(&snapshot, "n2"), [""; 0]);
        let mut gone = snapshot.clone();
        gone.remove_pod("web");
        snapshot.set_pod(&web.on("n1").info());
        assert_eq!((gone.nomination("web"), snapshot.nomination("web")), (None, None));
    }

    #[test]
    fn room_is_not_kept_twice_while_a_pod_is_assumed_but_again_if_that_fails() {
        let mut snapshot = node("n1").in_snapshot();
        let web = pod("web").info();
        snapshot.nominate(&web, &name("n1"));
        snapshot.assume(&web, &name("n1"));
        assert_eq!(nominated(&snapshot, "n1"), [""; 0]);
        snapshot.forget("web");
        assert_eq!(nominated(&snapshot, "n1"), ["web"]);
    }
}
