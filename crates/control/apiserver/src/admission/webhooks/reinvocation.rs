//! Who sees an object again after others changed it (`mutating/reinvocationcontext.go`): webhooks, and policies among
//! themselves. Pure.

use std::collections::BTreeSet;

use wkube_api::Object;

/// What the mutating webhooks, or policies, of one request have seen.
#[derive(Debug, Default)]
pub(crate) struct Reinvocation {
    /// Were asked, wish to be asked again, and have missed nothing yet.
    seen: BTreeSet<String>,
    /// Have missed a change.
    due: BTreeSet<String>,
    /// What the last round left.
    left: Option<Object>,
}

impl Reinvocation {
    /// Begins a round with this object. In the second one, built-in plugins may have changed it since.
    pub(in crate::admission) fn begin(&mut self, again: bool, object: Option<&Object>) {
        if again && self.left.as_ref() != object {
            self.changed();
        }
    }

    /// Whether a webhook is asked in this round. In the second one nobody is asked for the first time.
    pub(in crate::admission) fn may_ask(&self, again: bool, id: &str) -> bool {
        !again || self.due.contains(id)
    }

    /// Notes that the object was changed: whoever has seen it before has missed something.
    pub(in crate::admission) fn changed(&mut self) {
        self.due.append(&mut self.seen);
    }

    /// Notes that a webhook that wishes to be asked again has seen the object.
    pub(in crate::admission) fn asked(&mut self, id: &str) {
        self.seen.insert(id.to_owned());
    }

    /// Ends a round with this object.
    pub(in crate::admission) fn end(&mut self, object: Option<&Object>) {
        self.left = object.cloned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_round_asks_everybody() {
        assert!(Reinvocation::default().may_ask(false, "a"));
    }

    #[test]
    fn a_webhook_is_asked_again_if_a_later_one_changed_the_object() {
        let mut rounds = Reinvocation::default();
        rounds.asked("a");
        rounds.changed();
        rounds.asked("b");
        assert!(rounds.may_ask(true, "a"));
        assert!(!rounds.may_ask(true, "b"), "nothing happened after it");
        assert!(!rounds.may_ask(true, "c"), "it was not asked the first time");
    }

    #[test]
    fn what_built_in_plugins_changed_in_between_counts_too() {
        let (mut before, mut after) = (Object::default(), Object::default());
        before.set(&["a"], 1);
        after.set(&["a"], 2);
        let mut rounds = Reinvocation::default();
        rounds.asked("a");
        rounds.end(Some(&before));
        rounds.begin(true, Some(&before));
        assert!(!rounds.may_ask(true, "a"));
        rounds.begin(true, Some(&after));
        assert!(rounds.may_ask(true, "a"));
    }
}
