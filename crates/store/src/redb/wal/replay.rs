//! Which frames have to be applied again, and whether all of them are there. Pure.

use super::frame;
use super::segment::{self, Bad, Item};

/// A frame that is durable in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::redb) struct Frame {
    pub(in crate::redb) number: u64,
    pub(in crate::redb) payload: Vec<u8>,
}

impl Frame {
    /// Returns how many bytes it occupies in the log.
    pub(in crate::redb) fn size(&self) -> usize {
        frame::size(self.payload.len())
    }
}

/// What the segments of a log hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::redb) struct Replay {
    /// What the database does not have yet, in order and without a gap.
    pub(in crate::redb) frames: Vec<Frame>,
    /// The segments, by their names, each with the last frame in it that the database does not have (0: it has all).
    pub(in crate::redb) segments: Vec<(u64, u64)>,
}

/// Why a log is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::redb) enum LogDamage {
    #[error("the header of segment {segment} of the log is not as it was written")]
    Header { segment: u64 },
    #[error("segment {segment} of the log belongs to another store")]
    Alien { segment: u64 },
    #[error("segment {segment} of the log is cut off")]
    CutOff { segment: u64 },
    #[error("frame {number} of the log is not as it was written")]
    Frame { number: u64 },
    #[error("the only frame in segment {segment} of the log is not as it was written")]
    Unknown { segment: u64 },
    #[error("frame {number} of the log is missing, but a later one is there")]
    Missing { number: u64 },
    #[error("frame {number} of the log is there twice")]
    Twice { number: u64 },
}

/// Reads the segments (name and bytes) of a log, of which the database has all frames up to `applied`.
pub(in crate::redb) fn replay(log: u64, applied: u64, segments: &[(u64, Vec<u8>)]) -> Result<Replay, LogDamage> {
    let (mut found, mut damaged) = (Replay::default(), Vec::new());
    for (segment, bytes) in segments {
        let segment = *segment;
        let items = segment::read(log, bytes).map_err(|bad| match bad {
            Bad::Header => LogDamage::Header { segment },
            Bad::Alien => LogDamage::Alien { segment },
            Bad::CutOff => LogDamage::CutOff { segment },
        })?;
        let (mut last, mut newest) = (None, 0);
        for item in items {
            match item {
                Item::Frame { number, payload } => {
                    last = Some(number);
                    if number > applied {
                        newest = number;
                        found.frames.push(Frame { number, payload });
                    }
                }
                // Frames of one segment follow each other, so it is known which one this was.
                Item::Hole { is_damaged: true } => damaged.push((segment, last.map(|last| last + 1))),
                Item::Hole { is_damaged: false } => {}
            }
        }
        found.segments.push((segment, newest));
    }
    found.frames.sort_by_key(|frame| frame.number);
    let mut end = applied;
    for frame in &found.frames {
        if frame.number == end {
            return Err(LogDamage::Twice { number: end });
        }
        if frame.number != end + 1 {
            // If it can be named, it was damaged, and not only lost.
            let number = end + 1;
            let is_damaged = damaged.iter().any(|(_, damaged)| *damaged == Some(number));
            return Err(if is_damaged { LogDamage::Frame { number } } else { LogDamage::Missing { number } });
        }
        end = frame.number;
    }
    for (segment, number) in damaged {
        match number {
            Some(number) if number > end => return Err(LogDamage::Frame { number }),
            // What the database has needs no log.
            Some(_) => {}
            None => return Err(LogDamage::Unknown { segment }),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::frame::{BLOCK, Generation};
    use super::*;

    const LOG: u64 = 7;

    fn segment(nonce: u64, numbers: std::ops::RangeInclusive<u64>) -> Vec<u8> {
        let generation = Generation { log: LOG, nonce };
        let mut bytes = segment::header(generation, 0);
        for number in numbers {
            frame::seal(generation, number, &number.to_le_bytes(), &mut bytes);
        }
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        bytes
    }

    fn numbers(applied: u64, segments: &[Vec<u8>]) -> Result<Vec<u64>, LogDamage> {
        let segments: Vec<_> = segments.iter().cloned().enumerate().map(|(name, bytes)| (name as u64, bytes)).collect();
        let found = replay(LOG, applied, &segments)?;
        assert!(found.frames.iter().all(|frame| frame.payload == frame.number.to_le_bytes()));
        Ok(found.frames.iter().map(|frame| frame.number).collect())
    }

    #[test]
    fn frames_come_in_order_from_segments_in_any() {
        let segments = [segment(1, 7..=9), segment(2, 4..=6), vec![0; 4 * BLOCK]];
        assert_eq!(numbers(0, &[segment(1, 1..=3)]), Ok(vec![1, 2, 3]));
        assert_eq!(numbers(3, &segments), Ok(vec![4, 5, 6, 7, 8, 9]));
        assert_eq!(numbers(7, &segments), Ok(vec![8, 9]));
        assert_eq!(numbers(20, &segments), Ok(vec![]));
    }

    #[test]
    fn a_segment_is_needed_up_to_its_last_frame() {
        let segments = [(3, segment(1, 1..=3)), (5, segment(2, 4..=6)), (6, vec![0; 2 * BLOCK])];
        assert_eq!(replay(LOG, 3, &segments).expect("whole").segments, [(3, 0), (5, 6), (6, 0)]);
    }

    #[test]
    fn a_gap_is_refused_wherever_it_is() {
        assert_eq!(numbers(2, &[segment(1, 4..=6)]), Err(LogDamage::Missing { number: 3 }));
        assert_eq!(numbers(2, &[segment(1, 3..=4), segment(2, 6..=6)]), Err(LogDamage::Missing { number: 5 }));
        assert_eq!(numbers(0, &[segment(1, 1..=2), segment(2, 2..=3)]), Err(LogDamage::Twice { number: 2 }));
    }

    #[test]
    fn damage_is_named_unless_the_database_has_what_it_hit() {
        for frame in 1..=3_usize {
            let mut bad = segment(1, 1..=3);
            bad[frame * BLOCK + 20] ^= 4;
            let number = frame as u64;
            for applied in 0..number {
                let found = numbers(applied, std::slice::from_ref(&bad));
                // The first of a segment is only known to be missing.
                let expected = if frame == 1 { LogDamage::Missing { number } } else { LogDamage::Frame { number } };
                assert_eq!(found, Err(expected), "{frame} of {applied}");
            }
            if frame > 1 {
                assert!(numbers(number, &[bad]).is_ok(), "{frame} is applied");
            }
        }
        let mut only = segment(1, 1..=1);
        only[BLOCK + 20] ^= 4;
        assert_eq!(numbers(0, &[only]), Err(LogDamage::Unknown { segment: 0 }));
        let mut header = segment(1, 1..=1);
        header[20] ^= 1;
        assert_eq!(numbers(0, &[header]), Err(LogDamage::Header { segment: 0 }));
    }
}
