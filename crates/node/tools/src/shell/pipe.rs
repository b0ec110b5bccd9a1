//! What one part of a pipeline hands to the next: in memory, and once it is much, in a file without a name.

use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek, Write};

/// More than this waits in a file, or is an error where there is no `/tmp` to write to.
const MEMORY_MAX: usize = 16 << 20;
/// Commands that run side by side each have their own file for the moment that it has a name.
const NAMES_MAX: u32 = 1000;

/// Takes what is written until somebody reads it.
#[derive(Default)]
pub struct Pipe {
    held: Vec<u8>,
    file: Option<File>,
}

impl Pipe {
    /// Returns what was written, from its beginning.
    pub fn into_reader(self) -> io::Result<Box<dyn Read>> {
        let Some(mut file) = self.file else { return Ok(Box::new(Cursor::new(self.held))) };
        file.rewind()?;
        Ok(Box::new(file))
    }

    /// Returns what was written; `None` if that is more than a word may be.
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        self.file.is_none().then_some(self.held)
    }

    fn spill(&mut self) -> io::Result<&mut File> {
        let mut file = nameless()?;
        file.write_all(&self.held)?;
        self.held = Vec::new();
        Ok(self.file.insert(file))
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.file.is_none() && self.held.len() + bytes.len() <= MEMORY_MAX {
            self.held.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => self.spill()?.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn nameless() -> io::Result<File> {
    let refused = |error: io::Error| io::Error::other(format!("more than 16 MiB in a pipe, and /tmp: {error}"));
    for number in 0..NAMES_MAX {
        let path = format!("/tmp/.pipe-{number}");
        match File::options().read(true).write(true).create_new(true).open(&path) {
            Ok(file) => return fs::remove_file(&path).map(|()| file).map_err(refused),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(refused(error)),
        }
    }
    Err(refused(io::ErrorKind::AlreadyExists.into()))
}
