//! Judging a request by every policy that is about it (`validating/dispatcher.go`, `validator.go`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use wkube_api::cel::admission::{Decision, Policy, Verdict};
use wkube_api::cel::{Budget, REQUEST_BUDGET};
use wkube_api::status::Cause;
use wkube_api::{Object, Status};

use super::known::{Binding, Bound};
use super::{Input, params};
use crate::admission::{Attributes, metrics, rules};

/// How long the value of an audit annotation may be (`maxAuditAnnotationValueLength`).
const ANNOTATION_MAX: usize = 10 * 1024;
const FAILURES: &str = "validation.policy.admission.k8s.io/validation_failure";

/// Lets every policy that is concerned refuse the request. A delete has no object.
pub(in crate::admission) async fn validate(attributes: &Attributes<'_>, object: Option<&Object>) -> Result<(), Status> {
    if rules::is_exempt(&attributes.call.resource) {
        return Ok(());
    }
    let known = attributes.registry.policies.validating(attributes.registry);
    let mut refusals = Vec::new();
    for bound in known.iter() {
        let mut judging = Judging { attributes, bound, refusals: Vec::new(), annotations: BTreeMap::new() };
        judging.policy(object).await?;
        judging.publish();
        refusals.append(&mut judging.refusals);
    }
    // All are heard, so that each can warn; the first one counts.
    match refusals.into_iter().next() {
        Some(refusal) => Err(refusal.status(attributes, object)),
        None => Ok(()),
    }
}

/// Why a request is refused.
struct Refusal {
    message: String,
    reason: String,
}

impl Refusal {
    fn status(self, attributes: &Attributes<'_>, object: Option<&Object>) -> Status {
        let empty = Object::default();
        let object = object.or(attributes.old).unwrap_or(&empty);
        let code = match self.reason.as_str() {
            "Unauthorized" => 401,
            "Forbidden" => 403,
            "RequestEntityTooLarge" => 413,
            _ => 422,
        };
        let status = attributes.forbidden(object, &self.message);
        let cause = Cause { message: self.message, ..Cause::default() };
        Status { code, reason: self.reason, ..status }.with_cause(cause)
    }
}

/// One policy and one request.
struct Judging<'a, 'b> {
    attributes: &'a Attributes<'b>,
    bound: &'a Bound<Policy>,
    refusals: Vec<Refusal>,
    /// By key: what each binding made of it.
    annotations: BTreeMap<String, Vec<String>>,
}

impl Judging<'_, '_> {
    async fn policy(&mut self, object: Option<&Object>) -> Result<(), Status> {
        let kind = match self.bound.criteria.kind_for(self.attributes, object) {
            Ok(Some(kind)) => kind,
            Ok(None) => return Ok(()),
            Err(status) => {
                self.misconfigured(None, &status.message);
                return Ok(());
            }
        };
        if let Err(why) = &self.bound.policy {
            self.misconfigured(None, why);
            return Ok(());
        }
        let mut input = None;
        for binding in &self.bound.bindings {
            match binding.criteria.kind_for(self.attributes, object) {
                Ok(Some(_)) => {}
                Ok(None) => continue,
                Err(status) => {
                    self.misconfigured(Some(binding), &status.message);
                    continue;
                }
            }
            if input.is_none() {
                input = Some(Input::of(self.attributes, object, &kind).await?);
            }
            let Some(input) = &input else { continue };
            match params::collect(self.attributes, self.bound, binding).await {
                Ok(all) => all.iter().for_each(|params| self.binding(binding, input, params.as_ref())),
                Err(why) => self.misconfigured(Some(binding), &why),
            }
        }
        Ok(())
    }

    /// What cannot be judged is refused, if the policy fails closed.
    fn misconfigured(&mut self, binding: Option<&Binding>, why: &str) {
        if self.bound.fails_open {
            return;
        }
        let what = if binding.is_some() { "binding" } else { "policy" };
        self.refuse(binding, &format!("failed to configure {what}: {why}"), "Invalid");
    }

    fn refuse(&mut self, binding: Option<&Binding>, message: &str, reason: &str) {
        let policy = &self.bound.name;
        let message = match binding {
            Some(Binding { name, .. }) => {
                format!("ValidatingAdmissionPolicy '{policy}' with binding '{name}' denied request: {message}")
            }
            None => format!("ValidatingAdmissionPolicy '{policy}' denied request: {message}"),
        };
        self.refusals.push(Refusal { message, reason: reason.to_owned() });
    }

    fn binding(&mut self, binding: &Binding, input: &Input, params: Option<&Arc<Object>>) {
        let Ok(policy) = &self.bound.policy else { return };
        let params = params.map_or(Value::Null, |object| Value::Object(object.0.clone()));
        let asker = input.asker(self.attributes);
        let verdict = input
            .bindings(&asker)
            .and_then(|bindings| policy.judge(bindings.with_json("params", &params), &mut Budget::new(REQUEST_BUDGET)));
        let Verdict { decisions, annotations } = match verdict {
            Ok(verdict) => verdict,
            Err(message) => Verdict { decisions: vec![Decision::Failed { place: 0, message }], ..Verdict::default() },
        };
        for decision in decisions {
            match decision {
                Decision::Deny { place, message, reason } => {
                    self.count(binding, None);
                    self.act(binding, place, &message, &reason);
                }
                Decision::Failed { place, message } if !self.bound.fails_open => {
                    self.count(binding, Some(&message));
                    self.act(binding, place, &message, "Invalid");
                }
                Decision::Failed { message, .. } => {
                    metrics::policy(&self.bound.name, &binding.name, Some(&message), "allow");
                }
            }
        }
        for (key, value) in annotations {
            match value {
                Ok(value) => {
                    let values = self.annotations.entry(key).or_default();
                    let end = (0..=value.len().min(ANNOTATION_MAX)).rev().find(|end| value.is_char_boundary(*end));
                    let value = value[..end.unwrap_or(0)].to_owned();
                    if !values.contains(&value) {
                        values.push(value);
                    }
                }
                Err(why) if !self.bound.fails_open => self.refuse(Some(binding), &why, "Invalid"),
                Err(_) => {}
            }
        }
    }

    /// Counts each of the binding's actions on a decision; `failure` is why there is none.
    fn count(&self, binding: &Binding, failure: Option<&str>) {
        for action in &binding.actions {
            metrics::policy(&self.bound.name, &binding.name, failure, &action.to_lowercase());
        }
    }

    fn act(&mut self, binding: &Binding, place: usize, message: &str, reason: &str) {
        for action in &binding.actions {
            match action.as_str() {
                "Deny" => self.refuse(Some(binding), message, reason),
                "Warn" => self.attributes.call.warn(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {message}",
                    self.bound.name, binding.name
                )),
                "Audit" => {
                    let failure = json!([{"message": message, "policy": self.bound.name, "binding": binding.name,
                        "expressionIndex": place, "validationActions": binding.actions}]);
                    self.attributes.call.annotate(FAILURES, failure.to_string());
                }
                _ => {}
            }
        }
    }

    fn publish(&mut self) {
        for (key, values) in std::mem::take(&mut self.annotations) {
            self.attributes.call.annotate(format!("{}/{key}", self.bound.name), values.join(", "));
        }
    }
}
