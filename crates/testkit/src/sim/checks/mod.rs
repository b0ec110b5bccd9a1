//! What must hold after every single change in the store, whatever goes wrong around it. Each file is one sentence.

mod binding;
mod capacity;
mod generation;
mod history;
mod rollout;

#[cfg(test)]
mod tests;

use serde_json::Value;
use wkube_store::Event;

/// One change, decoded.
pub(super) struct Seen<'a> {
    pub(super) event: &'a Event,
    /// The kind of the object.
    pub(super) kind: &'a str,
    /// The object's `namespace/name`, for people.
    pub(super) name: &'a str,
    /// The object as it is now; `None` if it was deleted.
    pub(super) now: Option<&'a Value>,
    /// The object as it was; `None` if it is new.
    pub(super) before: Option<&'a Value>,
}

/// Something that must hold.
trait Check: Send {
    /// Looks at the next change.
    ///
    /// # Errors
    /// The sentence that says what is wrong.
    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String>;
}

/// All checks together.
pub(super) struct Checks(Vec<Box<dyn Check>>);

impl Checks {
    /// Returns the checks of an empty store.
    pub(super) fn new() -> Self {
        Self(vec![
            Box::<history::History>::default(),
            Box::<binding::Binding>::default(),
            Box::<capacity::Capacity>::default(),
            Box::<generation::Generation>::default(),
            Box::<rollout::Rollout>::default(),
        ])
    }

    /// Returns what is wrong with the next change.
    pub(super) fn see(&mut self, event: &Event) -> Vec<String> {
        let decode = |entry: &Option<wkube_store::Entry>| -> Option<Value> {
            entry.as_ref().and_then(|entry| serde_json::from_slice(&entry.value).ok())
        };
        let (now, before) = (decode(&event.now), decode(&event.before));
        let either = now.as_ref().or(before.as_ref());
        let kind = either.map_or("", |object| text(&object["kind"]));
        let name = either.map_or(String::new(), name_of);
        let seen = Seen { event, kind, name: &name, now: now.as_ref(), before: before.as_ref() };
        self.0.iter_mut().filter_map(|check| check.see(&seen).err()).collect()
    }
}

fn name_of(object: &Value) -> String {
    format!("{}/{}", text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn uid(object: &Value) -> &str {
    text(&object["metadata"]["uid"])
}

/// Returns the UID of the object's controller.
fn owner(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    owners.iter().find(|owner| owner["controller"] == true).map(|owner| text(&owner["uid"]))
}

/// Whether a pod has ended for good.
fn is_terminal(pod: &Value) -> bool {
    matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed")
}
