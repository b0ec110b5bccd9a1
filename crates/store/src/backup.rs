//! A backup: everything that exists at one revision, as one stream of bytes, for every engine.
//!
//! ```text
//! "wkube backup\n" | version u32 | revision u64 | taken u64 | entries u64 | sum
//! length u32 | created u64 | modified u64 | version u64 | key length u32 | key | value | sum      for every entry
//! "wkube the end\n" | sum
//! ```
//! Numbers are little endian. Each sum (xxh3) covers the part before it and the sum before that, so that nothing can be
//! changed, left out, moved or cut off without notice.

use std::io::{self, Read};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{Entry, Listed, Revision};

const START: &[u8; 13] = b"wkube backup\n";
const END: &[u8; 14] = b"wkube the end\n";
/// Raised when an older wkube could misread the format.
const VERSION: u32 = 1;
/// `created`, `modified`, `version` and the length of the key.
const HEAD: usize = 8 + 8 + 8 + 4;
/// More than any object may have; a longer entry is damage, not a reason to ask for memory.
const ENTRY_BYTES_MAX: usize = 64 << 20;

/// How far a restored store is ahead of its backup at least: more than any server writes between two backups.
const MARGIN: u64 = 1_000_000_000;
/// How many revisions a millisecond can have at most. Whoever restores the same backup again starts behind all that was
/// written after the first time.
const PER_MILLISECOND: u64 = 16;

/// The bytes of a piece, about: what is being sent is never in memory as a whole.
const PIECE_BYTES: usize = 256 << 10;

/// What a backup says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// The revision at which it is exact.
    pub revision: Revision,
    /// When it was taken.
    pub taken: SystemTime,
    /// How many keys existed.
    pub keys: u64,
}

/// Why a backup is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It begins like something else.
    #[error("it is not a backup of wkube")]
    Foreign,
    /// A newer wkube took it.
    #[error("it has format version {found}, but this wkube knows versions up to {VERSION}; use a newer wkube")]
    Version {
        /// The version in the file.
        found: u32,
    },
    /// It has no end.
    #[error("it is cut off; take another one")]
    Truncated,
    /// It is not what was written.
    #[error("it is damaged at entry {entry}; use another one")]
    Damaged {
        /// Counted from 1; 0 is the header.
        entry: u64,
    },
    /// It cannot be read.
    #[error("it cannot be read")]
    Io(#[source] io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Truncated } else { Self::Io(error) }
    }
}

/// Returns the revision at which a store goes on that is restored from a backup of `revision`. No revision is used twice,
/// whatever was written after the backup, and all clients list again.
pub fn restored_at(revision: Revision, now: SystemTime) -> Revision {
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let by_clock = u64::try_from(since_epoch.as_millis()).unwrap_or(0).saturating_mul(PER_MILLISECOND);
    Revision((revision.0 + MARGIN).max(by_clock))
}

/// Returns a sum of all keys and values, in their order. Who wrote them when does not count.
pub fn digest(entries: &[Entry]) -> u64 {
    let one = |sum, part: &[u8]| xxh3_64_with_seed(part, sum);
    entries.iter().fold(entries.len() as u64, |sum, entry| one(one(sum, entry.key.as_bytes()), &entry.value))
}

/// Returns a backup of everything that was listed, piece by piece.
pub fn pieces(listed: Listed, now: SystemTime) -> impl Iterator<Item = Bytes> + Send {
    let taken = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut header = START.to_vec();
    header.extend(VERSION.to_le_bytes());
    for number in [listed.revision.0, taken, listed.entries.len() as u64] {
        header.extend(number.to_le_bytes());
    }
    let (mut entries, mut sum, mut part) = (listed.entries.into_iter(), 0, Vec::new());
    let mut begin = Some(header);
    let mut is_whole = false;
    std::iter::from_fn(move || {
        let mut piece = Vec::new();
        if let Some(header) = begin.take() {
            summed(&mut piece, &header, &mut sum);
        }
        while piece.len() < PIECE_BYTES && !is_whole {
            if let Some(entry) = entries.next() {
                encode(&entry, &mut part);
                summed(&mut piece, &part, &mut sum);
            } else {
                summed(&mut piece, END, &mut sum);
                is_whole = true;
            }
        }
        (!piece.is_empty()).then(|| Bytes::from(piece))
    })
}

fn encode(entry: &Entry, part: &mut Vec<u8>) {
    let short = |length| u32::try_from(length).expect("no engine takes a value of 4 GiB").to_le_bytes();
    part.clear();
    part.extend(short(HEAD + entry.key.len() + entry.value.len()));
    for number in [entry.created.0, entry.modified.0, entry.version] {
        part.extend(number.to_le_bytes());
    }
    part.extend(short(entry.key.len()));
    part.extend(entry.key.as_bytes());
    part.extend(&entry.value[..]);
}

/// Appends a part and its sum, which is the next one's seed.
fn summed(out: &mut Vec<u8>, part: &[u8], sum: &mut u64) {
    *sum = xxh3_64_with_seed(part, *sum);
    out.extend(part);
    out.extend(sum.to_le_bytes());
}

/// Reads and verifies a whole backup, and keeps nothing of it in memory.
///
/// # Errors
/// Says what is wrong with it.
pub fn verify(input: impl Read) -> Result<About, Error> {
    let mut entries = Entries::open(input)?;
    let about = entries.about;
    entries.try_for_each(|entry| entry.map(drop))?;
    Ok(about)
}

/// The entries of a backup, each verified as it is read. The last item says if what comes after them is not its end.
pub struct Entries<R> {
    /// What the backup says of itself.
    pub about: About,
    reader: Reader<R>,
    ended: bool,
}

impl<R: Read> Entries<R> {
    /// Reads what the backup says of itself.
    ///
    /// # Errors
    /// If it is none.
    pub fn open(input: R) -> Result<Self, Error> {
        let mut reader = Reader { input, sum: 0, entry: 0 };
        let mut start = [0; START.len()];
        match reader.input.read_exact(&mut start) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Error::Foreign),
            read => read?,
        }
        if start != *START {
            return Err(Error::Foreign);
        }
        let mut header = start.to_vec();
        reader.more(&mut header, 4 + 3 * 8)?;
        let found = u32::from_le_bytes(bytes(&header, START.len()));
        if found > VERSION {
            return Err(Error::Version { found });
        }
        reader.check(&header)?;
        let [revision, taken, keys] = [0, 1, 2].map(|place| number(&header, START.len() + 4 + place * 8));
        let about = About { revision: Revision(revision), taken: UNIX_EPOCH + Duration::from_secs(taken), keys };
        Ok(Self { about, reader, ended: false })
    }

    fn end(&mut self) -> Result<(), Error> {
        let mut end = Vec::new();
        self.reader.more(&mut end, END.len())?;
        self.reader.check(&end)?;
        // What follows is not ours.
        if end != END || self.reader.input.read(&mut [0])? != 0 { Err(self.reader.damaged()) } else { Ok(()) }
    }
}

impl<R: Read> Iterator for Entries<R> {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.reader.entry < self.about.keys {
            self.reader.entry += 1;
            let entry = self.reader.entry();
            self.ended = entry.is_err();
            return Some(entry);
        }
        self.ended = true;
        self.end().err().map(Err)
    }
}

struct Reader<R> {
    input: R,
    sum: u64,
    entry: u64,
}

impl<R: Read> Reader<R> {
    fn more(&mut self, part: &mut Vec<u8>, count: usize) -> Result<(), Error> {
        let begin = part.len();
        part.resize(begin + count, 0);
        Ok(self.input.read_exact(&mut part[begin..])?)
    }

    /// Reads the sum of `part`.
    fn check(&mut self, part: &[u8]) -> Result<(), Error> {
        let mut sum = [0; 8];
        self.input.read_exact(&mut sum)?;
        let expected = xxh3_64_with_seed(part, self.sum);
        self.sum = expected;
        if u64::from_le_bytes(sum) == expected { Ok(()) } else { Err(self.damaged()) }
    }

    fn damaged(&self) -> Error {
        Error::Damaged { entry: self.entry }
    }

    fn entry(&mut self) -> Result<Entry, Error> {
        let mut part = Vec::new();
        self.more(&mut part, 4)?;
        let length = u32::from_le_bytes(bytes(&part, 0)) as usize;
        if !(HEAD..=ENTRY_BYTES_MAX).contains(&length) {
            return Err(self.damaged());
        }
        self.more(&mut part, length)?;
        self.check(&part)?;
        let body = &part[4..];
        let [created, modified, version] = [0, 1, 2].map(|place| number(body, place * 8));
        let key_length = u32::from_le_bytes(bytes(body, 24)) as usize;
        let (key, value) = body[HEAD..].split_at_checked(key_length).ok_or_else(|| self.damaged())?;
        let key = std::str::from_utf8(key).map_err(|_| self.damaged())?;
        let (created, modified) = (Revision(created), Revision(modified));
        Ok(Entry { key: key.into(), value: value.to_owned().into(), created, modified, version })
    }
}

fn bytes<const COUNT: usize>(from: &[u8], at: usize) -> [u8; COUNT] {
    let mut out = [0; COUNT];
    out.copy_from_slice(&from[at..at + COUNT]);
    out
}

fn number(from: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes(from, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redb::{Lock, create_from};
    use crate::{Range, RedbStore, Store, Txn};
    use futures::executor::block_on;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_hours(500_000)
    }

    fn listed(count: u64) -> Listed {
        let entry = |number: u64| Entry {
            key: format!("/registry/core/pods/p{number:03}").into(),
            value: "value ".repeat(usize::try_from(number).expect("small")).into(),
            created: Revision(number + 2),
            modified: Revision(number + 3),
            version: 2,
        };
        Listed { entries: (0..count).map(entry).collect(), revision: Revision(500), remaining: 0 }
    }

    fn written(listed: &Listed) -> Vec<u8> {
        pieces(listed.clone(), now()).flatten().collect()
    }

    /// Returns all of a backup.
    fn read(input: &[u8]) -> Result<(About, Vec<Entry>), Error> {
        let entries = Entries::open(input)?;
        let about = entries.about;
        assert_eq!(verify(input).is_ok(), Entries::open(input)?.all(|entry| entry.is_ok()));
        Ok((about, entries.collect::<Result<_, _>>()?))
    }

    #[test]
    fn a_backup_reads_as_it_was_written() {
        for count in [0, 1, 40] {
            let listed = listed(count);
            let (about, entries) = read(&written(&listed)).expect("whole");
            assert_eq!(
                (about, &entries),
                (About { revision: listed.revision, taken: now(), keys: count }, &listed.entries)
            );
        }
    }

    #[test]
    fn a_large_backup_is_sent_in_small_pieces() {
        let mut listed = listed(2);
        listed.entries = (0..40).flat_map(|_| listed.entries.clone()).collect();
        listed.entries.iter_mut().for_each(|entry| entry.value = vec![7; 100_000].into());
        let pieces: Vec<_> = pieces(listed.clone(), now()).collect();
        assert!(
            pieces.len() > 20 && pieces.iter().all(|piece| piece.len() < PIECE_BYTES + 200_000),
            "{}",
            pieces.len()
        );
        assert_eq!(read(&pieces.concat()).expect("whole").1, listed.entries);
    }

    #[test]
    fn no_flipped_bit_and_no_cut_goes_unnoticed() {
        let good = written(&listed(3));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            read(&bad).expect_err("a bit was flipped");
        }
        for length in 0..good.len() {
            let error = read(&good[..length]).expect_err("cut off");
            assert!(matches!(error, Error::Truncated | Error::Foreign), "cut at {length}: {error:?}");
        }
        read(&[&good[..], b"more"].concat()).expect_err("something follows");
    }

    #[test]
    fn entries_cannot_be_left_out_or_exchanged() {
        let (all, fewer) = (written(&listed(3)), written(&listed(2)));
        let header = START.len() + 4 + 3 * 8 + 8;
        let mut mixed = all[..header].to_vec();
        mixed.extend(&fewer[header..]);
        assert!(matches!(read(&mixed), Err(Error::Damaged { .. } | Error::Truncated)));
    }

    #[test]
    fn what_is_no_backup_is_said_so() {
        assert!(matches!(read(&b"apiVersion: v1\nkind: List"[..]), Err(Error::Foreign)));
        let mut newer = written(&listed(1));
        newer[START.len()] = 9;
        assert!(matches!(read(&newer), Err(Error::Version { found: 9 })));
    }

    #[test]
    fn no_revision_is_used_twice_however_often_one_restores() {
        let newest = Revision(70_000);
        let first = restored_at(newest, now());
        assert!(first >= Revision(newest.0 + MARGIN));
        // A day of a thousand writes a second later, the same backup again.
        let used = Revision(first.0 + 86_400 * 1_000);
        assert!(restored_at(newest, now() + Duration::from_hours(24)) > used);
        assert!(restored_at(used, UNIX_EPOCH) > used, "also with a clock that is wrong");
    }

    /// Whoever asks from before the backup is told to list again, at every one of many rounds, while others write.
    #[tokio::test]
    async fn backups_while_writing_restore_to_what_was_there() {
        let rounds = if std::env::var_os("WKUBE_LONG_TESTS").is_some() { 100 } else { 12 };
        let directory = tempfile::tempdir().expect("a directory");
        let path = |round: u64| directory.path().join(format!("store{round}"));
        let mut store = RedbStore::open(&path(0)).expect("new");
        for round in 1..=rounds {
            let backup = std::thread::scope(|threads| {
                threads.spawn(|| {
                    for number in 0..40 {
                        let txn = Txn::put(format!("k{}", number % 7).into(), format!("{round} {number}"));
                        block_on(store.commit(txn)).expect("writable");
                    }
                });
                let listed = store.list(&Range::default()).expect("readable");
                read(&written(&listed)).expect("whole")
            });
            let ((about, entries), newest) = (backup, store.revision());
            assert!(entries.iter().all(|entry| entry.modified <= about.revision));
            let (to, at) = (path(round), restored_at(about.revision, now() + Duration::from_secs(round)));
            create_from(&to, &Lock::take(&to).expect("free"), at, entries.clone()).expect("new");
            store.close().await.expect("closes");
            store = RedbStore::open(&to).expect("opens");
            assert!(store.revision() > newest, "revisions go on");
            assert_eq!(store.list(&Range::default()).expect("readable").entries, entries);
            let asked = store.watch("", newest).map(drop);
            assert!(matches!(asked, Err(crate::Error::Compacted { .. })), "clients list again");
            store.commit(Txn::put("more".into(), "1")).await.expect("writable");
        }
    }
}
