//! Where in etcd's flat key space the store lives, and how its revisions are counted: a pure mapping.
//!
//! ```text
//! /wkube/data/registry/pods/default/web   the key /registry/pods/default/web
//! /wkube/meta/schema                      whose prefix this is, and in which format
//! /wkube/meta/compacted                   whose turn it is to compact (its version), and up to where
//! /wkube/meta/fence                       written when a reader needs to see how far etcd is
//! /wkube/meta/offset                      how far the store's revisions are ahead of etcd's
//! ```
//! A store that was moved here goes on with revisions beyond all that its clients have seen, though etcd itself may be new:
//! every number that goes out to etcd is smaller by the offset, and every one that comes in is greater.

use crate::{Entry, Key, Revision};

use super::proto::{KeyValue, ResponseHeader};

/// The content of the schema key. A changed layout gets another number.
pub(super) const SCHEMA: &str = "wkube store 1";
/// The same layout with an offset, which those who know only the first one would not heed.
pub(super) const SCHEMA_WITH_OFFSET: &str = "wkube store 2";
/// What is there while a store is being moved here, and if that is cut off.
pub(super) const UNFINISHED: &str = "wkube store 2, whose migration has not been finished";

/// No key was ever written at this revision, nor is it what etcd says of keys that do not exist.
const NEVER: i64 = -1;

/// Keys below one prefix, and the difference between the store's revisions and etcd's.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    prefix: String,
    offset: u64,
}

impl Layout {
    /// Returns the layout below `prefix`, such as `/wkube`.
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.trim_end_matches('/').to_owned(), offset: 0 }
    }

    /// Returns the same with revisions that are ahead of etcd's.
    pub(super) fn ahead_by(self, offset: u64) -> Self {
        Self { offset, ..self }
    }

    /// Returns the prefix as people write it.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn schema(&self) -> Vec<u8> {
        format!("{}/meta/schema", self.prefix).into_bytes()
    }

    pub(super) fn compacted(&self) -> Vec<u8> {
        format!("{}/meta/compacted", self.prefix).into_bytes()
    }

    pub(super) fn fence(&self) -> Vec<u8> {
        format!("{}/meta/fence", self.prefix).into_bytes()
    }

    pub(super) fn offset(&self) -> Vec<u8> {
        format!("{}/meta/offset", self.prefix).into_bytes()
    }

    /// Returns the first key of everything below the prefix and the first key after it.
    pub(super) fn everything(&self) -> (Vec<u8>, Vec<u8>) {
        // '0' follows '/'.
        (format!("{}/", self.prefix).into_bytes(), format!("{}0", self.prefix).into_bytes())
    }

    /// Returns the first key of the data and the first key after it.
    pub(super) fn data(&self) -> (Vec<u8>, Vec<u8>) {
        // 'b' follows 'a'.
        (self.etcd_key(""), format!("{}/datb", self.prefix).into_bytes())
    }

    /// Returns the name of a key in etcd.
    pub(super) fn etcd_key(&self, key: &str) -> Vec<u8> {
        format!("{}/data{key}", self.prefix).into_bytes()
    }

    /// Returns the key that etcd's `name` stands for; `None` if it is none of the data.
    pub(super) fn key(&self, name: &[u8]) -> Option<Key> {
        let name = std::str::from_utf8(name).ok()?;
        name.strip_prefix(&*self.prefix)?.strip_prefix("/data").map(Key::from)
    }

    /// Returns the entry that `kv` holds under the name `key`.
    pub(super) fn entry(&self, key: &Key, kv: KeyValue) -> Entry {
        Entry {
            key: key.clone(),
            value: kv.value.into(),
            created: self.revision(kv.create_revision),
            modified: self.revision(kv.mod_revision),
            version: kv.version.unsigned_abs(),
        }
    }

    /// Returns the store's name for a revision of etcd's. Revisions on the wire are signed, but never negative.
    pub(super) fn revision(&self, wire: i64) -> Revision {
        Revision(wire.unsigned_abs() + self.offset)
    }

    /// Returns the store's name for etcd's revision in an answer's header.
    pub(super) fn revision_in(&self, header: Option<&ResponseHeader>) -> Revision {
        self.revision(header.map_or(0, |header| header.revision))
    }

    /// The other way: a number beyond what etcd knows stays in the future, and one from before this etcd in the past.
    pub(super) fn wire(&self, revision: Revision) -> i64 {
        match revision.0.checked_sub(self.offset) {
            None | Some(0) => NEVER,
            Some(wire) => i64::try_from(wire).unwrap_or(i64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_the_journey() {
        let layout = Layout::new("/wkube/");
        for key in ["/registry/pods/default/web", "a", "", "p/ä"] {
            assert_eq!(layout.key(&layout.etcd_key(key)).as_deref(), Some(key));
        }
        assert_eq!(layout.etcd_key("/registry/x"), b"/wkube/data/registry/x");
    }

    #[test]
    fn bookkeeping_and_strangers_are_no_data() {
        let layout = Layout::new("/wkube");
        for name in [
            layout.schema(),
            layout.compacted(),
            layout.fence(),
            layout.offset(),
            b"/other/data/x".to_vec(),
            vec![0xff],
        ] {
            assert_eq!(layout.key(&name), None);
        }
    }

    #[test]
    fn the_ranges_hold_what_they_should() {
        let layout = Layout::new("/wkube");
        let within = |(from, to): (Vec<u8>, Vec<u8>), name: &[u8]| *from <= *name && *name < *to;
        for key in ["/registry/pods/x", "a", "\u{10ffff}"] {
            assert!(within(layout.data(), &layout.etcd_key(key)));
            assert!(within(layout.everything(), &layout.etcd_key(key)));
        }
        assert!(within(layout.everything(), &layout.fence()) && !within(layout.data(), &layout.fence()));
        assert!(!within(layout.everything(), b"/wkube2/data/x"));
    }

    #[test]
    fn a_revision_beyond_etcds_numbers_is_still_in_the_future() {
        assert_eq!(Layout::new("/wkube").wire(Revision(u64::MAX)), i64::MAX);
    }

    #[test]
    fn what_moved_here_counts_on_from_where_it_was() {
        let layout = Layout::new("/wkube").ahead_by(1_000);
        for wire in [1, 2, 77] {
            assert_eq!(layout.wire(layout.revision(wire)), wire);
        }
        assert_eq!(layout.revision(1), Revision(1_001));
    }

    /// For etcd, zero is when a key that does not exist was last written. Nothing was written then.
    #[test]
    fn nothing_was_written_here_before_it_came() {
        for (offset, before) in [(0, 0), (1_000, 0), (1_000, 999), (1_000, 1_000)] {
            assert_eq!(Layout::new("/wkube").ahead_by(offset).wire(Revision(before)), NEVER, "{before} of {offset}");
        }
    }
}
