//! Nobody reports to have observed a generation that does not exist yet, and generations only grow.

use super::{Check, Seen, uid};

#[derive(Default)]
pub(super) struct Generation;

impl Check for Generation {
    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let Some(now) = seen.now else { return Ok(()) };
        let generation = now["metadata"]["generation"].as_i64().unwrap_or_default();
        let observed = now["status"]["observedGeneration"].as_i64().unwrap_or_default();
        if observed > generation {
            return Err(format!("{} {} observed generation {observed} of {generation}", seen.kind, seen.name));
        }
        let Some(before) = seen.before.filter(|before| uid(before) == uid(now)) else { return Ok(()) };
        let was = before["metadata"]["generation"].as_i64().unwrap_or_default();
        if generation < was {
            return Err(format!("{} {} went from generation {was} to {generation}", seen.kind, seen.name));
        }
        Ok(())
    }
}
