//! wkube's store, in this process: that is where the API server has it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use wkube_store::{Range, RedbStore, Signal, Store as _, Txn};

use crate::engine::{Engine, PREFIX};

/// A client.
#[derive(Clone)]
pub struct Ours(pub Arc<RedbStore>);

impl Ours {
    /// Opens or creates the file.
    pub fn open(file: &Path) -> Result<Self> {
        Ok(Self(Arc::new(RedbStore::open(file)?)))
    }
}

impl Engine for Ours {
    async fn put(&self, key: String, value: Bytes) -> Result<()> {
        self.0.commit(Txn::put(key.into(), value)).await?;
        Ok(())
    }

    async fn get(&self, key: String) -> Result<usize> {
        self.0.newest().await;
        Ok(self.0.get(&key)?.context("not found")?.value.len())
    }

    async fn list(&self, key: String, limit: usize) -> Result<usize> {
        self.0.newest().await;
        let range = Range { prefix: PREFIX.to_owned(), after: Some(key.into()), limit, at: None };
        Ok(self.0.list(&range)?.entries.len())
    }

    async fn watch(&self) -> Result<BoxStream<'static, Result<()>>> {
        let watch = self.0.watch(PREFIX, self.0.revision())?;
        let events = watch.filter_map(async |signal| match signal {
            Ok(Signal::Event(_)) => Some(Ok(())),
            Ok(Signal::Progress(_)) => None,
            Err(error) => Some(Err(error.into())),
        });
        Ok(stream::StreamExt::boxed(events))
    }
}
