//! The rules of a definition: whether they are expressions, and whether they may become too dear
//! (`apiextensions/validation.ValidateCustomResourceDefinitionOpenAPISchema`, `cel_validation.go`).

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::cel::{Decl, Root};
use crate::kinds::custom::{Compiled, compile_rule};
use crate::kinds::doc::{flag, list, text};
use crate::status::{FieldError, FieldReason};

/// What one expression may cost by its estimate (`StaticEstimatedCostLimit`).
const COST_MAX: u64 = 10_000_000;
/// What all of one schema may cost (`StaticEstimatedCRDCostLimit`).
const TOTAL_COST_MAX: u64 = 100_000_000;
/// How many of the dearest expressions are named if all together cost too much.
const NAMED_MAX: usize = 4;
const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// Returns everything that is wrong with the rules of a version's schema.
pub(super) fn validate(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut judge = Judge::default();
    let root = Node { path: path.to_owned(), root: Root::Yes, count_max: Some(1), uncorrelated: None };
    judge.node(schema, &root);
    judge.total(path);
    judge.errors
}

/// Where a schema stands.
struct Node {
    path: String,
    root: Root,
    /// How many such values one document has at most; `None` if nothing says so.
    count_max: Option<u64>,
    /// The list around it whose items have no old selves.
    uncorrelated: Option<String>,
}

#[derive(Default)]
struct Judge {
    errors: Vec<FieldError>,
    total: u64,
    /// The expressions by what they cost.
    costs: Vec<(u64, String)>,
}

impl Judge {
    fn node(&mut self, schema: &Value, at: &Node) {
        let rules = list(schema, "x-kubernetes-validations");
        let before = self.errors.len();
        for (place, rule) in rules.iter().enumerate() {
            form(rule, schema, &format!("{}.x-kubernetes-validations[{place}]", at.path), &mut self.errors);
        }
        if !rules.is_empty() && self.errors.len() == before {
            self.rules(schema, rules, at);
        }
        self.children(schema, at);
    }

    fn children(&mut self, schema: &Value, at: &Node) {
        let path = &at.path;
        let child = |of: &Value, path: String, count_max: Option<u64>, uncorrelated: Option<String>| {
            let root = if flag(of, "x-kubernetes-embedded-resource") { Root::Yes } else { Root::No };
            Node { path, root, count_max, uncorrelated }
        };
        let times = |bound: &str| {
            let bound = schema.get(bound).and_then(Value::as_i64).map(|bound| u64::try_from(bound).unwrap_or(0));
            Some(at.count_max?.saturating_mul(bound?))
        };
        let atomic = text(schema, "x-kubernetes-map-type") == "atomic";
        let around = |ends: bool| at.uncorrelated.clone().or_else(|| ends.then(|| path.clone()));
        for (name, of) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            self.node(of, &child(of, format!("{path}.properties[{name}]"), at.count_max, around(atomic)));
        }
        if let Some(of) = schema.get("additionalProperties").filter(|of| of.is_object()) {
            self.node(of, &child(of, format!("{path}.additionalProperties"), times("maxProperties"), around(atomic)));
        }
        if let Some(of) = schema.get("items").filter(|of| of.is_object()) {
            let ends = text(schema, "x-kubernetes-list-type") != "map";
            self.node(of, &child(of, format!("{path}.items"), times("maxItems"), around(ends)));
        }
    }

    fn rules(&mut self, schema: &Value, rules: &[Value], at: &Node) {
        let Some(decl) = Decl::of_schema(schema, at.root) else {
            let why = "internal error: failed to retrieve type information for x-kubernetes-validations";
            self.errors.push(FieldError::invalid(format!("{}.x-kubernetes-validations", at.path), "", why));
            return;
        };
        for (place, rule) in rules.iter().enumerate() {
            let path = format!("{}.x-kubernetes-validations[{place}]", at.path);
            let Compiled { rule: program, message } = compile_rule(rule, &decl);
            match program {
                Err(why) => self.errors.push(refused(&format!("{path}.rule"), rule, &why)),
                Ok(program) => {
                    let once = program.cost_max([("self", &decl), ("oldSelf", &decl)]);
                    let cost = once.saturating_mul(at.count_max.unwrap_or(decl.count_max()));
                    self.cost("estimated rule cost", cost, format!("{path}.rule"));
                    if let Some(list) = at.uncorrelated.as_ref().filter(|_| program.uses("oldSelf")) {
                        let why =
                            format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {list}");
                        self.errors.push(FieldError::invalid(format!("{path}.rule"), text(rule, "rule"), &why));
                    }
                }
            }
            match message {
                Some(Err(why)) => self.errors.push(refused(&format!("{path}.messageExpression"), rule, &why)),
                Some(Ok(program)) => {
                    let cost = program.cost_max([("self", &decl), ("oldSelf", &decl)]);
                    self.cost("estimated messageExpression cost", cost, format!("{path}.messageExpression"));
                }
                None => {}
            }
        }
    }

    fn cost(&mut self, what: &str, cost: u64, path: String) {
        if cost > COST_MAX {
            self.errors.push(FieldError::forbidden(&path, &too_dear(what, cost, COST_MAX)));
        }
        self.total = self.total.saturating_add(cost);
        self.costs.push((cost, path));
    }

    fn total(&mut self, path: &str) {
        if self.total <= TOTAL_COST_MAX {
            return;
        }
        self.costs.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        let dear = self.costs.iter().filter(|(cost, _)| *cost >= TOTAL_COST_MAX / 100).take(NAMED_MAX);
        for (_, path) in dear {
            let why = "contributed to estimated rule & messageExpression cost total exceeding cost limit for entire OpenAPIv3 schema";
            self.errors.push(FieldError::forbidden(path, why));
        }
        let what = "x-kubernetes-validations estimated rule & messageExpression cost total for entire OpenAPIv3 schema";
        self.errors.push(FieldError::forbidden(path, &too_dear(what, self.total, TOTAL_COST_MAX)));
    }
}

/// Checks everything about a rule but its expressions.
fn form(rule: &Value, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let at = |field: &str| format!("{path}.{field}");
    let breaks = |field: &str| text(rule, field).contains(['\n', '\r']);
    let is_blank = |field: &str| !text(rule, field).is_empty() && text(rule, field).trim().is_empty();
    if text(rule, "rule").trim().is_empty() {
        errors.push(FieldError::required(at("rule"), "rule is not specified"));
    }
    let message = text(rule, "message");
    if is_blank("message") {
        errors.push(FieldError::invalid(at("message"), message, "message must be non-empty if specified"));
    } else if breaks("message") {
        errors.push(FieldError::invalid(at("message"), message, "message must not contain line breaks"));
    } else if message.is_empty() && breaks("rule") {
        let why = "message must be specified if rule contains line breaks";
        errors.push(FieldError::required(at("message"), why));
    }
    if is_blank("messageExpression") {
        let why = "messageExpression must be non-empty if specified";
        errors.push(FieldError::required(at("messageExpression"), why));
    }
    let reason = text(rule, "reason");
    if rule.get("reason").is_some_and(|reason| !reason.is_null()) && !REASONS.contains(&reason) {
        errors.push(FieldError::not_supported(at("reason"), reason, &REASONS));
    }
    let field_path = text(rule, "fieldPath");
    if is_blank("fieldPath") {
        errors.push(FieldError::invalid(at("fieldPath"), field_path, "fieldPath must be non-empty if specified"));
    } else if breaks("fieldPath") {
        errors.push(FieldError::invalid(at("fieldPath"), field_path, "fieldPath must not contain line breaks"));
    } else if let Some(why) = Some(field_path).filter(|path| !path.is_empty()).and_then(|path| bad_path(path, schema)) {
        let why = format!("fieldPath must be a valid path: {why}");
        errors.push(FieldError::invalid(at("fieldPath"), field_path, &why));
    }
}

/// Returns what is wrong with a path into a schema (`ValidFieldPath`): names after dots or quoted in brackets.
fn bad_path(path: &str, schema: &Value) -> Option<String> {
    let (mut rest, mut schema) = (path, schema);
    while !rest.is_empty() {
        let (name, tail) = match step(rest) {
            Ok(step) => step,
            Err(why) => return Some(why),
        };
        let properties = schema.get("properties").filter(|properties| properties.is_object());
        let found = match properties {
            Some(properties) => properties.get(&name),
            None => schema.get("additionalProperties").filter(|values| values.is_object()),
        };
        schema = match found {
            Some(found) => found,
            None => return Some("does not refer to a valid field".to_owned()),
        };
        rest = tail;
    }
    None
}

fn step(path: &str) -> Result<(String, &str), String> {
    if let Some(rest) = path.strip_prefix('.') {
        let end = rest.find(['.', '[', ']']).unwrap_or(rest.len());
        if end == 0 {
            return Err("unexpected end of JSON path".to_owned());
        }
        return Ok((rest[..end].to_owned(), &rest[end..]));
    }
    if let Some(rest) = path.strip_prefix('[') {
        let inner = rest.strip_prefix('\'').ok_or_else(|| {
            format!("expected single quoted string but got {}", rest.split(']').next().unwrap_or_default())
        })?;
        let (name, tail) = inner.split_once("']").ok_or("unexpected end of JSON path")?;
        return Ok((name.replace("\\'", "'").replace("\\\\", "\\"), tail));
    }
    Err(format!("expected [ or . but got: {}", path.split(['.', '[', ']']).next().unwrap_or_default()))
}

fn too_dear(what: &str, cost: u64, limit: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "it is shown with one digit")]
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}

/// Kubernetes shows the whole rule as Go does, and users search for that text.
fn refused(path: &str, rule: &Value, why: &str) -> FieldError {
    let shown = format!(
        "apiextensions.ValidationRule{{Rule:{:?}, Message:{:?}, MessageExpression:{:?}, Reason:(*apiextensions.FieldValueErrorReason)(nil), \
         FieldPath:{:?}, OptionalOldSelf:(*bool)(nil)}}",
        text(rule, "rule"),
        text(rule, "message"),
        text(rule, "messageExpression"),
        text(rule, "fieldPath"),
    );
    let message = format!("Invalid value: {shown}: {why}");
    FieldError { field: path.to_owned(), reason: FieldReason::Invalid, message }
}
