//! Which level of the Pod Security Standards a namespace asks for, and of which version (`pod-security-admission/api`).
//! Pure.

use std::collections::BTreeMap;
use std::fmt;

use wkube_api::status::FieldError;

use super::PREFIX;

/// How much a pod may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Everything.
    #[default]
    Privileged,
    /// Nothing that is known to break out.
    Baseline,
    /// What hardened pods need.
    Restricted,
}

/// The minor version of Kubernetes whose checks count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Version {
    /// The newest.
    #[default]
    Latest,
    /// `v1.N`.
    Minor(u32),
}

impl Version {
    /// Whether this version has what came with `v1.minor`.
    pub(super) fn has(self, minor: u32) -> bool {
        match self {
            Self::Latest => true,
            Self::Minor(this) => this >= minor,
        }
    }
}

/// A level as one version understands it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct LevelVersion {
    /// The level.
    pub(super) level: Level,
    /// The version.
    pub(super) version: Version,
}

impl LevelVersion {
    /// Whether pods that were fine by `other` may not be by this.
    pub(super) fn is_stricter_than(self, other: Self) -> bool {
        self != other && self.level != Level::Privileged && (self.version != other.version || self.level > other.level)
    }
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            Version::Latest => write!(f, "{level}:latest"),
            Version::Minor(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

/// What a namespace asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Policy {
    /// Pods beyond it are refused.
    pub(super) enforce: LevelVersion,
    /// Pods and templates beyond it are noted in the audit log.
    pub(super) audit: LevelVersion,
    /// Whoever writes pods and templates beyond it is warned.
    pub(super) warn: LevelVersion,
}

impl Policy {
    /// Reads a namespace's labels. What cannot be read fails closed where pods are refused, and open elsewhere.
    pub(super) fn of(labels: &BTreeMap<&str, &str>) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        let enforce = read(labels, "enforce", Level::Restricted, &mut errors);
        let audit = read(labels, "audit", Level::Privileged, &mut errors);
        let mut warn = read(labels, "warn", Level::Privileged, &mut errors);
        if !labels.contains_key(&*format!("{PREFIX}warn")) && enforce.level > warn.level {
            // Who is going to be refused wants to be told when he writes the template.
            warn = enforce;
        }
        (Self { enforce, audit, warn }, errors)
    }
}

fn read(labels: &BTreeMap<&str, &str>, mode: &str, fallback: Level, errors: &mut Vec<FieldError>) -> LevelVersion {
    let mut of = LevelVersion::default();
    let key = format!("{PREFIX}{mode}");
    if let Some(text) = labels.get(key.as_str()) {
        of.level = match *text {
            "privileged" => Level::Privileged,
            "baseline" => Level::Baseline,
            "restricted" => Level::Restricted,
            other => {
                let why = "must be one of privileged, baseline, restricted";
                errors.push(FieldError::invalid(format!("metadata.labels[{key}]"), other, why));
                fallback
            }
        };
    }
    let key = format!("{PREFIX}{mode}-version");
    if let Some(text) = labels.get(key.as_str()) {
        if let Some(version) = version(text) {
            of.version = version;
        } else {
            let why = "must be \"latest\" or \"v1.x\"";
            errors.push(FieldError::invalid(format!("metadata.labels[{key}]"), *text, why));
        }
    }
    of
}

fn version(text: &str) -> Option<Version> {
    if text == "latest" {
        return Some(Version::Latest);
    }
    let minor = text.strip_prefix("v1.")?;
    let is_plain = minor == "0" || !minor.starts_with(['0', '+', '-']);
    minor.parse().ok().filter(|_| is_plain).map(Version::Minor)
}
