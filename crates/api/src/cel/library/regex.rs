//! Regular expressions (`cel/library/regex.go`). The crate is RE2's sibling: no backtracking, time linear in the text.

use regex::{Regex, RegexBuilder};

use super::strings::{parts, text};
use crate::cel::error::EvalError;
use crate::cel::functions::Cost::Regex as PerMatch;
use crate::cel::functions::Sig::{Int, List, Text};
use crate::cel::functions::{Overload, method};
use crate::cel::meter::Meter;
use crate::cel::value::Val;

/// How much memory a compiled expression may take; Go's limit on repetitions comes to the same.
const PROGRAM_MAX: usize = 1 << 20;

pub(super) static FUNCTIONS: &[Overload] = &[
    method("find", &[Text, Text], Text, PerMatch, |meter, args| {
        let found = meter.pattern(text(args, 1)?)?.find(text(args, 0)?).map_or("", |found| found.as_str());
        Ok(Val::text(found))
    }),
    method("findAll", &[Text, Text], List(&Text), PerMatch, find_all),
    method("findAll", &[Text, Text, Int], List(&Text), PerMatch, find_all),
];

/// Compiles an expression.
pub(in crate::cel) fn compile(pattern: &str) -> Result<Regex, EvalError> {
    let built = RegexBuilder::new(pattern).size_limit(PROGRAM_MAX).dfa_size_limit(PROGRAM_MAX).build();
    built.map_err(|error| EvalError::failed(format!("error parsing regexp: {error}")))
}

/// Answers `text.matches(pattern)`: a match anywhere counts.
pub(super) fn matches<'a>(meter: &mut Meter<'_>, args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    Ok(Val::Bool(meter.pattern(text(args, 1)?)?.is_match(text(args, 0)?)))
}

fn find_all<'a>(meter: &mut Meter<'_>, args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let most = match args.get(2) {
        Some(Val::Int(most)) => usize::try_from(*most).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    let pattern = meter.pattern(text(args, 1)?)?;
    let found = pattern.find_iter(text(args, 0)?).take(most);
    parts(meter, found.map(|found| found.as_str()))
}
