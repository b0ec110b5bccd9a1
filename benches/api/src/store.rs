//! What the store does without an API server before it, and what the disk does without a store.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use futures::future::try_join_all;
use wkube_store::{Key, Op, Precondition, RedbStore, Store, Txn};

const SYNCS: usize = 100;

/// Durable creates per second of values of 1.4 KiB, which is what the API server stores for an object of the load.
#[allow(clippy::cast_precision_loss)]
pub async fn durable_rate(directory: &Path, writers: usize, count: usize) -> Result<f64> {
    let path = directory.join("durable.redb");
    let store = Arc::new(RedbStore::open(&path)?);
    let value = Bytes::from(vec![b'x'; 1_400]);
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let running = (0..writers).map(|_| {
        let (store, value, next) = (store.clone(), value.clone(), next.clone());
        tokio::spawn(async move {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return Ok::<_, wkube_store::Error>(());
                }
                let key: Key = format!("/configmaps/default/load-{index}").into();
                let txn = Txn {
                    preconditions: vec![Precondition::Absent(key.clone())],
                    ops: vec![Op::Put(key, value.clone())],
                };
                store.commit(txn).await?;
            }
        })
    });
    for finished in try_join_all(running).await? {
        finished?;
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    store.close().await?;
    drop(store);
    std::fs::remove_file(path)?;
    Ok(rate)
}

/// How often a second the disk confirms a page.
#[allow(clippy::cast_precision_loss)]
pub fn fdatasync_rate(directory: &Path) -> Result<f64> {
    let path = directory.join("raw");
    let mut file = File::create(&path)?;
    let began = Instant::now();
    for _ in 0..SYNCS {
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
    }
    let rate = SYNCS as f64 / began.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}
