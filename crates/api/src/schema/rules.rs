//! The merge rules that the JSON schemas of `k8s-openapi` lack, written into them as the `x-kubernetes-*` extensions
//! that real clusters publish.

use serde_json::{Map, Value, json};

const RULES: &str = include_str!("../../data/merge-rules-v1.37.tsv");

/// Types that are owned as a whole (`+structType=atomic` in the Go sources), without `io.k8s.`.
const ATOMIC: [&str; 26] = [
    "api.admissionregistration.v1.MatchResources",
    "api.admissionregistration.v1.NamedRuleWithOperations",
    "api.admissionregistration.v1.ParamKind",
    "api.admissionregistration.v1.ParamRef",
    "api.autoscaling.v1.CrossVersionObjectReference",
    "api.core.v1.ConfigMapKeySelector",
    "api.core.v1.EndpointAddress",
    "api.core.v1.EndpointPort",
    "api.core.v1.FileKeySelector",
    "api.core.v1.LocalObjectReference",
    "api.core.v1.NodeSelector",
    "api.core.v1.NodeSelectorTerm",
    "api.core.v1.ObjectFieldSelector",
    "api.core.v1.ObjectReference",
    "api.core.v1.ResourceFieldSelector",
    "api.core.v1.ScopeSelector",
    "api.core.v1.SecretKeySelector",
    "api.core.v1.SecretReference",
    "api.core.v1.TopologySelectorTerm",
    "api.core.v1.TypedLocalObjectReference",
    "api.discovery.v1.EndpointPort",
    "api.networking.v1.ServiceBackendPort",
    "api.rbac.v1.RoleRef",
    "api.rbac.v1.Subject",
    "apimachinery.pkg.apis.meta.v1.LabelSelector",
    "apimachinery.pkg.apis.meta.v1.OwnerReference",
];

/// Parts of list keys that users leave out (`+default="TCP"`).
const DEFAULTS: [(&str, &str, &str); 2] =
    [("io.k8s.api.core.v1.ContainerPort", "protocol", "TCP"), ("io.k8s.api.core.v1.ServicePort", "protocol", "TCP")];

/// Writes all rules into the schemas. Rules for types of another version of Kubernetes are passed over.
pub(super) fn annotate(definitions: &mut Map<String, Value>) {
    for row in RULES.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = row.split('\t').collect();
        let [name, field, of, merge, keys, strategy, merge_key] = columns[..] else { continue };
        let Some(Value::Object(property)) = property(definitions, name, field) else { continue };
        match (of, merge) {
            ("list", "map") => {
                property.insert("x-kubernetes-list-type".into(), "map".into());
                property.insert("x-kubernetes-list-map-keys".into(), keys.split(',').collect());
            }
            ("list", merge) => drop(property.insert("x-kubernetes-list-type".into(), merge.into())),
            ("map", merge) => drop(property.insert("x-kubernetes-map-type".into(), merge.into())),
            _ => {}
        }
        if !strategy.is_empty() {
            property.insert("x-kubernetes-patch-strategy".into(), strategy.into());
        }
        if !merge_key.is_empty() {
            property.insert("x-kubernetes-patch-merge-key".into(), merge_key.into());
        }
    }
    for name in ATOMIC {
        if let Some(Value::Object(definition)) = definitions.get_mut(&format!("io.k8s.{name}")) {
            definition.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
    }
    for (name, field, default) in DEFAULTS {
        if let Some(Value::Object(property)) = property(definitions, name, field) {
            property.insert("default".into(), default.into());
        }
    }
    normalize_unions(definitions);
}

fn property<'a>(definitions: &'a mut Map<String, Value>, name: &str, field: &str) -> Option<&'a mut Value> {
    definitions.get_mut(name)?.get_mut("properties")?.get_mut(field)
}

/// Numbers that may be texts are published as unions, which clients know better than our source's extension.
fn normalize_unions(definitions: &mut Map<String, Value>) {
    let unions = [
        ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", "integer", Some("int-or-string")),
        ("io.k8s.apimachinery.pkg.api.resource.Quantity", "number", None),
    ];
    for (name, number, format) in unions {
        let Some(Value::Object(definition)) = definitions.get_mut(name) else { continue };
        definition.remove("x-kubernetes-int-or-string");
        definition.insert("oneOf".into(), json!([{ "type": number }, { "type": "string" }]));
        if let Some(format) = format {
            definition.insert("format".into(), format.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_seven_columns() {
        let mut rows = 0;
        for row in RULES.lines().filter(|line| !line.starts_with('#')) {
            assert_eq!(row.split('\t').count(), 7, "{row}");
            rows += 1;
        }
        assert!(rows > 400);
    }
}
