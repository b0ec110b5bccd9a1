//! Whether etcd still has the history that this server has seen: one written value, remembered and asked for again.
//!
//! An etcd that was restored from an older backup uses revisions twice. While it is behind what was seen, its revision
//! shows it; once others have written enough, only what it has at an old revision does.

use crate::Revision;

use super::client::Client;
use super::failure::{Failure, Kind};
use super::layout::{revision, wire};
use super::proto::{Event, EventType, KeyValue, RangeRequest};

/// The newest value that this server was told of.
#[derive(Debug, Default)]
pub(super) struct Witness {
    seen: Option<KeyValue>,
}

impl Witness {
    /// Remembers the last value among `events`. Deletions and empty values look alike in different histories.
    pub(super) fn note(&mut self, events: &[Event]) {
        let put = |event: &&Event| event.r#type() == EventType::Put;
        let mut values = events.iter().filter(put).filter_map(|event| event.kv.as_ref());
        if let Some(kv) = values.rfind(|kv| !kv.value.is_empty()) {
            self.seen = Some(kv.clone());
        }
    }

    /// Asks etcd for it again; returns the revision at which etcd has something else, if it has.
    pub(super) async fn contradicted(&self, client: &Client) -> Result<Option<Revision>, Failure> {
        let Some(seen) = &self.seen else { return Ok(None) };
        let at = revision(seen.mod_revision);
        let request = RangeRequest { key: seen.key.clone(), revision: wire(at), ..RangeRequest::default() };
        match client.range(request).await {
            Ok(found) => Ok((!self.is(found.kvs.first())).then_some(at)),
            // Nobody can tell any more.
            Err(Failure { kind: Kind::Compacted, .. }) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn is(&self, found: Option<&KeyValue>) -> bool {
        match (&self.seen, found) {
            (Some(seen), Some(found)) => (seen.mod_revision, &seen.value) == (found.mod_revision, &found.value),
            (seen, _) => seen.is_none(),
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
    fn the_newest_value_is_remembered() {
        let mut witness = Witness::default();
        assert!(witness.is(None) && witness.is(Some(&kv(1, "x"))), "nothing was seen: nothing contradicts it");
        let fence = kv(7, "");
        witness.note(&[
            event(EventType::Put, kv(5, "a")),
            event(EventType::Put, fence),
            event(EventType::Delete, kv(8, "")),
        ]);
        assert!(witness.is(Some(&kv(5, "a"))));
        witness.note(&[]);
        assert!(witness.is(Some(&kv(5, "a"))));
    }

    #[test]
    fn another_value_revision_or_none_is_another_history() {
        let mut witness = Witness::default();
        witness.note(&[event(EventType::Put, kv(5, "a"))]);
        for found in [Some(kv(5, "b")), Some(kv(4, "a")), None] {
            assert!(!witness.is(found.as_ref()), "{found:?}");
        }
    }
}
