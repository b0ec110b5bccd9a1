//! Reading and writing the memory of a preview 1 guest. Every pointer is the guest's and may be wrong.

use wasmtime::{Caller, Extern};

use super::errno::{Errno, Failure};
use crate::ctx::Ctx;

/// As many buffers as Linux takes in one call (`IOV_MAX`).
const BUFFERS_MAX: usize = 1_024;

/// Returns the guest's memory and what else the store has.
pub(super) fn split<'a>(caller: &'a mut Caller<'_, Ctx>) -> wasmtime::Result<(&'a mut [u8], &'a mut Ctx)> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory.data_and_store_mut(caller)),
        _ => Err(wasmtime::format_err!("missing required memory export")),
    }
}

/// Returns the `length` bytes at `at`. Addresses are unsigned, whatever the call's type says.
pub(super) fn bytes(memory: &[u8], at: i32, length: usize) -> Result<&[u8], Errno> {
    let at = at.cast_unsigned() as usize;
    let end = at.checked_add(length).ok_or(Errno::Fault)?;
    memory.get(at..end).ok_or(Errno::Fault)
}

/// Writes `value` at `at`.
pub(super) fn write(memory: &mut [u8], at: i32, value: &[u8]) -> Result<(), Failure> {
    let at = at.cast_unsigned() as usize;
    let place = memory.get_mut(at..).and_then(|rest| rest.get_mut(..value.len()));
    place.ok_or(Errno::Fault)?.copy_from_slice(value);
    Ok(())
}

/// Returns the number that `bytes` is, in the guest's byte order.
pub(super) fn u32_of(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The buffers that a call names, each a place in the guest's memory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Buffers(Vec<(usize, usize)>);

impl Buffers {
    /// Reads the list, and checks that every buffer is in memory.
    pub(super) fn read(memory: &[u8], (at, count): (i32, i32)) -> Result<Self, Errno> {
        let count = count.cast_unsigned() as usize;
        if count > BUFFERS_MAX {
            return Err(Errno::Inval);
        }
        let list = bytes(memory, at, count * 8)?;
        let buffers = list.chunks_exact(8).map(|entry| {
            let (at, length) = (u32_of(entry) as usize, u32_of(&entry[4..]) as usize);
            // Both fit into 32 bits, so their sum fits here.
            if at + length <= memory.len() { Ok((at, length)) } else { Err(Errno::Fault) }
        });
        buffers.collect::<Result<_, _>>().map(Self)
    }

    /// Returns how many bytes they hold together.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|(_, length)| length).sum()
    }

    /// Copies up to `max` bytes out of the guest.
    pub(super) fn gather(&self, memory: &[u8], max: usize) -> Result<Vec<u8>, Errno> {
        let mut gathered = Vec::with_capacity(max.min(self.len()));
        for &(at, length) in &self.0 {
            let length = length.min(max - gathered.len());
            gathered.extend_from_slice(memory.get(at..at + length).ok_or(Errno::Fault)?);
        }
        Ok(gathered)
    }

    /// Copies `bytes` into the guest, after the first `skip` bytes of the buffers.
    pub(super) fn scatter(&self, memory: &mut [u8], mut skip: usize, mut bytes: &[u8]) -> Result<(), Errno> {
        for &(at, length) in &self.0 {
            let skipped = skip.min(length);
            skip -= skipped;
            let count = (length - skipped).min(bytes.len());
            let (now, later) = bytes.split_at(count);
            let place = memory.get_mut(at + skipped..at + skipped + count);
            place.ok_or(Errno::Fault)?.copy_from_slice(now);
            bytes = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A memory with a list of two buffers at 0: three bytes at 32, five at 40.
    fn memory() -> Vec<u8> {
        let mut memory = vec![0; 64];
        for (place, value) in [32_u32, 3, 40, 5].into_iter().enumerate() {
            memory[place * 4..place * 4 + 4].copy_from_slice(&value.to_le_bytes());
        }
        memory
    }

    #[test]
    fn bytes_are_spread_over_the_buffers_and_collected_again() {
        let mut memory = memory();
        let buffers = Buffers::read(&memory, (0, 2)).unwrap();
        assert_eq!(buffers.len(), 8);
        buffers.scatter(&mut memory, 0, b"ab").unwrap();
        buffers.scatter(&mut memory, 2, b"cdefgh").unwrap();
        assert_eq!((&memory[32..35], &memory[40..45]), (&b"abc"[..], &b"defgh"[..]));
        assert_eq!(buffers.gather(&memory, 100).unwrap(), b"abcdefgh");
        assert_eq!(buffers.gather(&memory, 4).unwrap(), b"abcd");
    }

    #[test]
    fn a_list_or_a_buffer_outside_of_memory_is_a_fault() {
        let mut memory = memory();
        assert_eq!(Buffers::read(&memory, (60, 1)), Err(Errno::Fault), "the list ends outside");
        assert_eq!(Buffers::read(&memory, (-1, 1)), Err(Errno::Fault), "the list is at the end of the address space");
        memory[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Buffers::read(&memory, (0, 1)), Err(Errno::Fault), "the buffer ends outside");
        assert_eq!(Buffers::read(&memory, (0, -1)), Err(Errno::Inval), "more buffers than any call takes");
    }

    #[test]
    fn values_are_written_inside_of_memory_only() {
        let mut memory = memory();
        assert!(write(&mut memory, 60, &[1; 4]).is_ok());
        assert!(write(&mut memory, 61, &[1; 4]).is_err());
        assert!(write(&mut memory, -4, &[1; 4]).is_err());
    }
}
