//! Which objects of the API a pod needs. Pods that a node makes by itself may need none: nobody asked whether it may read
//! them (`pkg/api/pod/util.go`, `HasAPIObjectReference`). Pure.

use serde_json::Value;

/// Fields that refer to an object, anywhere in a pod's spec, and what the objects are.
const REFERENCES: [(&str, &str); 10] = [
    ("serviceAccountToken", "service accounts"),
    ("secret", "secrets"),
    ("secretRef", "secrets"),
    ("secretKeyRef", "secrets"),
    ("imagePullSecrets", "secrets"),
    ("configMap", "configmaps"),
    ("configMapRef", "configmaps"),
    ("configMapKeyRef", "configmaps"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    ("resourceClaims", "resourceclaims"),
];

/// Returns a field of a pod's spec that refers to objects, and the plural of what it refers to; the service account apart.
pub fn first(spec: &Value) -> Option<(&'static str, &'static str)> {
    REFERENCES.into_iter().find(|(field, _)| mentions(spec, field))
}

fn mentions(value: &Value, field: &str) -> bool {
    match value {
        Value::Array(list) => list.iter().any(|item| mentions(item, field)),
        Value::Object(map) => {
            map.iter().any(|(key, inner)| (key == field && !inner.is_null()) || mentions(inner, field))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reference_is_found_wherever_it_stands() {
        let env =
            json!({ "containers": [{ "env": [{ "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } }] }] });
        assert_eq!(first(&env), Some(("secretKeyRef", "secrets")));
        let volume = json!({ "volumes": [{ "projected": { "sources": [{ "configMap": { "name": "m" } }] } }] });
        assert_eq!(first(&volume), Some(("configMap", "configmaps")));
        assert_eq!(first(&json!({ "containers": [{ "name": "c" }], "imagePullSecrets": null })), None);
    }
}
