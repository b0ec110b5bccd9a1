//! The URLs of a kind: where its collections, objects and subresources are, and what a query may say.

use std::borrow::Cow;
use std::fmt::Write as _;

use wkube_api::ObjectKey;

use crate::api::Scope;
use crate::kind::{Kind, KindName};

/// The names of a kind in URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Collection {
    pub(crate) group: Cow<'static, str>,
    pub(crate) version: Cow<'static, str>,
    pub(crate) plural: Cow<'static, str>,
}

impl Collection {
    /// Returns the names of a typed kind.
    pub(crate) fn of<K: Kind>() -> Self {
        Self { group: K::GROUP.into(), version: K::VERSION.into(), plural: K::URL_PATH_SEGMENT.into() }
    }

    pub(crate) fn name(&self) -> KindName<'_> {
        KindName { group: &self.group, plural: &self.plural }
    }

    /// Returns the path of all objects, or of one namespace's if `namespace` is not empty.
    pub(crate) fn collection(&self, namespace: &str) -> String {
        let mut path = if self.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", self.group) };
        path.push('/');
        path.push_str(&self.version);
        if !namespace.is_empty() {
            path.push_str("/namespaces/");
            encode_into(&mut path, namespace);
        }
        path.push('/');
        path.push_str(&self.plural);
        path
    }

    /// Returns the path of one object.
    pub(crate) fn object(&self, key: &ObjectKey) -> String {
        let mut path = self.collection(&key.namespace);
        path.push('/');
        encode_into(&mut path, &key.name);
        path
    }

    /// Returns the path of one part of an object.
    pub(crate) fn subresource(&self, key: &ObjectKey, name: &str) -> String {
        format!("{}/{name}", self.object(key))
    }
}

/// A query string under construction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(String);

impl Query {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Returns the selectors of a scope.
    pub(crate) fn of_scope(scope: &Scope) -> Self {
        Self::new().with_some("labelSelector", &scope.labels).with_some("fieldSelector", &scope.fields)
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        encode_into(&mut self.0, value);
        self
    }

    fn with_some(self, name: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.with(name, value) }
    }

    /// Returns the path with this query, if there is any.
    pub(crate) fn after_path(&self, path: &str) -> String {
        if self.0.is_empty() { path.to_owned() } else { format!("{path}?{}", self.0) }
    }
}

/// Appends `text` with everything but RFC 3986's unreserved characters percent-encoded.
fn encode_into(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => write!(out, "%{byte:02X}").expect("a String takes everything"),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::{Node, Pod};

    use super::*;

    #[test]
    fn core_kinds_are_under_api_and_others_under_apis() {
        assert_eq!(Collection::of::<Pod>().collection(""), "/api/v1/pods");
        assert_eq!(Collection::of::<Deployment>().collection("a"), "/apis/apps/v1/namespaces/a/deployments");
    }

    #[test]
    fn cluster_scoped_objects_have_no_namespace_in_their_path() {
        assert_eq!(Collection::of::<Node>().object(&ObjectKey::cluster("n1")), "/api/v1/nodes/n1");
    }

    #[test]
    fn subresources_are_below_the_object() {
        let path = Collection::of::<Pod>().subresource(&ObjectKey::new("a", "web"), "status");
        assert_eq!(path, "/api/v1/namespaces/a/pods/web/status");
    }

    #[test]
    fn names_and_selectors_are_percent_encoded() {
        let path = Collection::of::<Pod>().object(&ObjectKey::new("a", "../x"));
        assert_eq!(path, "/api/v1/namespaces/a/pods/..%2Fx");
        let query = Query::of_scope(&Scope::all().labels("app in (a,b)"));
        assert_eq!(query.after_path("/p"), "/p?labelSelector=app%20in%20%28a%2Cb%29");
    }
}
