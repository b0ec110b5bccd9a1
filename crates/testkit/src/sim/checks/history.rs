//! Watchers see every revision, in order, and each change follows from the state before it.

use std::collections::BTreeMap;

use wkube_store::{Entry, Key, Revision};

use super::{Check, Seen};

#[derive(Default)]
pub(super) struct History {
    revision: Option<Revision>,
    live: BTreeMap<Key, Entry>,
}

impl Check for History {
    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let event = seen.event;
        let last = self.revision.replace(event.revision);
        let last_state = match &event.now {
            Some(now) => self.live.insert(event.key.clone(), now.clone()),
            None => self.live.remove(&event.key),
        };
        // Events of one commit share its revision.
        if let Some(last) = last.filter(|last| event.revision != *last && event.revision.0 != last.0 + 1) {
            return Err(format!("revision {} follows {}", event.revision.0, last.0));
        }
        if event.before != last_state {
            return Err(format!("revision {} does not continue the last state of {}", event.revision.0, event.key));
        }
        Ok(())
    }
}
