//! What a URL means. Repository names contain slashes, so that no router's patterns can tell.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// As long as a name may be in practice (`docker.io` and others).
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// A SHA-256 digest, the only kind that this registry keeps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Digest(String);

impl Digest {
    pub(super) fn of(content: &[u8]) -> Self {
        Self(hex::encode(Sha256::digest(content)))
    }

    pub(super) fn finish(hasher: Sha256) -> Self {
        Self(hex::encode(hasher.finalize()))
    }

    /// Returns the 64 lower-case hex digits, safe as a file name.
    pub(super) fn hex(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl FromStr for Digest {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let hex = text.strip_prefix("sha256:").ok_or(())?;
        let plain = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        plain.then(|| Self(hex.to_owned())).ok_or(())
    }
}

/// A manifest's name within a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reference {
    Tag(String),
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.contains(':') {
            return text.parse().map(Self::Digest);
        }
        let first = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let other = |byte: u8| first(byte) || byte == b'.' || byte == b'-';
        let plain = text.len() <= TAG_MAX && text.bytes().next().is_some_and(first) && text.bytes().all(other);
        plain.then(|| Self::Tag(text.to_owned())).ok_or(())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// `/v2/`
    Root,
    /// `/v2/token`
    Token,
    /// `/v2/_catalog`
    Catalog,
    Tags {
        name: String,
    },
    Manifest {
        name: String,
        reference: Reference,
    },
    Referrers {
        name: String,
        digest: Digest,
    },
    Blob {
        name: String,
        digest: Digest,
    },
    Uploads {
        name: String,
    },
    Upload {
        name: String,
        id: Uuid,
    },
}

/// Makes a target of a repository's name and the last part of the path.
type Build = fn(String, &str) -> Option<Target>;

impl Target {
    /// Parses what follows `/v2/`.
    pub(super) fn parse(path: &str) -> Option<Self> {
        match path {
            "" => return Some(Self::Root),
            "token" => return Some(Self::Token),
            "_catalog" => return Some(Self::Catalog),
            _ => {}
        }
        let parts: Vec<&str> = path.split('/').collect();
        // From the right: a repository may itself be called `manifests`.
        let (name, target): (&[&str], Build) = match &parts[..] {
            [name @ .., "tags", "list"] => (name, |name, _| Some(Self::Tags { name })),
            [name @ .., "blobs", "uploads", ""] | [name @ .., "blobs", "uploads"] => {
                (name, |name, _| Some(Self::Uploads { name }))
            }
            [name @ .., "blobs", "uploads", _] => {
                (name, |name, id| Some(Self::Upload { name, id: Uuid::parse_str(id).ok()? }))
            }
            [name @ .., "manifests", _] => {
                (name, |name, reference| Some(Self::Manifest { name, reference: reference.parse().ok()? }))
            }
            [name @ .., "blobs", _] => (name, |name, digest| Some(Self::Blob { name, digest: digest.parse().ok()? })),
            [name @ .., "referrers", _] => {
                (name, |name, digest| Some(Self::Referrers { name, digest: digest.parse().ok()? }))
            }
            _ => return None,
        };
        let name = name.join("/");
        is_name(&name).then(|| target(name, parts.last().unwrap_or(&"")))?
    }
}

/// Whether `name` is a repository name of the specification. None of them can leave the storage directory: parts begin
/// with a letter or digit, so neither `..` nor `_tags` is one.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= NAME_MAX && name.split('/').all(is_name_part)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_name_part(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends_plain = part.bytes().next().is_some_and(plain) && part.bytes().last().is_some_and(plain);
    let mut separators = part.split(|char: char| char.is_ascii_lowercase() || char.is_ascii_digit());
    ends_plain && separators.all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|byte| byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_may_contain_slashes_and_reserved_words() {
        let digest = Digest::of(b"");
        assert_eq!(digest.to_string(), format!("sha256:{HEX}"));
        let name = || "a/manifests/b".to_owned();
        for (path, expected) in [
            (
                "a/manifests/b/manifests/v1".to_owned(),
                Target::Manifest { name: name(), reference: Reference::Tag("v1".to_owned()) },
            ),
            (format!("a/manifests/b/blobs/sha256:{HEX}"), Target::Blob { name: name(), digest: digest.clone() }),
            ("a/manifests/b/tags/list".to_owned(), Target::Tags { name: name() }),
            ("a/manifests/b/blobs/uploads/".to_owned(), Target::Uploads { name: name() }),
            ("a/manifests/b/blobs/uploads".to_owned(), Target::Uploads { name: name() }),
            (format!("a/manifests/b/referrers/sha256:{HEX}"), Target::Referrers { name: name(), digest }),
            (String::new(), Target::Root),
        ] {
            assert_eq!(Target::parse(&path), Some(expected), "{path}");
        }
    }

    #[test]
    fn what_is_no_name_or_reference_is_no_target() {
        for path in [
            "manifests/v1",
            "../x/manifests/v1",
            "a/../b/manifests/v1",
            "a//b/manifests/v1",
            "A/manifests/v1",
            "-a/manifests/v1",
            "a..b/manifests/v1",
            "a___b/manifests/v1",
            "_tags/manifests/v1",
            "a/manifests/",
            "a/manifests/-v1",
            "a/manifests/..",
            "a/manifests/sha256:abc",
            "a/manifests/md5:abc",
            "a/blobs/v1",
            "a/blobs/sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
            "a/blobs/uploads/not-a-uuid",
            "a",
            "a/tags",
        ] {
            assert_eq!(Target::parse(path), None, "{path}");
        }
        for name in ["a", "a.b", "a__b/c-d", "a---b", "0/1"] {
            assert!(is_name(name), "{name}");
        }
        assert!(!is_name(&"a".repeat(256)));
    }
}
