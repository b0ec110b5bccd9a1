//! Processes of their own: one that fills a store until it is killed, one that opens it and tells what that cost.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use wkube_store::Store as _;

use crate::engine::Engine;
use crate::key;
use crate::load::{Chance, VALUE};
use crate::ours::Ours;

const WRITERS: usize = 128;

/// Writes so many objects, says so, and goes on writing until somebody kills it.
#[allow(clippy::print_stdout)]
pub async fn fill(file: &Path, objects: usize) -> Result<()> {
    let ours = Ours::open(file)?;
    write(&ours, objects).await?;
    println!("full");
    loop {
        write(&ours, WRITERS).await?;
    }
}

/// Writes the first so many objects.
pub async fn write(engine: &impl Engine, objects: usize) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let running = (0..WRITERS).map(|number| {
        let (engine, next, mut chance) = (engine.clone(), next.clone(), Chance(number as u64 + 1));
        tokio::spawn(async move {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= objects {
                    return anyhow::Ok(());
                }
                engine.put(key(index), chance.value(VALUE)).await?;
            }
        })
    });
    for client in try_join_all(running.collect::<Vec<_>>()).await? {
        client?;
    }
    Ok(())
}

/// Opens the store and prints the milliseconds, the resident bytes that it added, and the number of objects.
#[allow(clippy::print_stdout)]
pub fn open(file: &Path) -> Result<()> {
    let before = resident(std::process::id())?;
    let began = Instant::now();
    let ours = Ours::open(file)?;
    let took = began.elapsed().as_millis();
    println!("{took} {} {}", resident(std::process::id())?.saturating_sub(before), ours.0.health().keys);
    Ok(())
}

/// Returns the resident memory of a process in bytes.
pub fn resident(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).context("no VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).context("no number in VmRSS")?.parse()?;
    Ok(kib << 10)
}
