//! `ImagePolicy`: which images must be signed, and by whom. Pure, but for [`Policy::load`].
//!
//! The words are those of sigstore's policy controller; the file is the node's own, so that a node without its control
//! plane, and a control plane that was taken over, change nothing about what may run.
//!
//! ```yaml
//! apiVersion: wkube.dev/v1
//! kind: ImagePolicy
//! metadata: { name: ours }
//! spec:
//!   images: [{ glob: "registry.example.com/team/**" }]
//!   authorities:
//!   - name: release
//!     key: { data: "-----BEGIN PUBLIC KEY-----…" }      # or keyFile: a path beside this file
//!   mode: enforce                                       # or warn
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::digest::Digest;
use super::key::PublicKey;
use super::reference::Reference;
use super::signature::Signature;

/// A file that is larger was not written by a person.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// All policies of a node. Without any, everything is admitted.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    name: String,
    globs: Vec<String>,
    authorities: Vec<Authority>,
    mode: Mode,
}

#[derive(Debug, Clone)]
struct Authority {
    name: String,
    key: PublicKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Enforce,
    Warn,
}

/// What the policies say to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may run.
    Admitted,
    /// It may run, but somebody should know.
    Warned(String),
    /// It may not run.
    Rejected(String),
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("use the image policy {path}: {reason}")]
pub struct PolicyError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    images: Vec<Pattern>,
    authorities: Vec<FileAuthority>,
    #[serde(default)]
    mode: Mode,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pattern {
    glob: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileAuthority {
    #[serde(default)]
    name: String,
    key: Option<Key>,
    key_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    data: String,
}

impl Policy {
    /// Reads a file of one or more policies.
    ///
    /// # Errors
    /// Names the file and what is wrong with it. Nothing is admitted by mistake: what is not understood is an error.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let failed = |reason: String| PolicyError { path: path.to_owned(), reason };
        let size = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
        if size > FILE_BYTES_MAX {
            return Err(failed(format!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let beside = path.parent().unwrap_or(Path::new("."));
        let read = |file: &Path| {
            let file = beside.join(file);
            std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))
        };
        Self::parse(&text, &read).map_err(failed)
    }

    /// Reads the text of such a file; `read` reads the files that it names.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn parse(text: &str, read: &dyn Fn(&Path) -> Result<String, String>) -> Result<Self, String> {
        let files: Vec<File> = serde_saphyr::from_multiple(text).map_err(|error| error.to_string())?;
        if files.is_empty() {
            return Err("it holds no ImagePolicy".to_owned());
        }
        let rules = files.into_iter().map(|file| rule(file, read)).collect::<Result<_, _>>()?;
        Ok(Self { rules })
    }

    /// Reports whether any policy asks for a signature of this image.
    pub fn applies_to(&self, reference: &Reference) -> bool {
        self.rules_for(reference).next().is_some()
    }

    /// Judges an image that has these digests, by its signatures: every policy whose glob matches must be content with
    /// one of its keys.
    pub fn judge(&self, reference: &Reference, digests: &[&Digest], signatures: &[Signature]) -> Verdict {
        let mut verdict = Verdict::Admitted;
        for rule in self.rules_for(reference) {
            let is_content = rule
                .authorities
                .iter()
                .any(|authority| signatures.iter().any(|signature| signature.is_by(&authority.key, digests)));
            if is_content {
                continue;
            }
            let reason = rule.complaint(digests, signatures);
            match rule.mode {
                Mode::Enforce => return Verdict::Rejected(reason),
                Mode::Warn => verdict = Verdict::Warned(reason),
            }
        }
        verdict
    }

    fn rules_for(&self, reference: &Reference) -> impl Iterator<Item = &Rule> {
        let host = reference.host().map(|host| format!("{host}/")).unwrap_or_default();
        let name = format!("{host}{}", reference.name());
        let tagged = format!("{name}:{}", reference.version());
        self.rules
            .iter()
            .filter(move |rule| rule.globs.iter().any(|glob| matches(glob, &name) || matches(glob, &tagged)))
    }
}

impl Rule {
    fn complaint(&self, digests: &[&Digest], signatures: &[Signature]) -> String {
        let keys: Vec<String> = self
            .authorities
            .iter()
            .map(|authority| {
                let name = if authority.name.is_empty() { "key" } else { &authority.name };
                format!("{name} ({})", &authority.key.fingerprint().hex()[..16])
            })
            .collect();
        let found = match signatures.len() {
            0 => "it is not signed".to_owned(),
            1 => "its only signature is by somebody else, or for another image".to_owned(),
            count => format!("its {count} signatures are by others, or for another image"),
        };
        let digest = digests.first().map(ToString::to_string).unwrap_or_default();
        format!("ImagePolicy {:?} wants a signature of {digest} by {}; {found}", self.name, keys.join(" or "))
    }
}

fn rule(file: File, read: &dyn Fn(&Path) -> Result<String, String>) -> Result<Rule, String> {
    if file.kind != "ImagePolicy" || file.api_version != "wkube.dev/v1" {
        return Err(format!("{}, {} is not an ImagePolicy of wkube.dev/v1", file.kind, file.api_version));
    }
    let name = file.metadata.name;
    let Spec { images, authorities, mode } = file.spec;
    if images.is_empty() || authorities.is_empty() {
        return Err(format!("ImagePolicy {name:?} needs at least one of spec.images and one of spec.authorities"));
    }
    let authority = |authority: FileAuthority| {
        let FileAuthority { name: who, key, key_file } = authority;
        let pem = match (key, key_file) {
            (Some(key), None) => key.data,
            (None, Some(file)) => read(&file)?,
            _ => return Err(format!("ImagePolicy {name:?}: authority {who:?} needs either key.data or keyFile")),
        };
        let key = PublicKey::parse(&pem).map_err(|why| format!("ImagePolicy {name:?}: key of {who:?}: {why}"))?;
        Ok(Authority { name: who, key })
    };
    let authorities = authorities.into_iter().map(authority).collect::<Result<_, String>>()?;
    Ok(Rule { globs: images.into_iter().map(|image| image.glob).collect(), name, authorities, mode })
}

/// `*` is anything but a slash, `**` is anything.
fn matches(glob: &str, name: &str) -> bool {
    fn from(glob: &[u8], name: &[u8]) -> bool {
        match glob {
            [] => name.is_empty(),
            [b'*', b'*', rest @ ..] => (0..=name.len()).any(|taken| from(rest, &name[taken..])),
            [b'*', rest @ ..] => {
                let part = name.iter().position(|byte| *byte == b'/').unwrap_or(name.len());
                (0..=part).any(|taken| from(rest, &name[taken..]))
            }
            [wanted, rest @ ..] => name.split_first().is_some_and(|(found, name)| wanted == found && from(rest, name)),
        }
    }
    from(glob.as_bytes(), name.as_bytes())
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
