//! `etcdctl check perf`, on either store: so many clients share a rate; it passes if the store keeps up with it.
//! Limits, clients and marks are those of `etcdctl/ctlv3/command/check.go`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::try_join_all;

use crate::engine::{Engine, PREFIX};
use crate::load::Chance;

/// A load, by its name there.
#[derive(Debug, Clone, Copy)]
pub struct Gate {
    pub name: &'static str,
    pub limit: u32,
    pub clients: usize,
}

pub const ALL: [Gate; 3] = [
    Gate { name: "s", limit: 150, clients: 50 },
    Gate { name: "m", limit: 1_000, clients: 200 },
    Gate { name: "l", limit: 8_000, clients: 500 },
];

const KEY: usize = 256;
const VALUE: usize = 1_024;
const SLOWEST: Duration = Duration::from_millis(500);
const DEVIATION: f64 = 0.1;

/// How it went.
#[derive(Debug, Clone, Copy)]
pub struct Passed {
    pub per_second: f64,
    pub slowest: Duration,
    pub deviation: f64,
    pub passes: bool,
}

/// Runs one gate.
#[allow(clippy::cast_precision_loss)]
pub async fn pass(engine: &impl Engine, gate: Gate, seconds: u32) -> Result<Passed> {
    let next = Arc::new(AtomicU32::new(0));
    let began = Instant::now();
    let running = (0..gate.clients).map(|number| {
        let (engine, next, mut chance) = (engine.clone(), next.clone(), Chance(number as u64 + 1));
        tokio::spawn(async move {
            let mut took = Vec::new();
            loop {
                let due = began + Duration::from_secs(1) * next.fetch_add(1, Ordering::Relaxed) / gate.limit;
                if due >= began + Duration::from_secs(seconds.into()) || began.elapsed().as_secs() >= seconds.into() {
                    return anyhow::Ok(took);
                }
                tokio::time::sleep_until(due.into()).await;
                let key = format!("{PREFIX}{:0width$}", chance.below(1 << 20), width = KEY - PREFIX.len());
                let sent = Instant::now();
                engine.put(key, chance.value(VALUE)).await?;
                took.push(sent.elapsed());
            }
        })
    });
    let mut took = Vec::new();
    for client in try_join_all(running.collect::<Vec<_>>()).await? {
        took.extend(client?);
    }
    let per_second = took.len() as f64 / f64::from(seconds);
    let mean = took.iter().map(Duration::as_secs_f64).sum::<f64>() / took.len() as f64;
    let variance = took.iter().map(|took| (took.as_secs_f64() - mean).powi(2)).sum::<f64>() / took.len() as f64;
    let (slowest, deviation) = (took.into_iter().max().unwrap_or_default(), variance.sqrt());
    let passes = per_second >= 0.9 * f64::from(gate.limit) && slowest <= SLOWEST && deviation <= DEVIATION;
    Ok(Passed { per_second, slowest, deviation, passes })
}
