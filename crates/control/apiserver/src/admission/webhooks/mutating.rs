//! `MutatingAdmissionWebhook`: one after the other, each on what the ones before made of the object.

use serde_json::{Value, json};
use wkube_api::{Object, Status};

use super::ask;
use super::conditions;
use super::hook::Hook;
use super::review::{Phase, Shown, Verdict};
use super::settle;
use crate::admission::{Attributes, rules};
use crate::registry::view;

/// Names in the audit log which webhook changed an object (`MutationAuditAnnotationPrefix`).
const MUTATION: &str = "mutation.webhook.admission.k8s.io";
/// Shows the patch itself there, from the level `Request` on (`PatchAuditAnnotationPrefix`).
const PATCH: &str = "patch.webhook.admission.k8s.io";

/// Lets every webhook that is concerned change the object, or refuse the request. A delete has no object.
pub(crate) async fn admit(attributes: &Attributes<'_>, mut object: Option<&mut Object>) -> Result<(), Status> {
    if rules::is_exempt(&attributes.call.resource) {
        return Ok(());
    }
    let hooks = attributes.registry.hooks.mutating(attributes.registry);
    if hooks.is_empty() {
        return Ok(());
    }
    let again = {
        let mut rounds = attributes.rounds.lock();
        let again = rounds.again;
        rounds.webhooks.begin(again, object.as_deref());
        again
    };
    for (place, hook) in hooks.iter().enumerate() {
        if one(attributes, hook, place, again, object.as_deref_mut()).await? {
            attributes.rounds.lock().wanted |= !again;
        }
    }
    attributes.rounds.lock().webhooks.end(object.as_deref());
    Ok(())
}

/// Asks one webhook if it is concerned; returns whether it changed the object.
async fn one(
    attributes: &Attributes<'_>,
    hook: &Hook,
    place: usize,
    again: bool,
    object: Option<&mut Object>,
) -> Result<bool, Status> {
    let Some(kind) = hook.criteria.kind_for(attributes, object.as_deref())? else { return Ok(false) };
    if !conditions::hold(attributes, hook, object.as_deref(), &kind).await?
        || !attributes.rounds.lock().webhooks.may_ask(again, &hook.id)
    {
        return Ok(false);
    }
    let own = &attributes.call.resource;
    let new = ask::show(attributes, object.as_deref(), own, &kind).await?;
    let old = ask::show(attributes, attributes.old, own, &kind).await?;
    let shown = Shown { resource: &kind, object: new.as_ref(), old: old.as_ref() };
    let id = format!("round_{}_index_{place}", u8::from(again));
    let changed = match ask::ask(attributes, hook, &shown, Phase::Mutating).await {
        Ok(Verdict { patch: Some(patch), .. }) => {
            let changed = change(attributes, hook, &shown, object, &patch).await?;
            let note = json!({
                "configuration": hook.configuration, "webhook": hook.name, "patch": patch, "patchType": "JSONPatch",
            });
            attributes.call.annotate(format!("{PATCH}/{id}"), note.to_string());
            changed
        }
        Ok(_) => false,
        Err(no) => {
            ask::judge(attributes, hook, no, &format!("{MUTATION}/{id}"))?;
            false
        }
    };
    let note = json!({"configuration": hook.configuration, "webhook": hook.name, "mutated": changed});
    attributes.call.annotate(format!("{MUTATION}/{id}"), note.to_string());
    let mut rounds = attributes.rounds.lock();
    if changed {
        rounds.webhooks.changed();
    }
    if hook.wants_reinvocation {
        rounds.webhooks.asked(&hook.id);
    }
    Ok(changed)
}

/// Carries out a webhook's patch; returns whether it made a difference.
async fn change(
    attributes: &Attributes<'_>,
    hook: &Hook,
    shown: &Shown<'_>,
    object: Option<&mut Object>,
    patch: &Value,
) -> Result<bool, Status> {
    let (Some(object), Some(seen)) = (object, shown.object) else {
        let why = "attempted to modify the object, which is not supported for this operation";
        return Err(Status::internal(&format!("admission webhook {:?} {why}", hook.name)));
    };
    let new = settle::patched(shown.resource, seen, patch)?;
    let resource = &attributes.call.resource;
    let mut new = view::between(&attributes.registry.converter, &new, shown.resource, resource).await?;
    settle::settle(attributes, &mut new, object)?;
    let changed = new != *object;
    *object = new;
    Ok(changed)
}
