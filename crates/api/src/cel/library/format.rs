//! Named formats of texts (`cel/library/format.go`).

use super::strings::text;
use crate::cel::error::EvalError;
use crate::cel::functions::Cost::{Fixed, Text as PerText};
use crate::cel::functions::Sig::{List, Opaque as Named, Optional, Text};
use crate::cel::functions::{Cost, Overload, Sig, function, method};
use crate::cel::value::{Opaque, Val};
use crate::kinds::custom::format::holds;
use crate::meta;

const ONE: Cost = Fixed(1);
const FORMAT: Sig = Named("kubernetes.NamedFormat");

/// The formats by name.
const NAMES: [&str; 13] = [
    "byte",
    "date",
    "datetime",
    "dns1035Label",
    "dns1035LabelPrefix",
    "dns1123Label",
    "dns1123LabelPrefix",
    "dns1123Subdomain",
    "dns1123SubdomainPrefix",
    "labelValue",
    "qualifiedName",
    "uri",
    "uuid",
];

pub(super) static FUNCTIONS: &[Overload] = &[
    function("format.byte", &[], FORMAT, ONE, |_, _| Ok(format("byte"))),
    function("format.date", &[], FORMAT, ONE, |_, _| Ok(format("date"))),
    function("format.datetime", &[], FORMAT, ONE, |_, _| Ok(format("datetime"))),
    function("format.dns1035Label", &[], FORMAT, ONE, |_, _| Ok(format("dns1035Label"))),
    function("format.dns1035LabelPrefix", &[], FORMAT, ONE, |_, _| Ok(format("dns1035LabelPrefix"))),
    function("format.dns1123Label", &[], FORMAT, ONE, |_, _| Ok(format("dns1123Label"))),
    function("format.dns1123LabelPrefix", &[], FORMAT, ONE, |_, _| Ok(format("dns1123LabelPrefix"))),
    function("format.dns1123Subdomain", &[], FORMAT, ONE, |_, _| Ok(format("dns1123Subdomain"))),
    function("format.dns1123SubdomainPrefix", &[], FORMAT, ONE, |_, _| Ok(format("dns1123SubdomainPrefix"))),
    function("format.labelValue", &[], FORMAT, ONE, |_, _| Ok(format("labelValue"))),
    function("format.qualifiedName", &[], FORMAT, ONE, |_, _| Ok(format("qualifiedName"))),
    function("format.uri", &[], FORMAT, ONE, |_, _| Ok(format("uri"))),
    function("format.uuid", &[], FORMAT, ONE, |_, _| Ok(format("uuid"))),
    function("format.named", &[Text], Optional(&FORMAT), ONE, |_, args| {
        let wanted = text(args, 0)?;
        let known = NAMES.iter().find(|name| **name == wanted);
        Ok(known.map_or(Val::Optional(None), |name| Val::some(format(name))))
    }),
    method("validate", &[FORMAT, Text], Optional(&List(&Text)), PerText(3), |_, args| {
        let Val::Opaque(Opaque::Format(name)) = &args[0] else { return Err(EvalError::no_overload()) };
        let problems = problems(name, text(args, 1)?);
        let texts: Vec<Val<'_>> = problems.into_iter().map(Val::text).collect();
        Ok(if texts.is_empty() { Val::Optional(None) } else { Val::some(Val::list(texts)) })
    }),
];

fn format<'a>(name: &'static str) -> Val<'a> {
    Val::Opaque(Opaque::Format(name))
}

/// Returns what a format has against a text.
fn problems(format: &str, text: &str) -> Vec<String> {
    let unless = |holds: bool, why: &str| if holds { Vec::new() } else { vec![why.to_owned()] };
    // A prefix may end where a whole name may not.
    let prefix = |rule: fn(&str) -> Vec<String>| {
        rule(&text.strip_suffix('-').map_or_else(|| text.to_owned(), |rest| format!("{rest}a")))
    };
    match format {
        "dns1123Label" => meta::dns1123_label(text),
        "dns1123LabelPrefix" => prefix(meta::dns1123_label),
        "dns1123Subdomain" => meta::dns1123_subdomain(text),
        "dns1123SubdomainPrefix" => prefix(meta::dns1123_subdomain),
        "dns1035Label" => meta::dns1035_label(text),
        "dns1035LabelPrefix" => prefix(meta::dns1035_label),
        "labelValue" => meta::label_value(text),
        "qualifiedName" => meta::qualified_name(text),
        "uri" => unless(holds("uri", text) || text.starts_with('/'), "invalid URI"),
        "uuid" => unless(holds("uuid", text), "does not match the UUID format"),
        "byte" => unless(holds("byte", text), "invalid base64"),
        "date" => unless(holds("date", text), "invalid date"),
        "datetime" => unless(holds("datetime", text), "invalid datetime"),
        _ => Vec::new(),
    }
}
