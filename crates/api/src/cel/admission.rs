//! Expressions about requests: the match conditions of webhooks and policies, and everything that a
//! `ValidatingAdmissionPolicy` says (`apiserver/pkg/admission/plugin/cel/compile.go`).

use serde_json::Value as Json;

use super::{Bindings, Budget, CompileError, Env, EvalError, MATCH_CONDITIONS_BUDGET, Program, Type, Val};
use crate::kinds::doc::{list, text};
use crate::status::FieldError;

/// How long a message or an audit annotation's expression may get (`MaxEvaluatedMessageExpressionSizeBytes`).
const MESSAGE_MAX: usize = 5 * 1024;

/// What an expression about a request can see besides the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// A webhook's conditions: nothing more.
    Webhook,
    /// A policy without parameters: the namespace.
    Policy,
    /// A policy with parameters.
    PolicyWithParams,
}

/// Returns the variables of an expression about a request. What the objects look like is found out when it runs.
pub fn env(sight: Sight) -> Env {
    let mut env = Env::default()
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .with("request", request_type())
        .with_authorizer();
    if sight != Sight::Webhook {
        env = env.with("namespaceObject", namespace_type());
    }
    if sight == Sight::PolicyWithParams {
        env = env.with("params", Type::Dyn);
    }
    env
}

fn texts() -> Type {
    Type::list(Type::String)
}

/// Returns the type of `request`, an `AdmissionRequest` without its objects (`BuildRequestType`).
pub fn request_type() -> Type {
    let kind = || {
        let fields = ["group", "version", "kind"].map(|field| (field, Type::String));
        Type::object("kubernetes.GroupVersionKind", fields)
    };
    let resource = || {
        let fields = ["group", "version", "resource"].map(|field| (field, Type::String));
        Type::object("kubernetes.GroupVersionResource", fields)
    };
    let user = Type::object(
        "kubernetes.UserInfo",
        [
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", texts()),
            ("extra", Type::map(Type::String, texts())),
        ],
    );
    let fields = [
        ("kind", kind()),
        ("resource", resource()),
        ("subResource", Type::String),
        ("requestKind", kind()),
        ("requestResource", resource()),
        ("requestSubResource", Type::String),
        ("name", Type::String),
        ("namespace", Type::String),
        ("operation", Type::String),
        ("userInfo", user),
        ("dryRun", Type::Bool),
        ("options", Type::Dyn),
    ];
    Type::object("kubernetes.AdmissionRequest", fields)
}

/// Returns the type of `namespaceObject` (`BuildNamespaceType`).
pub fn namespace_type() -> Type {
    let labels = || Type::map(Type::String, Type::String);
    let metadata = Type::object(
        "kubernetes.NamespaceMetadata",
        [
            ("name", Type::String),
            ("generateName", Type::String),
            ("namespace", Type::String),
            ("labels", labels()),
            ("annotations", labels()),
            ("UID", Type::String),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", Type::String),
            ("finalizers", texts()),
        ],
    );
    let spec = Type::object("kubernetes.NamespaceSpec", [("finalizers", texts())]);
    let status = Type::object("kubernetes.NamespaceStatus", [("phase", Type::String)]);
    Type::object("kubernetes.Namespace", [("metadata", metadata), ("spec", spec), ("status", status)])
}

/// Conditions under which a webhook or policy is about a request at all.
#[derive(Debug, Clone, Default)]
pub struct Conditions(Vec<(String, Program)>);

impl Conditions {
    /// Compiles a list of `matchConditions`; `path` is where it stands.
    ///
    /// # Errors
    /// Everything that is no expression, or none that decides.
    pub fn compile(conditions: &[Json], env: &Env, path: &str) -> Result<Self, Vec<FieldError>> {
        let (mut compiled, mut errors) = (Vec::new(), Vec::new());
        for (place, condition) in conditions.iter().enumerate() {
            let source = text(condition, "expression");
            match compile(source, env, &[Type::Bool], &format!("{path}[{place}].expression")) {
                Ok(program) => compiled.push((source.trim().to_owned(), program)),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self(compiled)) } else { Err(errors) }
    }

    /// Whether all of them hold. One that does not makes good what failed in others (`matchconditions/matcher.go`).
    ///
    /// # Errors
    /// The conditions that failed, if none decides; the failure policy says what comes then.
    pub fn hold(&self, bindings: &Bindings<'_>) -> Result<bool, String> {
        let mut budget = Budget::new(MATCH_CONDITIONS_BUDGET);
        let mut failures = Vec::new();
        for (source, program) in &self.0 {
            match program.evaluate(bindings, &mut budget) {
                Ok(value) if value.as_bool() == Some(true) => {}
                Ok(_) => return Ok(false),
                Err(error) => failures.push(format!("expression '{source}' resulted in error: {}", shown(&error))),
            }
        }
        if failures.is_empty() { Ok(true) } else { Err(failures.join(", ")) }
    }
}

/// Compiles an expression that must come to one of some types.
pub(super) fn compile(source: &str, env: &Env, wanted: &[Type], path: &str) -> Result<Program, FieldError> {
    if source.trim().is_empty() {
        return Err(FieldError::required(path, "expression is not specified"));
    }
    let refuse = |why: &str| FieldError::invalid(path, source.trim(), why);
    let program =
        Program::compile(source, env).map_err(|error: CompileError| refuse(&format!("compilation failed: {error}")))?;
    match wanted {
        _ if wanted.is_empty() || wanted.contains(program.result()) => Ok(program),
        [only] => Err(refuse(&format!("must evaluate to {only}"))),
        several => {
            let names: Vec<&str> = several.iter().map(Type::base_name).collect();
            Err(refuse(&format!("must evaluate to one of [{}]", names.join(" "))))
        }
    }
}

/// An error as a refused request shows it.
fn shown(error: &EvalError) -> String {
    match error {
        EvalError::Failed(why) => why.clone(),
        other => other.to_string(),
    }
}

/// A policy's expressions, ready to run.
#[derive(Debug)]
pub struct Policy {
    conditions: Conditions,
    variables: Vec<(String, Program)>,
    validations: Vec<Validation>,
    annotations: Vec<(String, Program, String)>,
}

#[derive(Debug)]
struct Validation {
    program: Program,
    source: String,
    message: String,
    message_program: Option<Program>,
    reason: String,
}

/// What a policy says about a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why it refuses, or why it does not know.
    pub decisions: Vec<Decision>,
    /// What the audit log should say.
    pub annotations: Vec<(String, Result<String, String>)>,
}

/// One thing that a policy has against a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// A validation does not hold.
    Deny {
        /// Which one.
        place: usize,
        /// What the user is told.
        message: String,
        /// The reason of the status, such as `Invalid`.
        reason: String,
    },
    /// An expression failed; the failure policy says what that means.
    Failed {
        /// Which validation.
        place: usize,
        /// Why.
        message: String,
    },
}

impl Policy {
    /// Compiles the `spec` of a policy.
    ///
    /// # Errors
    /// Everything that is wrong with its expressions, with their paths.
    pub fn compile(spec: &Json) -> Result<Self, Vec<FieldError>> {
        let has_params = spec.get("paramKind").is_some_and(Json::is_object);
        let whole = env(if has_params { Sight::PolicyWithParams } else { Sight::Policy });
        let mut errors = Vec::new();
        let conditions = Conditions::compile(list(spec, "matchConditions"), &whole, "spec.matchConditions");
        let conditions = conditions.unwrap_or_else(|wrong| {
            errors.extend(wrong);
            Conditions::default()
        });
        let (variables, whole) = variables(spec, whole, &mut errors);
        let mut validations = Vec::new();
        for (place, validation) in list(spec, "validations").iter().enumerate() {
            let path = format!("spec.validations[{place}]");
            match Validation::compile(validation, &whole, &path) {
                Ok(validation) => validations.push(validation),
                Err(wrong) => errors.extend(wrong),
            }
        }
        let mut annotations = Vec::new();
        for (place, annotation) in list(spec, "auditAnnotations").iter().enumerate() {
            let source = text(annotation, "valueExpression");
            let path = format!("spec.auditAnnotations[{place}].valueExpression");
            match compile(source, &whole, &[Type::String, Type::Null], &path) {
                Ok(program) => annotations.push((text(annotation, "key").to_owned(), program, source.to_owned())),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self { conditions, variables, validations, annotations }) } else { Err(errors) }
    }

    /// Judges a request; `bindings` makes what expressions see, and is given the policy's variables.
    ///
    /// # Errors
    /// If the match conditions failed.
    pub fn judge<'a>(&'a self, bindings: Bindings<'a>, budget: &mut Budget) -> Result<Verdict, String> {
        if !self.conditions.hold(&bindings)? {
            return Ok(Verdict::default());
        }
        let bindings =
            self.variables.iter().fold(bindings, |bindings, (name, program)| bindings.with_lazy(name, program));
        let mut verdict = Verdict::default();
        for (place, validation) in self.validations.iter().enumerate() {
            match validation.program.evaluate(&bindings, budget) {
                Ok(value) if value.as_bool() == Some(true) => {}
                Ok(_) => {
                    let message = validation.message(&bindings, budget);
                    let reason = validation.reason.clone();
                    verdict.decisions.push(Decision::Deny { place, message, reason });
                }
                Err(error) => {
                    let message = format!("expression '{}' resulted in error: {}", validation.source, shown(&error));
                    verdict.decisions.push(Decision::Failed { place, message });
                    if error == EvalError::OutOfBudget {
                        return Ok(verdict);
                    }
                }
            }
        }
        for (key, program, source) in &self.annotations {
            let value = match program.evaluate(&bindings, budget) {
                Ok(value) => value.as_str().unwrap_or_default().trim().to_owned(),
                Err(error) => {
                    let why = format!("expression '{}' resulted in error: {}", source.trim(), shown(&error));
                    verdict.annotations.push((key.clone(), Err(why)));
                    continue;
                }
            };
            if !value.is_empty() {
                verdict.annotations.push((key.clone(), Ok(value)));
            }
        }
        Ok(verdict)
    }
}

/// Compiles the variables: each sees those before it.
pub(super) fn variables(spec: &Json, mut env: Env, errors: &mut Vec<FieldError>) -> (Vec<(String, Program)>, Env) {
    let mut compiled = Vec::new();
    for (place, variable) in list(spec, "variables").iter().enumerate() {
        let path = format!("spec.variables[{place}].expression");
        let name = format!("variables.{}", text(variable, "name"));
        let of = match compile(text(variable, "expression"), &env, &[], &path) {
            Ok(program) => {
                let of = program.result().clone();
                compiled.push((name.clone(), program));
                of
            }
            Err(error) => {
                errors.push(error);
                // So that those who use it are not wrong, too.
                Type::Dyn
            }
        };
        env = env.with(&name, of);
    }
    (compiled, env)
}

impl Validation {
    fn compile(validation: &Json, env: &Env, path: &str) -> Result<Self, Vec<FieldError>> {
        let own = |field: &str| text(validation, field).trim().to_owned();
        let program = compile(text(validation, "expression"), env, &[Type::Bool], &format!("{path}.expression"));
        let message = text(validation, "messageExpression");
        let message_program = Some(message).filter(|message| !message.trim().is_empty());
        let message_program =
            message_program.map(|source| compile(source, env, &[Type::String], &format!("{path}.messageExpression")));
        match (program, message_program.transpose()) {
            (Ok(program), Ok(message_program)) => {
                let reason = Some(own("reason")).filter(|reason| !reason.is_empty());
                Ok(Self {
                    program,
                    source: own("expression"),
                    message: own("message"),
                    message_program,
                    reason: reason.unwrap_or_else(|| "Invalid".to_owned()),
                })
            }
            (program, message) => Err([program.err(), message.err()].into_iter().flatten().collect()),
        }
    }

    fn message(&self, bindings: &Bindings<'_>, budget: &mut Budget) -> String {
        let made = self.message_program.as_ref().and_then(|program| program.evaluate(bindings, budget).ok());
        let made = made.as_ref().and_then(Val::as_str).map(str::trim);
        match made.filter(|text| !text.is_empty() && text.len() <= MESSAGE_MAX && !text.contains('\n')) {
            Some(text) => text.to_owned(),
            None if self.message.is_empty() => format!("failed expression: {}", self.source),
            None => self.message.clone(),
        }
    }
}

/// Whether a text may name a variable.
pub fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    let begins = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    begins
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && super::types::escape(text).as_deref() == Some(text)
}
