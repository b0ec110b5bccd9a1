//! Who asks (`authenticate`), and whether they may (`node`, then `rbac`).
//!
//! ```text
//!  headers, certificate, token --authenticate--> User --impersonate--> User --authorize(Attributes)--> Decision
//! ```
//! Everything but the look-ups behind two small traits is pure.

use std::collections::BTreeMap;

use wkube_api::Status;
use wkube_api::status::Refused;

pub mod authenticate;
pub mod bootstrap;
pub mod node;
mod question;
pub mod rbac;
pub mod reviews;
pub mod static_tokens;
pub mod token;

pub use authenticate::{Authenticator, Secrets};
pub use node::NodeGraph;
pub use rbac::Policy;

/// The group that may do everything, for breaking the glass; no policy can take that away.
pub const MASTERS: &str = "system:masters";
/// The group of everyone we know.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of everyone we do not know.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The user whom we do not know.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group of node agents; their names are `system:node:<node>`.
pub const NODES: &str = "system:nodes";
/// What `extra` calls the credential by which we know somebody: a token's `JTI=…`, a certificate's `X509SHA256=…`.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Who asks. As a request extension: who the transport says it is (a verified client certificate, or a component in
/// this process).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// The user name, such as `system:node:edge-1`.
    pub name: String,
    /// Tells users of the same name apart over time; often empty.
    pub uid: String,
    /// The groups, without duplicates.
    pub groups: Vec<String>,
    /// More that the authenticator knows.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Returns a known user; the group of everyone we know is added.
    pub fn known<G: Into<String>>(name: impl Into<String>, groups: impl IntoIterator<Item = G>) -> Self {
        let mut user =
            Self { name: name.into(), groups: groups.into_iter().map(Into::into).collect(), ..Self::default() };
        user.join(AUTHENTICATED);
        user
    }

    /// Returns the user whom we do not know.
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.to_owned(), groups: vec![UNAUTHENTICATED.to_owned()], ..Self::default() }
    }

    /// Whether nobody vouches for this user.
    pub fn is_anonymous(&self) -> bool {
        self.name == ANONYMOUS
    }

    /// Whether the user belongs to `group`.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|mine| mine == group)
    }

    /// Adds a group, once.
    pub(crate) fn join(&mut self, group: &str) {
        if !self.is_in(group) {
            self.groups.push(group.to_owned());
        }
    }
}

/// What somebody wants to do. With an empty `resource` it is about `path`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, … or the lower-case HTTP method
    /// for a `path`.
    pub verb: &'a str,
    /// Empty for the core group.
    pub group: &'a str,
    /// The plural, such as `pods`.
    pub resource: &'a str,
    /// Such as `log`; empty for the object itself.
    pub subresource: &'a str,
    /// Empty for cluster-wide requests.
    pub namespace: &'a str,
    /// Empty for collections, except that a list or watch with the field selector `metadata.name=x` is about `x`.
    pub name: &'a str,
    /// The `fieldSelector` of a list or watch; nodes may list pods only with `spec.nodeName=<their own>`.
    pub field_selector: &'a str,
    /// Such as `/healthz`.
    pub path: &'a str,
}

impl Attributes<'_> {
    /// Returns the 403 for `user`, worded as Kubernetes words it.
    pub fn forbidden(&self, user: &User) -> Status {
        Status::forbidden(&Refused {
            user: &user.name,
            verb: self.verb,
            group: self.group,
            resource: self.resource,
            subresource: self.subresource,
            namespace: self.namespace,
            name: self.name,
            path: self.path,
        })
    }
}

/// An answer of the authorizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes, because.
    Allowed(String),
    /// No rule allows it.
    Refused,
}

impl Decision {
    /// Whether it is a yes.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

/// Everything that decides, put together.
#[derive(Clone, Copy)]
pub struct Authorizer<'a> {
    /// The roles and bindings of the cluster.
    pub policy: &'a Policy,
    /// Which pod runs where.
    pub graph: &'a dyn NodeGraph,
}

impl Authorizer<'_> {
    /// Decides whether `user` may do what `attributes` say: the first authorizer that says yes wins.
    pub fn decide(&self, user: &User, attributes: &Attributes<'_>) -> Decision {
        if user.is_in(MASTERS) {
            return Decision::Allowed(String::new());
        }
        let by_node = node::allows(user, attributes, self.graph).then(String::new);
        by_node.or_else(|| self.policy.allows(user, attributes)).map_or(Decision::Refused, Decision::Allowed)
    }

    /// Returns an error unless `user` may.
    ///
    /// # Errors
    /// 403, worded as Kubernetes words it.
    pub fn check(&self, user: &User, attributes: &Attributes<'_>) -> Result<(), Status> {
        match self.decide(user, attributes) {
            Decision::Allowed(_) => Ok(()),
            Decision::Refused => Err(attributes.forbidden(user)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masters_may_do_everything_even_without_roles() {
        let authorizer = Authorizer { policy: &Policy::default(), graph: &() };
        let attributes =
            Attributes { verb: "delete", resource: "secrets", namespace: "kube-system", ..Attributes::default() };
        assert!(authorizer.decide(&User::known("kubernetes-admin", [MASTERS]), &attributes).is_allowed());
        assert_eq!(authorizer.decide(&User::known("kubernetes-admin", ["masters"]), &attributes), Decision::Refused);
    }

    #[test]
    fn a_refusal_reads_as_in_kubernetes() {
        let refused = |attributes: Attributes<'_>| attributes.forbidden(&User::known("u", [""; 0])).message;
        let list = Attributes { verb: "list", resource: "pods", namespace: "d", ..Attributes::default() };
        assert_eq!(
            refused(list),
            r#"pods is forbidden: User "u" cannot list resource "pods" in API group "" in the namespace "d""#
        );
        let scale = Attributes {
            verb: "update",
            group: "apps",
            resource: "deployments",
            subresource: "scale",
            name: "web",
            ..list
        };
        assert_eq!(
            refused(scale),
            r#"deployments.apps "web" is forbidden: User "u" cannot update resource "deployments/scale" in API group "apps" in the namespace "d""#
        );
        let nodes = Attributes { verb: "list", resource: "nodes", ..Attributes::default() };
        assert_eq!(
            refused(nodes),
            r#"nodes is forbidden: User "u" cannot list resource "nodes" in API group "" at the cluster scope"#
        );
        let path = Attributes { verb: "get", path: "/metrics", ..Attributes::default() };
        assert_eq!(refused(path), r#"forbidden: User "u" cannot get path "/metrics""#);
    }
}
