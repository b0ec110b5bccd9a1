//! Where objects are kept: `/registry/<group or core>/<plural>/<namespace>/<name>`.

use wkube_api::{Object, Resource, Scope};
use wkube_store::Key;

/// Returns the prefix under which all of a kind's objects are kept. It ends with `/`.
pub(crate) fn prefix(resource: &Resource) -> String {
    let plural = resource.manners.stored_as().map_or(resource.plural.as_ref(), |stored| stored.plural);
    match resource.storage_group() {
        "" => format!("/registry/core/{plural}/"),
        group => format!("/registry/{group}/{plural}/"),
    }
}

/// Returns the prefix of a namespace's objects, or of all if the namespace is empty.
pub(crate) fn collection(resource: &Resource, namespace: &str) -> String {
    let mut prefix = prefix(resource);
    if resource.scope == Scope::Namespaced && !namespace.is_empty() {
        prefix.push_str(namespace);
        prefix.push('/');
    }
    prefix
}

/// Returns the key of one object.
pub(crate) fn object(resource: &Resource, namespace: &str, name: &str) -> Key {
    let mut key = collection(resource, namespace);
    key.push_str(name);
    key.into()
}

/// Returns the namespace (empty for cluster-scoped kinds) and the name of the object that is kept under `key`.
pub(crate) fn place<'a>(resource: &Resource, key: &'a str) -> (&'a str, &'a str) {
    let (rest, name) = key.rsplit_once('/').unwrap_or(("", key));
    match resource.scope {
        Scope::Namespaced => (rest.rsplit_once('/').map_or("", |(_, namespace)| namespace), name),
        Scope::Cluster => ("", name),
    }
}

/// Whether a key holds a node's heartbeat (`NamespaceNodeLease`), whose writes are in no hurry.
pub(crate) fn is_heartbeat(key: &str) -> bool {
    key.starts_with("/registry/coordination.k8s.io/leases/kube-node-lease/")
}

/// Returns the key of an object that knows its name.
pub(crate) fn of(resource: &Resource, document: &Object) -> Key {
    object(resource, document.namespace(), document.name())
}
