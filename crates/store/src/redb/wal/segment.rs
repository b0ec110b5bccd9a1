//! A segment: a header that says whose it is, and frames one behind the other. Pure.
//!
//! ```text
//! "wkubewal" | version u32 | log u64 | nonce u64 | length u64 | sum u64 | zeros up to a block | frame | frame | ...
//! ```
//! The header is written together with the first frame, so a power cut may leave the header of an earlier use, whose frames
//! have all been applied.

use xxhash_rust::xxh3::xxh3_64;

use super::frame::{self, BLOCK, Found, Generation};

const MAGIC: &[u8; 8] = b"wkubewal";
const VERSION: u32 = 1;
const SUMMED: usize = 8 + 4 + 8 + 8 + 8;
const HEADER: usize = SUMMED + 8;
/// What precedes the first frame.
pub(super) const FRAMES_FROM: usize = BLOCK;

/// Something in a segment, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    Frame {
        number: u64,
        payload: Vec<u8>,
    },
    /// No frame, where one may have been.
    Hole {
        is_damaged: bool,
    },
}

/// Why a segment cannot be read at all.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// Its header is not as it was written.
    Header,
    /// It belongs to another store.
    Alien,
    /// It was longer.
    CutOff,
}

/// Returns the block that begins a segment of that length.
pub(super) fn header(generation: Generation, length: u64) -> Vec<u8> {
    let mut block = MAGIC.to_vec();
    block.extend(VERSION.to_le_bytes());
    block.extend(generation.log.to_le_bytes());
    block.extend(generation.nonce.to_le_bytes());
    block.extend(length.to_le_bytes());
    block.extend(xxh3_64(&block).to_le_bytes());
    block.resize(BLOCK, 0);
    block
}

/// Returns everything in a segment of `log`, in order; nothing if it has never been used.
pub(super) fn read(log: u64, bytes: &[u8]) -> Result<Vec<Item>, Bad> {
    let Some(head) = bytes.get(..HEADER) else { return Ok(Vec::new()) };
    if head.iter().all(|byte| *byte == 0) {
        return Ok(Vec::new());
    }
    let number = |at: usize| head[at..at + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    if !head.starts_with(MAGIC) || head[8..12] != VERSION.to_le_bytes() || number(SUMMED) != xxh3_64(&head[..SUMMED]) {
        return Err(Bad::Header);
    }
    let generation = Generation { log: number(12), nonce: number(20) };
    if generation.log != log {
        return Err(Bad::Alien);
    }
    if number(28) > bytes.len() as u64 {
        return Err(Bad::CutOff);
    }
    Ok(items(generation, bytes))
}

fn items(generation: Generation, bytes: &[u8]) -> Vec<Item> {
    let (mut items, mut at) = (Vec::new(), FRAMES_FROM);
    let found_at = |at: usize| frame::read(generation, bytes.get(at..).unwrap_or_default());
    loop {
        let is_damaged = match found_at(at) {
            Found::Frame { number, payload, bytes } => {
                items.push(Item::Frame { number, payload });
                at += bytes;
                continue;
            }
            Found::Nothing => false,
            Found::Damage => true,
        };
        items.push(Item::Hole { is_damaged });
        // Is there anything behind it? Nobody writes a frame before the one before it is durable.
        let behind = (at + BLOCK..bytes.len()).step_by(BLOCK);
        match behind.into_iter().find(|at| matches!(found_at(*at), Found::Frame { .. })) {
            Some(next) => at = next,
            None => return items,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Generation = Generation { log: 7, nonce: 1 };

    fn segment(frames: &[(u64, &str)]) -> Vec<u8> {
        let length = (1 + frames.len() + 3) * BLOCK;
        let mut bytes = header(NOW, length as u64);
        for (number, payload) in frames {
            frame::seal(NOW, *number, payload.as_bytes(), &mut bytes);
        }
        bytes.resize(length, 0);
        bytes
    }

    fn shown(bytes: &[u8]) -> String {
        let show = |item: &Item| match item {
            Item::Frame { number, payload } => format!("{number}={}", String::from_utf8_lossy(payload)),
            Item::Hole { is_damaged } => if *is_damaged { "damage" } else { "nothing" }.to_owned(),
        };
        read(7, bytes).expect("ours").iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn frames_are_found_in_order_and_end_where_nothing_was_written() {
        assert_eq!(shown(&segment(&[(4, "a"), (5, "b")])), "4=a 5=b nothing");
        assert_eq!(shown(&segment(&[])), "nothing");
        assert_eq!(shown(&[0; 2 * BLOCK]), "", "never used");
        assert_eq!(shown(b"wku"), "", "cut off while it was made");
    }

    #[test]
    fn a_frame_behind_a_hole_is_found() {
        let good = segment(&[(4, "a"), (5, "b"), (6, "c")]);
        let mut bad = good.clone();
        bad[2 * BLOCK + 20] ^= 1;
        assert_eq!(shown(&bad), "4=a damage 6=c nothing");
        let mut lost = good;
        lost[2 * BLOCK..3 * BLOCK].fill(0);
        assert_eq!(shown(&lost), "4=a nothing 6=c nothing");
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let good = segment(&[(4, "a")]);
        for bit in 0..HEADER * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(7, &bad), Err(Bad::Header), "bit {bit}");
        }
        assert_eq!(read(8, &good), Err(Bad::Alien));
        assert_eq!(read(7, &good[..good.len() - 1]), Err(Bad::CutOff));
    }
}
