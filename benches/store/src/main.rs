//! The store beside etcd on the same disk, in turn in one run: `store-bench [--rounds N] [--gate-seconds N]` prints a
//! Markdown table. Needs `etcd` in the PATH; everything is kept in a directory of its own below the working directory,
//! because that is the disk that is measured.

mod child;
mod disk;
mod engine;
mod etcd;
mod gates;
mod load;
mod ours;
mod report;
mod sizes;

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::etcd::Etcd;
use crate::ours::Ours;
use crate::report::Table;

/// Names rows, and how many clients they have.
const WRITERS: [usize; 3] = [1, 16, 128];

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (mut rounds, mut gate_seconds) = (5, 15);
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        // The other roles of this program: processes that are killed, and whose memory is read.
        ["fill", file, objects] => return child::fill(Path::new(file), objects.parse()?).await,
        ["open", file] => return child::open(Path::new(file)),
        flags => {
            for flag in flags.chunks(2) {
                match flag {
                    ["--rounds", count] => rounds = count.parse().context("--rounds is a number")?,
                    ["--gate-seconds", count] => gate_seconds = count.parse().context("--gate-seconds is a number")?,
                    _ => bail!("usage: store-bench [--rounds N] [--gate-seconds N]"),
                }
            }
        }
    }
    let directory = tempfile::tempdir_in(".")?;
    let mut table = Table::default();
    {
        let ours = Ours::open(&directory.path().join("ours.redb"))?;
        let etcd = Etcd::start(&directory.path().join("etcd")).await?;
        for round in 1..=rounds {
            eprintln!("round {round} of {rounds}");
            compare(&mut table, round, &ours, &etcd.client, directory.path()).await?;
        }
        eprintln!("gates");
        for gate in gates::ALL {
            let ours = gates::pass(&ours, gate, gate_seconds).await?;
            table.gates.push((gate, ours, gates::pass(&etcd.client, gate, gate_seconds).await?));
        }
    }
    eprintln!("sizes");
    table.churn = sizes::churn(directory.path()).await?;
    table.large = sizes::large(directory.path()).await?;
    table.print(gate_seconds);
    Ok(())
}

/// One round: every row on both, one right after the other. Who goes first changes, so that neither always finds the
/// machine, or the disk, warm.
async fn compare(table: &mut Table, round: usize, ours: &Ours, etcd: &etcd::Client, directory: &Path) -> Result<()> {
    table.disk.push(disk::fdatasync(directory)?);
    for writers in WRITERS {
        let what = format!("put, {writers} writer{}", if writers == 1 { "" } else { "s" });
        let pair = if round % 2 == 0 {
            let etcd = load::puts(etcd, writers).await?;
            (load::puts(ours, writers).await?, etcd)
        } else {
            (load::puts(ours, writers).await?, load::puts(etcd, writers).await?)
        };
        table.add(&what, pair);
    }
    table.add("get, 16 clients", (load::gets(ours).await?, load::gets(etcd).await?));
    table.add("list of 500 keys, 1 client", (load::lists(ours).await?, load::lists(etcd).await?));
    table.add("put → event at the watcher", (load::watch(ours).await?, load::watch(etcd).await?));
    Ok(())
}

/// Returns a key of the load.
fn key(index: usize) -> String {
    format!("{}default/pod-{index:06}", engine::PREFIX)
}
