//! Expressions that change objects: everything that a `MutatingAdmissionPolicy` says
//! (`apiserver/pkg/admission/plugin/policy/mutating`).

use std::sync::Arc;

use serde_json::{Map as Object, Value as Json};

use super::admission::{self, Conditions, Sight};
use super::types::escape;
use super::value::{Key, Map};
use super::{Bindings, Budget, Env, Program, REQUEST_BUDGET, Structs, Type, Val};
use crate::kinds::doc::{list, text};
use crate::status::FieldError;

/// A policy's expressions, ready to run.
#[derive(Debug)]
pub struct Mutations {
    conditions: Conditions,
    variables: Vec<(String, Program)>,
    compiled: Vec<Mutation>,
}

#[derive(Debug)]
struct Mutation {
    form: Form,
    program: Program,
    source: String,
}

/// How a mutation says what it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    ApplyConfiguration,
    JsonPatch,
}

/// What a mutation wants of an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// To have these fields. It is an object without `apiVersion` and `kind`.
    Apply(Json),
    /// To be patched with this list of operations.
    Patch(Json),
}

impl Mutations {
    /// Compiles the `spec` of a policy. Mutations of no known form are passed over; validation has its own words for them.
    ///
    /// # Errors
    /// Everything that is wrong with its expressions, with their paths.
    pub fn compile(spec: &Json) -> Result<Self, Vec<FieldError>> {
        let has_params = spec.get("paramKind").is_some_and(Json::is_object);
        let env = admission::env(if has_params { Sight::PolicyWithParams } else { Sight::Policy });
        let mut errors = Vec::new();
        let conditions = Conditions::compile(list(spec, "matchConditions"), &env, "spec.matchConditions");
        let conditions = conditions.unwrap_or_else(|wrong| {
            errors.extend(wrong);
            Conditions::default()
        });
        let (variables, env) = admission::variables(spec, env, &mut errors);
        let env = env.with_structs(Structs::Mutations);
        let mut mutations = Vec::new();
        for (place, mutation) in list(spec, "mutations").iter().enumerate() {
            match Mutation::compile(mutation, &env, &format!("spec.mutations[{place}]")) {
                Ok(mutation) => mutations.extend(mutation),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self { conditions, variables, compiled: mutations }) } else { Err(errors) }
    }

    /// Whether the policy is about a request at all.
    ///
    /// # Errors
    /// If the match conditions failed.
    pub fn concern(&self, bindings: &Bindings<'_>) -> Result<bool, String> {
        self.conditions.hold(bindings)
    }

    /// Returns how many mutations there are.
    pub fn len(&self) -> usize {
        self.compiled.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.compiled.is_empty()
    }

    /// Returns what one of the mutations wants of the object that the bindings show.
    ///
    /// # Errors
    /// If its expression failed, or made what objects cannot have.
    pub fn change<'a>(&'a self, place: usize, bindings: Bindings<'a>) -> Result<Change, String> {
        let bindings =
            self.variables.iter().fold(bindings, |bindings, (name, program)| bindings.with_lazy(name, program));
        self.compiled.get(place).ok_or("there is no such mutation")?.run(&bindings)
    }
}

impl Mutation {
    fn compile(mutation: &Json, env: &Env, path: &str) -> Result<Option<Self>, FieldError> {
        let (form, field, wanted) = match text(mutation, "patchType") {
            "ApplyConfiguration" => (Form::ApplyConfiguration, "applyConfiguration", Type::Struct("Object".into())),
            "JSONPatch" => (Form::JsonPatch, "jsonPatch", Type::list(Type::Struct("JSONPatch".into()))),
            _ => return Ok(None),
        };
        let Some(of) = mutation.get(field).filter(|of| of.is_object()) else { return Ok(None) };
        let (source, path) = (text(of, "expression").trim(), format!("{path}.{field}.expression"));
        if source.is_empty() {
            return Err(FieldError::required(path, ""));
        }
        let program = admission::compile(source, env, &[wanted], &path)?;
        Ok(Some(Self { form, program, source: source.to_owned() }))
    }

    fn run(&self, bindings: &Bindings<'_>) -> Result<Change, String> {
        let made = self.program.evaluate(bindings, &mut Budget::new(REQUEST_BUDGET));
        let made = made.map_err(|error| format!("expression '{}' resulted in error: {error}", self.source))?;
        match self.form {
            Form::ApplyConfiguration => {
                let fields = made.to_json().map_err(|error| format!("invalid return type: {error}"))?;
                check_names(&made)?;
                Ok(Change::Apply(fields))
            }
            Form::JsonPatch => patch(&made).map(Change::Patch),
        }
    }
}

/// Returns a list of `JSONPatch` as the operations that it stands for.
fn patch(made: &Val<'_>) -> Result<Json, String> {
    let Val::List(operations) = made else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".to_owned());
    };
    let operation = |value: Val<'_>| match value {
        Val::Map(Map::Struct(name, fields)) if &*name == "JSONPatch" => {
            let field = |name: &str| fields.get(&Key::Text(name.into()));
            let text = |name: &str| field(name).and_then(Val::as_str).unwrap_or_default().to_owned();
            let mut operation = Object::from_iter([("op".to_owned(), text("op").into())]);
            operation.insert("path".to_owned(), text("path").into());
            if !text("from").is_empty() {
                operation.insert("from".to_owned(), text("from").into());
            }
            if let Some(value) = field("value") {
                let json = value.to_json().map_err(|error| {
                    format!("JSONPath valueExpression evaluated to a type that could not marshal to JSON: {error}")
                })?;
                check_names(value)?;
                operation.insert("value".to_owned(), json);
            }
            Ok(Json::Object(operation))
        }
        other => Err(format!(
            "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got element of {}",
            other.type_name()
        )),
    };
    operations.iter().map(|item| operation(item.map_err(|error| error.to_string())?)).collect()
}

/// Checks that objects in objects are named after the fields that they are in: `Object.spec` in `spec`
/// (`CheckTypeNamesMatchFieldPathNames`). The value has become a document, so that it has an end.
fn check_names(value: &Val<'_>) -> Result<(), String> {
    let Val::Map(Map::Struct(name, _)) = value else { return Ok(()) };
    let mut wrong = Vec::new();
    compare_names(value, name.as_ref(), &mut wrong);
    if wrong.is_empty() { Ok(()) } else { Err(format!("type mismatch: {}", wrong.join("\n"))) }
}

/// After some mistakes nobody wants to hear of more.
fn compare_names(value: &Val<'_>, path: &str, wrong: &mut Vec<String>) {
    const TOLD_MAX: usize = 10;
    if wrong.len() >= TOLD_MAX {
        return;
    }
    match value {
        Val::Map(Map::Struct(name, fields)) => {
            if &**name != path {
                wrong.push(format!(
                    "unexpected type name {name:?}, expected {path:?}, which matches field name path from root Object type"
                ));
            }
            for (key, value) in fields.iter() {
                let Key::Text(field) = key else { continue };
                let field: Arc<str> = escape(field).map_or_else(|| field.clone(), Arc::from);
                compare_names(value, &format!("{path}.{field}"), wrong);
            }
        }
        Val::List(list) => list.iter().flatten().for_each(|item| compare_names(&item, path, wrong)),
        Val::Map(map @ Map::Made(_)) => map.iter().flatten().for_each(|(_, value)| compare_names(&value, path, wrong)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mutations(mutation: &Json) -> Result<Mutations, Vec<String>> {
        let spec = json!({"mutations": [mutation], "matchConditions": [{"name": "m", "expression": "object.n > 0"}],
            "variables": [{"name": "more", "expression": "object.n + 1"}]});
        Mutations::compile(&spec).map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    fn apply(expression: &str) -> Json {
        json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}})
    }

    fn json_patch(expression: &str) -> Json {
        json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}})
    }

    fn run(mutation: &Json) -> Result<Change, String> {
        let object = json!({"n": 1, "name": "a/b~c", "list": ["x", "y"]});
        let mutations = mutations(mutation).map_err(|errors| errors.join("\n"))?;
        assert_eq!(mutations.concern(&Bindings::new().with_json("object", &object)), Ok(true));
        mutations.change(0, Bindings::new().with_json("object", &object))
    }

    #[test]
    fn a_configuration_names_the_fields_to_have() {
        let source = "Object{spec: Object.spec{replicas: variables.more, template: Object.spec.template{names: object.list}, \
                      ?none: object.?none}}";
        let expected = json!({"spec": {"replicas": 2, "template": {"names": ["x", "y"]}}});
        assert_eq!(run(&apply(source)), Ok(Change::Apply(expected)));
        assert_eq!(run(&apply("object.n > 1 ? Object{a: 1} : Object{}")), Ok(Change::Apply(json!({}))));
        let listed = "Object{spec: Object.spec{items: object.list.map(i, Object.spec.items{name: i})}}";
        assert_eq!(run(&apply(listed)), Ok(Change::Apply(json!({"spec": {"items": [{"name": "x"}, {"name": "y"}]}}))));
        assert_eq!(
            run(&apply("Object{__namespace__: 'n', a__dash__b: 1}")),
            Ok(Change::Apply(json!({"namespace": "n", "a-b": 1})))
        );
    }

    #[test]
    fn objects_are_named_after_their_fields() {
        let text = "type mismatch: unexpected type name \"Object.wrong\", expected \"Object.spec\", which matches field name \
                    path from root Object type";
        assert_eq!(run(&apply("Object{spec: Object.wrong{a: 1}}")), Err(text.to_owned()));
        let wrong = json_patch("[JSONPatch{op: 'add', path: '/spec', value: Object.spec{a: [Object.b{}]}}]");
        assert!(run(&wrong).is_err_and(|why| why.contains("expected \"Object.spec.a\"")));
        let escaped = "Object{a__dash__b: Object.a__dash__b{c: 1}}";
        assert_eq!(run(&apply(escaped)), Ok(Change::Apply(json!({"a-b": {"c": 1}}))));
    }

    #[test]
    fn a_patch_lists_operations() {
        let source = "[JSONPatch{op: 'test', path: '/n', value: 1}, JSONPatch{op: 'move', from: '/n', path: '/m'}, \
                      JSONPatch{op: 'add', path: '/labels/' + jsonpatch.escapeKey(object.name), value: {'a': null}}, \
                      JSONPatch{op: 'remove', path: '/list/0'}]";
        let expected = json!([{"op": "test", "path": "/n", "value": 1}, {"op": "move", "path": "/m", "from": "/n"},
            {"op": "add", "path": "/labels/a~1b~0c", "value": {"a": null}}, {"op": "remove", "path": "/list/0"}]);
        assert_eq!(run(&json_patch(source)), Ok(Change::Patch(expected)));
        assert_eq!(run(&json_patch("object.n > 1 ? [JSONPatch{op: 'test'}] : []")), Ok(Change::Patch(json!([]))));
        assert!(run(&json_patch("[dyn(1)].map(x, x == 1 ? dyn('a') : dyn(JSONPatch{}))")).is_err());
    }

    #[test]
    fn what_fails_is_told_with_its_expression() {
        let text = "expression 'Object{a: object.none}' resulted in error: no such key: none";
        assert_eq!(run(&apply("Object{a: object.none}")), Err(text.to_owned()));
        let shared = format!("Object{{a: [1]{}}}", ".map(x, [x, x])".repeat(60));
        assert_eq!(run(&apply(&shared)), Err("invalid return type: the value is too big for a document".to_owned()));
        let repeated = format!("Object{{a: [Object.b{{}}]{}}}", ".map(x, [x, x])".repeat(6));
        assert!(run(&apply(&repeated)).is_err_and(|why| why.lines().count() == 10));
    }

    #[test]
    fn expressions_must_come_to_what_their_form_needs() {
        let refused = |mutation: Json| mutations(&mutation).expect_err("it is refused").join("\n");
        assert!(refused(apply("{'a': 1}")).ends_with("must evaluate to Object"));
        assert!(refused(apply("Object.spec{}")).ends_with("must evaluate to Object"));
        assert!(refused(json_patch("JSONPatch{}")).ends_with("must evaluate to list(JSONPatch)"));
        assert_eq!(refused(json_patch(" ")), "spec.mutations[0].jsonPatch.expression: Required value");
        // Variables make no objects.
        let spec = json!({"variables": [{"name": "v", "expression": "Object{}"}]});
        assert!(Mutations::compile(&spec).is_err());
    }
}
