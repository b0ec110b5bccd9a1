//! Reading one's own writes: a key is not planned again before the caches have seen what its last plan wrote.
//!
//! This replaces the expectation counters of Kubernetes' controllers, as KEP-5647 does (client-go's consistency
//! store). A recording [`Client`](crate::Client) notes the highest revision written per kind; the controller shell
//! waits until the cache of each kind it reads has reached it. Waiting per kind needs no bookmarks: our own write is
//! itself an event of that kind.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::kind::{KindName, Revision};

/// The newest revision written per kind, as (group, plural).
#[derive(Debug, Default)]
pub struct Writes(Mutex<BTreeMap<(String, String), Revision>>);

impl Writes {
    /// Returns a record without writes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a write of an object of this kind.
    pub fn note(&self, kind: KindName<'_>, at: Revision) {
        let mut newest = self.0.lock();
        let seen = newest.entry((kind.group.to_owned(), kind.plural.to_owned())).or_default();
        *seen = (*seen).max(at);
    }

    /// Returns the revision that a cache of this kind must reach before it shows all the writes.
    pub fn needed(&self, kind: KindName<'_>) -> Revision {
        self.0.lock().get(&(kind.group.to_owned(), kind.plural.to_owned())).copied().unwrap_or_default()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: KindName<'static> = KindName { group: "", plural: "pods" };
    const SETS: KindName<'static> = KindName { group: "apps", plural: "replicasets" };

    #[test]
    fn needs_the_newest_write_of_each_kind() {
        let writes = Writes::new();
        writes.note(PODS, Revision(7));
        writes.note(PODS, Revision(5));
        writes.note(SETS, Revision(9));
        assert_eq!(writes.needed(PODS), Revision(7));
        assert_eq!(writes.needed(SETS), Revision(9));
    }

    #[test]
    fn needs_nothing_of_a_kind_that_was_not_written() {
        let writes = Writes::new();
        assert!(writes.is_empty());
        assert_eq!(writes.needed(PODS), Revision(0));
    }
}
