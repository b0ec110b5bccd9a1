//! Replaces parts of a binary and keeps the rest byte by byte.

use std::borrow::Cow;
use std::ops::Range;

use wasm_encoder::Encode as _;
use wasmparser::{BinaryReader, BinaryReaderError};

/// Magic and version.
const HEADER_BYTES: usize = 8;

/// Bytes of which some are replaced, from front to back.
pub(super) struct Edit<'a> {
    before: &'a [u8],
    /// How far `before` has been taken over.
    taken: usize,
    output: Vec<u8>,
}

impl<'a> Edit<'a> {
    pub(super) fn new(before: &'a [u8]) -> Self {
        Self { before, taken: 0, output: Vec::new() }
    }

    /// Puts what `write` writes in the place of `range`.
    pub(super) fn replace(&mut self, range: Range<usize>, write: impl FnOnce(&mut Vec<u8>)) {
        debug_assert!(self.taken <= range.start && range.start < range.end, "from front to back, and never nothing");
        self.output.extend_from_slice(&self.before[self.taken..range.start]);
        write(&mut self.output);
        self.taken = range.end;
    }

    /// Returns the bytes as they are now: the same ones if nothing was replaced.
    pub(super) fn finish(mut self) -> Cow<'a, [u8]> {
        if self.taken == 0 {
            return Cow::Borrowed(self.before);
        }
        self.output.extend_from_slice(&self.before[self.taken..]);
        Cow::Owned(self.output)
    }
}

/// A section of a module or component.
pub(super) struct Section<'a> {
    pub(super) id: u8,
    pub(super) content: &'a [u8],
    /// Where it is, with its header.
    pub(super) range: Range<usize>,
}

impl Section<'_> {
    /// Returns a reader of the content that says where in the whole binary something is wrong.
    pub(super) fn reader(&self) -> BinaryReader<'_> {
        BinaryReader::new(self.content, self.range.end - self.content.len())
    }

    /// Writes the section with another content.
    pub(super) fn encode_with(&self, content: &[u8], output: &mut Vec<u8>) {
        output.push(self.id);
        content.encode(output);
    }

    /// Writes the section, which is a vector, with `added` more entries at its end.
    pub(super) fn encode_longer(&self, added: usize, entries: &[u8], output: &mut Vec<u8>) {
        let mut reader = self.reader();
        let count = reader.read_var_u32().unwrap_or(u32::MAX);
        let mut content = Vec::new();
        count.saturating_add(u32::try_from(added).unwrap_or(u32::MAX)).encode(&mut content);
        content.extend_from_slice(&self.content[reader.current_position()..]);
        content.extend_from_slice(entries);
        self.encode_with(&content, output);
    }
}

/// Returns the sections of a module or component, from front to back.
pub(super) fn sections(wasm: &[u8]) -> impl Iterator<Item = Result<Section<'_>, BinaryReaderError>> {
    sections_after(wasm, HEADER_BYTES)
}

/// Returns the sections behind `header` bytes; none if there are fewer.
pub(super) fn sections_after(
    bytes: &[u8],
    header: usize,
) -> impl Iterator<Item = Result<Section<'_>, BinaryReaderError>> {
    let mut reader = BinaryReader::new(bytes, 0);
    let mut is_over = reader.read_bytes(header).is_err();
    std::iter::from_fn(move || {
        if is_over || reader.eof() {
            return None;
        }
        let section = read_section(&mut reader);
        is_over = section.is_err();
        Some(section)
    })
}

fn read_section<'a>(reader: &mut BinaryReader<'a>) -> Result<Section<'a>, BinaryReaderError> {
    let start = reader.original_position();
    let id = reader.read_u8()?;
    let size = reader.read_var_u32()?;
    let content = reader.read_bytes(size as usize)?;
    Ok(Section { id, content, range: start..reader.original_position() })
}
