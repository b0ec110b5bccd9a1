//! URLs as Go's `net/url` reads a request's (`cel/library/urls.go`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::strings::text;
use crate::cel::error::EvalError;
use crate::cel::functions::Cost::{Fixed, Text as PerText};
use crate::cel::functions::Sig::{Bool, List, Map as MapOf, Opaque as Named, Text};
use crate::cel::functions::{Cost, Overload, Sig, function, method};
use crate::cel::value::{Key, Map, Opaque, Val};

/// A URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// As it was written.
    pub(in crate::cel) text: String,
    scheme: String,
    /// With the port.
    host: String,
    path: String,
    query: String,
}

const ONE: Cost = Fixed(1);
const URL: Sig = Named("kubernetes.URL");

pub(super) static FUNCTIONS: &[Overload] = &[
    function("url", &[Text], URL, PerText(1), |_, args| {
        let written = text(args, 0)?;
        let parsed = Url::parse(written);
        parsed.map(|url| Val::Opaque(Opaque::Url(Arc::new(url)))).ok_or_else(|| {
            EvalError::failed(format!(
                "URL parse error during conversion from string: parse {written:?}: invalid URI for request"
            ))
        })
    }),
    function("isURL", &[Text], Bool, PerText(1), |_, args| Ok(Val::Bool(Url::parse(text(args, 0)?).is_some()))),
    method("getScheme", &[URL], Text, ONE, |_, args| Ok(Val::text(url(args)?.scheme.as_str()))),
    method("getHost", &[URL], Text, ONE, |_, args| Ok(Val::text(url(args)?.host.as_str()))),
    method("getHostname", &[URL], Text, ONE, |_, args| Ok(Val::text(split_port(&url(args)?.host).0))),
    method("getPort", &[URL], Text, ONE, |_, args| Ok(Val::text(split_port(&url(args)?.host).1))),
    method("getEscapedPath", &[URL], Text, ONE, |_, args| Ok(Val::text(escaped(&url(args)?.path)))),
    method("getQuery", &[URL], MapOf(&Text, &List(&Text)), ONE, |_, args| Ok(query(&url(args)?.query))),
];

impl Url {
    fn parse(text: &str) -> Option<Self> {
        // What is sent to a server has no spaces, and begins with a scheme or a slash.
        if text.is_empty() || text.chars().any(|c| c.is_control() || c == ' ') {
            return None;
        }
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
            _ if text.starts_with('/') => (String::new(), text),
            _ => return None,
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let end = rest.find('/').unwrap_or(rest.len());
                (&rest[..end], &rest[end..])
            }
            None if rest.starts_with('/') => ("", rest),
            // Opaque, such as `mailto:a`; Go takes them with a scheme.
            None => return None,
        };
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let port = split_port(host).1;
        let fits = port.chars().all(|c| c.is_ascii_digit()) && has_hosts_form(host) && has_whole_escapes(path);
        fits.then(|| Self {
            text: text.to_owned(),
            scheme,
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
        })
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

fn has_hosts_form(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').is_some_and(|(ip, port)| {
            ip.split('%').next().is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok())
                && (port.is_empty() || port.starts_with(':'))
        }),
        None => host.matches(':').count() <= 1 && !host.contains(['<', '>', '"', '\\', '^', '`', '{', '|', '}', '#']),
    }
}

fn has_whole_escapes(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit()))
}

fn split_port(host: &str) -> (&str, &str) {
    if let Some(rest) = host.strip_prefix('[') {
        let (name, port) = rest.split_once(']').unwrap_or((rest, ""));
        return (name, port.trim_start_matches(':'));
    }
    host.split_once(':').unwrap_or((host, ""))
}

/// Writes what a path may not hold as `%xx`.
fn escaped(path: &str) -> String {
    let mut text = String::new();
    for c in path.chars() {
        if c.is_ascii_alphanumeric() || "-_.~$&+,/:;=@%!'()*".contains(c) {
            text.push(c);
        } else {
            for octet in c.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(text, "%{octet:02X}");
            }
        }
    }
    text
}

fn url<'v>(args: &'v [Val<'_>]) -> Result<&'v Url, EvalError> {
    match &args[0] {
        Val::Opaque(Opaque::Url(url)) => Ok(url),
        _ => Err(EvalError::no_overload()),
    }
}

fn query<'a>(query: &str) -> Val<'a> {
    let mut lists: BTreeMap<Key, Vec<Val<'a>>> = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (decoded(name), decoded(value)) else { continue };
        lists.entry(Key::Text(name.into())).or_default().push(Val::text(value));
    }
    Val::Map(Map::Made(Arc::new(lists.into_iter().map(|(key, values)| (key, Val::list(values))).collect())))
}

fn decoded(text: &str) -> Option<String> {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(octets).ok()
}
