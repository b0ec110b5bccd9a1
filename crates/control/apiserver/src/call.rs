//! One request, understood: who asks for what, and how the answer should look.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use wkube_api::status::Cause;
use wkube_api::{Resource, Status};

use crate::auth::{MASTERS, Policy, User};
use crate::limits;
use crate::negotiate::Media;
use crate::router::{Query, Verb};

/// What happens to unknown and duplicate fields in a body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    /// They are dropped silently.
    Ignore,
    /// They are dropped with a warning.
    #[default]
    Warn,
    /// They are refused.
    Strict,
}

/// One request on a resource.
pub(crate) struct Call {
    /// Who asks.
    pub(crate) user: User,
    /// What for.
    pub(crate) verb: Verb,
    /// On which kind.
    pub(crate) resource: Arc<Resource>,
    /// Empty for cluster-scoped requests.
    pub(crate) namespace: String,
    /// Empty for collections.
    pub(crate) name: String,
    /// Empty for the object itself.
    pub(crate) subresource: String,
    /// The path behind a `proxy` subresource.
    pub(crate) rest: String,
    /// The query.
    pub(crate) query: Query,
    /// How the answer looks.
    pub(crate) media: Media,
    /// The body's format.
    pub(crate) content_type: String,
    /// Names the writer in `managedFields`.
    pub(crate) field_manager: String,
    /// What happens to unknown fields.
    pub(crate) field_validation: FieldValidation,
    /// Whether to answer as if, and write nothing.
    pub(crate) dry_run: bool,
    /// The roles and bindings, on a write of one of these or of a certificate request; `None` for all other calls.
    pub(crate) policy: Option<Arc<Policy>>,
    /// What the client should be told besides the answer.
    pub(crate) warnings: Mutex<Vec<String>>,
    /// What admission has to say in the audit log, by `plugin/key`.
    pub(crate) annotations: Mutex<BTreeMap<String, String>>,
}

impl Call {
    /// Returns a call that the server makes itself, on its own behalf: an update, unless the caller says otherwise.
    pub(crate) fn own(resource: &Arc<Resource>, namespace: &str, name: &str) -> Self {
        Self {
            user: User::known("system:apiserver", [MASTERS]),
            verb: Verb::Update,
            resource: resource.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: String::new(),
            rest: String::new(),
            query: Query::default(),
            media: Media::default(),
            content_type: String::new(),
            field_manager: "apiserver".to_owned(),
            field_validation: FieldValidation::default(),
            dry_run: false,
            policy: None,
            warnings: Mutex::default(),
            annotations: Mutex::default(),
        }
    }

    /// Adds a warning, once.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.warnings.lock();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// Leaves a note in the audit log; the first one of a key stays.
    pub(crate) fn annotate(&self, key: impl Into<String>, value: impl Into<String>) {
        self.annotations.lock().entry(key.into()).or_insert_with(|| value.into());
    }

    /// Returns the same call about one object of the collection.
    pub(crate) fn on(&self, namespace: &str, name: &str) -> Self {
        Self {
            user: self.user.clone(),
            verb: self.verb,
            resource: self.resource.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: String::new(),
            rest: String::new(),
            query: Query::default(),
            media: self.media,
            content_type: self.content_type.clone(),
            field_manager: self.field_manager.clone(),
            field_validation: self.field_validation,
            dry_run: self.dry_run,
            policy: self.policy.clone(),
            warnings: Mutex::default(),
            annotations: Mutex::default(),
        }
    }

    /// Whether it is about `plural` of `group` (the object itself or a subresource).
    pub(crate) fn is_for(&self, group: &str, plural: &str) -> bool {
        self.resource.group == group && self.resource.plural == plural
    }
}

/// Reads `dryRun`: absent or `All`.
pub(crate) fn dry_run(query: &Query) -> Result<bool, Status> {
    match query.all("dryRun").find(|value| *value != "All") {
        Some(other) => Err(Status::bad_request(format!("Unsupported value: {other:?}: supported values: \"All\""))),
        None => Ok(query.has("dryRun")),
    }
}

/// Reads `fieldValidation`.
pub(crate) fn field_validation(query: &Query) -> Result<FieldValidation, Status> {
    match query.get("fieldValidation") {
        "" | "Warn" => Ok(FieldValidation::Warn),
        "Ignore" => Ok(FieldValidation::Ignore),
        "Strict" => Ok(FieldValidation::Strict),
        other => {
            let message = format!(
                "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
            );
            let cause = Cause { field: "fieldValidation".into(), message: message.clone(), ..Cause::default() };
            Err(Status::unprocessable(message).with_cause(cause))
        }
    }
}

/// Names the writer: `fieldManager`, or the user agent up to the first slash (`managerOrUserAgent`).
pub(crate) fn field_manager(query: &Query, user_agent: &str) -> Result<String, Status> {
    let given = query.get("fieldManager");
    if given.len() > limits::FIELD_MANAGER_MAX {
        return Err(Status::unprocessable(format!(
            "fieldManager: Too long: may not be more than {} bytes",
            limits::FIELD_MANAGER_MAX
        )));
    }
    if given.chars().any(char::is_control) {
        return Err(Status::unprocessable("fieldManager: Invalid value: should only contain printable characters"));
    }
    if !given.is_empty() {
        return Ok(given.to_owned());
    }
    let agent = user_agent.split('/').next().unwrap_or_default();
    let agent: String = agent.chars().filter(|c| !c.is_control()).take(limits::FIELD_MANAGER_MAX).collect();
    Ok(if agent.is_empty() { "unknown".to_owned() } else { agent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_manager_defaults_to_the_user_agents_program() {
        let manager = |query, agent| field_manager(&Query::parse(Some(query)), agent).map_err(|status| status.code);
        assert_eq!(manager("", "kubectl/v1.37.1 (linux/amd64)"), Ok("kubectl".into()));
        assert_eq!(manager("fieldManager=me", "kubectl/v1"), Ok("me".into()));
        assert_eq!(manager("", ""), Ok("unknown".into()));
        assert_eq!(manager(&format!("fieldManager={}", "x".repeat(129)), ""), Err(422));
    }

    #[test]
    fn dry_run_is_all_or_an_error() {
        let dry = |query| dry_run(&Query::parse(Some(query))).map_err(|status| status.code);
        assert_eq!(dry(""), Ok(false));
        assert_eq!(dry("dryRun=All"), Ok(true));
        assert_eq!(dry("dryRun=Some"), Err(400));
    }

    #[test]
    fn field_validation_warns_by_default() {
        let level = |query| field_validation(&Query::parse(Some(query))).map_err(|status| status.code);
        assert_eq!(level(""), Ok(FieldValidation::Warn));
        assert_eq!(level("fieldValidation=Strict"), Ok(FieldValidation::Strict));
        assert_eq!(level("fieldValidation=Maybe"), Err(422));
    }
}
