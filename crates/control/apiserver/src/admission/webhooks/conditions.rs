//! `matchConditions`: expressions that say whether a webhook wants to see a request (`webhook/matchconditions`).

use wkube_api::{Object, Resource, Status};

use super::hook::Hook;
use crate::admission::Attributes;
use crate::admission::policies::Input;

/// Whether a webhook's conditions hold for a request, shown as the kind that it wants. A condition that cannot be
/// evaluated refuses the request, unless the webhook may be left out.
pub(super) async fn hold(
    attributes: &Attributes<'_>,
    hook: &Hook,
    object: Option<&Object>,
    kind: &Resource,
) -> Result<bool, Status> {
    let Some(conditions) = &hook.conditions else { return Ok(true) };
    let input = Input::of(attributes, object, kind).await?;
    let asker = input.asker(attributes);
    let held = conditions.as_ref().map_err(String::clone).and_then(|conditions| {
        let bindings = input.bindings(&asker)?;
        conditions.hold(&bindings)
    });
    match held {
        Ok(held) => Ok(held),
        Err(_) if hook.fails_open => Ok(false),
        Err(why) => {
            let nothing = Object::default();
            Err(attributes.forbidden(object.or(attributes.old).unwrap_or(&nothing), why))
        }
    }
}
