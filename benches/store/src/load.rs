//! Closed loops: so many clients, each of which asks again as soon as it has its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::try_join_all;

use crate::engine::Engine;
use crate::key;

/// Distinct keys, each with a value of the size of a pod.
pub const OBJECTS: usize = 20_000;
pub const VALUE: usize = 2 << 10;
/// How long a row of a round is measured.
const STEP: Duration = Duration::from_millis(2_500);
const READERS: usize = 16;
const PAGE: usize = 500;

/// What one row of one round was.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
}

/// Durable writes of random keys.
pub async fn puts(engine: &impl Engine, writers: usize) -> Result<Measured> {
    closed_loop(writers, |mut chance| {
        let engine = engine.clone();
        move || {
            let (key, value) = (key(chance.below(OBJECTS)), chance.value(VALUE));
            let engine = engine.clone();
            async move { engine.put(key, value).await }
        }
    })
    .await
}

/// Reads of random keys, after `puts` has written at least the first.
pub async fn gets(engine: &impl Engine) -> Result<Measured> {
    engine.put(key(0), Chance(1).value(VALUE)).await?;
    closed_loop(READERS, |mut chance| {
        let engine = engine.clone();
        move || {
            let (engine, key) = (engine.clone(), key(chance.below(OBJECTS)));
            // A key that nobody has written yet costs the same question.
            async move { Ok(drop(engine.get(key).await)) }
        }
    })
    .await
}

/// Pages with values.
pub async fn lists(engine: &impl Engine) -> Result<Measured> {
    closed_loop(1, |mut chance| {
        let engine = engine.clone();
        move || {
            // So far from the end that there is a whole page.
            let (engine, key) = (engine.clone(), key(chance.below(OBJECTS / 2)));
            async move { engine.list(key, PAGE).await.map(|_found| ()) }
        }
    })
    .await
}

/// From the beginning of a write until its event is at the watcher, one after another.
pub async fn watch(engine: &impl Engine) -> Result<Measured> {
    let mut events = engine.watch().await?;
    let (mut chance, mut took, began) = (Chance(7), Vec::new(), Instant::now());
    while began.elapsed() < STEP / 2 {
        let sent = Instant::now();
        let put = engine.put(key(chance.below(OBJECTS)), chance.value(VALUE));
        let seen = async {
            events.next().await.context("the watch ended")??;
            took.push(sent.elapsed());
            anyhow::Ok(())
        };
        tokio::try_join!(put, seen)?;
    }
    Ok(measured(took, began.elapsed()))
}

async fn closed_loop<F, A>(clients: usize, client: impl Fn(Chance) -> F) -> Result<Measured>
where
    F: FnMut() -> A + Send + 'static,
    A: Future<Output = Result<()>> + Send,
{
    let over = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let running = (0..clients).map(|number| {
        let (over, mut ask) = (over.clone(), client(Chance(number as u64 + 1)));
        tokio::spawn(async move {
            let mut took = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let sent = Instant::now();
                ask().await?;
                took.push(sent.elapsed());
                // What never waits would keep the others from their turn.
                tokio::task::consume_budget().await;
            }
            anyhow::Ok(took)
        })
    });
    let running: Vec<_> = running.collect();
    tokio::time::sleep(STEP).await;
    over.store(true, Ordering::Relaxed);
    let mut took = Vec::new();
    for client in try_join_all(running).await? {
        took.extend(client?);
    }
    Ok(measured(took, began.elapsed()))
}

#[allow(clippy::cast_precision_loss)]
fn measured(mut took: Vec<Duration>, whole: Duration) -> Measured {
    took.sort_unstable();
    let at = |share: usize| took.get(took.len().saturating_sub(1) * share / 100).copied().unwrap_or_default();
    Measured { per_second: took.len() as f64 / whole.as_secs_f64(), p50: at(50), p99: at(99) }
}

/// Marsaglia's xorshift: cheap, and the same in every run.
pub struct Chance(pub u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Draws a number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % bound
    }

    /// Draws bytes that nobody can compress, which is the worst case for either store.
    pub fn value(&mut self, bytes: usize) -> Bytes {
        (0..bytes / 8).flat_map(|_| self.next().to_le_bytes()).collect()
    }
}
