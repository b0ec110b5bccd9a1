//! A pod is bound at most once, and stays where it is bound.

use super::{Check, Seen, text, uid};

#[derive(Default)]
pub(super) struct Binding;

impl Check for Binding {
    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let ("Pod", Some(before), Some(now)) = (seen.kind, seen.before, seen.now) else { return Ok(()) };
        let (was, is) = (text(&before["spec"]["nodeName"]), text(&now["spec"]["nodeName"]));
        if uid(before) == uid(now) && !was.is_empty() && was != is {
            return Err(format!("pod {} moved from {was} to {is:?}", seen.name));
        }
        Ok(())
    }
}
