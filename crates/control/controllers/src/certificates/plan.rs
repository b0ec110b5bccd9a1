//! Decides what becomes of one `CertificateSigningRequest` (`pkg/controller/certificates`): nodes get client
//! certificates without a person, everybody else waits for one. Pure.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};

use crate::Subject;
use crate::common::meta;

/// The signer of certificates with which kubelets authenticate.
pub(super) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// The signer of certificates with which others authenticate; a person approves those.
pub(super) const CLIENT: &str = "kubernetes.io/kube-apiserver-client";

/// The group of those who joined with a token and have no certificate yet.
const BOOTSTRAPPERS: &str = "system:bootstrappers";
/// The group of nodes.
const NODES: &str = "system:nodes";
/// What the user names of nodes begin with.
const NODE_PREFIX: &str = "system:node:";

/// How long a certificate is valid unless less is asked for (`--cluster-signing-duration`).
const TTL_MAX: Duration = Duration::from_hours(365 * 24);
/// The shortest time that may be asked for.
const TTL_MIN: Duration = Duration::from_mins(10);

/// How long requests stay after their end (`pkg/controller/certificates/cleaner`), and how long without one, in seconds.
const KEEP_DECIDED: i64 = 3600;
const KEEP_PENDING: i64 = 24 * 3600;

/// Everything the decision may look at.
pub(super) struct Observed<'a> {
    pub(super) request: &'a CertificateSigningRequest,
    /// What the signer reads in the request, or why it cannot.
    pub(super) subject: Result<&'a Subject, String>,
    pub(super) now: Timestamp,
}

/// What to do, and when to look again.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) action: Option<Action>,
    pub(super) revisit_at: Option<Timestamp>,
}

/// The one next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Approve,
    Sign(Duration),
    /// Says that the request can never be signed, and why.
    Fail(String),
    Delete,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Approve => write!(f, "approve: a node's client certificate"),
            Self::Sign(ttl) => write!(f, "sign for {} s", ttl.as_secs()),
            Self::Fail(why) => write!(f, "fail: {why}"),
            Self::Delete => write!(f, "delete: decided or waiting for long enough"),
        }
    }
}

/// Decides.
pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let request = observed.request;
    let has = |kind: &str| {
        let conditions = request.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.type_ == kind && condition.status == "True")
    };
    let is_signed = request.status.as_ref().is_some_and(|status| status.certificate.is_some());
    let is_decided = is_signed || has("Denied") || has("Failed");

    let keep = if is_decided { KEEP_DECIDED } else { KEEP_PENDING };
    let expires = meta::after_seconds(meta::created_at(&request.metadata), keep);
    if expires <= observed.now {
        return Plan { action: Some(Action::Delete), revisit_at: None };
    }
    let ours = matches!(request.spec.signer_name.as_str(), KUBELET_CLIENT | CLIENT);
    let action = match &observed.subject {
        _ if is_decided || !ours => None,
        Ok(subject) if has("Approved") => Some(sign(&request.spec, subject)),
        Ok(subject) if is_node_client(&request.spec, subject) => Some(Action::Approve),
        Err(why) if has("Approved") => Some(Action::Fail(why.clone())),
        Ok(_) | Err(_) => None,
    };
    Plan { action, revisit_at: Some(expires) }
}

/// The signer checks once more what it signs: somebody may have approved what a kubelet's certificate must not be.
fn sign(spec: &CertificateSigningRequestSpec, subject: &Subject) -> Action {
    if spec.signer_name == KUBELET_CLIENT
        && let Err(why) = check_kubelet_client(spec, subject)
    {
        return Action::Fail(why);
    }
    if let Some(usage) = usages(spec).find(|usage| !is_client_usage(usage)) {
        return Action::Fail(format!("usage {usage:?} is not for clients"));
    }
    // A client certificate of this group is an administrator for ever (`certificate subject restriction`).
    if subject.organizations.iter().any(|group| group == "system:masters") {
        return Action::Fail("certificates of the group system:masters are not signed".to_owned());
    }
    let asked = spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    Action::Sign(asked.unwrap_or(TTL_MAX).clamp(TTL_MIN, TTL_MAX))
}

/// Whether a node (with its own certificate) or somebody with a join token asks for a node's client certificate.
fn is_node_client(spec: &CertificateSigningRequestSpec, subject: &Subject) -> bool {
    let is_in = |wanted: &str| spec.groups.iter().flatten().any(|group| group == wanted);
    let renews_its_own = is_in(NODES) && spec.username.as_deref() == Some(subject.common_name.as_str());
    spec.signer_name == KUBELET_CLIENT
        && check_kubelet_client(spec, subject).is_ok()
        && (is_in(BOOTSTRAPPERS) || renews_its_own)
}

/// Checks that a kubelet's client certificate is for a node and for nothing else (`ValidateKubeletClientCSR`).
fn check_kubelet_client(spec: &CertificateSigningRequestSpec, subject: &Subject) -> Result<(), String> {
    let name = subject.common_name.strip_prefix(NODE_PREFIX).unwrap_or_default();
    if name.is_empty() {
        return Err(format!("subject common name does not begin with {NODE_PREFIX}"));
    }
    if subject.organizations != [NODES] {
        return Err(format!("subject organization is not {NODES}"));
    }
    if subject.alternative_names > 0 {
        return Err("subjectAltNames are not allowed".to_owned());
    }
    if !usages(spec).any(|usage| usage == "client auth") || !usages(spec).all(is_client_usage) {
        return Err("usages did not match those of a client".to_owned());
    }
    Ok(())
}

fn usages(spec: &CertificateSigningRequestSpec) -> impl Iterator<Item = &str> {
    spec.usages.iter().flatten().map(String::as_str)
}

fn is_client_usage(usage: &str) -> bool {
    matches!(usage, "client auth" | "digital signature" | "key encipherment")
}
