//! What a frame says: which records a batch adds, and up to where the past is gone. Pure.
//!
//! ```text
//! compacted u64 (0: as before) | revision u64 | key length u32 | record length u32 | key | record | revision ...
//! ```
//! Records are the bytes that the database keeps, so each is encoded once for both.

use crate::redb::record;
use crate::{Entry, Revision};

const HEAD: usize = 8;
const RECORD_HEAD: usize = 8 + 4 + 4;

/// Begins a payload.
pub(in crate::redb) fn begin(compacted: Option<Revision>) -> Vec<u8> {
    compacted.map_or(0, |compacted| compacted.0).to_le_bytes().to_vec()
}

/// Makes room for so many records with keys and values of so many bytes.
pub(in crate::redb) fn reserve(payload: &mut Vec<u8>, records: usize, bytes: usize) {
    // What a value may take while it is being compressed is about as much as the others' heads.
    payload.reserve(bytes + records * (RECORD_HEAD + record::HEAD_BYTES) + bytes / 64 + 64);
}

/// Adds a record.
pub(in crate::redb) fn push(payload: &mut Vec<u8>, revision: Revision, key: &str, now: Option<&Entry>) {
    payload.extend(revision.0.to_le_bytes());
    payload.extend(length(key.len()).to_le_bytes());
    let record_length = payload.len();
    payload.extend([0; 4]);
    payload.extend(key.as_bytes());
    let begin = payload.len();
    record::encode_to(payload, revision, key, now);
    let written = length(payload.len() - begin);
    payload[record_length..record_length + 4].copy_from_slice(&written.to_le_bytes());
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("keys and values are far below 4 GiB")
}

/// A record where it belongs.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::redb) struct Placed<'a> {
    pub(in crate::redb) revision: Revision,
    pub(in crate::redb) key: &'a str,
    pub(in crate::redb) record: &'a [u8],
}

/// Returns up to where the past is gone, and the records; `None` if it is no payload.
pub(in crate::redb) fn read(payload: &[u8]) -> Option<(Option<Revision>, Vec<Placed<'_>>)> {
    let (head, mut rest) = payload.split_at_checked(HEAD)?;
    let compacted = u64::from_le_bytes(head.try_into().ok()?);
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (head, body) = rest.split_at_checked(RECORD_HEAD)?;
        let revision = Revision(u64::from_le_bytes(head[..8].try_into().ok()?));
        let key_length = u32::from_le_bytes(head[8..12].try_into().ok()?) as usize;
        let record_length = u32::from_le_bytes(head[12..].try_into().ok()?) as usize;
        let (key, body) = body.split_at_checked(key_length)?;
        let (record, body) = body.split_at_checked(record_length)?;
        records.push(Placed { revision, key: std::str::from_utf8(key).ok()?, record });
        rest = body;
    }
    Some(((compacted > 0).then_some(Revision(compacted)), records))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    #[test]
    fn a_payload_reads_as_it_was_written() {
        let key = Key::from("/registry/pods/a");
        let now =
            Entry { key: key.clone(), value: "value".into(), created: Revision(3), modified: Revision(5), version: 2 };
        let mut payload = begin(Some(Revision(2)));
        push(&mut payload, Revision(5), &key, Some(&now));
        push(&mut payload, Revision(6), "b", None);
        let (compacted, records) = read(&payload).expect("a payload");
        assert_eq!((compacted, records.len()), (Some(Revision(2)), 2));
        assert_eq!(record::decode(records[0].revision, &key, records[0].record), Some(Some(now)));
        assert_eq!((records[1].revision, records[1].key), (Revision(6), "b"));
        assert_eq!(record::decode(Revision(6), &"b".into(), records[1].record), Some(None));
        assert_eq!(read(&begin(None)), Some((None, Vec::new())));
    }

    #[test]
    fn what_is_cut_off_is_no_payload() {
        let mut payload = begin(None);
        push(&mut payload, Revision(6), "key", None);
        for length in (0..payload.len()).filter(|length| *length != HEAD) {
            assert_eq!(read(&payload[..length]), None, "{length}");
        }
    }
}
