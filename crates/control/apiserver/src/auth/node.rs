//! What a node agent may do: its own Node, Lease and pods, and what those need (`plugin/pkg/auth/authorizer/node`).

use super::{Attributes, NODES, User};

const NODE_PREFIX: &str = "system:node:";
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// What the authorizer asks about pods.
pub trait NodeGraph: Send + Sync {
    /// Returns the node that a pod is bound to; `None` if the pod does not exist or is bound to none.
    fn node_of_pod(&self, namespace: &str, name: &str) -> Option<String>;

    /// Whether a pod on `node` refers to this object (`resource` is `secrets` or `configmaps`). A graph that does not
    /// track references says yes.
    fn refers_to(&self, node: &str, resource: &str, namespace: &str, name: &str) -> bool {
        let _ = (node, resource, namespace, name);
        true
    }
}

/// A cluster without pods.
impl NodeGraph for () {
    fn node_of_pod(&self, _namespace: &str, _name: &str) -> Option<String> {
        None
    }
}

/// Returns the node's name if `user` is a node agent.
pub fn node_name(user: &User) -> Option<&str> {
    user.name.strip_prefix(NODE_PREFIX).filter(|name| !name.is_empty() && user.is_in(NODES))
}

/// Whether `user` is a node that may do this. Everybody else is none of this authorizer's business.
pub fn allows(user: &User, wanted: &Attributes<'_>, graph: &dyn NodeGraph) -> bool {
    let Some(node) = node_name(user) else { return false };
    let reads = matches!(wanted.verb, "get" | "list" | "watch");
    let own_name = wanted.name == node;
    match (wanted.group, wanted.resource, wanted.subresource) {
        // A node creates its Node without naming it in the URL; admission looks at the name in the document.
        ("", "nodes", "") => {
            reads || wanted.verb == "create" || (own_name && matches!(wanted.verb, "update" | "patch"))
        }
        ("", "nodes", "status") => own_name && matches!(wanted.verb, "get" | "update" | "patch"),
        ("wkube.dev", "nodes", "reverse") => own_name && wanted.verb == "create",
        ("coordination.k8s.io", "leases", "") => {
            wanted.namespace == LEASE_NAMESPACE
                && match wanted.verb {
                    "create" => wanted.name.is_empty() || own_name,
                    "get" | "update" | "patch" | "delete" => own_name,
                    _ => false,
                }
        }
        ("", "pods", subresource) => pods(node, wanted, subresource, graph),
        ("", "secrets" | "configmaps", "") => {
            reads && !wanted.name.is_empty() && graph.refers_to(node, wanted.resource, wanted.namespace, wanted.name)
        }
        ("", "services" | "endpoints" | "namespaces", "")
        | ("discovery.k8s.io", "endpointslices", "")
        | ("networking.k8s.io", "ingresses" | "ingressclasses" | "networkpolicies", "")
        | ("node.k8s.io", "runtimeclasses", "") => reads,
        ("" | "events.k8s.io", "events", "") => matches!(wanted.verb, "create" | "update" | "patch"),
        ("certificates.k8s.io", "certificatesigningrequests", "") => reads || wanted.verb == "create",
        ("", "serviceaccounts", "") => wanted.verb == "get" && !wanted.name.is_empty(),
        // Traffic to pods of other nodes; on a pod network every node reaches every pod, too.
        ("wkube.dev", "podips", "connect" | "datagrams")
        | ("", "serviceaccounts", "token")
        | ("authentication.k8s.io", "tokenreviews", "")
        | ("authorization.k8s.io", "subjectaccessreviews" | "localsubjectaccessreviews", "") => wanted.verb == "create",
        _ => false,
    }
}

fn pods(node: &str, wanted: &Attributes<'_>, subresource: &str, graph: &dyn NodeGraph) -> bool {
    let owner = || graph.node_of_pod(wanted.namespace, wanted.name);
    let owns = || owner().is_some_and(|owner| owner == node);
    // What does not exist may be asked for, and written: 404 is how a node learns that a pod is gone. (A pod that is bound
    // to no node yet cannot be told from that, and may become anybody's; the plugin `NodeRestriction` lets nobody write it.)
    let is_no_others = || owner().is_none_or(|owner| owner == node);
    match (wanted.verb, subresource) {
        ("list" | "watch", "") => selects_own_pods(wanted.field_selector, node) || (!wanted.name.is_empty() && owns()),
        ("get" | "delete", "") | ("get" | "update" | "patch", "status") => is_no_others(),
        // Mirrors of static pods, and that a node makes no others is for the plugin `NodeRestriction` to see. Requests to
        // pods of other nodes go through here.
        ("create", "") | (_, "proxy") => true,
        _ => false,
    }
}

fn selects_own_pods(selector: &str, node: &str) -> bool {
    let value = |term: &str| {
        let (field, value) = term.split_once('=')?;
        (field.trim() == "spec.nodeName").then(|| value.trim_start_matches('=').trim() == node)
    };
    selector.split(',').filter_map(value).any(|own| own)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pods are named after the node that they run on.
    struct ByName;

    impl NodeGraph for ByName {
        fn node_of_pod(&self, _namespace: &str, name: &str) -> Option<String> {
            ["n1", "n2"].contains(&name).then(|| name.to_owned())
        }

        fn refers_to(&self, node: &str, _resource: &str, _namespace: &str, name: &str) -> bool {
            name.starts_with(node)
        }
    }

    /// Parses `verb group/resource[/subresource] [namespace/name]`.
    fn wanted(text: &str) -> Attributes<'_> {
        let mut words = text.split(' ');
        let (verb, target) = (words.next().expect("a verb"), words.next().expect("a target"));
        let mut parts = target.split('/');
        let mut part = || parts.next().unwrap_or_default();
        let (group, resource, subresource) = (part(), part(), part());
        let (namespace, name) = words.next().and_then(|object| object.split_once('/')).unwrap_or_default();
        Attributes { verb, group, resource, subresource, namespace, name, ..Attributes::default() }
    }

    fn n1() -> User {
        User::known("system:node:n1", [NODES])
    }

    #[track_caller]
    fn check(allowed: &[&str], refused: &[&str]) {
        for text in allowed {
            assert!(allows(&n1(), &wanted(text), &ByName), "{text} is allowed");
        }
        for text in refused {
            assert!(!allows(&n1(), &wanted(text), &ByName), "{text} is refused");
        }
    }

    #[test]
    fn a_node_writes_its_own_node_only() {
        check(
            &["create /nodes", "patch /nodes /n1", "update /nodes/status /n1", "get /nodes /n2", "watch /nodes"],
            &["patch /nodes /n2", "patch /nodes/status /n2", "delete /nodes /n1", "get /nodes/proxy /n1"],
        );
    }

    #[test]
    fn a_node_opens_its_own_reverse_connection_only() {
        check(&["create wkube.dev/nodes/reverse /n1"], &["create wkube.dev/nodes/reverse /n2"]);
    }

    #[test]
    fn a_node_renews_its_own_lease_only() {
        let lease = "coordination.k8s.io/leases";
        check(
            &[&format!("create {lease} kube-node-lease/"), &format!("update {lease} kube-node-lease/n1")],
            &[
                &format!("update {lease} kube-node-lease/n2"),
                &format!("update {lease} kube-system/n1"),
                &format!("list {lease} kube-node-lease/"),
            ],
        );
    }

    #[test]
    fn a_node_touches_the_pods_that_are_bound_to_it() {
        check(
            &[
                "patch /pods/status d/n1",
                "delete /pods d/n1",
                "get /pods d/n1",
                "create /pods d/",
                "get /pods d/gone",
                "patch /pods/status d/gone",
                "delete /pods d/gone",
            ],
            &[
                "patch /pods/status d/n2",
                "delete /pods d/n2",
                "get /pods d/n2",
                "patch /pods d/n1",
                "create /pods/binding d/n1",
                "create /pods/exec d/n1",
            ],
        );
    }

    #[test]
    fn a_node_passes_requests_and_connections_on_to_the_pods_of_other_nodes() {
        check(
            &[
                "get /pods/proxy d/n2",
                "create /pods/proxy d/n2:8080",
                "create wkube.dev/podips/connect /10.42.1.2",
                "create wkube.dev/podips/datagrams /10.42.1.2",
            ],
            &["get /services/proxy d/web", "create /pods/attach d/n2", "create /pods/portforward d/n2"],
        );
    }

    #[test]
    fn a_node_lists_only_its_own_pods() {
        for (selector, expected) in [
            ("spec.nodeName=n1", true),
            ("status.phase!=Failed,spec.nodeName==n1", true),
            ("spec.nodeName=n2", false),
            ("spec.nodeName!=n1", false),
            ("spec.nodeName=n10", false),
            ("", false),
        ] {
            let attributes = Attributes { field_selector: selector, ..wanted("watch /pods") };
            assert_eq!(allows(&n1(), &attributes, &ByName), expected, "{selector}");
        }
    }

    #[test]
    fn a_node_reads_secrets_by_name_if_its_pods_refer_to_them() {
        check(
            &["get /secrets d/n1-key", "watch /configmaps d/n1-config"],
            &[
                "get /secrets d/n2-key",
                "list /secrets d/",
                "list /secrets",
                "patch /secrets d/n1-key",
                "list /configmaps",
            ],
        );
    }

    #[test]
    fn a_node_reads_what_routing_needs() {
        check(
            &["watch /services", "list discovery.k8s.io/endpointslices", "watch networking.k8s.io/ingresses"],
            &[
                "patch /services d/web",
                "create discovery.k8s.io/endpointslices d/",
                "list apps/deployments",
                "list rbac.authorization.k8s.io/roles",
            ],
        );
    }

    #[test]
    fn a_node_reports_and_asks() {
        check(
            &[
                "create /events d/",
                "patch events.k8s.io/events d/e",
                "create certificates.k8s.io/certificatesigningrequests",
                "create /serviceaccounts/token d/default",
                "create authentication.k8s.io/tokenreviews",
            ],
            &[
                "list /events",
                "update certificates.k8s.io/certificatesigningrequests/approval /c",
                "delete /events d/e",
            ],
        );
    }

    #[test]
    fn the_name_alone_makes_no_node() {
        let impostors =
            [User::known("system:node:n1", [""; 0]), User::known("n1", [NODES]), User::known("system:node:", [NODES])];
        for user in impostors {
            assert!(!allows(&user, &wanted("get /nodes /n1"), &ByName), "{user:?}");
        }
    }
}
