//! Texts (`cel-go/ext/strings.go`). Places are counted in characters.

use super::printf;
use crate::cel::error::EvalError;
use crate::cel::functions::Cost::{Contains, Fixed, Join, Regex, Text as PerText};
use crate::cel::functions::Sig::{Bool, Dyn, Int, List, Text};
use crate::cel::functions::{Overload, function, method, tenth};
use crate::cel::meter::Meter;
use crate::cel::value::Val;

pub(super) static FUNCTIONS: &[Overload] = &[
    method("contains", &[Text, Text], Bool, Contains, |_, args| Ok(Val::Bool(text(args, 0)?.contains(text(args, 1)?)))),
    method("startsWith", &[Text, Text], Bool, PerText(1), |_, args| {
        Ok(Val::Bool(text(args, 0)?.starts_with(text(args, 1)?)))
    }),
    method("endsWith", &[Text, Text], Bool, PerText(1), |_, args| {
        Ok(Val::Bool(text(args, 0)?.ends_with(text(args, 1)?)))
    }),
    method("matches", &[Text, Text], Bool, Regex, super::regex::matches),
    function("matches", &[Text, Text], Bool, Regex, super::regex::matches),
    method("charAt", &[Text, Int], Text, Fixed(1), |_, args| char_at(args)),
    method("indexOf", &[Text, Text], Int, PerText(1), |_, args| index_of(args)),
    method("indexOf", &[Text, Text, Int], Int, PerText(1), |_, args| index_of(args)),
    method("lastIndexOf", &[Text, Text], Int, PerText(1), |_, args| last_index_of(args)),
    method("lastIndexOf", &[Text, Text, Int], Int, PerText(1), |_, args| last_index_of(args)),
    method("lowerAscii", &[Text], Text, PerText(1), |_, args| Ok(Val::text(text(args, 0)?.to_ascii_lowercase()))),
    method("upperAscii", &[Text], Text, PerText(1), |_, args| Ok(Val::text(text(args, 0)?.to_ascii_uppercase()))),
    method("trim", &[Text], Text, PerText(1), |_, args| Ok(Val::text(text(args, 0)?.trim()))),
    method("replace", &[Text, Text, Text], Text, PerText(2), replace),
    method("replace", &[Text, Text, Text, Int], Text, PerText(2), replace),
    method("split", &[Text, Text], List(&Text), PerText(2), split),
    method("split", &[Text, Text, Int], List(&Text), PerText(2), split),
    method("substring", &[Text, Int], Text, PerText(1), |_, args| substring(args)),
    method("substring", &[Text, Int, Int], Text, PerText(1), |_, args| substring(args)),
    method("join", &[List(&Text)], Text, Join, |_, args| join(args)),
    method("join", &[List(&Text), Text], Text, Join, |_, args| join(args)),
    method("format", &[Text, List(&Dyn)], Text, PerText(1), printf::format),
    function("strings.quote", &[Text], Text, PerText(1), |_, args| Ok(Val::text(quote(text(args, 0)?)))),
];

/// Returns an argument that is a text.
pub(super) fn text<'v>(args: &'v [Val<'_>], place: usize) -> Result<&'v str, EvalError> {
    args.get(place).and_then(Val::as_str).ok_or_else(EvalError::no_overload)
}

fn number(args: &[Val<'_>], place: usize) -> Result<Option<i64>, EvalError> {
    match args.get(place) {
        None => Ok(None),
        Some(Val::Int(number)) => Ok(Some(*number)),
        Some(_) => Err(EvalError::no_overload()),
    }
}

fn out_of_range(place: i64) -> EvalError {
    EvalError::failed(format!("index out of range: {place}"))
}

/// Returns a place in a text, in bytes; the end of the text is one.
fn place_in(text: &str, place: i64) -> Result<usize, EvalError> {
    let wanted = usize::try_from(place).map_err(|_| out_of_range(place))?;
    let ends = std::iter::once(text.len());
    text.char_indices().map(|(at, _)| at).chain(ends).nth(wanted).ok_or_else(|| out_of_range(place))
}

fn chars_before(text: &str, at: usize) -> i64 {
    i64::try_from(text[..at].chars().count()).unwrap_or(i64::MAX)
}

fn char_at<'a>(args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let (text, place) = (text(args, 0)?, number(args, 1)?.unwrap_or_default());
    let at = place_in(text, place)?;
    Ok(Val::text(text[at..].chars().take(1).collect::<String>()))
}

fn index_of<'a>(args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let (text, wanted) = (text(args, 0)?, text(args, 1)?);
    let from = number(args, 2)?.unwrap_or_default();
    let start = place_in(text, from)?;
    let found = text[start..].find(wanted).map(|at| chars_before(text, start + at));
    Ok(Val::Int(found.unwrap_or(-1)))
}

fn last_index_of<'a>(args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let (text, wanted) = (text(args, 0)?, text(args, 1)?);
    let end = match number(args, 2)? {
        // The last occurrence that begins at this place or before it.
        Some(last) => (place_in(text, last)? + wanted.len()).min(text.len()),
        None => text.len(),
    };
    let end = (end..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len());
    let found = text[..end].rfind(wanted).map(|at| chars_before(text, at));
    Ok(Val::Int(found.unwrap_or(-1)))
}

fn replace<'a>(meter: &mut Meter<'_>, args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let (text, old, new) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
    let times = match number(args, 3)? {
        Some(times) => usize::try_from(times).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    // Kubernetes pays for the text only, but the result can be its square.
    let replaced = text.matches(old).take(times).count();
    meter.charge(tenth((replaced as u64).saturating_mul(new.len() as u64)))?;
    Ok(Val::text(text.replacen(old, new, times)))
}

/// How many parts of a text come with the price of reading it. A part takes many times the memory of a character, so that
/// more of them are paid for one by one.
const PARTS_FREE: usize = 1_000;

/// Returns the parts of a text, or of what was found in it, as a list.
pub(super) fn parts<'a, 't>(meter: &mut Meter<'_>, parts: impl Iterator<Item = &'t str>) -> Result<Val<'a>, EvalError> {
    let mut items = Vec::new();
    for part in parts {
        if items.len() >= PARTS_FREE {
            meter.charge(1)?;
        }
        items.push(Val::text(part));
    }
    Ok(Val::list(items))
}

fn split<'a>(meter: &mut Meter<'_>, args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let (text, separator) = (text(args, 0)?, text(args, 1)?);
    let most = match number(args, 2)? {
        Some(0) => return Ok(Val::list(Vec::new())),
        Some(most) => usize::try_from(most).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    if !separator.is_empty() {
        return parts(meter, text.splitn(most, separator));
    }
    let chars = text.char_indices().enumerate().take(most);
    let part = |(place, (at, c)): (usize, (usize, char))| {
        let end = if place + 1 == most { text.len() } else { at + c.len_utf8() };
        &text[at..end]
    };
    parts(meter, chars.map(part))
}

fn substring<'a>(args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let (text, from) = (text(args, 0)?, number(args, 1)?.unwrap_or_default());
    let start = place_in(text, from)?;
    let end = match number(args, 2)? {
        Some(to) if to < from => {
            return Err(EvalError::failed(format!("invalid substring range. start: {from}, end: {to}")));
        }
        Some(to) => place_in(text, to)?,
        None => text.len(),
    };
    Ok(Val::text(&text[start..end]))
}

fn join<'a>(args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let Val::List(list) = &args[0] else { return Err(EvalError::no_overload()) };
    let separator = if args.len() > 1 { text(args, 1)? } else { "" };
    let mut joined = String::new();
    for (place, item) in list.iter().enumerate() {
        if place > 0 {
            joined.push_str(separator);
        }
        joined.push_str(item?.as_str().ok_or_else(EvalError::no_overload)?);
    }
    Ok(Val::text(joined))
}

fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
