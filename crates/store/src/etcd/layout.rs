//! Where in etcd's flat key space the store lives: a pure mapping.
//!
//! ```text
//! /wkube/data/registry/pods/default/web   the key /registry/pods/default/web
//! /wkube/meta/schema                      whose prefix this is, and in which format
//! /wkube/meta/compacted                   whose turn it is to compact (its version), and up to where
//! /wkube/meta/fence                       written when a reader needs to see how far etcd is
//! ```

use crate::{Entry, Key, Revision};

use super::proto::KeyValue;

/// The content of the schema key. A changed layout gets another number.
pub(super) const SCHEMA: &str = "wkube store 1";

/// Keys below one prefix.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    prefix: String,
}

impl Layout {
    /// Returns the layout below `prefix`, such as `/wkube`.
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.trim_end_matches('/').to_owned() }
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
    pub(super) fn entry(key: &Key, kv: KeyValue) -> Entry {
        Entry {
            key: key.clone(),
            value: kv.value.into(),
            created: revision(kv.create_revision),
            modified: revision(kv.mod_revision),
            version: kv.version.unsigned_abs(),
        }
    }
}

/// Revisions on the wire are signed, but never negative.
pub(super) fn revision(wire: i64) -> Revision {
    Revision(wire.unsigned_abs())
}

/// The other way: a number beyond what etcd knows stays in the future.
pub(super) fn wire(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
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
        for name in [layout.schema(), layout.compacted(), layout.fence(), b"/other/data/x".to_vec(), vec![0xff]] {
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
        assert_eq!(wire(Revision(u64::MAX)), i64::MAX);
    }
}
