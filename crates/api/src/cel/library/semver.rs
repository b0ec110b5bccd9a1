//! Semantic versions (`cel/library/semverlib.go`).

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::quantity::order;
use super::strings::text;
use crate::cel::error::EvalError;
use crate::cel::functions::Cost::{Fixed, Text as PerText};
use crate::cel::functions::Sig::{Bool, Int, Opaque as Named, Text};
use crate::cel::functions::{Cost, Overload, Sig, function, method};
use crate::cel::value::{Opaque, Val};

/// A version: three numbers, what comes before the release, and how it was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    numbers: [u64; 3],
    pre: Vec<Part>,
    build: String,
}

/// Numbers come before words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Word(String),
}

const ONE: Cost = Fixed(1);
const SEMVER: Sig = Named("kubernetes.Semver");

pub(super) static FUNCTIONS: &[Overload] = &[
    function("isSemver", &[Text], Bool, PerText(1), |_, args| Ok(Val::Bool(read(args).is_ok()))),
    function("isSemver", &[Text, Bool], Bool, PerText(2), |_, args| Ok(Val::Bool(read(args).is_ok()))),
    function("semver", &[Text], SEMVER, PerText(1), |_, args| Ok(Val::Opaque(Opaque::Semver(Arc::new(read(args)?))))),
    function("semver", &[Text, Bool], SEMVER, PerText(2), |_, args| {
        Ok(Val::Opaque(Opaque::Semver(Arc::new(read(args)?))))
    }),
    method("major", &[SEMVER], Int, ONE, |_, args| number(args, 0)),
    method("minor", &[SEMVER], Int, ONE, |_, args| number(args, 1)),
    method("patch", &[SEMVER], Int, ONE, |_, args| number(args, 2)),
    method("isGreaterThan", &[SEMVER, SEMVER], Bool, ONE, |_, args| Ok(Val::Bool(compared(args)?.is_gt()))),
    method("isLessThan", &[SEMVER, SEMVER], Bool, ONE, |_, args| Ok(Val::Bool(compared(args)?.is_lt()))),
    method("compareTo", &[SEMVER, SEMVER], Int, ONE, |_, args| Ok(Val::Int(order(compared(args)?)))),
];

impl Version {
    /// Orders as semver.org says: what comes before a release is smaller, and builds do not count.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        let released = self.pre.is_empty().cmp(&other.pre.is_empty());
        self.numbers.cmp(&other.numbers).then(released).then_with(|| self.pre.cmp(&other.pre))
    }

    fn parse(text: &str) -> Option<Self> {
        let (rest, build) = text.split_once('+').unwrap_or((text, ""));
        let (numbers, pre) = rest.split_once('-').unwrap_or((rest, ""));
        let mut parts = numbers.split('.');
        let numbers = [plain(parts.next()?)?, plain(parts.next()?)?, plain(parts.next()?)?];
        let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let builds = !text.contains('+') || build.split('.').all(is_word);
        if parts.next().is_some() || !builds {
            return None;
        }
        let pre = if rest.contains('-') { pre.split('.').map(Part::parse).collect::<Option<_>>()? } else { Vec::new() };
        Some(Self { numbers, pre, build: build.to_owned() })
    }
}

impl Part {
    fn parse(word: &str) -> Option<Self> {
        if !word.is_empty() && word.chars().all(|c| c.is_ascii_digit()) {
            return plain(word).map(Self::Number);
        }
        let fits = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        fits.then(|| Self::Word(word.to_owned()))
    }
}

/// A number without leading zeros.
fn plain(digits: &str) -> Option<u64> {
    let fits = digits == "0" || !digits.starts_with('0');
    let is_number = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
    (fits && is_number).then(|| digits.parse().ok()).flatten()
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        for (place, part) in self.pre.iter().enumerate() {
            f.write_str(if place == 0 { "-" } else { "." })?;
            match part {
                Part::Number(number) => write!(f, "{number}")?,
                Part::Word(word) => f.write_str(word)?,
            }
        }
        if self.build.is_empty() { Ok(()) } else { write!(f, "+{}", self.build) }
    }
}

/// Reads a version; with `true` as the second argument also one that is written loosely: `v1.2`.
fn read(args: &[Val<'_>]) -> Result<Version, EvalError> {
    let written = text(args, 0)?;
    let is_loose = args.get(1).and_then(Val::as_bool).unwrap_or(false);
    let parsed = if is_loose { Version::parse(&normal(written)) } else { Version::parse(written) };
    parsed.ok_or_else(|| EvalError::failed(format!("Invalid character(s) found in version {written:?}")))
}

fn normal(written: &str) -> String {
    let bare = written.strip_prefix('v').unwrap_or(written);
    let end = bare.find(['-', '+']).unwrap_or(bare.len());
    let (numbers, rest) = bare.split_at(end);
    let trimmed = numbers.split('.').map(|digits| {
        let short = digits.trim_start_matches('0');
        if short.is_empty() && !digits.is_empty() { "0" } else { short }
    });
    let mut parts: Vec<&str> = trimmed.collect();
    while parts.len() < 3 {
        parts.push("0");
    }
    format!("{}{rest}", parts.join("."))
}

fn version<'v>(args: &'v [Val<'_>], place: usize) -> Result<&'v Version, EvalError> {
    match &args[place] {
        Val::Opaque(Opaque::Semver(version)) => Ok(version),
        _ => Err(EvalError::no_overload()),
    }
}

fn number<'a>(args: &[Val<'a>], place: usize) -> Result<Val<'a>, EvalError> {
    Ok(Val::Int(i64::try_from(version(args, 0)?.numbers[place]).unwrap_or(i64::MAX)))
}

fn compared(args: &[Val<'_>]) -> Result<Ordering, EvalError> {
    Ok(version(args, 0)?.order(version(args, 1)?))
}
