//! Asks one webhook.

use bytes::Bytes;
use tokio::time::Instant;
use tracing::warn;
use wkube_api::{Object, Resource, Status};

use super::hook::Hook;
use super::review::{self, Phase, Shown, Verdict};
use crate::admission::Attributes;
use crate::admission::metrics::{self, Called};
use crate::registry::view;
use crate::webhook::{CallError, Post};

/// An answer longer than this is not read: a patch may be as large as a request body, and base64 adds a third.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Why a webhook does not let a request go on.
pub(super) enum No {
    /// It could not be asked, or its answer made no sense: for the failure policy to judge.
    Failed(String),
    /// It, or the server on its behalf, refuses.
    Refused(Status),
}

/// Asks a webhook, and counts how that went.
pub(super) async fn ask(
    attributes: &Attributes<'_>,
    hook: &Hook,
    shown: &Shown<'_>,
    phase: Phase,
) -> Result<Verdict, No> {
    let began = Instant::now();
    let said = answer(attributes, hook, shown, phase).await;
    let called = match &said {
        Ok(_) => Called::Allowed,
        Err(No::Refused(status)) => Called::Refused(status.code),
        Err(No::Failed(_)) if hook.fails_open => Called::FailedOpen,
        Err(No::Failed(_)) => Called::FailedClosed,
    };
    let kind = match phase {
        Phase::Mutating => "admit",
        Phase::Validating => "validating",
    };
    metrics::webhook(&hook.name, kind, attributes.operation, called, began.elapsed());
    said
}

/// Passes on what a webhook has to say to the client and the audit log.
async fn answer(attributes: &Attributes<'_>, hook: &Hook, shown: &Shown<'_>, phase: Phase) -> Result<Verdict, No> {
    if attributes.dry_run && !hook.allows_dry_run {
        return Err(No::Refused(review::no_dry_run(&hook.name)));
    }
    let registry = attributes.registry;
    let version = hook.version.ok_or_else(|| {
        No::Failed(
            "could not create admission objects: webhook does not accept known AdmissionReview versions".to_owned(),
        )
    })?;
    let uid = registry.uid();
    let request = review::request(version, &uid, attributes, shown);
    let target = hook.target.as_ref().map_err(|why| No::Failed(format!("could not get REST client: {why}")))?;
    let failed = |why: CallError| No::Failed(format!("failed to call webhook: {why}"));
    let post =
        Post { target, body: Bytes::from(request.to_string()), timeout: hook.timeout, answer_max: ANSWER_BYTES_MAX };
    let answer = registry.webhooks.post(post).await.map_err(failed)?;
    let verdict = review::verdict(&answer, version, &uid, phase).map_err(No::Failed)?;
    for (key, value) in &verdict.annotations {
        attributes.call.annotate(format!("{}/{key}", hook.name), value.as_str());
    }
    for warning in &verdict.warnings {
        attributes.call.warn(warning.as_str());
    }
    if verdict.allowed { Ok(verdict) } else { Err(No::Refused(review::denial(&hook.name, &verdict.status))) }
}

/// Judges a failure by the webhook's policy: the request goes on, with a note under `key` in the audit log, or not.
pub(super) fn judge(attributes: &Attributes<'_>, hook: &Hook, no: No, key: &str) -> Result<(), Status> {
    match no {
        No::Refused(status) => Err(status),
        No::Failed(why) if hook.fails_open => {
            warn!(webhook = hook.name, why, "a webhook failed; the request goes on without it");
            attributes.call.annotate(format!("failed-open.{key}"), hook.name.as_str());
            Ok(())
        }
        No::Failed(why) => Err(review::failure(&hook.name, &why)),
    }
}

/// Returns an object as a webhook for another row of the same kind wants to see it.
pub(in crate::admission) async fn show(
    attributes: &Attributes<'_>,
    object: Option<&Object>,
    from: &Resource,
    to: &Resource,
) -> Result<Option<Object>, Status> {
    let Some(object) = object else { return Ok(None) };
    view::between(&attributes.registry.converter, object, from, to).await.map(Some)
}
