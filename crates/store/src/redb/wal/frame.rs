//! A frame on disk: what one sync makes durable, in sectors that tell whether they were written. Pure.
//!
//! ```text
//! sector   stamp u32 | 508 bytes of content       512 bytes, which a disk writes as a whole or not at all
//! content  length u32 | number u64 | sum u64 | sum of these three u64 | payload | zeros up to a block of 4 KiB
//! ```
//! The stamp is that of the generation of the segment. A power cut leaves a frame in which some sectors have another stamp,
//! and nobody was told that it is durable; a frame that is wrong although all its sectors were written has been damaged.
//! Frames begin with a block, so that no sector of an acknowledged one is ever written again.

use xxhash_rust::xxh3::xxh3_64_with_seed;

const SECTOR: usize = 512;
pub(super) const BLOCK: usize = 4096;
const STAMP: usize = 4;
const CONTENT: usize = SECTOR - STAMP;
const HEAD: usize = 4 + 8 + 8 + 8;
/// Stamps that differ in so few bits were the same: those of two generations differ in about half of 32.
const FLIPPED_BITS_MAX: u32 = 2;

/// One use of a segment, from its header to its last frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation {
    /// The log, which belongs to one store.
    pub(super) log: u64,
    /// Drawn anew whenever a segment is used again.
    pub(super) nonce: u64,
}

/// How a sector came to be as it is.
#[derive(Debug, PartialEq, Eq)]
enum Written {
    Now,
    Earlier,
    Damaged,
}

impl Generation {
    fn seed(self) -> u64 {
        xxh3_64_with_seed(&self.nonce.to_le_bytes(), self.log)
    }

    fn stamp(self) -> [u8; STAMP] {
        let seed = self.seed().to_le_bytes();
        [seed[0], seed[1], seed[2], seed[3]]
    }

    fn wrote(self, sector: &[u8]) -> Written {
        let pairs = self.stamp().into_iter().zip(sector);
        match pairs.map(|(ours, found)| (ours ^ found).count_ones()).sum::<u32>() {
            0 => Written::Now,
            1..=FLIPPED_BITS_MAX => Written::Damaged,
            _ => Written::Earlier,
        }
    }
}

/// What is where a frame may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Frame {
        number: u64,
        payload: Vec<u8>,
        /// What it occupies.
        bytes: usize,
    },
    /// Nothing was written here, or not all of it.
    Nothing,
    /// Something was written here, and this is not it.
    Damage,
}

/// Returns how many bytes a frame occupies.
pub(super) fn size(payload: usize) -> usize {
    (HEAD + payload).div_ceil(CONTENT).next_multiple_of(BLOCK / SECTOR) * SECTOR
}

/// Appends a frame to `out`.
pub(super) fn seal(generation: Generation, number: u64, payload: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    out.reserve(size(payload.len()));
    let head = head(generation, number, payload);
    // The first sector takes the head, too.
    let (first, rest) = payload.split_at(payload.len().min(CONTENT - HEAD));
    let stamp = generation.stamp();
    out.extend(stamp);
    out.extend(head);
    out.extend(first);
    for content in rest.chunks(CONTENT) {
        out.extend(stamp);
        out.extend(content);
    }
    out.resize(begin + size(payload.len()), 0);
}

fn head(generation: Generation, number: u64, payload: &[u8]) -> [u8; HEAD] {
    let length = u32::try_from(payload.len()).expect("a batch is far below 4 GiB");
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..12].copy_from_slice(&number.to_le_bytes());
    head[12..20].copy_from_slice(&xxh3_64_with_seed(payload, generation.seed() ^ number).to_le_bytes());
    let sum = xxh3_64_with_seed(&head[..20], generation.seed());
    head[20..].copy_from_slice(&sum.to_le_bytes());
    head
}

/// Looks for a frame at the beginning of `bytes`, which end with the segment.
pub(super) fn read(generation: Generation, bytes: &[u8]) -> Found {
    let Some(first) = bytes.get(..SECTOR) else { return Found::Nothing };
    match generation.wrote(first) {
        Written::Now => {}
        Written::Earlier => return Found::Nothing,
        Written::Damaged => return Found::Damage,
    }
    let head = &first[STAMP..STAMP + HEAD];
    if number(&head[20..]) != xxh3_64_with_seed(&head[..20], generation.seed()) {
        return Found::Damage;
    }
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let sectors = (HEAD + length).div_ceil(CONTENT);
    let Some(sectors) = bytes.get(..sectors * SECTOR) else { return Found::Damage };
    let (mut content, mut is_torn) = (Vec::with_capacity(sectors.len()), false);
    for sector in sectors.chunks(SECTOR) {
        match generation.wrote(sector) {
            Written::Now => content.extend_from_slice(&sector[STAMP..]),
            Written::Earlier => is_torn = true,
            Written::Damaged => return Found::Damage,
        }
    }
    if is_torn {
        return Found::Nothing;
    }
    content.truncate(HEAD + length);
    let payload = content.split_off(HEAD);
    let frame = number(&content[4..12]);
    if number(&content[12..20]) != xxh3_64_with_seed(&payload, generation.seed() ^ frame) {
        return Found::Damage;
    }
    Found::Frame { number: frame, bytes: size(payload.len()), payload }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Generation = Generation { log: 7, nonce: 1 };
    const EARLIER: Generation = Generation { log: 7, nonce: 2 };

    fn sealed(generation: Generation, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        seal(generation, 9, payload, &mut out);
        out
    }

    fn frame(payload: &[u8]) -> Found {
        Found::Frame { number: 9, payload: payload.to_owned(), bytes: size(payload.len()) }
    }

    #[test]
    fn a_frame_reads_as_it_was_written_and_occupies_whole_blocks() {
        for length in [0, 1, CONTENT - HEAD, CONTENT - HEAD + 1, 2_048, 8 * CONTENT - HEAD, 8 * CONTENT, 50_000] {
            let payload: Vec<u8> = (0..length).map(|at| at.to_le_bytes()[0]).collect();
            let bytes = sealed(NOW, &payload);
            assert_eq!((bytes.len() % BLOCK, bytes.len()), (0, size(length)), "{length}");
            assert_eq!(read(NOW, &bytes), frame(&payload), "{length}");
        }
        assert_eq!((size(8 * CONTENT - HEAD), size(8 * CONTENT - HEAD + 1)), (BLOCK, 2 * BLOCK));
    }

    #[test]
    fn whatever_sectors_a_power_cut_loses_nothing_was_written() {
        let payload = b"some payload ".repeat(150);
        for before in [vec![0; BLOCK], sealed(EARLIER, &b"what was there before".repeat(100))] {
            let after = sealed(NOW, &payload);
            let sectors = (HEAD + payload.len()).div_ceil(CONTENT);
            for kept in 0..(1 << sectors) - 1_u32 {
                let mut torn = after.clone();
                for lost in (0..sectors).filter(|sector| kept & 1 << sector == 0) {
                    let range = lost * SECTOR..(lost + 1) * SECTOR;
                    torn[range.clone()].copy_from_slice(&before[range]);
                }
                assert_eq!(read(NOW, &torn), Found::Nothing, "{kept:b}");
            }
        }
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_damage() {
        let payload = b"some payload ".repeat(100);
        let good = sealed(NOW, &payload);
        let sectors = (HEAD + payload.len()).div_ceil(CONTENT);
        let used = HEAD + payload.len() + sectors * STAMP;
        for bit in 0..used * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(NOW, &bad), Found::Damage, "bit {bit}");
        }
    }

    #[test]
    fn what_an_earlier_use_left_is_no_frame() {
        let left = sealed(EARLIER, b"payload");
        assert_eq!(read(NOW, &left), Found::Nothing);
        assert_eq!(read(Generation { log: 8, ..NOW }, &sealed(NOW, b"payload")), Found::Nothing, "another store's");
        assert_eq!(read(NOW, &[0; BLOCK]), Found::Nothing);
        assert_eq!(read(NOW, &[]), Found::Nothing);
    }
}
