//! One request, understood: who asks for what, and how the answer should look.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use wkube_api::{Fence, Resource};

use crate::auth::{MASTERS, Policy, User};
use crate::negotiate::Media;
use crate::router::{Query, Verb};
use crate::write_options::WriteOptions;

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
    /// What a write asks for.
    pub(crate) options: WriteOptions,
    /// What a leader's writes depend on; `None` for everybody else's.
    pub(crate) fence: Option<Fence>,
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
            options: WriteOptions { field_manager: "apiserver".to_owned(), ..WriteOptions::default() },
            fence: None,
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
            options: self.options.clone(),
            fence: self.fence.clone(),
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
