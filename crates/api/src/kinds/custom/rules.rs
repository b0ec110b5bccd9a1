//! `x-kubernetes-validations`: a document against the rules of its schema
//! (`apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go`).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::cel::{Bindings, Budget, Decl, Env, EvalError, Program, REQUEST_BUDGET, Root, Type, Val};
use crate::kinds::doc::{flag, list, text};
use crate::status::{FieldError, FieldReason};

/// How long a message may be that an expression makes (`MaxEvaluatedMessageExpressionSizeBytes`).
const MESSAGE_MAX: usize = 5 * 1024;

/// The rules of one node of a schema, and of those below it.
#[derive(Debug)]
pub(super) struct Rules {
    /// The schema's type, which stands for the value in messages about rules that could not be checked.
    kind: String,
    of: Option<Type>,
    own: Vec<Rule>,
    properties: BTreeMap<String, Rules>,
    values: Option<Box<Rules>>,
    items: Option<Box<Rules>>,
    /// The fields that tell items apart; without them, an item has no old self.
    keys: Vec<String>,
    /// Whether a map is replaced as a whole, so that its entries have no old selves.
    atomic: bool,
}

/// One rule, ready to run.
#[derive(Debug)]
struct Rule {
    program: Program,
    source: String,
    message: String,
    message_program: Option<Program>,
    reason: String,
    field_path: String,
    optional_old: bool,
    uses_old: bool,
}

/// A rule's two expressions, compiled, or why they are not.
pub(in crate::kinds) struct Compiled {
    /// What must hold.
    pub(in crate::kinds) rule: Result<Program, String>,
    /// What says why it does not.
    pub(in crate::kinds) message: Option<Result<Program, String>>,
}

/// Compiles a rule for values of a declaration.
pub(in crate::kinds) fn compile(rule: &Value, decl: &Decl) -> Compiled {
    let is_optional = flag(rule, "optionalOldSelf");
    let old = if is_optional { Type::optional(decl.of.clone()) } else { decl.of.clone() };
    let env = Env::default().with("self", decl.of.clone()).with("oldSelf", old);
    let program = |source: &str, wanted: &Type, prefix: &str, otherwise: &str| {
        let program = Program::compile(source, &env).map_err(|error| format!("{prefix}compilation failed: {error}"))?;
        if program.result() == wanted { Ok(program) } else { Err(otherwise.to_owned()) }
    };
    let message = text(rule, "messageExpression");
    Compiled {
        rule: program(text(rule, "rule"), &Type::Bool, "", "cel expression must evaluate to a bool"),
        message: (!message.is_empty()).then(|| {
            program(message, &Type::String, "messageExpression ", "messageExpression must evaluate to a string")
        }),
    }
}

impl Rules {
    /// Reads the rules of a schema; `None` if there are none. The definition was validated before: rules that do not
    /// compile are passed over.
    pub(super) fn parse(schema: &Value, root: Root) -> Option<Self> {
        if !has_rules(schema) {
            return None;
        }
        let nested = |schema: &Value| {
            Self::parse(schema, if flag(schema, "x-kubernetes-embedded-resource") { Root::Yes } else { Root::No })
        };
        let decl = Decl::of_schema(schema, root);
        let rules = list(schema, "x-kubernetes-validations");
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        Some(Self {
            kind: text(schema, "type").to_owned(),
            own: decl.iter().flat_map(|decl| rules.iter().filter_map(|rule| Rule::parse(rule, decl))).collect(),
            of: decl.map(|decl| decl.of),
            properties: properties.filter_map(|(name, of)| Some((name.clone(), nested(of)?))).collect(),
            values: schema.get("additionalProperties").and_then(nested).map(Box::new),
            items: schema.get("items").and_then(nested).map(Box::new),
            keys: match text(schema, "x-kubernetes-list-type") {
                "map" => {
                    let keys = list(schema, "x-kubernetes-list-map-keys").iter();
                    keys.filter_map(Value::as_str).map(str::to_owned).collect()
                }
                _ => Vec::new(),
            },
            atomic: text(schema, "x-kubernetes-map-type") == "atomic",
        })
    }

    /// Returns what the rules have against a document. `old` is the stored one of an update: what fails for the same
    /// value as before is only a warning (`CRDValidationRatcheting`).
    pub(super) fn check(&self, document: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut check = Check { budget: Budget::new(REQUEST_BUDGET), errors: Vec::new() };
        let place = Place { path: String::new(), old, unchanged: &|| false };
        // Out of budget is an error that is told already.
        let _ = check.node(self, document, &place);
        check.errors
    }
}

fn has_rules(schema: &Value) -> bool {
    let below = |field: &str| schema.get(field).is_some_and(has_rules);
    let properties = || schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    !list(schema, "x-kubernetes-validations").is_empty()
        || below("items")
        || below("additionalProperties")
        || properties().any(|(_, of)| has_rules(of))
}

impl Rule {
    fn parse(rule: &Value, decl: &Decl) -> Option<Self> {
        let compiled = compile(rule, decl);
        let program = compiled.rule.ok()?;
        let own = |field: &str| text(rule, field).trim().to_owned();
        Some(Self {
            uses_old: program.uses("oldSelf"),
            program,
            source: own("rule"),
            message: own("message"),
            message_program: compiled.message.and_then(Result::ok),
            reason: own("reason"),
            field_path: own("fieldPath"),
            optional_old: flag(rule, "optionalOldSelf"),
        })
    }

    /// How errors name the rule.
    fn name(&self) -> &str {
        if self.message.is_empty() { &self.source } else { &self.message }
    }

    /// What is said of a value that does not obey: short values are shown, whole documents are not.
    fn error(&self, path: &str, value: &Value, detail: &str) -> FieldError {
        let is_short = !value.is_object() && !value.is_array();
        match self.reason.as_str() {
            "FieldValueForbidden" => FieldError::forbidden(path, detail),
            "FieldValueRequired" => FieldError::required(path, detail),
            "FieldValueDuplicate" if is_short => FieldError::duplicate(path, value.clone()),
            "FieldValueDuplicate" => FieldError::duplicate_whole(path),
            _ if is_short => FieldError::invalid(path, value.clone(), detail),
            _ => FieldError::invalid_whole(path, detail),
        }
    }
}

/// Where a value stands, and what stood there before.
struct Place<'p> {
    path: String,
    old: Option<&'p Value>,
    /// Whether the nearest value around it that has an old self is the same as that.
    unchanged: &'p dyn Fn() -> bool,
}

impl Place<'_> {
    /// Kubernetes prints the missing path of the root as Go does.
    fn shown(&self) -> &str {
        if self.path.is_empty() { "<nil>" } else { &self.path }
    }
}

/// Nothing more will be checked.
struct Stopped;

struct Check {
    budget: Budget,
    errors: Vec<FieldError>,
}

impl Check {
    fn node(&mut self, rules: &Rules, value: &Value, place: &Place<'_>) -> Result<(), Stopped> {
        // A rule on a null would be one on nothing; whoever cares asks from the outside.
        if value.is_null() {
            return Ok(());
        }
        self.rules(rules, value, place)?;
        let unchanged = || place.old.map_or_else(place.unchanged, |old| old == value);
        match value {
            Value::Array(items) => self.items(rules, items, place, &unchanged),
            Value::Object(map) => self.fields(rules, map, place, &unchanged),
            _ => Ok(()),
        }
    }

    fn fields(
        &mut self,
        rules: &Rules,
        map: &Map<String, Value>,
        place: &Place<'_>,
        unchanged: &dyn Fn() -> bool,
    ) -> Result<(), Stopped> {
        for (name, value) in map {
            let old = place.old.filter(|_| !rules.atomic).and_then(|old| old.get(name));
            // What an apiVersion was before, a conversion has hidden.
            let is_identity = place.path.is_empty() && matches!(name.as_str(), "apiVersion" | "kind");
            let unchanged = if is_identity { &|| false } else { unchanged };
            if let Some(values) = &rules.values {
                let path = format!("{}[{name}]", place.path);
                self.node(values, value, &Place { path, old, unchanged })?;
            }
            if let Some(of) = rules.properties.get(name) {
                let path = below(&place.path, name);
                self.node(of, value, &Place { path, old, unchanged })?;
            }
        }
        Ok(())
    }

    fn items(
        &mut self,
        rules: &Rules,
        items: &[Value],
        place: &Place<'_>,
        unchanged: &dyn Fn() -> bool,
    ) -> Result<(), Stopped> {
        let Some(of) = &rules.items else { return Ok(()) };
        let key = |item: &Value| -> String {
            let parts: Vec<&Value> = rules.keys.iter().map(|key| item.get(key).unwrap_or(&Value::Null)).collect();
            serde_json::to_string(&parts).unwrap_or_default()
        };
        let olds = place.old.and_then(Value::as_array).filter(|_| !rules.keys.is_empty()).into_iter().flatten();
        let olds: BTreeMap<String, &Value> = olds.map(|item| (key(item), item)).collect();
        for (at, item) in items.iter().enumerate() {
            let old = if olds.is_empty() { None } else { olds.get(&key(item)).copied() };
            let path = format!("{}[{at}]", place.path);
            self.node(of, item, &Place { path, old, unchanged })?;
        }
        Ok(())
    }

    fn rules(&mut self, rules: &Rules, value: &Value, place: &Place<'_>) -> Result<(), Stopped> {
        let Some(of) = rules.of.as_ref().filter(|_| !rules.own.is_empty()) else { return Ok(()) };
        let invalid = |detail: String| FieldError::invalid(place.shown(), rules.kind.as_str(), &detail);
        if self.budget.is_empty() {
            self.errors.push(invalid(EvalError::OutOfBudget.to_string()));
            return Err(Stopped);
        }
        let new = match Val::of(value, of) {
            Ok(new) => new,
            Err(error) => {
                self.errors.push(invalid(error.to_string()));
                return Ok(());
            }
        };
        let old = place.old.filter(|old| !old.is_null()).and_then(|old| Val::of(old, of).ok());
        for rule in &rules.own {
            if rule.uses_old && old.is_none() && !rule.optional_old {
                continue;
            }
            let old = if rule.optional_old {
                Val::Optional(old.clone().map(Arc::new))
            } else {
                old.clone().unwrap_or(Val::Null)
            };
            let bindings = Bindings::new().with("self", new.clone()).with("oldSelf", old);
            self.rule(rules, rule, &bindings, value, place)?;
        }
        Ok(())
    }

    fn rule(
        &mut self,
        rules: &Rules,
        rule: &Rule,
        bindings: &Bindings<'_>,
        value: &Value,
        place: &Place<'_>,
    ) -> Result<(), Stopped> {
        let invalid = |detail: &str| FieldError::invalid(place.shown(), rules.kind.as_str(), detail);
        let name = rule.name();
        // Computed only for what fails.
        let ratcheted = |error: FieldError| {
            let unchanged = || place.old.map_or_else(place.unchanged, |old| old == value);
            let reason = if !rule.uses_old && unchanged() { FieldReason::Ratcheted } else { error.reason };
            FieldError { reason, ..error }
        };
        match rule.program.evaluate(bindings, &mut self.budget) {
            Ok(value) if value.as_bool() == Some(true) => return Ok(()),
            Ok(_) => {}
            Err(error @ EvalError::OutOfBudget) => {
                self.errors.push(invalid(&error.to_string()));
                return Err(Stopped);
            }
            Err(error @ EvalError::CallLimit) => {
                self.errors.push(invalid(&format!(
                    "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {name}"
                )));
                return Err(Stopped);
            }
            Err(EvalError::Failed(why)) => {
                let detail = if why.starts_with("no such overload") {
                    format!(
                        "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {name}"
                    )
                } else {
                    format!("{why} evaluating rule: {name}")
                };
                self.errors.push(ratcheted(invalid(&detail)));
                return Ok(());
            }
        }
        let detail = self.message(rule, bindings);
        let path = match rule.field_path.trim_start_matches('.') {
            "" => place.shown().to_owned(),
            inner if inner.starts_with('[') => format!("{}{inner}", place.path),
            inner => below(&place.path, inner),
        };
        self.errors.push(ratcheted(rule.error(&path, value, &detail)));
        Ok(())
    }

    /// Returns what the user is told: what the rule's expression makes of it, its message, or the rule itself.
    fn message(&mut self, rule: &Rule, bindings: &Bindings<'_>) -> String {
        let made = rule.message_program.as_ref().and_then(|program| program.evaluate(bindings, &mut self.budget).ok());
        let made = made.as_ref().and_then(Val::as_str).map(str::trim);
        match made.filter(|text| !text.is_empty() && text.len() <= MESSAGE_MAX && !text.contains('\n')) {
            Some(text) => text.to_owned(),
            None if rule.message.is_empty() => format!("failed rule: {}", rule.source),
            None => rule.message.clone(),
        }
    }
}

/// Whether rules may look at a document with these errors: they trust that types and sizes are as the schema says
/// (`hasBlockingErr`). Returns the error that says so.
pub(super) fn blocked(errors: &[FieldError]) -> Option<FieldError> {
    const BLOCKING: [FieldReason; 5] = [
        FieldReason::NotSupported,
        FieldReason::Required,
        FieldReason::TooLong,
        FieldReason::TooMany,
        FieldReason::TypeInvalid,
    ];
    let why = "some validation rules were not checked because the object was invalid; correct the existing errors to \
               complete validation";
    let blocks = errors.iter().any(|error| BLOCKING.contains(&error.reason));
    blocks.then(|| FieldError::invalid("<nil>", "null", why))
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
