//! What many objects and many changes cost: time to open after a crash, memory, and space on the disk.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use wkube_store::Store as _;

use crate::child;
use crate::etcd::Etcd;
use crate::load::{OBJECTS, VALUE};
use crate::ours::Ours;

/// What Kubernetes calls a large cluster has so many pods.
pub const MANY: usize = 150_000;
/// How often each object is written again.
pub const CHANGES: usize = 5;

/// Bytes of files.
#[derive(Debug, Default)]
pub struct Churn {
    pub raw: u64,
    pub ours: u64,
    pub etcd: u64,
}

/// Both with many objects.
#[derive(Debug, Default)]
pub struct Large {
    pub open_ours: Duration,
    pub open_etcd: Duration,
    pub each_ours: u64,
    pub each_etcd: u64,
}

/// Writes all objects several times, forgets the history, and looks at the files. Neither is rewritten.
pub async fn churn(directory: &Path) -> Result<Churn> {
    let ours = Ours::open(&directory.join("churn.redb"))?;
    let etcd = Etcd::start(&directory.join("churn-etcd")).await?;
    for _ in 0..CHANGES {
        child::write(&ours, OBJECTS).await?;
        ours.0.compact(ours.0.revision()).await?;
        child::write(&etcd.client, OBJECTS).await?;
        etcd.client.compact().await?;
    }
    Ok(Churn { raw: (OBJECTS * VALUE) as u64, ours: ours.0.health().bytes, etcd: etcd.client.bytes().await? })
}

/// Fills both, kills both, and opens both.
pub async fn large(directory: &Path) -> Result<Large> {
    let file = directory.join("large.redb");
    let program = std::env::current_exe()?;
    let mut filling = Command::new(&program)
        .arg("fill")
        .arg(&file)
        .arg(MANY.to_string())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(filling.stdout.take().context("no output")?).lines();
    ensure!(lines.next_line().await?.as_deref() == Some("full"), "the store could not be filled");
    filling.kill().await?;
    let opened = Command::new(&program).arg("open").arg(&file).output().await?;
    let told = String::from_utf8(opened.stdout)?;
    let told: Vec<u64> = told.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [millis, bytes, objects] = told[..] else { anyhow::bail!("the store could not be opened: {told:?}") };
    ensure!(objects == MANY as u64, "{objects} of {MANY} objects are left");
    fs::remove_file(&file)?;

    let etcd = Etcd::start(&directory.join("large-etcd")).await?;
    child::write(&etcd.client, MANY).await?;
    let began = Instant::now();
    let etcd = etcd.crash().await?;
    let open_etcd = began.elapsed();
    Ok(Large {
        open_ours: Duration::from_millis(millis),
        open_etcd,
        each_ours: bytes / MANY as u64,
        each_etcd: child::resident(etcd.id()?)? / MANY as u64,
    })
}
