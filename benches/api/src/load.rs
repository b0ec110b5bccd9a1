//! The load: the same requests to either server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::future::try_join_all;
use http_body_util::BodyExt as _;
use tokio::sync::Barrier;

use crate::client::Connection;
use crate::process::Server;

const PATH: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const LIST_CLIENTS: usize = 8;
const LISTS: usize = 80;
const WATCHERS: usize = 50;
/// Written by eight clients while everybody watches.
const WATCHED: usize = 500;

/// What one phase of one round was.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    /// The server's processor time for one request.
    pub processor: Duration,
}

pub type Round = BTreeMap<Phase, Measured>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Create,
    Get,
    List,
    Patch,
    Delete,
    Watch,
}

/// One round against one server.
pub struct Load<'a> {
    server: &'a Server,
    clients: Vec<Connection>,
    objects: usize,
    round: usize,
}

impl<'a> Load<'a> {
    pub async fn new(server: &'a Server, clients: usize, objects: usize, round: usize) -> Result<Self> {
        let clients = try_join_all((0..clients).map(|_| Connection::open(&server.kubeconfig))).await?;
        Ok(Self { server, clients, objects, round })
    }

    pub async fn run(mut self) -> Result<Round> {
        let mut round = Round::new();
        for phase in [Phase::Create, Phase::Get, Phase::List, Phase::Patch, Phase::Delete] {
            round.insert(phase, self.phase(phase).await?);
        }
        round.insert(Phase::Watch, self.watch().await?);
        Ok(round)
    }

    async fn phase(&mut self, phase: Phase) -> Result<Measured> {
        let (count, workers) =
            if phase == Phase::List { (LISTS, LIST_CLIENTS) } else { (self.objects, self.clients.len()) };
        let next = Arc::new(AtomicUsize::new(0));
        let (processor, began) = (self.server.processor()?, Instant::now());
        let round = self.round;
        let clients: Vec<Connection> = self.clients.drain(..).collect();
        let running = clients.into_iter().enumerate().map(|(number, mut client)| {
            let next = next.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                while number < workers {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        break;
                    }
                    let began = Instant::now();
                    phase.request(&mut client, round, index).await?;
                    took.push(began.elapsed());
                }
                anyhow::Ok((client, took))
            })
        });
        let mut took = Vec::new();
        for finished in try_join_all(running).await? {
            let (client, times) = finished?;
            self.clients.push(client);
            took.extend(times);
        }
        Ok(measured(took, began.elapsed(), self.server.processor()? - processor, count))
    }

    /// Fifty watchers see every write of eight clients; what is measured is the way from the write to the watcher.
    async fn watch(&mut self) -> Result<Measured> {
        let started = Arc::new(Barrier::new(WATCHERS + 1));
        let epoch = Instant::now();
        let watchers: Vec<_> = (0..WATCHERS)
            .map(|_| tokio::spawn(watcher(self.server.kubeconfig.clone(), self.round, started.clone(), epoch)))
            .collect();
        started.wait().await;
        let (processor, began) = (self.server.processor()?, Instant::now());
        let next = Arc::new(AtomicUsize::new(0));
        let round = self.round;
        let clients: Vec<Connection> = self.clients.drain(..8).collect();
        let writers = clients.into_iter().map(|mut client| {
            let next = next.clone();
            tokio::spawn(async move {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= WATCHED {
                        return anyhow::Ok(client);
                    }
                    let object = watched(round, index, epoch.elapsed());
                    client.call("POST", PATH, JSON, object.into_bytes()).await?;
                }
            })
        });
        for writer in try_join_all(writers).await? {
            self.clients.push(writer?);
        }
        let mut took = Vec::new();
        for watcher in watchers {
            took.extend(watcher.await??);
        }
        let measured = measured(took, began.elapsed(), self.server.processor()? - processor, WATCHED * WATCHERS);
        for index in 0..WATCHED {
            let path = format!("{PATH}/watched-{round}-{index}");
            self.clients[0].call("DELETE", &path, "", Vec::new()).await?;
        }
        Ok(measured)
    }
}

async fn watcher(kubeconfig: PathBuf, round: usize, started: Arc<Barrier>, epoch: Instant) -> Result<Vec<Duration>> {
    let mut client = Connection::open(&kubeconfig).await?;
    let path = format!("{PATH}?watch=true&labelSelector=watched%3Dr{round}");
    let mut body = client.stream("GET", &path, "", Vec::new()).await?;
    started.wait().await;
    let (mut took, mut rest) = (Vec::with_capacity(WATCHED), Vec::new());
    while took.len() < WATCHED {
        let frame = body.frame().await.context("the watch ended")??;
        let arrived = epoch.elapsed();
        rest.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            took.push(arrived.saturating_sub(sent(&rest[..end])?));
            rest.drain(..=end);
        }
    }
    Ok(took)
}

/// Reads when the write of an event began, in nanoseconds since the round's epoch, from its text.
fn sent(event: &[u8]) -> Result<Duration> {
    const MARK: &[u8] = b"\"sent\":\"";
    let Some(at) = event.windows(MARK.len()).position(|window| window == MARK) else {
        bail!("an event without a time: {}", String::from_utf8_lossy(event));
    };
    let digits = event[at + MARK.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    Ok(Duration::from_nanos(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))))
}

impl Phase {
    async fn request(self, client: &mut Connection, round: usize, index: usize) -> Result<()> {
        let path = format!("{PATH}/load-{round}-{index}");
        let body = match self {
            Self::Create => client.call("POST", PATH, JSON, object(round, index).into_bytes()).await?,
            Self::Get => client.call("GET", &path, "", Vec::new()).await?,
            Self::List => client.call("GET", PATH, "", Vec::new()).await?,
            Self::Patch => {
                let patch = format!(r#"{{"data":{{"patched":"{round}-{index}"}}}}"#);
                client.call("PATCH", &path, MERGE, patch.into_bytes()).await?
            }
            Self::Delete => client.call("DELETE", &path, "", Vec::new()).await?,
            Self::Watch => bail!("watching is no request"),
        };
        if body.is_empty() {
            bail!("{self:?}: an empty answer");
        }
        Ok(())
    }
}

/// A ConfigMap of one KiB.
fn object(round: usize, index: usize) -> String {
    let filler = "x".repeat(840);
    format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"load-{round}-{index}","labels":{{"app":"load"}}}},"data":{{"value":"{filler}"}}}}"#
    )
}

/// A ConfigMap that says when it was sent.
fn watched(round: usize, index: usize, sent: Duration) -> String {
    let (sent, filler) = (sent.as_nanos(), "x".repeat(780));
    format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"watched-{round}-{index}","labels":{{"watched":"r{round}"}}}},"data":{{"sent":"{sent}","value":"{filler}"}}}}"#
    )
}

#[allow(clippy::cast_precision_loss)]
fn measured(mut took: Vec<Duration>, whole: Duration, processor: Duration, count: usize) -> Measured {
    took.sort_unstable();
    let at = |share: usize| took[(took.len() - 1) * share / 100];
    Measured {
        per_second: count as f64 / whole.as_secs_f64(),
        p50: at(50),
        p99: at(99),
        processor: processor / u32::try_from(count).unwrap_or(u32::MAX),
    }
}
