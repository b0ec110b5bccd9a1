//! The least that a terminal does between a person and a program, since WebAssembly has no terminals
//! (`drivers/tty/n_tty.c` of Linux, in cooked mode). Pure.
//!
//! A client that was promised a terminal has put its own into raw mode: it sends each key as it is pressed and prints
//! what it gets as it is. So somebody has to echo, to edit the line, to end input at Ctrl-D, and to return the carriage.

/// Longer lines keep their beginning (`N_TTY_BUF_SIZE`).
const LINE_BYTES_MAX: usize = 4096;

const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const CTRL_U: u8 = 0x15;
const DELETE: u8 = 0x7f;

/// A line under way.
#[derive(Debug, Default)]
pub(super) struct Terminal {
    line: Vec<u8>,
}

/// What a program reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// A line, or the beginning of one that Ctrl-D cut off.
    Text(Vec<u8>),
    /// Ctrl-D on an empty line.
    End,
    /// Ctrl-C.
    Interrupt,
}

impl Terminal {
    /// Takes keys. Returns what the program reads of them, and what the person sees.
    pub(super) fn press(&mut self, keys: &[u8]) -> (Vec<Typed>, Vec<u8>) {
        let (mut typed, mut echo) = (Vec::new(), Vec::new());
        for key in keys {
            match *key {
                b'\r' | b'\n' => {
                    self.line.push(b'\n');
                    echo.extend_from_slice(b"\r\n");
                    typed.push(Typed::Text(std::mem::take(&mut self.line)));
                }
                CTRL_C => {
                    self.line.clear();
                    echo.extend_from_slice(b"^C\r\n");
                    typed.push(Typed::Interrupt);
                }
                CTRL_D if self.line.is_empty() => typed.push(Typed::End),
                CTRL_D => typed.push(Typed::Text(std::mem::take(&mut self.line))),
                BACKSPACE | DELETE => self.erase(&mut echo),
                CTRL_U => {
                    while !self.line.is_empty() {
                        self.erase(&mut echo);
                    }
                }
                key if self.line.len() < LINE_BYTES_MAX - 1 => {
                    self.line.push(key);
                    match key {
                        b'\t' | b' '.. => echo.push(key),
                        control => echo.extend_from_slice(&[b'^', control + b'@']),
                    }
                }
                _ => {}
            }
        }
        (typed, echo)
    }

    /// Takes the last character back: all bytes of one in UTF-8, both columns of a control character.
    fn erase(&mut self, echo: &mut Vec<u8>) {
        while let Some(byte) = self.line.pop() {
            if is_continuation(byte) {
                continue;
            }
            let columns = if byte < b' ' && byte != b'\t' { 2 } else { 1 };
            echo.extend_from_slice(&b"\x08 \x08".repeat(columns));
            return;
        }
    }

    /// Returns what a person sees of what a program prints.
    pub(super) fn shown(printed: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(printed.len() + 16);
        for byte in printed {
            if *byte == b'\n' {
                shown.push(b'\r');
            }
            shown.push(*byte);
        }
        shown
    }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program reads, and what the person sees.
    fn check(keys: &str) -> (String, String) {
        let (typed, echo) = Terminal::default().press(keys.as_bytes());
        let typed = typed.into_iter().map(|typed| match typed {
            Typed::Text(text) => String::from_utf8(text).unwrap(),
            Typed::End => "<end>".to_owned(),
            Typed::Interrupt => "<interrupt>".to_owned(),
        });
        (typed.collect(), String::from_utf8(echo).unwrap())
    }

    fn pair(read: &str, seen: &str) -> (String, String) {
        (read.to_owned(), seen.to_owned())
    }

    #[test]
    fn a_line_is_read_when_it_is_whole_and_seen_at_once() {
        assert_eq!(check("ls"), pair("", "ls"));
        assert_eq!(check("ls\rx"), pair("ls\n", "ls\r\nx"));
    }

    #[test]
    fn a_line_can_be_edited_before_the_program_reads_it() {
        assert_eq!(check("lx\x7fs\r"), pair("ls\n", "lx\x08 \x08s\r\n"));
        assert_eq!(check("ä\x7f\r"), pair("\n", "ä\x08 \x08\r\n"), "a character, not a byte");
        assert_eq!(check("\x7f\r"), pair("\n", "\r\n"), "nothing to erase");
        assert_eq!(check("ab\x15c\r").0, "c\n");
        assert_eq!(check("\x1b\x7f\r"), pair("\n", "^[\x08 \x08\x08 \x08\r\n"));
    }

    #[test]
    fn control_d_ends_an_empty_line_and_hands_over_another() {
        assert_eq!(check("\x04"), pair("<end>", ""));
        assert_eq!(check("ab\x04"), pair("ab", "ab"));
        assert_eq!(check("ab\x04\x04").0, "ab<end>");
    }

    #[test]
    fn control_c_interrupts_and_forgets_the_line() {
        assert_eq!(check("ab\x03c\r"), pair("<interrupt>c\n", "ab^C\r\nc\r\n"));
    }

    #[test]
    fn a_line_keeps_its_beginning() {
        let (read, _) = check(&format!("{}\r", "x".repeat(10_000)));
        assert_eq!(read.len(), LINE_BYTES_MAX);
    }

    #[test]
    fn printed_lines_return_the_carriage() {
        assert_eq!(Terminal::shown(b"a\nb\r\nc"), b"a\r\nb\r\r\nc");
    }
}
