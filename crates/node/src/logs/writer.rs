//! `LogWriter`: where a guest's output goes. Called from guest threads, so it uses plain files.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::entry::{self, Splitter, Stream};
use super::{FILE_BYTES_MAX, FILES_MAX, Logs, rotated};
use crate::runtime::Output;

/// How many log files a node keeps open. A process may have 1,024 files by default on many systems, and a node has
/// more pods than that; the others open their file for each write.
const OPEN_MAX: usize = 256;

/// Writes the log of one attempt of a container.
#[derive(Debug)]
pub struct LogWriter {
    path: PathBuf,
    logs: Logs,
    written: watch::Sender<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stdout: Splitter,
    stderr: Splitter,
    file: Option<File>,
    size: Option<u64>,
    /// The first failure is logged, the rest would be the same.
    has_failed: bool,
}

impl LogWriter {
    pub(super) fn new(path: PathBuf, logs: Logs, written: watch::Sender<()>) -> Self {
        Self { path, logs, written, state: Mutex::default() }
    }

    /// Takes some bytes, not necessarily a whole line.
    pub fn write(&self, stream: Stream, bytes: &[u8]) {
        let now = self.logs.clock.now();
        let mut entries = Vec::new();
        let mut state = self.state.lock();
        let splitter = match stream {
            Stream::Stdout => &mut state.stdout,
            Stream::Stderr => &mut state.stderr,
        };
        splitter.take(bytes, |piece, goes_on| entry::write(&mut entries, now, stream, goes_on, piece));
        self.append(&mut state, &entries);
    }

    fn append(&self, state: &mut State, entries: &[u8]) {
        if entries.is_empty() {
            return;
        }
        if let Err(error) = self.try_append(state, entries)
            && !std::mem::replace(&mut state.has_failed, true)
        {
            tracing::error!(path = %self.path.display(), %error, "cannot write a container's log; its output is lost");
        }
        self.written.send_replace(());
    }

    fn try_append(&self, state: &mut State, entries: &[u8]) -> io::Result<()> {
        let size = match state.size {
            Some(size) => size,
            None => std::fs::metadata(&self.path).map_or(0, |file| file.len()),
        };
        if size > FILE_BYTES_MAX {
            self.close(state);
            self.rotate();
            state.size = Some(0);
        }
        if state.file.is_none() {
            state.file = Some(self.open()?);
        }
        let Some(file) = &mut state.file else { return Ok(()) };
        file.write_all(entries)?;
        state.size = Some(state.size.unwrap_or(size) + entries.len() as u64);
        if self.logs.open.load(Ordering::Relaxed) > OPEN_MAX {
            self.close(state);
        }
        Ok(())
    }

    fn open(&self) -> io::Result<File> {
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let file = OpenOptions::new().append(true).create(true).open(&self.path)?;
        self.logs.open.fetch_add(1, Ordering::Relaxed);
        Ok(file)
    }

    fn close(&self, state: &mut State) {
        if state.file.take().is_some() {
            self.logs.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Ages every file by one; the oldest falls out.
    fn rotate(&self) {
        for age in (1..FILES_MAX - 1).rev() {
            let _ = std::fs::rename(rotated(&self.path, age), rotated(&self.path, age + 1));
        }
        let _ = std::fs::rename(&self.path, rotated(&self.path, 1));
    }
}

impl Output for LogWriter {
    fn write(&self, stream: Stream, bytes: &[u8]) {
        self.write(stream, bytes);
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let now = self.logs.clock.now();
        let mut entries = Vec::new();
        let mut state = self.state.lock();
        state.stdout.end(|piece, goes_on| entry::write(&mut entries, now, Stream::Stdout, goes_on, piece));
        state.stderr.end(|piece, goes_on| entry::write(&mut entries, now, Stream::Stderr, goes_on, piece));
        self.append(&mut state, &entries);
        self.close(&mut state);
        self.logs.live.lock().remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use wkube_base::Clock;

    use super::*;

    #[test]
    fn files_are_rotated_and_the_oldest_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::new(&Clock::manual(jiff::Timestamp::UNIX_EPOCH));
        let writer = logs.writer(dir.path(), 0);
        let line = vec![b'x'; 1 << 20];
        for _ in 0..80 {
            writer.write(Stream::Stdout, &line);
            writer.write(Stream::Stdout, b"\n");
        }
        drop(writer);
        let mut names: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["0.log", "0.log.1", "0.log.2", "0.log.3", "0.log.4"]);
        assert!(std::fs::metadata(dir.path().join("0.log.4")).unwrap().len() > FILE_BYTES_MAX);
        assert_eq!(logs.open.load(Ordering::Relaxed), 0, "nothing stays open");
    }

    #[test]
    fn a_second_life_appends_to_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::new(&Clock::manual(jiff::Timestamp::UNIX_EPOCH));
        for text in [&b"one\n"[..], b"two"] {
            logs.writer(dir.path(), 3).write(Stream::Stderr, text);
        }
        let text = std::fs::read_to_string(dir.path().join("3.log")).unwrap();
        let epoch = "1970-01-01T00:00:00.000000000Z";
        assert_eq!(text, format!("{epoch} stderr F one\n{epoch} stderr P two\n"));
    }
}
