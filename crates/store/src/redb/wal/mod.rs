//! The write-ahead log: a commit is durable once its frame is, with one sequential write and one sync.
//!
//! ```text
//!  writer:   judge ─> append a frame, sync ─> publish, acknowledge
//!  applier:              └─ every 200 ms, or when there is enough ─> one transaction of the database, with `applied`
//!                                                                      └─> segments of applied frames are used again
//! ```
//! Segments are written full of zeros when they are made, so that a sync later has no metadata to write. There are no
//! names to change and nothing is ever cut off: what a segment was used for before tells itself apart by its generation.

mod frame;
pub(super) mod payload;
mod replay;
mod segment;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wkube_base::Rng;

use self::frame::Generation;
pub(super) use self::replay::{Frame, LogDamage, Replay, replay};
use super::bytes::{Backend, is_full};
use super::disk::Disk;
use super::log::Failure;
use crate::metrics::Syncs;

/// How large everything is. A small disk has a small log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// A segment. Not larger, so that one is free again soon; it is one transaction of the applier.
    pub(super) segment: u64,
    /// The applier takes so much at once.
    pub(super) applied_at_once: usize,
    /// The writer waits while more than this is not applied. The space that is held back has room for it.
    pub(super) backlog: usize,
    /// Nothing waits longer to be applied.
    pub(super) every: Duration,
}

/// A segment that has been written to.
#[derive(Debug)]
struct Used {
    name: u64,
    /// Opened when it is used again.
    file: Option<Backend>,
    /// The last frame in it.
    last: u64,
}

/// The segment that is being written.
#[derive(Debug)]
struct Current {
    name: u64,
    file: Backend,
    length: u64,
    generation: Generation,
    at: u64,
    last: u64,
}

/// The end of the log at which frames are added.
#[derive(Debug)]
pub(super) struct Wal {
    disk: Arc<dyn Disk>,
    log: u64,
    nonces: Rng,
    current: Option<Current>,
    used: VecDeque<Used>,
    newest_name: u64,
    buffer: Vec<u8>,
    syncs: Syncs,
}

impl Wal {
    /// Goes on with the segments that were found.
    pub(super) fn new(disk: Arc<dyn Disk>, log: u64, found: Vec<(u64, u64)>) -> Self {
        let newest_name = found.iter().map(|(name, _)| *name).max().unwrap_or(0);
        let used = found.into_iter().map(|(name, last)| Used { name, file: None, last }).collect();
        let (nonces, buffer, syncs) = (Rng::from_entropy(), Vec::new(), Syncs::default());
        Self { disk, log, nonces, current: None, used, newest_name, buffer, syncs }
    }

    /// Makes a frame durable. Segments whose frames are all `applied` are used again.
    ///
    /// # Errors
    /// `Full` if there is no space for it; then it may be there or not, and the log has to be cleared before another one
    /// gets its number.
    pub(super) fn append(&mut self, Frame { number, payload }: &Frame, applied: u64) -> Result<(), Failure> {
        let bytes = frame::size(payload.len()) as u64;
        if self.current.as_ref().is_none_or(|current| current.at + bytes > current.length) {
            self.turn_over(bytes, applied)?;
        }
        let Some(current) = &mut self.current else { return Err(Failure::Broken(io::ErrorKind::NotFound.into())) };
        self.buffer.clear();
        if current.at == 0 {
            self.buffer.extend(segment::header(current.generation, current.length));
        }
        frame::seal(current.generation, *number, payload, &mut self.buffer);
        current.file.write(current.at, &self.buffer).map_err(|error| failed(error, true))?;
        let began = Instant::now();
        current.file.sync_data().map_err(|error| failed(error, false))?;
        self.syncs.count(began.elapsed());
        current.at += self.buffer.len() as u64;
        current.last = *number;
        Ok(())
    }

    /// Takes another segment, with room for a frame of so many bytes.
    fn turn_over(&mut self, bytes: u64, applied: u64) -> Result<(), Failure> {
        if let Some(Current { name, file, last, .. }) = self.current.take() {
            self.used.push_back(Used { name, file: Some(file), last });
        }
        let needed = segment::FRAMES_FROM as u64 + bytes;
        let (name, file, length) = match self.free(needed, applied)? {
            Some(free) => free,
            None => self.make(needed)?,
        };
        let generation = Generation { log: self.log, nonce: self.nonces.next_u64() };
        self.current = Some(Current { name, file, length, generation, at: 0, last: 0 });
        Ok(())
    }

    /// Returns a segment that nobody needs any more.
    fn free(&mut self, needed: u64, applied: u64) -> Result<Option<(u64, Backend, u64)>, Failure> {
        for _ in 0..self.used.len() {
            let Some(used) = self.used.pop_front() else { break };
            if used.last <= applied {
                let opened = used.file.map_or_else(|| self.disk.segment(used.name), Ok);
                let file = opened.map_err(|error| failed(error, false))?;
                let length = file.len().map_err(|error| failed(error, false))?;
                if length >= needed {
                    return Ok(Some((used.name, file, length)));
                }
                self.used.push_back(Used { file: Some(file), ..used });
            } else {
                self.used.push_back(used);
            }
        }
        Ok(None)
    }

    fn make(&mut self, needed: u64) -> Result<(u64, Backend, u64), Failure> {
        let length = needed.max(self.disk.sizes().segment);
        self.newest_name += 1;
        let file = self.disk.make_segment(self.newest_name, length).map_err(|error| failed(error, true))?;
        Ok((self.newest_name, file, length))
    }

    /// Removes all segments, whose frames must have been applied.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.current = None;
        self.used.clear();
        self.disk.clear_log()
    }
}

/// A write that found no space did nothing that anybody relies on; after a failed sync nobody knows.
fn failed(error: io::Error, may_be_full: bool) -> Failure {
    if may_be_full && is_full(&error) { Failure::Full(error) } else { Failure::Broken(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redb::simulated::SimulatedDisk;

    fn wal(disk: &SimulatedDisk) -> Wal {
        Wal::new(Arc::new(disk.clone()), 7, Vec::new())
    }

    fn append(wal: &mut Wal, number: u64, payload: &[u8], applied: u64) -> Result<(), Failure> {
        wal.append(&Frame { number, payload: payload.to_owned() }, applied)
    }

    fn numbers(disk: &SimulatedDisk, applied: u64) -> Vec<u64> {
        let found = replay(7, applied, &disk.read_log().expect("readable")).expect("whole");
        found.frames.iter().map(|frame| frame.number).collect()
    }

    #[test]
    fn segments_are_used_again_once_their_frames_are_applied() {
        let disk = SimulatedDisk::default();
        let mut wal = wal(&disk);
        let frames = disk.sizes().segment / frame::BLOCK as u64 - 1;
        for number in 1..=10 * frames {
            append(&mut wal, number, b"payload", number.saturating_sub(frames)).expect("space");
        }
        assert_eq!(disk.read_log().expect("readable").len(), 2);
        assert_eq!(numbers(&disk, 9 * frames), (9 * frames + 1..=10 * frames).collect::<Vec<_>>());
        append(&mut wal, 10 * frames + 1, b"payload", 0).expect("space");
        assert_eq!(disk.read_log().expect("readable").len(), 3, "nothing is overwritten that is not applied");
    }

    #[test]
    fn a_frame_larger_than_a_segment_gets_one_of_its_own() {
        let disk = SimulatedDisk::default();
        let mut wal = wal(&disk);
        append(&mut wal, 1, b"small", 0).expect("space");
        append(&mut wal, 2, &vec![1; usize::try_from(3 * disk.sizes().segment).expect("small")], 0).expect("space");
        append(&mut wal, 3, b"small", 0).expect("space");
        assert_eq!(numbers(&disk, 0), [1, 2, 3]);
    }

    #[test]
    fn a_log_that_was_cleared_begins_anew() {
        let disk = SimulatedDisk::default();
        let mut wal = wal(&disk);
        append(&mut wal, 1, b"a", 0).expect("space");
        wal.clear().expect("writable");
        assert!(disk.read_log().expect("readable").is_empty());
        append(&mut wal, 2, b"b", 1).expect("space");
        assert_eq!(numbers(&disk, 1), [2]);
    }

    #[test]
    fn frames_of_two_runs_are_one_log() {
        let disk = SimulatedDisk::default();
        append(&mut wal(&disk), 1, b"a", 0).expect("space");
        let found = replay(7, 0, &disk.read_log().expect("readable")).expect("whole");
        let mut wal = Wal::new(Arc::new(disk.clone()), 7, found.segments);
        append(&mut wal, 2, b"b", 0).expect("space");
        assert_eq!(numbers(&disk, 0), [1, 2]);
    }
}
