//! Why a store's file cannot be used: each message names the file, says what is wrong, and what to do next.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

use super::log::{self, Damage};

/// Why the file could not be opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock.
    #[error("{} is used by another running wkube; stop that one, or choose another data directory", .path.display())]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// The content is not what was written.
    #[error("{} is damaged; restore a backup of it, or move it away to start with an empty cluster", .path.display())]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        damage: Box<dyn StdError + Send + Sync>,
    },
    /// The file is none of ours.
    #[error("{} is not a store of wkube; move it away, or choose another data directory", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// How one can tell.
        #[source]
        reason: Box<dyn StdError + Send + Sync>,
    },
    /// A newer wkube wrote the file.
    #[error("{} has schema version {found}, but this wkube knows versions up to {known}; use a newer wkube", .path.display())]
    Schema {
        /// The store's file.
        path: PathBuf,
        /// The version in the file.
        found: u64,
        /// The newest version known.
        known: u64,
    },
    /// There is a store already.
    #[error("{} is there already; move it away, or choose another data directory", .path.display())]
    Exists {
        /// The store's file.
        path: PathBuf,
    },
    /// A migration to this place was cut off.
    #[error(
        "{0} is the target of a migration that was not finished; run the same `wkube store migrate` again with --restart, or \
         remove both {0} and {0}.unfinished to begin with an empty cluster", .path.display()
    )]
    Unfinished {
        /// The store's file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("could not {step} {}; check that the directory exists, is writable, and has free space", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, such as `create`.
        step: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

pub(super) fn io_error(path: &Path, step: &'static str) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path, step, source }
}

pub(super) fn open_error(path: &Path) -> impl FnOnce(Damage) -> OpenError {
    let path = path.to_owned();
    move |damage| match damage {
        Damage::InUse => OpenError::InUse { path },
        Damage::Schema { found } => OpenError::Schema { path, found, known: log::SCHEMA },
        Damage::Io(source) => OpenError::Io { path, step: "open", source },
        Damage::Foreign(_) => OpenError::Foreign { path, reason: Box::new(damage) },
        Damage::Page(_) | Damage::Record { .. } | Damage::Gap { .. } | Damage::Wal(_) => {
            OpenError::Damaged { path, damage: Box::new(damage) }
        }
    }
}
