//! Where input comes from and complaints go: the process's own streams, unless a shell has put something in their place.

use std::cell::RefCell;
use std::fmt::Arguments;
use std::io::{self, Read, Write};

/// Where complaints go.
pub enum Errors {
    /// To standard error.
    Own,
    /// Into a file.
    Into(Box<dyn Write>),
    /// Into memory, for whoever writes the output.
    Kept(Vec<u8>),
}

thread_local! {
    static INPUT: RefCell<Option<Box<dyn Read>>> = const { RefCell::new(None) };
    static ERRORS: RefCell<Errors> = const { RefCell::new(Errors::Own) };
}

/// Puts another input in place and returns the one before; `None` is the process's own.
pub fn replace_input(input: Option<Box<dyn Read>>) -> Option<Box<dyn Read>> {
    INPUT.with_borrow_mut(|here| std::mem::replace(here, input))
}

/// Puts another place for complaints and returns the one before.
pub fn replace_errors(errors: Errors) -> Errors {
    ERRORS.with_borrow_mut(|here| std::mem::replace(here, errors))
}

/// Reads what a tool reads.
pub struct Input;

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        INPUT.with_borrow_mut(|input| match input {
            Some(input) => input.read(buffer),
            None => io::stdin().lock().read(buffer),
        })
    }
}

/// Reads one line with its end, byte by byte where others read on behind it; `None` at the end.
pub fn line() -> Option<String> {
    let mut line = Vec::new();
    let is_own = INPUT.with_borrow(Option::is_none);
    if is_own {
        io::BufRead::read_until(&mut io::stdin().lock(), b'\n', &mut line).ok()?;
    } else {
        let mut byte = [0];
        while line.last() != Some(&b'\n') && Input.read(&mut byte).ok()? == 1 {
            line.push(byte[0]);
        }
    }
    (!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned())
}

/// Says what went wrong, in a line.
pub fn complain(what: Arguments<'_>) {
    ERRORS.with_borrow_mut(|errors| {
        // Whoever cannot hear it cannot be told either.
        let _ = match errors {
            Errors::Own => writeln!(io::stderr(), "{what}"),
            Errors::Into(file) => writeln!(file, "{what}"),
            Errors::Kept(kept) => writeln!(kept, "{what}"),
        };
    });
}
