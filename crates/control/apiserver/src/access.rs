//! Whether a user may do what they ask for: the pure authorizer of `auth` over what the caches hold now.

use std::sync::Arc;

use http::{HeaderMap, Method};
use serde::de::DeserializeOwned;
use serde_json::Value;
use wkube_api::{Object, ObjectKey, Status};

use crate::auth::{self, Attributes, Authorizer, Decision, NodeGraph, Policy, User};
use crate::registry::{Derived, Registry};
use crate::router::{Query, ResourcePath, Verb};

const RBAC: &str = "rbac.authorization.k8s.io";

/// Decides about requests. Remembers the resolved policy until a role or binding changes.
pub(crate) struct Access {
    policy: Derived<Policy, 4>,
}

impl Default for Access {
    fn default() -> Self {
        let kinds = ["roles", "rolebindings", "clusterroles", "clusterrolebindings"];
        Self { policy: Derived::new(kinds.map(|plural| (RBAC, plural))) }
    }
}

impl Access {
    /// Returns the user that the request acts as.
    pub(crate) async fn impersonate(
        &self,
        registry: &Registry,
        asker: User,
        headers: &HeaderMap,
    ) -> Result<User, Status> {
        if !headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
            return Ok(asker);
        }
        let policy = self.policy(registry, Fresh::Yes).await;
        let mut user = auth::authenticate::impersonate(asker, headers, &authorizer(registry, &policy))?;
        user.join(if user.is_anonymous() { auth::UNAUTHENTICATED } else { auth::AUTHENTICATED });
        Ok(user)
    }

    /// Decides about a request on a resource.
    pub(crate) async fn check_resource(
        &self,
        registry: &Registry,
        user: &User,
        verb: Verb,
        path: &ResourcePath,
        query: &Query,
    ) -> Result<String, Status> {
        let collection = path.name.is_empty() && matches!(verb, Verb::List | Verb::Watch);
        let field_selector = if collection { query.get("fieldSelector") } else { "" };
        let selected = field_selector.split(',').find_map(|term| term.strip_prefix("metadata.name="));
        let attributes = Attributes {
            verb: verb.as_str(),
            group: &path.group,
            resource: &path.resource,
            subresource: &path.subresource,
            namespace: &path.namespace,
            name: selected.unwrap_or(&path.name),
            field_selector,
            path: "",
        };
        self.check(registry, user, &attributes).await
    }

    /// Decides about a request on any other path.
    pub(crate) async fn check_path(
        &self,
        registry: &Registry,
        user: &User,
        method: &Method,
        path: &str,
    ) -> Result<String, Status> {
        let verb = method.as_str().to_lowercase();
        self.check(registry, user, &Attributes { verb: &verb, path, ..Attributes::default() }).await
    }

    /// Decides about anything; a yes comes with its reason. A refusal is only final once the caches have seen every write that has been answered, so
    /// that a grant holds for the very next request.
    pub(crate) async fn check(
        &self,
        registry: &Registry,
        user: &User,
        wanted: &Attributes<'_>,
    ) -> Result<String, Status> {
        let policy = self.policy(registry, Fresh::No).await;
        if let Decision::Allowed(reason) = authorizer(registry, &policy).decide(user, wanted) {
            return Ok(reason);
        }
        let policy = self.policy(registry, Fresh::Yes).await;
        if let Some(pods) = registry.catalog.core("pods").filter(|_| auth::node::node_name(user).is_some()) {
            // A node asks for what a pod mentions as soon as its own watch shows the pod.
            registry.cache(pods).reach(registry.store.revision()).await;
        }
        match authorizer(registry, &policy).decide(user, wanted) {
            Decision::Allowed(reason) => Ok(reason),
            Decision::Refused => Err(wanted.forbidden(user)),
        }
    }

    /// Returns the policy as the caches hold it.
    pub(crate) async fn policy(&self, registry: &Registry, fresh: Fresh) -> Arc<Policy> {
        if fresh == Fresh::Yes {
            self.policy.catch_up(registry).await;
        }
        self.policy.get(registry, |[roles, bindings, cluster_roles, cluster_bindings]| {
            Policy::new(&typed(&roles), &typed(&bindings), &typed(&cluster_roles), &typed(&cluster_bindings))
        })
    }
}

/// Whether to wait until the caches have caught up with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fresh {
    /// Wait.
    Yes,
    /// Take what is there.
    No,
}

/// Puts the authorizer together.
pub(crate) fn authorizer<'a>(registry: &'a Registry, policy: &'a Policy) -> Authorizer<'a> {
    Authorizer { policy, graph: registry }
}

/// A role that cannot be read grants nothing.
fn typed<K: DeserializeOwned>(objects: &[Arc<Object>]) -> Vec<K> {
    objects.iter().filter_map(|object| object.to_typed().ok()).collect()
}

impl NodeGraph for Registry {
    fn node_of_pod(&self, namespace: &str, name: &str) -> Option<String> {
        let pods = self.catalog.core("pods")?;
        let pod = self.find(pods, &ObjectKey::new(namespace, name)).ok()??;
        Some(pod.str_at(&["spec", "nodeName"]).to_owned()).filter(|node| !node.is_empty())
    }

    fn refers_to(&self, node: &str, resource: &str, namespace: &str, name: &str) -> bool {
        let Some(pods) = self.catalog.core("pods") else { return false };
        let (items, _) = self.cache(pods).list(&crate::registry::keys::collection(pods, namespace));
        items.iter().map(|item| item.object()).any(|pod| {
            pod.str_at(&["spec", "nodeName"]) == node
                && pod.at(&["spec"]).is_some_and(|spec| mentions(spec, resource, name))
        })
    }
}

/// Whether a pod's spec refers to a Secret or `ConfigMap`, in whichever of the many places.
fn mentions(value: &Value, resource: &str, name: &str) -> bool {
    let names = |value: &Value, field: &str| value.get(field).and_then(Value::as_str) == Some(name);
    match value {
        Value::Array(list) => list.iter().any(|item| mentions(item, resource, name)),
        Value::Object(map) => map.iter().any(|(key, inner)| match (resource, key.as_str()) {
            ("configmaps", "configMap" | "configMapRef" | "configMapKeyRef")
            | ("secrets", "secretRef" | "secretKeyRef") => names(inner, "name"),
            ("secrets", "secret") => names(inner, "secretName") || names(inner, "name"),
            ("secrets", "imagePullSecrets") => {
                inner.as_array().is_some_and(|list| list.iter().any(|item| names(item, "name")))
            }
            _ => mentions(inner, resource, name),
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_mentions_what_its_volumes_and_environment_come_from() {
        let spec = json!({
            "volumes": [{"projected": {"sources": [{"configMap": {"name": "ca"}}]}}, {"secret": {"secretName": "s"}}],
            "containers": [{"envFrom": [{"secretRef": {"name": "e"}}], "env": [{"valueFrom": {"configMapKeyRef": {"name": "k"}}}]}],
            "imagePullSecrets": [{"name": "pull"}],
        });
        for (resource, name) in
            [("configmaps", "ca"), ("configmaps", "k"), ("secrets", "s"), ("secrets", "e"), ("secrets", "pull")]
        {
            assert!(mentions(&spec, resource, name), "{resource} {name}");
        }
        assert!(!mentions(&spec, "secrets", "ca"));
        assert!(!mentions(&spec, "configmaps", "s"));
    }
}
