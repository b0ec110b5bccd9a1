//! One line of a log file (CRI format): `2026-01-02T03:04:05.000000006Z stdout F text`. `P` marks a piece of a line.

use jiff::Timestamp;

/// Which stream was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A line of the file, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// When it was written, as text.
    pub time: &'a str,
    /// To which stream.
    pub stream: Stream,
    /// Whether the guest's line goes on in the next entry.
    pub is_partial: bool,
    /// What was written, without the newline.
    pub text: &'a [u8],
}

/// Appends an entry to `file`.
pub fn write(file: &mut Vec<u8>, time: Timestamp, stream: Stream, is_partial: bool, text: &[u8]) {
    let tag = if is_partial { 'P' } else { 'F' };
    // Nine digits always: lines sort as text, and every reader finds the same columns.
    file.extend_from_slice(format!("{time:.9} {} {tag} ", stream.name()).as_bytes());
    file.extend_from_slice(text);
    file.push(b'\n');
}

/// Takes a line apart; `None` if it is none of ours (a torn write at a power cut).
pub fn parse(line: &[u8]) -> Option<Entry<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(fields.next()?).ok()?;
    let stream = match fields.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let is_partial = match fields.next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    Some(Entry { time, stream, is_partial, text: fields.next()? })
}

impl Entry<'_> {
    /// Whether it was written at `since` or later. Lines without a readable time count as new.
    pub fn is_since(&self, since: Timestamp) -> bool {
        self.time.parse::<Timestamp>().map_or(true, |time| time >= since)
    }
}

/// Splits a guest's writes into lines: whole lines at once, the beginning of the next one kept.
#[derive(Debug, Default)]
pub struct Splitter {
    rest: Vec<u8>,
}

/// A line longer than this is stored in pieces (containerd's `max_container_log_line_size`).
const LINE_BYTES_MAX: usize = 16 * 1024;

impl Splitter {
    /// Takes some bytes; calls `emit` with every piece that is ready and whether its line goes on.
    pub fn take(&mut self, mut bytes: &[u8], mut emit: impl FnMut(&[u8], bool)) {
        while let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
            self.append(&bytes[..at], &mut emit);
            emit(&self.rest, false);
            self.rest.clear();
            bytes = &bytes[at + 1..];
        }
        self.append(bytes, &mut emit);
    }

    /// Ends the stream: what is left of a line without newline is a piece.
    pub fn end(&mut self, mut emit: impl FnMut(&[u8], bool)) {
        if !self.rest.is_empty() {
            emit(&self.rest, true);
            self.rest.clear();
        }
    }

    fn append(&mut self, mut bytes: &[u8], emit: &mut impl FnMut(&[u8], bool)) {
        while self.rest.len() + bytes.len() > LINE_BYTES_MAX {
            let (now, later) = bytes.split_at(LINE_BYTES_MAX - self.rest.len());
            self.rest.extend_from_slice(now);
            emit(&self.rest, true);
            self.rest.clear();
            bytes = later;
        }
        self.rest.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(writes: &[&[u8]]) -> Vec<(usize, bool)> {
        let mut pieces = Vec::new();
        let mut splitter = Splitter::default();
        for write in writes {
            splitter.take(write, |piece, goes_on| pieces.push((piece.len(), goes_on)));
        }
        splitter.end(|piece, goes_on| pieces.push((piece.len(), goes_on)));
        pieces
    }

    #[test]
    fn an_entry_reads_back_as_written() {
        let mut file = Vec::new();
        write(&mut file, "2026-01-02T03:04:05.000000006Z".parse().unwrap(), Stream::Stderr, true, b"a b  c");
        assert_eq!(file, b"2026-01-02T03:04:05.000000006Z stderr P a b  c\n");
        let entry = parse(&file).unwrap();
        assert_eq!(
            entry,
            Entry { time: "2026-01-02T03:04:05.000000006Z", stream: Stream::Stderr, is_partial: true, text: b"a b  c" }
        );
    }

    #[test]
    fn times_have_nine_digits_even_on_the_second() {
        let mut file = Vec::new();
        write(&mut file, Timestamp::UNIX_EPOCH, Stream::Stdout, false, b"");
        assert_eq!(file, b"1970-01-01T00:00:00.000000000Z stdout F \n");
        assert_eq!(parse(&file).unwrap().text, b"");
    }

    #[test]
    fn torn_lines_are_no_entries() {
        for line in
            [&b""[..], b"2026", b"2026-01-02T03:04:05Z stdout", b"2026-01-02T03:04:05Z stdin F x", b"t stdout X x"]
        {
            assert_eq!(parse(line), None);
        }
    }

    #[test]
    fn lines_are_put_together_from_writes() {
        assert_eq!(split(&[b"ab", b"c\nd", b"\n\n"]), [(3, false), (1, false), (0, false)]);
    }

    #[test]
    fn the_end_without_newline_is_a_piece() {
        assert_eq!(split(&[b"a\nbc"]), [(1, false), (2, true)]);
    }

    #[test]
    fn a_long_line_is_stored_in_pieces() {
        let mut line = vec![b'x'; 2 * LINE_BYTES_MAX + 5];
        line.push(b'\n');
        assert_eq!(split(&[&line]), [(LINE_BYTES_MAX, true), (LINE_BYTES_MAX, true), (5, false)]);
        let exact = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(split(&[&exact, b"\n"]), [(LINE_BYTES_MAX, false)]);
    }

    #[test]
    fn a_line_that_never_ends_is_not_kept() {
        let (mut splitter, mut pieces) = (Splitter::default(), 0);
        for _ in 0..1600 {
            splitter.take(&vec![b'x'; 64 << 10], |piece, goes_on| {
                assert_eq!((piece.len(), goes_on), (LINE_BYTES_MAX, true));
                pieces += 1;
            });
            assert!(splitter.rest.capacity() <= 2 * LINE_BYTES_MAX, "{} bytes", splitter.rest.capacity());
        }
        assert_eq!(pieces, (100 << 20) / LINE_BYTES_MAX - 1, "all but the last, which may be the end of its line");
    }

    #[test]
    fn since_compares_instants_not_text() {
        let entry = parse(b"2026-01-02T03:04:05.5Z stdout F x").unwrap();
        assert!(entry.is_since("2026-01-02T03:04:05Z".parse().unwrap()));
        assert!(!entry.is_since("2026-01-02T03:04:06Z".parse().unwrap()));
    }
}
