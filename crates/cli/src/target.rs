//! Which objects a command means: `pods`, `deploy,svc`, `pod web-1`, `deploy/web`, `all`.

use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use wkube_api::kinds::builtin;
use wkube_api::{Object, Resource, Scope};
use wkube_client::Client;

use crate::served;

/// A word that is no kind.
#[derive(Debug)]
struct UnknownKind(String);

impl std::fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the server doesn't have a resource type \"{}\"", self.0)
    }
}

impl std::error::Error for UnknownKind {}

/// A kind and the names that were asked for.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The kind.
    pub(crate) resource: Arc<Resource>,
    /// The names; empty means all.
    pub(crate) names: Vec<String>,
}

/// Reads the words after a verb as kubectl does. Words that mean no built-in kind are looked up at the server.
///
/// # Errors
/// Names the word that is no kind.
pub(crate) async fn parse(client: &Client, words: &[String]) -> Result<Vec<Target>> {
    match parse_among(words, builtin()) {
        Err(error) if error.is::<UnknownKind>() => {
            let mut kinds = builtin().to_vec();
            kinds.extend(served::kinds(client).await?);
            parse_among(words, &kinds)
        }
        result => result,
    }
}

fn parse_among(words: &[String], kinds: &[Arc<Resource>]) -> Result<Vec<Target>> {
    if words.iter().any(|word| word.contains('/')) {
        return words.iter().map(|word| one(word, kinds)).collect();
    }
    let Some((wanted, names)) = words.split_first() else { bail!("say which objects, such as pods or deploy/web") };
    let mut targets = Vec::new();
    for kind in wanted.split(',').filter(|kind| !kind.is_empty()) {
        let found = if kind == "all" { in_category(kind, kinds) } else { vec![find_among(kind, kinds)?] };
        targets.extend(found.into_iter().map(|resource| Target { resource, names: names.to_vec() }));
    }
    Ok(targets)
}

fn one(word: &str, kinds: &[Arc<Resource>]) -> Result<Target> {
    match word.split_once('/') {
        Some((kind, name)) if !name.is_empty() && !name.contains('/') => {
            Ok(Target { resource: find_among(kind, kinds)?, names: vec![name.to_owned()] })
        }
        _ => bail!("{word:?} is not of the form KIND/NAME, such as deploy/web"),
    }
}

/// Returns the built-in kind that a word means: plural, singular, short name or kind, with or without its group.
///
/// # Errors
/// If there is no such kind.
pub(crate) fn find(word: &str) -> Result<Arc<Resource>> {
    find_among(word, builtin())
}

fn find_among(word: &str, kinds: &[Arc<Resource>]) -> Result<Arc<Resource>> {
    let word = word.to_ascii_lowercase();
    let is_meant = |resource: &&Arc<Resource>| {
        resource.is_stored()
            && (word == resource.plural
                || word == resource.singular
                || word == resource.kind.to_ascii_lowercase()
                || word == resource.qualified()
                || word == format!("{}.{}", resource.singular, resource.group)
                || resource.short_names.iter().any(|short| *short == word))
    };
    kinds.iter().find(is_meant).cloned().ok_or_else(|| UnknownKind(word.clone()).into())
}

/// Returns the kind of a document. One that is not built in is looked up at the server.
///
/// # Errors
/// If the server has no such kind.
pub(crate) async fn look_up(client: &Client, object: &Object) -> Result<Arc<Resource>> {
    match of_object(object) {
        Ok(found) => Ok(found),
        Err(error) => find_kind(object, &served::kinds(client).await?).ok_or(error),
    }
}

fn find_kind(object: &Object, kinds: &[Arc<Resource>]) -> Option<Arc<Resource>> {
    let (version, kind) = (object.api_version(), object.kind());
    kinds.iter().find(|resource| resource.kind == kind && resource.api_version() == version).cloned()
}

/// Returns the built-in kind of a document.
///
/// # Errors
/// If there is none; names the right version if only that is wrong.
pub(crate) fn of_object(object: &Object) -> Result<Arc<Resource>> {
    let (version, kind) = (object.api_version(), object.kind());
    find_kind(object, builtin()).ok_or_else(|| {
        let same_kind = builtin().iter().find(|resource| resource.kind == kind);
        let hint = same_kind.map(|resource| format!("; {kind} is of apiVersion {}", resource.api_version()));
        anyhow!("no matches for kind \"{kind}\" in version \"{version}\"{}", hint.unwrap_or_default())
    })
}

fn in_category(category: &str, kinds: &[Arc<Resource>]) -> Vec<Arc<Resource>> {
    let is_in = |resource: &&Arc<Resource>| resource.categories.iter().any(|name| name == category);
    kinds.iter().filter(is_in).cloned().collect()
}

/// Returns the URL path of a collection, in one namespace or in all if it is empty.
pub(crate) fn collection_path(resource: &Resource, namespace: &str) -> String {
    let root = if resource.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", resource.group) };
    let version = &resource.version;
    let plural = &resource.plural;
    match resource.scope {
        Scope::Namespaced if !namespace.is_empty() => format!("{root}/{version}/namespaces/{namespace}/{plural}"),
        Scope::Namespaced | Scope::Cluster => format!("{root}/{version}/{plural}"),
    }
}

/// Returns the namespace to ask in: none for cluster-scoped kinds.
pub(crate) fn namespace_for<'n>(resource: &Resource, namespace: &'n str) -> &'n str {
    match resource.scope {
        Scope::Namespaced => namespace,
        Scope::Cluster => "",
    }
}

/// Returns `deployment.apps/web` or `pod/web-1`, as kubectl names what it changed.
pub(crate) fn title(resource: &Resource, name: &str) -> String {
    if resource.group.is_empty() {
        format!("{}/{name}", resource.singular)
    } else {
        format!("{}.{}/{name}", resource.singular, resource.group)
    }
}

/// Returns text with everything escaped that a query must not hold.
pub(crate) fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Vec<String>> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Ok(parse_among(&words, builtin())?
            .iter()
            .map(|target| format!("{}:{}", target.resource.plural, target.names.join("+")))
            .collect())
    }

    #[test]
    fn kinds_go_by_all_their_names() {
        for word in ["deploy", "deployment", "Deployments", "deployments.apps", "deployment.apps"] {
            assert_eq!(words(word).expect("a kind"), ["deployments:"], "{word}");
        }
    }

    #[test]
    fn names_follow_a_kind_or_a_slash() {
        assert_eq!(words("po a b").expect("fine"), ["pods:a+b"]);
        assert_eq!(words("deploy/a svc/b").expect("fine"), ["deployments:a", "services:b"]);
        assert_eq!(words("po,svc").expect("fine"), ["pods:", "services:"]);
        assert!(words("all").expect("fine").contains(&"pods:".to_owned()));
    }

    #[test]
    fn an_unknown_kind_is_named() {
        let message = words("frobs").expect_err("no such kind").to_string();
        assert_eq!(message, "the server doesn't have a resource type \"frobs\"");
        assert!(words("deploy/").is_err());
    }

    #[test]
    fn a_wrong_version_names_the_right_one() {
        let object = Object(serde_json::from_str(r#"{"apiVersion": "v1", "kind": "Deployment"}"#).expect("JSON"));
        let message = of_object(&object).expect_err("wrong version").to_string();
        assert!(message.ends_with("Deployment is of apiVersion apps/v1"), "{message}");
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(escape("app in (a,b)"), "app%20in%20%28a%2Cb%29");
    }
}
