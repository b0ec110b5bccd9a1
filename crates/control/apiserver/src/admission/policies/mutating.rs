//! `MutatingAdmissionPolicy`: one mutation after the other, each on what the ones before made of the object
//! (`mutating/dispatcher.go`).

use std::sync::Arc;

use serde_json::Value;
use wkube_api::cel::mutation::{Change, Mutations};
use wkube_api::patch;
use wkube_api::schema::{self, Schema, Type};
use wkube_api::status::Cause;
use wkube_api::{Object, Resource, Status};

use super::known::{Binding, Bound};
use super::{Input, params};
use crate::admission::webhooks::settle;
use crate::admission::{Attributes, rules};
use crate::registry::view;

/// Lets every policy that is concerned change the object. Who is concerned is decided before the first one does.
pub(in crate::admission) async fn admit(attributes: &Attributes<'_>, object: &mut Object) -> Result<(), Status> {
    if rules::is_exempt(&attributes.call.resource) {
        return Ok(());
    }
    let known = attributes.registry.policies.mutating(attributes.registry);
    if known.is_empty() {
        return Ok(());
    }
    let again = {
        let mut rounds = attributes.rounds.lock();
        let again = rounds.again;
        rounds.policies.begin(again, Some(object));
        again
    };
    let (invocations, mut refusals) = concerned(attributes, &known, object).await;
    for invocation in &invocations {
        match invocation.run(attributes, again, object).await {
            Ok(failures) => refusals.extend(failures.iter().filter_map(|why| invocation.refusal(why, "Invalid"))),
            Err(status) => return Err(status),
        }
    }
    attributes.rounds.lock().policies.end(Some(object));
    refused(attributes, object, refusals)
}

/// One use of a policy on a request.
struct Invocation<'a> {
    bound: &'a Bound<Mutations>,
    policy: &'a Mutations,
    binding: &'a Binding,
    /// The kind as which the policy wants to see the object.
    kind: Arc<Resource>,
    params: Option<Arc<Object>>,
}

/// Why a request is refused, and the reason of the status, if it has one of its own.
type Refusal = (String, &'static str);

/// Returns everything that is to be done, by the names of policies and bindings.
async fn concerned<'a>(
    attributes: &Attributes<'_>,
    known: &'a [Bound<Mutations>],
    object: &Object,
) -> (Vec<Invocation<'a>>, Vec<Refusal>) {
    let (mut invocations, mut refusals) = (Vec::new(), Vec::new());
    for bound in known {
        let misconfigured = |binding: Option<&Binding>, why: &str| {
            let what = if binding.is_some() { "binding" } else { "policy" };
            refusal(bound, binding, &format!("failed to configure {what}: {why}"), "")
        };
        let kind = match bound.criteria.kind_for(attributes, Some(object)) {
            Ok(Some(kind)) => kind,
            Ok(None) => continue,
            Err(status) => {
                refusals.extend(misconfigured(None, &status.message));
                continue;
            }
        };
        let policy = match &bound.policy {
            Ok(policy) => policy,
            Err(why) => {
                refusals.extend(misconfigured(None, why));
                continue;
            }
        };
        for binding in &bound.bindings {
            match binding.criteria.kind_for(attributes, Some(object)) {
                Ok(Some(_)) => {}
                Ok(None) => continue,
                Err(status) => {
                    refusals.extend(misconfigured(Some(binding), &status.message));
                    continue;
                }
            }
            match params::collect(attributes, bound, binding).await {
                Ok(all) => invocations.extend(all.into_iter().map(|params| {
                    let kind = kind.clone();
                    Invocation { bound, policy, binding, kind, params }
                })),
                Err(why) => refusals.extend(misconfigured(Some(binding), &why)),
            }
        }
    }
    (invocations, refusals)
}

/// Returns why a policy refuses, unless it fails open.
fn refusal<P>(bound: &Bound<P>, binding: Option<&Binding>, why: &str, reason: &'static str) -> Option<Refusal> {
    if bound.fails_open {
        return None;
    }
    let policy = &bound.name;
    let message = match binding {
        Some(Binding { name, .. }) => format!("policy '{policy}' with binding '{name}' denied request: {why}"),
        None => format!("policy {policy:?} denied request: {why}"),
    };
    Some((message, reason))
}

/// All are told; the first one counts.
fn refused(attributes: &Attributes<'_>, object: &Object, refusals: Vec<Refusal>) -> Result<(), Status> {
    let Some((message, reason)) = refusals.first().cloned() else { return Ok(()) };
    let status = attributes.forbidden(object, "admission request denied by policy");
    let reason = if reason.is_empty() { status.reason.clone() } else { reason.to_owned() };
    let status = Status { message, reason, ..status };
    let causes = refusals.into_iter().map(|(message, _)| Cause { message, ..Cause::default() });
    Err(causes.fold(status, Status::with_cause))
}

impl Invocation<'_> {
    /// Tells it from all others of a request.
    fn id(&self) -> String {
        let params = self.params.as_ref().map(|params| format!("{}/{}", params.namespace(), params.name()));
        format!("{}/{}/{}", self.bound.name, self.binding.name, params.unwrap_or_default())
    }

    fn refusal(&self, why: &str, reason: &'static str) -> Option<Refusal> {
        refusal(self.bound, Some(self.binding), why, reason)
    }

    /// Carries out the mutations of the policy; returns what failed. One that fails does not keep the others from theirs.
    async fn run(&self, attributes: &Attributes<'_>, again: bool, object: &mut Object) -> Result<Vec<String>, Status> {
        let params = self.params.as_ref().map_or(Value::Null, |object| Value::Object(object.0.clone()));
        let id = self.id();
        let before = object.clone();
        let mut failures = Vec::new();
        for place in 0..self.policy.len() {
            let input = Input::of(attributes, Some(object), &self.kind).await?;
            let change = {
                let asker = input.asker(attributes);
                let bindings = || Ok(input.bindings(&asker)?.with_json("params", &params));
                if place == 0 {
                    match bindings().and_then(|bindings| self.policy.concern(&bindings)) {
                        Ok(true) if attributes.rounds.lock().policies.may_ask(again, &id) => {}
                        Ok(_) => return Ok(Vec::new()),
                        Err(why) => return Ok(vec![why]),
                    }
                }
                bindings().and_then(|bindings| self.policy.change(place, bindings))
            };
            match change {
                Ok(change) => failures.extend(self.carry_out(attributes, object, &change).await?.err()),
                Err(why) => failures.push(why),
            }
        }
        let mut rounds = attributes.rounds.lock();
        if before != *object {
            rounds.policies.changed();
            rounds.wanted |= !again;
        }
        if self.bound.wants_reinvocation {
            rounds.policies.asked(&id);
        }
        Ok(failures)
    }

    /// Makes a change, in the version that the policy speaks.
    async fn carry_out(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Object,
        change: &Change,
    ) -> Result<Result<(), String>, Status> {
        let own = &attributes.call.resource;
        let converter = &attributes.registry.converter;
        let seen = view::between(converter, object, own, &self.kind).await?;
        let changed = match changed(&self.kind, &seen, change)? {
            Ok(Some(changed)) => changed,
            Ok(None) => return Ok(Ok(())),
            Err(why) => return Ok(Err(why)),
        };
        let changed = completed(&self.kind, changed)?;
        let mut new = view::between(converter, &changed, &self.kind, own).await?;
        settle::settle(attributes, &mut new, object)?;
        *object = new;
        Ok(Ok(()))
    }
}

/// Returns what a change makes of an object; `None` if it makes nothing of it, because a `test` does not hold.
fn changed(kind: &Resource, object: &Object, change: &Change) -> Result<Result<Option<Object>, String>, Status> {
    match change {
        Change::Patch(operations) => Ok(match patch::json(object, operations) {
            Ok(patched) => Ok(Some(patched)),
            Err(patch::Error::TestFailed(_)) => Ok(None),
            Err(error) => Err(format!("JSONPath: {error}")),
        }),
        Change::Apply(fields) => {
            let mut fields = Object(fields.as_object().cloned().unwrap_or_default());
            fields.set_type(object.api_version(), object.kind());
            let of = type_of(kind, object).ok_or_else(|| {
                let (version, kind) = (object.api_version(), object.kind());
                Status::unavailable(format!(
                    "Resource kind {version}, Kind={kind} not found. There can be a delay between when \
                     CustomResourceDefinitions are created and when they are available."
                ))
            })?;
            let laid = patch::overlay(object, &fields, Some(of));
            Ok(laid.map(Some).map_err(|why| format!("error applying patch: {why}")))
        }
    }
}

/// Returns the type of an object, which need not be one of the resource: subresources have kinds of their own.
fn type_of<'a>(kind: &'a Resource, object: &Object) -> Option<&'a Type> {
    if object.kind() == kind.kind {
        return kind.type_of();
    }
    let (group, version) = object.api_version().split_once('/').unwrap_or(("", object.api_version()));
    Schema::of(&schema::builtin_name(group, version, object.kind()))
}

/// Checks an object against its type and fills in its defaults. Of built-in kinds every field is known.
fn completed(kind: &Resource, object: Object) -> Result<Object, Status> {
    if object.kind() != kind.kind {
        return Ok(object);
    }
    let mut document = Value::Object(object.0);
    let problems = kind.fit(&mut document).map_err(|error| Status::internal(&error))?;
    if !problems.is_empty() && !kind.is_custom() {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        return Err(Status::internal(&format!("strict decoding error: {}", problems.join(", "))));
    }
    let Value::Object(map) = document else { return Err(Status::internal("the patch leaves no object")) };
    let mut object = Object(map);
    kind.complete(&mut object);
    Ok(object)
}
