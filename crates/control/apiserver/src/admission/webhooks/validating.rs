//! `ValidatingAdmissionWebhook`: all at once; nobody sees what the others say.

use futures::future::join_all;
use wkube_api::{Object, Status};

use super::ask;
use super::conditions;
use super::hook::Hook;
use super::review::{Phase, Shown};
use crate::admission::{Attributes, rules};

/// Names in the audit log which webhook failed and let the request go on (`ValidatingAuditAnnotationPrefix`).
const VALIDATING: &str = "validating.webhook.admission.k8s.io";

/// Lets every webhook that is concerned refuse the request. A delete has no object.
pub(crate) async fn validate(attributes: &Attributes<'_>, object: Option<&Object>) -> Result<(), Status> {
    if rules::is_exempt(&attributes.call.resource) {
        return Ok(());
    }
    let hooks = attributes.registry.hooks.validating(attributes.registry);
    let asked = hooks.iter().enumerate().map(|(place, hook)| one(attributes, hook, place, object));
    // All are heard, so that each can warn; of several refusals the first in their order counts.
    join_all(asked).await.into_iter().collect()
}

async fn one(attributes: &Attributes<'_>, hook: &Hook, place: usize, object: Option<&Object>) -> Result<(), Status> {
    let Some(kind) = hook.criteria.kind_for(attributes, object)? else { return Ok(()) };
    if !conditions::hold(attributes, hook, object, &kind).await? {
        return Ok(());
    }
    let own = &attributes.call.resource;
    let object = ask::show(attributes, object, own, &kind).await?;
    let old = ask::show(attributes, attributes.old, own, &kind).await?;
    let shown = Shown { resource: &kind, object: object.as_ref(), old: old.as_ref() };
    match ask::ask(attributes, hook, &shown, Phase::Validating).await {
        Ok(_) => Ok(()),
        Err(no) => ask::judge(attributes, hook, no, &format!("{VALIDATING}/round_0_index_{place}")),
    }
}
