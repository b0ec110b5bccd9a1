//! Laying fields over an object, as the `ApplyConfiguration` of an admission policy does
//! (`admission/plugin/policy/mutating/patch/smd.go`). Unlike server-side apply, nobody owns them afterwards.

use serde_json::Value;

use super::typed;
use crate::object::Object;
use crate::schema::{ListMerge, Shape, Type};

/// Returns an object with the fields of another laid over it; nothing goes.
///
/// # Errors
/// If the fields do not fit the type, or would replace something as a whole: whoever names one part of it means that part.
pub fn overlay(object: &Object, fields: &Object, of: Option<&Type>) -> Result<Object, String> {
    let fields = Value::Object(fields.0.clone());
    let problems = typed::problems(&fields, of);
    if !problems.is_empty() {
        return Err(format!("failed to convert patch object to typed object: {}", problems.join("\n")));
    }
    let mut atomics = Vec::new();
    find_atomics(&fields, of, String::new(), &mut atomics);
    if !atomics.is_empty() {
        let paths = atomics.join(", ");
        return Err(format!("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {paths}"));
    }
    match typed::merge(&Value::Object(object.0.clone()), &fields, of) {
        Value::Object(merged) => Ok(Object(merged)),
        _ => Err("failed to merge patch: it leaves no object".to_owned()),
    }
}

/// Collects the paths of values that are replaced as a whole.
fn find_atomics(value: &Value, of: Option<&Type>, path: String, found: &mut Vec<String>) {
    let is_atomic = match (value, of.map(Type::shape)) {
        (Value::Object(_), Some(Shape::Struct(object))) => object.atomic,
        (Value::Object(_), Some(Shape::Map(map))) => map.atomic,
        (Value::Array(_), Some(Shape::List(list))) => list.merge == ListMerge::Atomic,
        (Value::Object(_) | Value::Array(_), Some(Shape::Raw)) | (Value::Array(_), None | Some(Shape::Untyped)) => true,
        _ => false,
    };
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                // What is inside of free keys is not looked at, as in Kubernetes.
                if let Some(field) = of.and_then(|of| of.field(key)) {
                    find_atomics(inner, Some(field.of()), format!("{path}.{key}"), found);
                }
            }
        }
        Value::Array(items) => {
            let of = of.and_then(Type::items);
            for (place, item) in items.iter().enumerate().filter(|_| of.is_some()) {
                find_atomics(item, of, format!("{path}[{place}]"), found);
            }
        }
        _ => {}
    }
    if is_atomic {
        found.push(path);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::Schema;

    fn check(object: Value, fields: Value) -> Result<Value, String> {
        let of = Schema::of("io.k8s.api.core.v1.Pod");
        let parse = |value| serde_json::from_value(value).expect("an object");
        overlay(&parse(object), &parse(fields), of).map(|merged| Value::Object(merged.0))
    }

    fn spec(fields: &Value) -> Value {
        json!({ "spec": fields })
    }

    #[test]
    fn fields_are_set_and_others_stay() {
        let pod = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"hostname": "h"}});
        let merged = check(pod, json!({"metadata": {"labels": {"b": "3"}}, "spec": {"priority": 1}}));
        let expected = json!({"metadata": {"labels": {"a": "1", "b": "3"}}, "spec": {"hostname": "h", "priority": 1}});
        assert_eq!(merged, Ok(expected));
    }

    #[test]
    fn items_are_found_by_their_keys() {
        let pod = spec(&json!({"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "j"}]}));
        let fields = spec(&json!({"containers": [{"name": "b", "env": [{"name": "X", "value": "1"}]}, {"name": "c"}]}));
        let containers = json!([{"name": "a", "image": "i"},
            {"name": "b", "image": "j", "env": [{"name": "X", "value": "1"}]}, {"name": "c"}]);
        assert_eq!(check(pod, fields), Ok(spec(&json!({ "containers": containers }))));
    }

    #[test]
    fn what_would_be_replaced_as_a_whole_is_refused() {
        let text =
            |paths: &str| format!("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {paths}");
        let args = spec(&json!({"containers": [{"name": "a", "args": ["x"], "command": []}]}));
        let paths = ".spec.containers[0].args, .spec.containers[0].command";
        assert_eq!(check(json!({}), args), Err(text(paths)));
        let selector = spec(&json!({"nodeSelector": {"a": "b"}}));
        assert_eq!(check(json!({}), selector), Err(text(".spec.nodeSelector")));
    }

    #[test]
    fn what_does_not_fit_the_type_is_refused() {
        let error = check(json!({}), spec(&json!({"nope": 1}))).expect_err("there is no such field");
        assert_eq!(error, "failed to convert patch object to typed object: .spec.nope: field not declared in schema");
        assert!(
            check(json!({}), spec(&json!({"containers": [{"image": "i"}]})))
                .is_err_and(|why| why.contains("omits key field"))
        );
        assert!(
            check(json!({}), spec(&json!({"priority": "high"}))).is_err_and(|why| why.contains("expected numeric"))
        );
    }
}
