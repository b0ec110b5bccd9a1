//! Checking a policy's expressions against the types of the kinds that it is about; what is wrong is only a warning, for
//! the same expression may be right for another kind (`validating/typechecking.go`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::cel::admission::{Sight, env};
use crate::cel::{Env, FieldType, ListKind, ObjectType, Program, Type};
use crate::kinds::doc::{list, text};
use crate::schema::{self, ListMerge, Scalar, Schema, Shape};

/// How many kinds a policy is checked against (`maxTypesToCheck`).
const KINDS_MAX: usize = 10;

/// Returns the warnings about the `spec` of a policy, one for each expression and kind.
pub(super) fn warnings(spec: &Value) -> Vec<Value> {
    let rows = kinds(spec);
    let mut warnings = Vec::new();
    for (place, validation) in list(spec, "validations").iter().enumerate() {
        for field in ["expression", "messageExpression"] {
            let source = text(validation, field);
            if source.trim().is_empty() {
                continue;
            }
            let texts: Vec<String> = rows.iter().filter_map(|row| row.wrong(spec, source)).collect();
            if !texts.is_empty() {
                let place = format!("spec.validations[{place}].{field}");
                warnings.push(json!({"fieldRef": place, "warning": texts.join("\n")}));
            }
        }
    }
    warnings
}

/// A kind that a policy is about.
struct Row {
    /// `apps/v1, Kind=Deployment`.
    name: String,
    of: Type,
}

impl Row {
    /// Returns what is wrong with an expression, if objects are of this kind.
    fn wrong(&self, spec: &Value, source: &str) -> Option<String> {
        let has_params = spec.get("paramKind").is_some_and(Value::is_object);
        let mut env: Env = env(if has_params { Sight::PolicyWithParams } else { Sight::Policy })
            .with("object", self.of.clone())
            .with("oldObject", self.of.clone());
        if let Some(params) = spec.get("paramKind").and_then(|kind| typed(text(kind, "apiVersion"), text(kind, "kind")))
        {
            env = env.with("params", params);
        }
        for variable in list(spec, "variables") {
            let of = Program::compile(text(variable, "expression"), &env);
            let of = of.map_or(Type::Dyn, |program| program.result().clone());
            env = env.with(&format!("variables.{}", text(variable, "name")), of);
        }
        let error = Program::compile(source, &env).err()?;
        Some(format!("{}: {error}", self.name))
    }
}

/// Returns the kinds that a policy names without any wildcard.
fn kinds(spec: &Value) -> Vec<Row> {
    let constraints = spec.get("matchConstraints").unwrap_or(&Value::Null);
    let texts = |rule: &Value, field: &str| -> Vec<String> {
        list(rule, field).iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for rule in list(constraints, "resourceRules") {
        let (groups, versions) = (texts(rule, "apiGroups"), texts(rule, "apiVersions"));
        for plural in texts(rule, "resources") {
            for row in crate::kinds::builtin() {
                let named = groups.iter().any(|group| *group == row.group)
                    && versions.iter().any(|version| *version == row.version)
                    && row.plural == plural;
                if let Some(of) = typed(&row.api_version(), &row.kind).filter(|_| named && rows.len() < KINDS_MAX) {
                    let name = format!("{}, Kind={}", row.api_version(), row.kind);
                    rows.insert(name.clone(), Row { name, of });
                }
            }
        }
    }
    rows.into_values().collect()
}

/// Returns the type of a built-in kind as expressions see it.
fn typed(api_version: &str, kind: &str) -> Option<Type> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let name = schema::builtin_name(group, version, kind);
    Some(convert(Schema::of(&name)?, &name, &mut Vec::new()))
}

/// `around` are the named types that hold this one: one that holds itself (`JSONSchemaProps`) is anything inside.
fn convert<'t>(of: &'t schema::Type, name: &str, around: &mut Vec<&'t str>) -> Type {
    if !of.name().is_empty() && around.contains(&of.name()) {
        return Type::Dyn;
    }
    around.push(of.name());
    let converted = convert_shape(of.shape(), name, around);
    around.pop();
    converted
}

fn convert_shape<'t>(shape: &'t Shape, name: &str, around: &mut Vec<&'t str>) -> Type {
    match shape {
        Shape::Struct(object) => {
            let fields = object.fields().filter_map(|(field, of)| {
                let escaped = crate::cel::escape(field)?;
                let of = convert(of.of(), &format!("{name}.{field}"), around);
                Some((escaped, FieldType { name: field.to_owned(), of }))
            });
            let fields = fields.collect();
            Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields }))
        }
        Shape::Map(map) => Type::map(Type::String, convert(map.values(), &format!("{name}.@elem"), around)),
        Shape::List(list) => {
            let kind = match &list.merge {
                ListMerge::Atomic => ListKind::Atomic,
                ListMerge::Set => ListKind::Set,
                ListMerge::Map(keys) => ListKind::Map(Arc::new(keys.clone())),
            };
            Type::List(Arc::new(convert(list.items(), &format!("{name}.@idx"), around)), kind)
        }
        Shape::Scalar(scalar) => match scalar {
            Scalar::String => Type::String,
            Scalar::Bytes => Type::Bytes,
            Scalar::Time => Type::Timestamp,
            Scalar::Int32 | Scalar::Int64 => Type::Int,
            Scalar::Number => Type::Double,
            Scalar::Boolean => Type::Bool,
            Scalar::IntOrString | Scalar::Quantity => Type::Dyn,
        },
        Shape::Raw | Shape::Untyped => Type::Dyn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(validation: impl Into<Value>, expected: &[&str]) {
        let validation = validation.into();
        let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]});
        let spec = json!({"matchConstraints": {"resourceRules": [rule]}, "validations": [validation],
            "variables": [{"name": "n", "expression": "object.spec.replicas"}]});
        let found = warnings(&spec);
        let texts: Vec<String> = found
            .iter()
            .map(|warning| format!("{}: {}", text(warning, "fieldRef"), text(warning, "warning")))
            .collect();
        assert_eq!(texts, expected);
    }

    #[test]
    fn expressions_are_checked_against_the_kinds_that_they_are_about() {
        check(json!({"expression": "object.spec.replicas > 1 && object.metadata.labels['a'] == 'b'"}), &[]);
        check(
            json!({"expression": "variables.n > 1 && object.spec.template.spec.containers.all(c, c.image != '')"}),
            &[],
        );
        check(json!({"expression": "object.spec.strategy.rollingUpdate.maxSurge == 1"}), &[]);
        // The example of Kubernetes' documentation.
        check(
            json!({"expression": "object.replicas > 1"}),
            &[
                "spec.validations[0].expression: apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^",
            ],
        );
        check(
            json!({"expression": "variables.n == 'a'", "messageExpression": "object.metadata.name + 1"}),
            &[
                "spec.validations[0].expression: apps/v1, Kind=Deployment: ERROR: <input>:1:13: found no matching overload for '_==_' applied to '(int, string)'\n | variables.n == 'a'\n | ............^",
                "spec.validations[0].messageExpression: apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_+_' applied to '(string, int)'\n | object.metadata.name + 1\n | .....................^",
            ],
        );
    }

    #[test]
    fn wildcards_and_strange_kinds_are_not_checked() {
        for (group, plural) in [("*", "deployments"), ("apps", "*"), ("acme.io", "gizmos")] {
            let rule = json!({"apiGroups": [group], "apiVersions": ["v1"], "resources": [plural]});
            let spec = json!({"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "object.x == 1"}]});
            assert_eq!(warnings(&spec), [] as [Value; 0]);
        }
    }

    #[test]
    fn kinds_that_hold_themselves_have_types_too() {
        let name = ("apiextensions.k8s.io/v1", "CustomResourceDefinition");
        assert!(matches!(typed(name.0, name.1), Some(Type::Object(_))));
    }
}
