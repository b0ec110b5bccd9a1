//! `authorizer` (`cel/library/authz.go`).

use std::sync::Arc;

use super::strings::text;
use crate::cel::authorizer::{AUTHORIZER, DECISION, GROUP_CHECK, PATH_CHECK, Question, RESOURCE_CHECK, Stage};
use crate::cel::error::EvalError;
use crate::cel::functions::Cost::Fixed;
use crate::cel::functions::Sig::{Bool, Opaque as Named, Text};
use crate::cel::functions::{Cost, Overload, Sig, method};
use crate::cel::meter::Meter;
use crate::cel::value::{Opaque, Val};

const ONE: Cost = Fixed(1);
/// So that an expression can ask twice, and no more.
const CHECK: Cost = Fixed(350_000);

const START: Sig = Named(AUTHORIZER);
const PATH: Sig = Named(PATH_CHECK);
const GROUP: Sig = Named(GROUP_CHECK);
const RESOURCE: Sig = Named(RESOURCE_CHECK);
const ANSWER: Sig = Named(DECISION);

pub(super) static FUNCTIONS: &[Overload] = &[
    method("path", &[START, Text], PATH, ONE, |_, args| {
        let path = text(args, 1)?;
        if path.is_empty() {
            return Err(EvalError::failed("path must not be empty"));
        }
        ask(args, |question| (question.stage, question.path) = (Stage::Path, path.to_owned()))
    }),
    method("group", &[START, Text], GROUP, ONE, |_, args| {
        let group = text(args, 1)?;
        ask(args, |question| (question.stage, question.group) = (Stage::Group, group.to_owned()))
    }),
    method("serviceAccount", &[START, Text, Text], START, ONE, |_, args| {
        let account = (text(args, 1)?.to_owned(), text(args, 2)?.to_owned());
        check_account(&account)?;
        ask(args, |question| question.service_account = Some(account))
    }),
    method("resource", &[GROUP, Text], RESOURCE, ONE, |_, args| {
        let resource = text(args, 1)?;
        ask(args, |question| (question.stage, question.resource) = (Stage::Resource, resource.to_owned()))
    }),
    method("subresource", &[RESOURCE, Text], RESOURCE, ONE, |_, args| {
        let subresource = text(args, 1)?;
        ask(args, |question| subresource.clone_into(&mut question.subresource))
    }),
    method("namespace", &[RESOURCE, Text], RESOURCE, ONE, |_, args| {
        let namespace = text(args, 1)?;
        ask(args, |question| namespace.clone_into(&mut question.namespace))
    }),
    method("name", &[RESOURCE, Text], RESOURCE, ONE, |_, args| {
        let name = text(args, 1)?;
        ask(args, |question| name.clone_into(&mut question.name))
    }),
    method("fieldSelector", &[RESOURCE, Text], RESOURCE, ONE, |_, args| {
        let selector = text(args, 1)?;
        ask(args, |question| selector.clone_into(&mut question.field_selector))
    }),
    method("labelSelector", &[RESOURCE, Text], RESOURCE, ONE, |_, args| {
        let selector = text(args, 1)?;
        ask(args, |question| selector.clone_into(&mut question.label_selector))
    }),
    method("check", &[PATH, Text], ANSWER, CHECK, check),
    method("check", &[RESOURCE, Text], ANSWER, CHECK, check),
    method("allowed", &[ANSWER], Bool, ONE, |_, args| answer(args, |decision| Val::Bool(decision.allowed))),
    method("reason", &[ANSWER], Text, ONE, |_, args| answer(args, |decision| Val::text(decision.reason.as_str()))),
    method("errored", &[ANSWER], Bool, ONE, |_, args| answer(args, |decision| Val::Bool(decision.error.is_some()))),
    method("error", &[ANSWER], Text, ONE, |_, args| {
        answer(args, |decision| Val::text(decision.error.as_deref().unwrap_or_default()))
    }),
];

fn question<'v>(args: &'v [Val<'_>]) -> Result<&'v Question, EvalError> {
    match &args[0] {
        Val::Opaque(Opaque::Question(question)) => Ok(question),
        _ => Err(EvalError::no_overload()),
    }
}

fn ask<'a>(args: &[Val<'a>], change: impl FnOnce(&mut Question)) -> Result<Val<'a>, EvalError> {
    let mut next = question(args)?.clone();
    change(&mut next);
    Ok(Val::Opaque(Opaque::Question(Arc::new(next))))
}

fn check_account((namespace, name): &(String, String)) -> Result<(), EvalError> {
    let problems = |text: &str, rule: fn(&str) -> Option<String>| rule(text);
    if let Some(problem) = problems(name, |name| crate::meta::dns1123_subdomain(name).into_iter().next()) {
        return Err(EvalError::failed(format!("Invalid service account name: {problem}")));
    }
    if let Some(problem) = problems(namespace, |name| crate::meta::dns1123_label(name).into_iter().next()) {
        return Err(EvalError::failed(format!("Invalid service account namespace: {problem}")));
    }
    Ok(())
}

fn check<'a>(meter: &mut Meter<'_>, args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let mut question = question(args)?.clone();
    text(args, 1)?.clone_into(&mut question.verb);
    let authorizer = meter.authorizer.ok_or_else(|| EvalError::failed("no such attribute: authorizer"))?;
    Ok(Val::Opaque(Opaque::Decision(Arc::new(authorizer.decide(&question)))))
}

fn answer<'a>(args: &[Val<'a>], of: fn(&crate::cel::authorizer::Decision) -> Val<'a>) -> Result<Val<'a>, EvalError> {
    match &args[0] {
        Val::Opaque(Opaque::Decision(decision)) => Ok(of(decision)),
        _ => Err(EvalError::no_overload()),
    }
}
