//! What Go leaves out when it writes a document: empty lists and maps of fields that are `omitempty`.
//!
//! Kubernetes reads every write into its own types and writes them out again, so that `taints: []` is not kept. Zeros of
//! other types stay as they were written: for them, "not set" and "zero" read the same.

use serde_json::{Map, Value};

use super::schema::{Field, Kind, Message, Schema, Shape, Zero};

/// Fields that clients may leave out and Go writes all the same, each below a kind: their tags lack `omitempty`.
const ALWAYS: [(&str, &str); 9] = [
    ("ClusterRole", "rules"),
    ("CSINode", "topologyKeys"),
    ("CustomResourceDefinition", "conditions"),
    ("CustomResourceDefinition", "storedVersions"),
    ("EndpointSlice", "endpoints"),
    ("EndpointSlice", "ports"),
    ("HorizontalPodAutoscaler", "currentMetrics"),
    ("Node", "names"),
    ("Role", "rules"),
];

/// Leaves out what Go would. A kind that is not built in is left alone.
pub(crate) fn empty(api_version: &str, kind: &str, document: &mut Map<String, Value>) {
    let schema = Schema::builtin();
    if let Some(root) = schema.kind(api_version, kind) {
        Walk { schema, kind }.message(root, document);
    }
}

struct Walk<'a> {
    schema: &'static Schema,
    kind: &'a str,
}

impl Walk<'_> {
    fn message(&self, fields: &Message, document: &mut Map<String, Value>) {
        for field in fields.values() {
            if field.shape == Shape::Embedded {
                if let Some(inner) = named(self.schema, field) {
                    self.message(inner, document);
                }
                continue;
            }
            let Some(value) = document.get_mut(field.name) else { continue };
            let is_empty = match (field.shape, &*value) {
                (Shape::List, Value::Array(list)) => list.is_empty(),
                (Shape::Map, Value::Object(map)) => map.is_empty(),
                _ => false,
            };
            if is_empty && field.zero == Zero::Unset && !ALWAYS.contains(&(self.kind, field.name)) {
                document.remove(field.name);
            } else if let Some(inner) = named(self.schema, field) {
                self.below(inner, field.shape, value);
            }
        }
    }

    fn below(&self, inner: &Message, shape: Shape, value: &mut Value) {
        match (shape, value) {
            (Shape::List, Value::Array(list)) => {
                list.iter_mut().filter_map(Value::as_object_mut).for_each(|item| self.message(inner, item));
            }
            (Shape::Map, Value::Object(map)) => {
                map.values_mut().filter_map(Value::as_object_mut).for_each(|item| self.message(inner, item));
            }
            (Shape::Single, Value::Object(document)) => self.message(inner, document),
            _ => {}
        }
    }
}

fn named(schema: &'static Schema, field: &Field) -> Option<&'static Message> {
    match field.kind {
        Kind::Message(name) => schema.message(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]
    fn check(api_version: &str, kind: &str, before: Value, after: Value) {
        let mut document = before.as_object().expect("an object").clone();
        empty(api_version, kind, &mut document);
        assert_eq!(Value::Object(document), after);
    }

    #[test]
    fn empty_lists_and_maps_go_at_every_depth() {
        let before = json!({"metadata": {"labels": {}, "name": "n"}, "spec": {"taints": [], "podCIDR": ""}});
        check("v1", "Node", before, json!({"metadata": {"name": "n"}, "spec": {"podCIDR": ""}}));
        let before = json!({"spec": {"nodeSelector": {}, "containers": [{"name": "c", "env": [], "command": ["a"],
            "resources": {"limits": {}}}]}});
        let after = json!({"spec": {"containers": [{"name": "c", "command": ["a"], "resources": {}}]}});
        check("v1", "Pod", before, after);
    }

    #[test]
    fn what_go_always_writes_stays() {
        check("rbac.authorization.k8s.io/v1", "Role", json!({"rules": []}), json!({"rules": []}));
        check("discovery.k8s.io/v1", "EndpointSlice", json!({"endpoints": []}), json!({"endpoints": []}));
        check("v1", "Pod", json!({"spec": {"containers": []}}), json!({"spec": {"containers": []}}));
    }

    #[test]
    fn an_empty_message_says_something() {
        let spec = json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}], "securityContext": {}}});
        check("v1", "Pod", spec.clone(), spec);
        let spec = json!({"spec": {"podSelector": {}, "ingress": [{}]}});
        check("networking.k8s.io/v1", "NetworkPolicy", spec.clone(), spec);
        let before = json!({"spec": {"podSelector": {"matchLabels": {}}, "ingress": []}});
        check("networking.k8s.io/v1", "NetworkPolicy", before, json!({"spec": {"podSelector": {}}}));
    }

    #[test]
    fn documents_inside_documents_and_kinds_of_others_are_left_alone() {
        let data = json!({"data": {"list": []}});
        check("apps/v1", "ControllerRevision", data.clone(), data);
        let other = json!({"spec": {"list": []}});
        check("example.com/v1", "Pod", other.clone(), other);
    }

    #[test]
    fn what_is_not_of_its_form_is_left_alone() {
        let wrong = json!({"spec": {"containers": {}, "nodeSelector": [], "volumes": [1, []]}});
        check("v1", "Pod", wrong.clone(), wrong);
    }
}
