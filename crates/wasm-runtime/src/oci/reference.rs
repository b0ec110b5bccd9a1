//! Names of images, by Docker's rules (`distribution/reference`). Pure.

use std::fmt;
use std::str::FromStr;

use super::digest::Digest;

/// The longest name, host included (`distribution/reference`, `NameTotalLengthMax`).
const NAME_LENGTH_MAX: usize = 255;
const TAG_LENGTH_MAX: usize = 128;
const TAG_DEFAULT: &str = "latest";

/// `[host[:port]/]name[:tag][@sha256:…]`. A name without a host stays without one: where it is looked up is the
/// cluster's decision, never Docker Hub by accident.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    host: Option<String>,
    name: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an image name: {reason}")]
pub struct ParseError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Reference {
    /// Returns the registry's `host[:port]`, if the name has one.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Returns the repository within the registry, such as `team/app`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the tag, if one was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest, if the name is pinned to one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns what to ask the registry for: the digest, else the tag, else `latest`.
    pub fn version(&self) -> &str {
        self.digest.as_ref().map(Digest::as_str).or(self.tag.as_deref()).unwrap_or(TAG_DEFAULT)
    }

    /// Reports whether the name may come to mean something else: kubelet pulls `:latest` always
    /// (`pkg/apis/core/v1/defaults.go`, `SetDefaults_Container`).
    pub fn is_latest(&self) -> bool {
        self.digest.is_none() && self.version() == TAG_DEFAULT
    }

    /// Returns the same image pinned to `digest`, without tag.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), tag: None, ..self.clone() }
    }

    /// Returns the same image in the registry at `host`.
    #[must_use]
    pub fn at(&self, host: &str) -> Self {
        Self { host: Some(host.to_owned()), ..self.clone() }
    }
}

impl FromStr for Reference {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse(text).map_err(|reason| ParseError { text: text.to_owned(), reason })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => {
            let digest = digest.parse().map_err(|_| "the digest is not sha256:<64 hexadecimal digits>")?;
            (rest, Some(digest))
        }
        None => (text, None),
    };
    // The colon of a tag comes after the last slash; before it, it is a port's.
    let name_start = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (path, tag) = match rest[name_start..].split_once(':') {
        Some((last, tag)) => (&rest[..name_start + last.len()], Some(tag)),
        None => (rest, None),
    };
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    if path.len() > NAME_LENGTH_MAX {
        return Err("the name is longer than 255 characters");
    }
    let (host, name) = split_host(path);
    if let Some(host) = host {
        check_host(host)?;
    }
    check_name(name)?;
    Ok(Reference { host: host.map(str::to_owned), name: name.to_owned(), tag: tag.map(str::to_owned), digest })
}

/// The first part is a host if it could not be part of a name: it has a dot or a port, is `localhost`, or has upper
/// case (`distribution/reference`, `splitDockerDomain`).
fn split_host(path: &str) -> (Option<&str>, &str) {
    match path.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, path),
    }
}

fn check_host(host: &str) -> Result<(), &'static str> {
    const REASON: &str = "the registry's host is not host[:port]";
    // An IPv6 address keeps its brackets and its colons.
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or(REASON)?;
            let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
            if !is_address {
                return Err(REASON);
            }
            ("v6", port.strip_prefix(':'))
        }
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let port_is_number = port.is_none_or(|port| port.parse::<u16>().is_ok());
    if name.split('.').all(is_label) && port_is_number { Ok(()) } else { Err(REASON) }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("the name is empty");
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("the name must be in lower case");
    }
    if name.split('/').all(is_path_component) {
        Ok(())
    } else {
        Err("each part of the name is letters and digits, separated by '.', '_', '__' or '-'")
    }
}

/// `[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(part: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).filter(|run| !run.is_empty());
    let starts_and_ends =
        part.bytes().next().is_some_and(is_alphanumeric) && part.bytes().last().is_some_and(is_alphanumeric);
    starts_and_ends
        && separators.into_iter().all(|run| matches!(run, "." | "_" | "__") || run.bytes().all(|byte| byte == b'-'))
}

/// `[\w][\w.-]{0,127}`
fn check_tag(tag: &str) -> Result<(), &'static str> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_tag = tag.bytes().next().is_some_and(is_word)
        && tag.len() <= TAG_LENGTH_MAX
        && tag.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-');
    if is_tag { Ok(()) } else { Err("the tag is letters, digits, '_', '.' and '-', at most 128") }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            write!(f, "{host}/")?;
        }
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parts(text: &str) -> (Option<String>, String, String) {
        let reference: Reference = text.parse().unwrap();
        assert_eq!(reference.to_string(), text, "printing gives the text back");
        (reference.host().map(str::to_owned), reference.name().to_owned(), reference.version().to_owned())
    }

    fn check(text: &str, host: Option<&str>, name: &str, version: &str) {
        assert_eq!(parts(text), (host.map(str::to_owned), name.to_owned(), version.to_owned()), "{text}");
    }

    #[test]
    fn names_are_split_by_dockers_rules() {
        check("app", None, "app", "latest");
        check("app:v1", None, "app", "v1");
        check("team/app:v1", None, "team/app", "v1");
        check("localhost/app", Some("localhost"), "app", "latest");
        check("localhost:5050/app:v1", Some("localhost:5050"), "app", "v1");
        check("127.0.0.1:5050/a/b/c", Some("127.0.0.1:5050"), "a/b/c", "latest");
        check("ghcr.io/org/app:1.0-rc.1", Some("ghcr.io"), "org/app", "1.0-rc.1");
        check("[::1]:5050/app", Some("[::1]:5050"), "app", "latest");
        check("Host/app", Some("Host"), "app", "latest");
        check("a__b/c-d.e_f---g:_x", None, "a__b/c-d.e_f---g", "_x");
    }

    #[test]
    fn a_digest_wins_over_a_tag() {
        check(&format!("app:v1@{DIGEST}"), None, "app", DIGEST);
        check(&format!("ghcr.io/org/app@{DIGEST}"), Some("ghcr.io"), "org/app", DIGEST);
    }

    #[test]
    fn only_an_unpinned_latest_is_latest() {
        let is_latest = |text: &str| text.parse::<Reference>().unwrap().is_latest();
        assert!(is_latest("app") && is_latest("app:latest"));
        assert!(
            !is_latest("app:v1") && !is_latest(&format!("app@{DIGEST}")) && !is_latest(&format!("app:latest@{DIGEST}"))
        );
    }

    #[test]
    fn what_is_not_a_name_is_refused_with_the_reason() {
        let reason = |text: &str| text.parse::<Reference>().unwrap_err().reason;
        for (text, part) in [
            ("", "empty"),
            ("ghcr.io/", "empty"),
            ("App", "lower case"),
            ("org/App", "lower case"),
            ("app:", "tag"),
            ("app:v 1", "tag"),
            ("app@sha256:12", "digest"),
            ("-app", "each part"),
            ("app-", "each part"),
            ("a..b", "each part"),
            ("a___b", "each part"),
            ("a//b", "each part"),
            ("../b", "host"),
            ("./app.wasm", "host"),
            ("host:port/app", "host"),
            ("host:99999/app", "host"),
            ("[::zz]:1/app", "host"),
            ("app\n", "each part"),
        ] {
            assert!(reason(text).contains(part), "{text:?}: {}", reason(text));
        }
        assert!(reason(&"a".repeat(256)).contains("255"));
        assert!(reason(&format!("app:{}", "t".repeat(129))).contains("128"));
    }

    #[test]
    fn pinning_drops_the_tag_and_keeps_the_place() {
        let reference: Reference = "ghcr.io/org/app:v1".parse().unwrap();
        assert_eq!(reference.pinned(DIGEST.parse().unwrap()).to_string(), format!("ghcr.io/org/app@{DIGEST}"));
        let homeless: Reference = "app:v1".parse().unwrap();
        assert_eq!(homeless.at("127.0.0.1:5050").to_string(), "127.0.0.1:5050/app:v1");
    }
}
