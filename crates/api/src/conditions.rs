//! What objects say about themselves in `status.conditions` (`apimachinery/pkg/api/meta/conditions.go`).

use serde_json::Value;

use crate::object::Object;

const PLACE: [&str; 2] = ["status", "conditions"];

/// Returns the condition of a type.
pub fn find<'a>(object: &'a Object, kind: &str) -> Option<&'a Value> {
    object.at(&PLACE).and_then(Value::as_array).into_iter().flatten().find(|condition| condition["type"] == kind)
}

/// Replaces the condition of the same type, or adds it. Its `lastTransitionTime` stays as long as its `status` does.
pub fn set(object: &mut Object, mut condition: Value) {
    let mut conditions = object.at(&PLACE).and_then(Value::as_array).cloned().unwrap_or_default();
    match conditions.iter_mut().find(|old| old["type"] == condition["type"]) {
        Some(old) => {
            if old["status"] == condition["status"] && old["lastTransitionTime"].is_string() {
                condition["lastTransitionTime"] = old["lastTransitionTime"].take();
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
    object.set(&PLACE, conditions);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn condition(kind: &str, status: &str, message: &str, time: &str) -> Value {
        json!({"type": kind, "status": status, "message": message, "lastTransitionTime": time})
    }

    #[test]
    fn a_condition_keeps_its_place_and_as_long_as_it_holds_its_time() {
        let mut object = Object::default();
        set(&mut object, condition("Ready", "True", "a", "one"));
        set(&mut object, condition("Busy", "False", "", "one"));
        set(&mut object, condition("Ready", "True", "b", "two"));
        assert_eq!(find(&object, "Ready"), Some(&condition("Ready", "True", "b", "one")));
        set(&mut object, condition("Ready", "False", "c", "three"));
        let expected = json!([condition("Ready", "False", "c", "three"), condition("Busy", "False", "", "one")]);
        assert_eq!(object.at(&PLACE), Some(&expected));
        assert_eq!(find(&object, "Gone"), None);
    }

    #[test]
    fn a_condition_without_a_time_gets_one() {
        let mut object = Object::default();
        set(&mut object, json!({"type": "Ready", "status": "True"}));
        set(&mut object, condition("Ready", "True", "", "two"));
        assert_eq!(find(&object, "Ready"), Some(&condition("Ready", "True", "", "two")));
    }
}
