//! Writes events to a file or to standard output, and rotates the file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::error;
use wkube_base::Clock;

use super::Options;
use super::event::Event;
use super::rotate::{self, Keep};

/// Events in one write.
const BATCH: usize = 400;
/// `--audit-log-maxsize` if nobody says.
const MEGABYTES: u64 = 100;

/// Where lines go.
pub(super) enum Sink {
    Stdout,
    File(Rotated),
}

/// A file that is put away when it is full.
pub(super) struct Rotated {
    file: File,
    path: PathBuf,
    size: u64,
    size_max: u64,
    keep: Keep,
}

impl Sink {
    /// Opens the log; what is in it stays.
    pub(super) fn open(options: &Options) -> io::Result<Self> {
        if options.path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let file = append(&options.path)?;
        let size = file.metadata()?.len();
        let megabytes = if options.max_size == 0 { MEGABYTES } else { options.max_size.into() };
        let keep = Keep { days: options.max_age, files: options.max_backups };
        Ok(Self::File(Rotated { file, path: options.path.clone(), size, size_max: megabytes << 20, keep }))
    }

    fn write(&mut self, lines: &[u8], clock: &Clock) -> io::Result<()> {
        match self {
            Self::Stdout => io::stdout().lock().write_all(lines),
            Self::File(file) => file.write(lines, clock),
        }
    }
}

impl Rotated {
    fn write(&mut self, lines: &[u8], clock: &Clock) -> io::Result<()> {
        if self.size > 0 && self.size + lines.len() as u64 > self.size_max {
            self.rotate(clock)?;
        }
        self.file.write_all(lines)?;
        self.size += lines.len() as u64;
        Ok(())
    }

    fn rotate(&mut self, clock: &Clock) -> io::Result<()> {
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let now = clock.now();
        std::fs::rename(&self.path, folder.join(rotate::backup(&name, now)))?;
        self.file = append(&self.path)?;
        self.size = 0;
        let entries = std::fs::read_dir(&folder)?.filter_map(Result::ok);
        let files: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        for file in rotate::surplus(&name, &files, self.keep, now) {
            std::fs::remove_file(folder.join(file))?;
        }
        Ok(())
    }
}

/// It names secrets' names and everybody's doings: only its owner may read it.
fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Writes until the owner stops, and then what is left.
pub(super) async fn write(
    sink: Sink,
    mut events: mpsc::Receiver<Event>,
    queued_bytes: Arc<AtomicUsize>,
    clock: Clock,
    stopping: CancellationToken,
) {
    let mut sink = Some(sink);
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            read = events.recv_many(&mut batch, BATCH) => if read == 0 { return },
            // The last requests are answered while we stop: what is there by then is written, later ones are not.
            () = stopping.cancelled() => events.close(),
        }
        let Some(mut own) = sink.take() else { return };
        let (clock, queued_bytes) = (clock.clone(), queued_bytes.clone());
        let written = tokio::task::spawn_blocking(move || {
            let mut lines = Vec::new();
            for event in batch {
                queued_bytes.fetch_sub(event.bytes(), Ordering::Relaxed);
                event.write(&mut lines);
            }
            if let Err(error) = own.write(&lines, &clock) {
                error!(%error, "the audit log cannot be written");
            }
            own
        });
        sink = written.await.ok();
    }
}
