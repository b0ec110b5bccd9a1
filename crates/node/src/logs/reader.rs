//! Reads a log back, and goes on with what is written later: a stream of bytes with the reader's filters applied.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::Stream;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, AsyncSeekExt as _, BufReader};
use tokio::sync::watch;

use super::{FILES_MAX, Logs, Query, entry, rotated};

/// How much is put into one piece of the answer.
const CHUNK_BYTES: usize = 32 * 1024;

/// Reads one attempt's log.
pub struct Reader {
    query: Query,
    path: PathBuf,
    /// Files still to be read, the next one last.
    files: Vec<PathBuf>,
    open: Option<BufReader<File>>,
    /// The beginning of a line whose rest has not been written yet.
    line: Vec<u8>,
    /// Entries to pass over, so that only the tail remains.
    skip: usize,
    budget: u64,
    changes: Option<watch::Receiver<()>>,
}

impl Reader {
    /// Opens the log at `path`.
    ///
    /// # Errors
    /// If the file is not there or cannot be read.
    pub async fn open(logs: &Logs, path: &Path, query: Query) -> io::Result<Self> {
        let changes = if query.follow { logs.changes(path) } else { None };
        let mut files = vec![path.to_owned()];
        files.extend((1..FILES_MAX).map(|age| rotated(path, age)).take_while(|file| file.exists()));
        if files.len() == 1 && changes.is_none() && !tokio::fs::try_exists(path).await? {
            // A container that has printed nothing has no file; its log is empty.
            files.clear();
        }
        let skip = match query.tail {
            Some(tail) => count(&files).await?.saturating_sub(tail),
            None => 0,
        };
        let budget = query.limit_bytes.unwrap_or(u64::MAX);
        Ok(Self { query, path: path.to_owned(), files, open: None, line: Vec::new(), skip, budget, changes })
    }

    /// Returns the pieces of the answer.
    pub fn stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        futures::stream::try_unfold(self, |mut reader| async move {
            let chunk = reader.next().await?;
            Ok(chunk.map(|chunk| (chunk, reader)))
        })
    }

    /// Returns the next piece; `None` at the end. Waits for more if the reader follows a running container.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if self.budget == 0 {
                return Ok(None);
            }
            // Marked as seen before reading, so that nothing written meanwhile is waited for.
            let has_ended = self.changes.as_mut().is_none_or(|changes| {
                changes.borrow_and_update();
                changes.has_changed().is_err()
            });
            let mut chunk = Vec::new();
            while chunk.len() < CHUNK_BYTES && self.read_entry(&mut chunk).await? {}
            if !chunk.is_empty() {
                let length = chunk.len().min(usize::try_from(self.budget).unwrap_or(usize::MAX));
                chunk.truncate(length);
                self.budget -= length as u64;
                return Ok(Some(Bytes::from(chunk)));
            }
            let Some(changes) = &mut self.changes else { return Ok(None) };
            if has_ended {
                return Ok(None);
            }
            // An error means that the writer is gone: one more look finds what it wrote last.
            let _ = changes.changed().await;
        }
    }

    /// Reads one entry into `chunk`; false if there is none now.
    async fn read_entry(&mut self, chunk: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            if self.open.is_none() {
                let Some(path) = self.files.pop() else { return Ok(false) };
                match File::open(&path).await {
                    Ok(file) => self.open = Some(BufReader::new(file)),
                    Err(error)
                        if error.kind() == io::ErrorKind::NotFound
                            && self.changes.is_some()
                            && self.files.is_empty() =>
                    {
                        self.files.push(path);
                        return Ok(false);
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
            }
            let Some(open) = &mut self.open else { return Ok(false) };
            open.read_until(b'\n', &mut self.line).await?;
            if self.line.ends_with(b"\n") {
                if self.skip > 0 {
                    self.skip -= 1;
                } else if let Some(entry) = entry::parse(&self.line) {
                    self.query.render(&entry, chunk);
                }
                self.line.clear();
                return Ok(true);
            }
            if !self.files.is_empty() {
                self.open = None;
            } else if self.was_rotated().await? {
                self.open = None;
                self.files.push(self.path.clone());
            } else {
                return Ok(false);
            }
        }
    }

    /// Whether the file that we read to its end has become an older one meanwhile.
    async fn was_rotated(&mut self) -> io::Result<bool> {
        let Some(open) = &mut self.open else { return Ok(false) };
        let position = open.stream_position().await?;
        match tokio::fs::metadata(&self.path).await {
            Ok(file) => Ok(file.len() < position),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

async fn count(files: &[PathBuf]) -> io::Result<usize> {
    let mut entries = 0;
    for path in files {
        let Ok(file) = File::open(path).await else { continue };
        let mut file = BufReader::with_capacity(CHUNK_BYTES, file);
        let mut line = Vec::new();
        while file.read_until(b'\n', &mut line).await? > 0 {
            entries += usize::from(line.ends_with(b"\n"));
            line.clear();
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use wkube_base::Clock;

    use super::super::LogWriter;
    use super::super::entry::Stream::Stdout;
    use super::*;

    struct World {
        dir: tempfile::TempDir,
        logs: Logs,
    }

    impl World {
        fn new() -> Self {
            let logs = Logs::new(&Clock::manual(jiff::Timestamp::UNIX_EPOCH));
            Self { dir: tempfile::tempdir().unwrap(), logs }
        }

        fn writer(&self) -> LogWriter {
            self.logs.writer(self.dir.path(), 0)
        }

        async fn open(&self, query: &str) -> Reader {
            let query = Query::parse(query, jiff::Timestamp::UNIX_EPOCH).unwrap();
            Reader::open(&self.logs, &super::super::path_of(self.dir.path(), 0), query).await.unwrap()
        }

        async fn read(&self, query: &str) -> String {
            let mut reader = self.open(query).await;
            let mut all = Vec::new();
            while let Some(chunk) = reader.next().await.unwrap() {
                all.extend_from_slice(&chunk);
            }
            String::from_utf8(all).unwrap()
        }
    }

    #[tokio::test]
    async fn tail_and_limit_cut_at_both_ends() {
        let world = World::new();
        world.writer().write(Stdout, b"one\ntwo\nthree\n");
        assert_eq!(world.read("").await, "one\ntwo\nthree\n");
        assert_eq!(world.read("tailLines=2").await, "two\nthree\n");
        assert_eq!(world.read("tailLines=0").await, "");
        assert_eq!(world.read("tailLines=99").await, "one\ntwo\nthree\n");
        assert_eq!(world.read("limitBytes=5").await, "one\nt");
    }

    #[tokio::test]
    async fn a_container_that_printed_nothing_has_an_empty_log() {
        assert_eq!(World::new().read("").await, "");
    }

    #[tokio::test]
    async fn following_sees_what_is_written_later_and_ends_with_the_container() {
        let world = World::new();
        let writer = world.writer();
        writer.write(Stdout, b"one\n");
        let mut reader = world.open("follow=true").await;
        assert_eq!(reader.next().await.unwrap().as_deref(), Some(&b"one\n"[..]));
        let writing = async {
            tokio::task::yield_now().await;
            writer.write(Stdout, b"two\nthr");
            tokio::task::yield_now().await;
            drop(writer);
        };
        let reading = async {
            let mut rest = Vec::new();
            while let Some(chunk) = reader.next().await.unwrap() {
                rest.extend_from_slice(&chunk);
            }
            rest
        };
        let (rest, ()) = tokio::join!(reading, writing);
        assert_eq!(rest, b"two\nthr");
    }

    #[tokio::test]
    async fn following_survives_rotation() {
        let world = World::new();
        let writer = world.writer();
        writer.write(Stdout, b"first\n");
        let mut reader = world.open("follow=true").await;
        assert!(reader.next().await.unwrap().is_some());
        let mut long = vec![b'x'; 11 << 20];
        long.push(b'\n');
        writer.write(Stdout, &long);
        writer.write(Stdout, b"after\n");
        drop(writer);
        let mut rest = Vec::new();
        while let Some(chunk) = reader.next().await.unwrap() {
            rest.extend_from_slice(&chunk);
        }
        assert_eq!(rest.len(), long.len() + 6);
        assert!(rest.ends_with(b"after\n"));
    }

    #[tokio::test]
    async fn a_line_without_end_is_read_in_pieces_and_may_be_cut_anywhere() {
        let world = World::new();
        let writer = world.writer();
        for _ in 0..64 {
            writer.write(Stdout, &vec![b'x'; 64 << 10]);
        }
        writer.write(Stdout, b"y");
        drop(writer);
        let (mut reader, mut bytes) = (world.open("").await, 0);
        while let Some(chunk) = reader.next().await.unwrap() {
            assert!(chunk.len() <= 2 * CHUNK_BYTES, "{} bytes at once", chunk.len());
            bytes += chunk.len();
        }
        assert_eq!(bytes, (4 << 20) + 1, "no newline that the guest did not write");
        assert_eq!(world.read("tailLines=2").await.len(), (16 << 10) + 1, "for a tail, pieces are lines");
        assert_eq!(world.read("limitBytes=20000").await.len(), 20_000);
    }

    #[tokio::test]
    async fn older_files_come_first() {
        let world = World::new();
        std::fs::write(world.dir.path().join("0.log.1"), "1970-01-01T00:00:00Z stdout F old\n").unwrap();
        world.writer().write(Stdout, b"new\n");
        assert_eq!(world.read("").await, "old\nnew\n");
        assert_eq!(world.read("tailLines=1").await, "new\n");
    }
}
