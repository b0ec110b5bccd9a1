//! How far this server has seen etcd, in a file of its own: so that it also notices after a restart if etcd went back.
//!
//! ```text
//! wkube has seen etcd 1
//! /wkube                                                  the prefix
//! 4711                                                    the newest revision
//! 4710 9f86d081884c7d65 /wkube/data/registry/pods/…       a witness: its revision, the sum of its value, its key
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::Revision;

use super::Shared;
use super::witness::Witness;

const FORMAT: &str = "wkube has seen etcd 1";
/// How often it is brought up to date. What was seen later than that before a server was killed is not known to the next one.
const EVERY: Duration = Duration::from_secs(1);

/// What a server has seen of a store in etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// The store's newest revision.
    pub(super) revision: Revision,
    /// Something that was in it.
    pub(super) witness: Option<Witness>,
}

impl Mark {
    /// Reads the mark of the store below `prefix`. What cannot be understood is of no use and does no harm.
    pub(super) fn read(path: &Path, prefix: &str) -> io::Result<Option<Self>> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Self::parse(&text, prefix)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse(text: &str, prefix: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != FORMAT || lines.next()? != prefix {
            return None;
        }
        let revision = Revision(lines.next()?.parse().ok()?);
        let witness = lines.next().and_then(|line| {
            let (at, rest) = line.split_once(' ')?;
            let (sum, key) = rest.split_once(' ')?;
            let sum = u64::from_str_radix(sum, 16).ok()?;
            Some(Witness { at: Revision(at.parse().ok()?), sum, key: key.as_bytes().to_vec() })
        });
        Some(Self { revision, witness })
    }

    fn text(&self, prefix: &str) -> String {
        // Keys are text without line ends, or else they are not remembered.
        let line = |witness: &Witness| {
            let key = std::str::from_utf8(&witness.key).ok().filter(|key| !key.contains('\n'))?;
            Some(format!("{} {:016x} {key}\n", witness.at.0, witness.sum))
        };
        let witness = self.witness.as_ref().and_then(line).unwrap_or_default();
        format!("{FORMAT}\n{prefix}\n{}\n{witness}", self.revision.0)
    }

    /// Writes the mark: there is the old one or the new one, whatever happens.
    fn write(&self, path: &Path, prefix: &str) -> io::Result<()> {
        let new = path.with_added_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file: File = options.open(&new)?;
        file.write_all(self.text(prefix).as_bytes())?;
        file.sync_all()?;
        fs::rename(new, path)
    }
}

/// Keeps the mark at `path` up to date.
pub(super) async fn run(shared: Arc<Shared>, path: PathBuf) {
    loop {
        tokio::time::sleep(EVERY).await;
        shared.clone().leave_mark(path.clone()).await;
    }
}

impl Shared {
    /// Writes down how far memory is, unless that is written there already.
    pub(super) async fn leave_mark(self: Arc<Self>, path: PathBuf) {
        let mark = Mark { revision: self.hub.snapshot().revision(), witness: self.witness.lock().clone() };
        let mut marked = self.marked.lock().await;
        // Once etcd has gone back, what was seen before is what counts.
        if self.failed.get().is_some() || marked.as_ref() == Some(&mark) {
            return;
        }
        let (new, prefix) = (mark.clone(), self.layout.prefix().to_owned());
        let written = tokio::task::spawn_blocking(move || new.write(&path, &prefix)).await;
        match written.map_err(io::Error::other).flatten() {
            Ok(()) => *marked = Some(mark),
            Err(error) => warn!(%error, "how far etcd was seen cannot be kept; it is tried again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        let witness = Witness { key: b"/wkube/data/registry/pods/a b".to_vec(), at: Revision(7), sum: 0xabc };
        Mark { revision: Revision(9), witness: Some(witness) }
    }

    #[test]
    fn a_mark_reads_as_it_was_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("mark");
        assert_eq!(Mark::read(&path, "/wkube").expect("readable"), None);
        for mark in [mark(), Mark { witness: None, ..mark() }] {
            mark.write(&path, "/wkube").expect("writable");
            assert_eq!(Mark::read(&path, "/wkube").expect("readable"), Some(mark));
        }
    }

    #[test]
    fn the_mark_of_another_store_says_nothing_about_this_one() {
        assert_eq!(Mark::parse(&mark().text("/other"), "/wkube"), None);
    }

    #[test]
    fn what_is_no_mark_does_no_harm() {
        let whole = mark().text("/wkube");
        for text in ["", "hello", "wkube has seen etcd 2\n/wkube\n9\n", "wkube has seen etcd 1\n/wkube\nmany\n"] {
            assert_eq!(Mark::parse(text, "/wkube"), None, "{text}");
        }
        let cut = &whole[..whole.find("abc").expect("has the sum")];
        assert_eq!(Mark::parse(cut, "/wkube"), Some(Mark { witness: None, ..mark() }));
    }
}
