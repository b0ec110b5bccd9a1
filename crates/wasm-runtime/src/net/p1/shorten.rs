//! Long transfers of files move a part, as the calls of every system may. wasmtime-wasi refuses them with `ENOMEM`, because
//! it copies what they move, and programs take that for the end of their memory.

use super::memory::{bytes, u32_of};
use crate::ctx::CALL_BYTES_MAX;

/// What one call moves at most.
const TRANSFER_BYTES_MAX: u32 = 8 << 20;
// The list of buffers counts as well.
const _: () = assert!(TRANSFER_BYTES_MAX as usize * 2 <= CALL_BYTES_MAX);
/// A buffer in a list: its place and its length.
const ENTRY_BYTES: usize = 8;

/// Shortens the first buffer of a list that holds anything, which is the only one that wasmtime-wasi uses, and returns how
/// long it was; `None` if it can stay. What is wrong with a list is found by who reads it next.
pub(super) fn shorten(memory: &mut [u8], list: (i32, i32)) -> Option<u32> {
    let place = first_length(memory, list)?;
    let length = u32_of(place);
    (length > TRANSFER_BYTES_MAX).then(|| {
        place.copy_from_slice(&TRANSFER_BYTES_MAX.to_le_bytes());
        length
    })
}

/// Puts back what [`shorten`] has changed. The guest has not run in between.
pub(super) fn restore(memory: &mut [u8], list: (i32, i32), shortened: Option<u32>) {
    if let Some((length, place)) = shortened.zip(first_length(memory, list)) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

fn first_length(memory: &mut [u8], (at, count): (i32, i32)) -> Option<&mut [u8]> {
    let list_bytes = (count.cast_unsigned() as usize).checked_mul(ENTRY_BYTES)?;
    let list = bytes(memory, at, list_bytes).ok()?;
    let first = list.chunks_exact(ENTRY_BYTES).position(|entry| u32_of(&entry[4..]) > 0)?;
    let place = at.cast_unsigned() as usize + first * ENTRY_BYTES + 4;
    memory.get_mut(place..place + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(lengths: &[u32]) -> Vec<u8> {
        lengths.iter().flat_map(|length| [0, *length]).flat_map(u32::to_le_bytes).collect()
    }

    #[test]
    fn the_first_buffer_that_holds_anything_is_shortened_for_a_while() {
        let long = TRANSFER_BYTES_MAX + 1;
        let mut memory = list(&[0, long, long]);
        let shortened = shorten(&mut memory, (0, 3));
        assert_eq!(memory, list(&[0, TRANSFER_BYTES_MAX, long]));
        restore(&mut memory, (0, 3), shortened);
        assert_eq!(memory, list(&[0, long, long]));
    }

    #[test]
    fn what_is_short_and_what_is_no_list_stays() {
        for (lengths, place) in [(&[TRANSFER_BYTES_MAX][..], (0, 1)), (&[0, 0], (0, 2)), (&[u32::MAX], (4, 1))] {
            let mut memory = list(lengths);
            let shortened = shorten(&mut memory, place);
            assert_eq!((shortened, &memory), (None, &list(lengths)));
            restore(&mut memory, place, shortened);
            assert_eq!(memory, list(lengths));
        }
        assert_eq!(shorten(&mut list(&[u32::MAX]), (0, -1)), None, "the list ends outside of memory");
    }
}
