//! `Kind`: what every typed Kubernetes object offers here, and `Revision`, where it is in the cluster's history.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wkube_api::ObjectKey;

/// A position in the cluster's one history, from `metadata.resourceVersion`. Zero is before everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// Reads a `resourceVersion`; anything that is not a number counts as zero. Kubernetes promises since 1.35
    /// (KEP-5504) that resource versions of one kind are decimal numbers that can be compared.
    pub fn parse(resource_version: &str) -> Self {
        Self(resource_version.parse().unwrap_or(0))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A kind of object, by the names its URL has. Ordered, so that it can be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindName<'a> {
    /// The API group, empty for core.
    pub group: &'a str,
    /// The plural in URLs, such as `pods`.
    pub plural: &'a str,
}

/// A typed Kubernetes object with metadata. Implemented for every such type of `k8s-openapi`.
pub trait Kind:
    k8s_openapi::Resource
    + k8s_openapi::Metadata<Ty = ObjectMeta>
    + Clone
    + fmt::Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// The group and plural of this kind.
    const NAME: KindName<'static> = KindName { group: Self::GROUP, plural: Self::URL_PATH_SEGMENT };

    /// Returns the namespace and name.
    fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace(), self.name())
    }

    /// Returns `metadata.name`, or `""`.
    fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// Returns `metadata.namespace`, or `""` for cluster-scoped objects.
    fn namespace(&self) -> &str {
        self.metadata().namespace.as_deref().unwrap_or_default()
    }

    /// Returns `metadata.uid`, or `""` for an object that was never stored.
    fn uid(&self) -> &str {
        self.metadata().uid.as_deref().unwrap_or_default()
    }

    /// Returns the revision of the last write to this object.
    fn revision(&self) -> Revision {
        self.metadata().resource_version.as_deref().map(Revision::parse).unwrap_or_default()
    }

    /// Returns `metadata.labels`.
    fn labels(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.metadata().labels.as_ref().unwrap_or(&NONE)
    }

    /// Whether a delete has been asked for.
    fn is_deleting(&self) -> bool {
        self.metadata().deletion_timestamp.is_some()
    }

    /// Returns the one owner that manages this object.
    fn controller_owner(&self) -> Option<&OwnerReference> {
        self.metadata().owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
    }
}

impl<K> Kind for K where
    K: k8s_openapi::Resource
        + k8s_openapi::Metadata<Ty = ObjectMeta>
        + Clone
        + fmt::Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_version_that_is_no_number_is_before_everything() {
        assert_eq!(Revision::parse("17"), Revision(17));
        assert_eq!(Revision::parse("abc"), Revision(0));
        assert_eq!(Revision::parse(""), Revision(0));
    }
}
