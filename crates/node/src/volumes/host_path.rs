//! Directories and files of the host that pods may see: none, unless whoever runs the node names them.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::beneath::{self, Found, Missing};

/// Why a host path cannot be had; the text after `MountVolume.SetUp failed`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody allowed it.
    #[error(
        "hostPath \"{path}\" is not allowed on this node, {allowed}; `--allow-host-path DIR` allows a directory and what is below"
    )]
    NotAllowed {
        /// The path.
        path: String,
        /// What is.
        allowed: String,
    },
    /// It is something else than the pod wants (`host_path.go`, `checkType`).
    #[error("hostPath type check failed: {path} is not a {wanted}")]
    Type {
        /// The path.
        path: String,
        /// `directory` or `file`.
        wanted: &'static str,
    },
    /// A kind of file that no guest can use.
    #[error("hostPath type {0} is not supported for WebAssembly containers")]
    Unsupported(String),
    /// It is not there, leads outside of what is allowed, or cannot be opened.
    #[error("hostPath \"{path}\": {source}")]
    Open {
        /// The path.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// The directories that this node allows. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct HostPaths(Arc<Vec<PathBuf>>);

impl HostPaths {
    /// Allows these directories and what is below them.
    pub fn allow(directories: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(Arc::new(directories.into_iter().collect()))
    }

    /// Opens what a volume names, as far as it is allowed. What its type says is made is made.
    ///
    /// # Errors
    /// If it is not allowed, not there, or not what the type says.
    pub fn open(&self, source: &HostPathVolumeSource) -> Result<Found, Error> {
        let path = Path::new(&source.path);
        let root = self.root_of(path).ok_or_else(|| self.not_allowed(&source.path))?;
        let below = path.strip_prefix(root).unwrap_or(Path::new(""));
        let kind = source.type_.as_deref().unwrap_or_default();
        let failed = |error| Error::Open { path: source.path.clone(), source: error };
        let found = match kind {
            "DirectoryOrCreate" => beneath::open(root, below, Missing::IsMade),
            "FileOrCreate" => open_or_create_file(root, below),
            "" | "Directory" | "File" => beneath::open(root, below, Missing::Fails),
            other => return Err(Error::Unsupported(other.to_owned())),
        };
        let found = found.map_err(failed)?;
        let is_dir = found.is_dir().map_err(failed)?;
        match kind {
            "Directory" | "DirectoryOrCreate" if !is_dir => {
                Err(Error::Type { path: source.path.clone(), wanted: "directory" })
            }
            "File" | "FileOrCreate" if is_dir => Err(Error::Type { path: source.path.clone(), wanted: "file" }),
            _ => Ok(found),
        }
    }

    fn root_of(&self, path: &Path) -> Option<&Path> {
        let is_plain = path.is_absolute() && path.components().all(|part| !matches!(part, Component::ParentDir));
        let roots = self.0.iter().filter(|root| is_plain && path.starts_with(root));
        roots.max_by_key(|root| root.as_os_str().len()).map(PathBuf::as_path)
    }

    fn not_allowed(&self, path: &str) -> Error {
        let allowed: Vec<String> = self.0.iter().map(|root| root.display().to_string()).collect();
        let allowed = if allowed.is_empty() {
            "which allows none".to_owned()
        } else {
            format!("which allows {}", allowed.join(", "))
        };
        Error::NotAllowed { path: path.to_owned(), allowed }
    }
}

fn open_or_create_file(root: &Path, below: &Path) -> io::Result<Found> {
    match beneath::open(root, below, Missing::Fails) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    let (Some(parent), Some(name)) = (below.parent(), below.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    };
    let parent = beneath::open(root, parent, Missing::Fails)?;
    // Not through a symlink that leads nowhere: it was looked for, so `O_EXCL` fails on it.
    std::fs::OpenOptions::new().write(true).create_new(true).open(parent.path().join(name))?;
    beneath::open(root, below, Missing::Fails)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn check(allowed: &[&Path], path: &Path, kind: &str) -> Result<(), String> {
        let paths = HostPaths::allow(allowed.iter().map(|path| (*path).to_owned()));
        let source = HostPathVolumeSource { path: path.display().to_string(), type_: Some(kind.to_owned()) };
        paths.open(&source).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_allowed_unless_it_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("data");
        std::fs::create_dir(&inside).unwrap();
        assert!(check(&[], &inside, "").unwrap_err().contains("which allows none"));
        assert_eq!(check(&[dir.path()], &inside, ""), Ok(()));
        assert_eq!(check(&[&inside], &inside, "Directory"), Ok(()));
        let beside = dir.path().join("data-of-others");
        for path in [dir.path().to_owned(), beside, inside.join("../x"), PathBuf::from("data")] {
            assert!(check(&[&inside], &path, "").unwrap_err().contains("not allowed"), "{}", path.display());
        }
    }

    #[test]
    fn a_link_inside_does_not_allow_what_is_outside() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("data");
        std::fs::create_dir(&inside).unwrap();
        symlink("/etc", inside.join("etc")).unwrap();
        symlink("..", inside.join("up")).unwrap();
        for name in ["etc", "up", "etc/ssl"] {
            for kind in ["", "Directory", "DirectoryOrCreate", "FileOrCreate"] {
                assert!(check(&[&inside], &inside.join(name), kind).is_err(), "{name} {kind}");
            }
        }
    }

    #[test]
    fn types_are_checked_and_made() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir(root.join("dir")).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        for (name, kind, wanted) in [
            ("dir", "Directory", None),
            ("dir", "File", Some("is not a file")),
            ("file", "File", None),
            ("file", "Directory", Some("is not a directory")),
            ("none", "", Some("No such file")),
            ("none", "Directory", Some("No such file")),
            ("new/dir", "DirectoryOrCreate", None),
            ("new/dir", "FileOrCreate", Some("is not a file")),
            ("new/file", "FileOrCreate", None),
            ("new/file", "Socket", Some("type Socket is not supported")),
        ] {
            let checked = check(&[root], &root.join(name), kind);
            match wanted {
                None => assert_eq!(checked, Ok(()), "{name} {kind}"),
                Some(words) => assert!(checked.unwrap_err().contains(words), "{name} {kind}"),
            }
        }
        assert!(root.join("new/dir").is_dir() && root.join("new/file").is_file());
    }
}
