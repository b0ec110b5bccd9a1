//! Whether etcd still has the history that this server has seen: one written value, remembered and asked for again.
//!
//! An etcd that was restored from an older backup uses revisions twice. While it is behind what was seen, its revision
//! shows it; once others have written enough, only what it has at an old revision does.

use xxhash_rust::xxh3::xxh3_64;

use crate::Revision;

use super::client::Client;
use super::failure::{Failure, Kind};
use super::layout::Layout;
use super::proto::{Event, EventType, KeyValue, RangeRequest};

/// One value that this server was told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Witness {
    /// etcd's name of the key.
    pub(super) key: Vec<u8>,
    /// When it was written.
    pub(super) at: Revision,
    /// A sum of what was written.
    pub(super) sum: u64,
}

impl Witness {
    /// Returns the last value among `events`. Deletions and empty values look alike in different histories.
    pub(super) fn among(layout: &Layout, events: &[Event]) -> Option<Self> {
        let put = |event: &&Event| event.r#type() == EventType::Put;
        let mut values = events.iter().filter(put).filter_map(|event| event.kv.as_ref());
        values.rfind(|kv| !kv.value.is_empty()).map(|kv| Self::of(layout, kv))
    }

    fn of(layout: &Layout, kv: &KeyValue) -> Self {
        Self { key: kv.key.clone(), at: layout.revision(kv.mod_revision), sum: xxh3_64(&kv.value) }
    }

    /// Asks etcd for it again; returns whether etcd has something else.
    pub(super) async fn is_contradicted(&self, client: &Client, layout: &Layout) -> Result<bool, Failure> {
        let revision = layout.wire(self.at);
        if revision <= 0 {
            // From before the store came to this etcd.
            return Ok(false);
        }
        let request = RangeRequest { key: self.key.clone(), revision, ..RangeRequest::default() };
        match client.range(request).await {
            Ok(found) => Ok(found.kvs.first().map(|kv| Self::of(layout, kv)).as_ref() != Some(self)),
            // Nobody can tell any more.
            Err(Failure { kind: Kind::Compacted, .. }) => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(at: i64, value: &str) -> KeyValue {
        KeyValue { key: b"/wkube/data/a".to_vec(), mod_revision: at, value: value.into(), ..KeyValue::default() }
    }

    fn event(kind: EventType, kv: KeyValue) -> Event {
        Event { r#type: kind.into(), kv: Some(kv) }
    }

    #[test]
    fn the_newest_value_is_the_witness() {
        let layout = Layout::new("/wkube");
        let fence = kv(7, "");
        let events =
            [event(EventType::Put, kv(5, "a")), event(EventType::Put, fence), event(EventType::Delete, kv(8, ""))];
        assert_eq!(Witness::among(&layout, &events), Some(Witness::of(&layout, &kv(5, "a"))));
        assert_eq!(Witness::among(&layout, &[]), None);
    }

    #[test]
    fn another_value_or_revision_is_another_history() {
        let layout = Layout::new("/wkube");
        let seen = Witness::of(&layout, &kv(5, "a"));
        for found in [kv(5, "b"), kv(4, "a")] {
            assert_ne!(seen, Witness::of(&layout, &found));
        }
    }
}
