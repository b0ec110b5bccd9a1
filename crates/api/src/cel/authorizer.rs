//! `authorizer`: questions of policies about what a user may do (`cel/library/authz.go`).

/// A question, as far as it has been asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// How far.
    pub stage: Stage,
    /// Who would do it, if not the user of the request: a service account's namespace and name.
    pub service_account: Option<(String, String)>,
    /// The path, for what is no resource.
    pub path: String,
    /// The API group.
    pub group: String,
    /// The plural.
    pub resource: String,
    /// Empty for the object itself.
    pub subresource: String,
    /// Empty for cluster-wide requests.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    /// The verb; set when it is asked.
    pub verb: String,
    /// The field selector of a list.
    pub field_selector: String,
    /// The label selector of a list.
    pub label_selector: String,
}

/// What a question has told so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stage {
    /// At most who.
    #[default]
    Start,
    /// The path.
    Path,
    /// The group.
    Group,
    /// The resource.
    Resource,
}

/// The answer to a question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether the user may.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong while it was decided.
    pub error: Option<String>,
}

/// Whoever answers questions.
pub trait Authorize {
    /// Decides.
    fn decide(&self, question: &Question) -> Decision;
}

impl Question {
    /// Returns the name of the type that expressions see.
    pub(super) fn type_name(&self) -> &'static str {
        match self.stage {
            Stage::Start => AUTHORIZER,
            Stage::Path => PATH_CHECK,
            Stage::Group => GROUP_CHECK,
            Stage::Resource => RESOURCE_CHECK,
        }
    }
}

pub(super) const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
pub(super) const PATH_CHECK: &str = "kubernetes.authorization.PathCheck";
pub(super) const GROUP_CHECK: &str = "kubernetes.authorization.GroupCheck";
pub(super) const RESOURCE_CHECK: &str = "kubernetes.authorization.ResourceCheck";
pub(super) const DECISION: &str = "kubernetes.authorization.Decision";
