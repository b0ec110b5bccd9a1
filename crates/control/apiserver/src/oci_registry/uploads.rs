//! Blobs on their way in. An upload lives in this process only; after a restart clients start again.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use futures::StreamExt as _;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::time::Instant;
use uuid::Uuid;

use super::error::Refusal;
use super::path::Digest;
use super::storage::Storage;
use crate::files;

/// Far more than any module that a compiler would accept.
pub(super) const BLOB_BYTES_MAX: u64 = 1 << 30;
/// More than this many at once means that clients give up without saying so; the one idle for longest goes.
const UPLOADS_MAX: usize = 64;

/// The uploads that have begun and not ended.
pub(super) struct Uploads {
    directory: PathBuf,
    open: Mutex<BTreeMap<Uuid, Slot>>,
}

#[derive(Clone)]
struct Slot {
    name: String,
    touched: Instant,
    /// Locked across writes: the chunks of one upload come one after the other.
    upload: Arc<tokio::sync::Mutex<Upload>>,
}

/// One blob on its way in.
pub(super) struct Upload {
    path: PathBuf,
    file: File,
    size: u64,
    hasher: Sha256,
}

impl Uploads {
    /// Empties and opens the directory.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        files::create_private_dir(directory)?;
        Ok(Self { directory: directory.to_owned(), open: Mutex::default() })
    }

    /// Begins an upload into repository `name`.
    pub(super) fn start(&self, name: &str) -> io::Result<Uuid> {
        let id = Uuid::new_v4();
        let path = self.directory.join(id.to_string());
        let file = File::from_std(files::create_private(&path)?);
        let upload = Arc::new(tokio::sync::Mutex::new(Upload { path, file, size: 0, hasher: Sha256::new() }));
        let mut open = self.open.lock();
        if open.len() >= UPLOADS_MAX
            && let Some(idle) = open.iter().min_by_key(|(_, slot)| slot.touched).map(|(id, _)| *id)
        {
            open.remove(&idle);
        }
        open.insert(id, Slot { name: name.to_owned(), touched: Instant::now(), upload });
        Ok(id)
    }

    /// Returns an upload into repository `name`.
    pub(super) fn find(&self, name: &str, id: Uuid) -> Option<Arc<tokio::sync::Mutex<Upload>>> {
        let mut open = self.open.lock();
        let slot = open.get_mut(&id).filter(|slot| slot.name == name)?;
        slot.touched = Instant::now();
        Some(slot.upload.clone())
    }

    /// Forgets an upload; its file goes with its last user.
    pub(super) fn forget(&self, id: Uuid) {
        self.open.lock().remove(&id);
    }
}

impl Upload {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Appends a body, all of it or nothing: whatever arrived before a body broke is taken back, so that the client can
    /// send the same chunk again.
    pub(super) async fn append(&mut self, body: Body) -> Result<(), Refusal> {
        let (size, hasher) = (self.size, self.hasher.clone());
        let result = self.write(body).await;
        if result.is_err() {
            self.file.set_len(size).await?;
            self.file.seek(SeekFrom::Start(size)).await?;
            (self.size, self.hasher) = (size, hasher);
        }
        result
    }

    async fn write(&mut self, body: Body) -> Result<(), Refusal> {
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| Refusal::upload_broken(&error))?;
            self.size += chunk.len() as u64;
            if self.size > BLOB_BYTES_MAX {
                return Err(Refusal::too_large(BLOB_BYTES_MAX));
            }
            self.hasher.update(&chunk);
            self.file.write_all(&chunk).await?;
        }
        self.file.flush().await?;
        Ok(())
    }

    /// Turns the upload into a blob if it has the digest that was promised.
    pub(super) async fn finish(&mut self, promised: &Digest, storage: &Storage) -> Result<(), Refusal> {
        let found = Digest::finish(self.hasher.clone());
        if found != *promised {
            return Err(Refusal::digest_invalid(format!("the content has digest {found}, not {promised}")));
        }
        let file = self.file.try_clone().await?.into_std().await;
        let (from, to) = (self.path.clone(), storage.blob_path(promised));
        // A sync of up to a gigabyte is no work for the runtime's threads.
        let published = tokio::task::spawn_blocking(move || files::publish(&file, &from, &to));
        published.await.map_err(io::Error::other)??;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Gone already if it became a blob; the directory is emptied at every start anyway.
        let _ = fs::remove_file(&self.path);
    }
}
