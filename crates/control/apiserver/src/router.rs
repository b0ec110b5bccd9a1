//! From a URL and a method to what is asked for (`apiserver/pkg/endpoints/request/requestinfo.go`). Pure.

use std::fmt;

use http::Method;

/// What is done to a resource, named as authorization rules name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read a collection.
    List,
    /// Follow a collection.
    Watch,
    /// Make an object.
    Create,
    /// Replace an object.
    Update,
    /// Change parts of an object.
    Patch,
    /// Remove an object.
    Delete,
    /// Remove a collection's objects.
    DeleteCollection,
}

impl Verb {
    /// Returns the verb's name in authorization rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A URL that names a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    /// The API group, empty for core.
    pub(crate) group: String,
    /// Such as `v1`.
    pub(crate) version: String,
    /// Empty for cluster-scoped requests and lists over all namespaces.
    pub(crate) namespace: String,
    /// The plural.
    pub(crate) resource: String,
    /// Empty for the collection.
    pub(crate) name: String,
    /// Empty for the object itself.
    pub(crate) subresource: String,
    /// What follows a `proxy` subresource, verbatim, starting with `/` if anything follows.
    pub(crate) rest: String,
    /// Whether it is one of the old paths, `/api/v1/watch/...`, which watch without a query.
    pub(crate) watches: bool,
}

/// What a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A resource.
    Resource(ResourcePath),
    /// Everything else: discovery, health, `OpenAPI`.
    Other,
}

/// Splits a URL's path.
pub(crate) fn target(path: &str) -> Target {
    match resource_path(path) {
        Some(found) => Target::Resource(found),
        None => Target::Other,
    }
}

/// Returns the verb of a method on a path.
pub(crate) fn verb(method: &Method, path: &ResourcePath, query: &Query) -> Option<Verb> {
    let one = !path.name.is_empty();
    let watches = (path.watches || query.flag("watch")) && path.subresource.is_empty();
    Some(match *method {
        Method::GET | Method::HEAD | Method::OPTIONS if watches => Verb::Watch,
        Method::GET | Method::HEAD | Method::OPTIONS if one => Verb::Get,
        Method::GET | Method::HEAD | Method::OPTIONS => Verb::List,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE if one => Verb::Delete,
        Method::DELETE => Verb::DeleteCollection,
        _ => return None,
    })
}

fn resource_path(path: &str) -> Option<ResourcePath> {
    let mut rest = path;
    let mut next = || -> Option<&str> {
        let trimmed = rest.strip_prefix('/')?;
        let end = trimmed.find('/').unwrap_or(trimmed.len());
        let (segment, after) = trimmed.split_at(end);
        rest = after;
        (!segment.is_empty()).then_some(segment)
    };
    let (group, version) = match next()? {
        "api" => (String::new(), next()?),
        "apis" => (decode(next()?), next()?),
        _ => return None,
    };
    let mut found = ResourcePath { group, version: decode(version), ..ResourcePath::default() };
    let mut first = next()?;
    if first == "watch" {
        found.watches = true;
        first = next()?;
    }
    if first != "namespaces" {
        found.resource = decode(first);
        found.name = next().map(decode).unwrap_or_default();
    } else if let Some(namespace) = next() {
        match next() {
            // A namespace is a resource itself, with these subresources.
            subresource @ (None | Some("status" | "finalize")) => {
                first.clone_into(&mut found.resource);
                found.name = decode(namespace);
                found.namespace.clone_from(&found.name);
                subresource.unwrap_or_default().clone_into(&mut found.subresource);
                return Some(found);
            }
            Some(resource) => {
                found.namespace = decode(namespace);
                found.resource = decode(resource);
                found.name = next().map(decode).unwrap_or_default();
            }
        }
    } else {
        first.clone_into(&mut found.resource);
    }
    if !found.name.is_empty() {
        found.subresource = next().map(decode).unwrap_or_default();
    }
    rest.clone_into(&mut found.rest);
    Some(found)
}

/// A URL's query, decoded, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Splits and decodes a query string.
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode_plus(key), decode_plus(value))
                })
                .collect(),
        )
    }

    /// Returns the first value of `key`, or `""`.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.0.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value.as_str())
    }

    /// Whether `key` is given at all.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name == key)
    }

    /// Returns all values of `key`.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Whether `key` is given and not switched off; a key without a value is on, as in Go's conversion of queries.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.has(key) && !matches!(self.get(key), "0" | "false" | "False" | "FALSE" | "f" | "F")
    }
}

fn decode_plus(text: &str) -> String {
    if text.contains('+') { decode(&text.replace('+', " ")) } else { decode(text) }
}

/// Decodes percent-encoding. Broken escapes stay as they are.
pub(crate) fn decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        let value = escape.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        out.push(value.unwrap_or(bytes[at]));
        at += if value.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Encodes one path segment or query value.
pub(crate) fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Renders `group/version namespace resource name subresource rest`, `-` for empty.
    fn check(path: &str, expected: &str) {
        let seen = match target(path) {
            Target::Other => "other".to_owned(),
            Target::Resource(p) => {
                let parts = [&p.group, &p.version, &p.namespace, &p.resource, &p.name, &p.subresource, &p.rest];
                parts.map(|part| if part.is_empty() { "-" } else { part.as_str() }).join(" ")
            }
        };
        assert_eq!(seen, expected, "{path}");
    }

    #[test]
    fn a_url_names_group_version_namespace_resource_name_and_subresource() {
        check("/api/v1/pods", "- v1 - pods - - -");
        check("/api/v1/nodes/n1", "- v1 - nodes n1 - -");
        check("/api/v1/nodes/n1/status", "- v1 - nodes n1 status -");
        check("/api/v1/namespaces/d/pods/p/log", "- v1 d pods p log -");
        check("/apis/apps/v1/namespaces/d/deployments/web/scale", "apps v1 d deployments web scale -");
    }

    #[test]
    fn a_namespace_is_a_resource_itself() {
        check("/api/v1/namespaces", "- v1 - namespaces - - -");
        check("/api/v1/namespaces/d", "- v1 d namespaces d - -");
        check("/api/v1/namespaces/d/finalize", "- v1 d namespaces d finalize -");
        check("/api/v1/namespaces/d/status", "- v1 d namespaces d status -");
    }

    #[test]
    fn what_follows_a_proxy_subresource_stays_verbatim() {
        check("/api/v1/namespaces/d/pods/p:80/proxy/a%20b/", "- v1 d pods p:80 proxy /a%20b/");
        check("/api/v1/namespaces/d/services/s/proxy", "- v1 d services s proxy -");
    }

    #[test]
    fn old_watch_paths_name_what_follows_and_watch_without_a_query() {
        check("/api/v1/watch/pods", "- v1 - pods - - -");
        check("/apis/apps/v1/watch/namespaces/d/deployments/web", "apps v1 d deployments web - -");
        check("/api/v1/watch/namespaces/d", "- v1 d namespaces d - -");
        check("/api/v1/watch", "other");
        let Target::Resource(path) = target("/api/v1/watch/pods") else { panic!("a resource") };
        assert_eq!(verb(&Method::GET, &path, &Query::default()), Some(Verb::Watch));
    }

    #[test]
    fn a_slash_at_the_end_changes_nothing() {
        check("/api/v1/pods/", "- v1 - pods - - -");
        check("/api/v1/namespaces/d/pods/p/", "- v1 d pods p - -");
    }

    #[test]
    fn discovery_and_unknown_paths_are_no_resources() {
        for path in ["/api", "/api/v1", "/api/v1/", "/apis/apps", "/apis/apps/v1", "/healthz", "/", "/apis//v1/x"] {
            check(path, "other");
        }
    }

    #[test]
    fn names_are_percent_decoded() {
        check("/api/v1/namespaces/d/configmaps/a%3Ab", "- v1 d configmaps a:b - -");
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz%41"), "%zzA");
    }

    #[test]
    fn the_method_and_the_query_give_the_verb() {
        let one = ResourcePath { name: "x".into(), ..ResourcePath::default() };
        let all = ResourcePath::default();
        let watch = Query::parse(Some("watch=1"));
        let none = Query::default();
        assert_eq!(verb(&Method::GET, &one, &none), Some(Verb::Get));
        assert_eq!(verb(&Method::GET, &one, &watch), Some(Verb::Watch));
        assert_eq!(verb(&Method::GET, &all, &none), Some(Verb::List));
        assert_eq!(verb(&Method::GET, &all, &watch), Some(Verb::Watch));
        assert_eq!(verb(&Method::DELETE, &all, &none), Some(Verb::DeleteCollection));
        assert_eq!(verb(&Method::DELETE, &one, &none), Some(Verb::Delete));
        assert_eq!(verb(&Method::TRACE, &one, &none), None);
    }

    #[test]
    fn queries_are_decoded_and_flags_understand_go() {
        let query = Query::parse(Some("labelSelector=a%3Db%2Cc+in+(d)&watch&limit=5&dryRun=All&x=false"));
        assert_eq!(query.get("labelSelector"), "a=b,c in (d)");
        assert!(query.flag("watch"));
        assert!(!query.flag("x"));
        assert!(!query.flag("absent"));
        assert_eq!(query.all("dryRun").collect::<Vec<_>>(), ["All"]);
    }
}
