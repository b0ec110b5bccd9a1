//! The API server under load, beside a bare hyper+TLS server and the store's own durable rate, in turn in one run:
//! `api-bench PATH/TO/wkube [ROUNDS]` prints a Markdown table.

mod bare;
mod client;
mod load;
mod process;
mod report;
mod store;

use anyhow::{Context as _, Result, bail};

use crate::load::Load;
use crate::process::Server;

/// As many as the rows of the published figures of a real kube-apiserver have.
const CLIENTS: usize = 32;
const OBJECTS: usize = 2_000;
const ROUNDS: usize = 5;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        // The other role of this program: a process of its own, so that its processor time and memory can be read.
        ["bare", kubeconfig] => bare::serve(kubeconfig).await,
        [wkube] => compare(wkube, ROUNDS).await,
        [wkube, rounds] => compare(wkube, rounds.parse().context("ROUNDS is a number")?).await,
        _ => bail!("usage: api-bench PATH/TO/wkube [ROUNDS]"),
    }
}

async fn compare(wkube: &str, rounds: usize) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let wkube = Server::wkube(wkube, directory.path()).await?;
    let bare = Server::bare(directory.path()).await?;
    let mut table = report::Table::default();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        table.durable.push(store::durable_rate(directory.path(), CLIENTS, OBJECTS).await?);
        table.fdatasync.push(store::fdatasync_rate(directory.path())?);
        // Who goes first changes, so that neither always finds the machine warm.
        let mut servers = [(&wkube, &mut table.wkube), (&bare, &mut table.bare)];
        if round % 2 == 0 {
            servers.reverse();
        }
        for (server, rows) in servers {
            let load = Load::new(server, CLIENTS, OBJECTS, round).await?;
            rows.push(load.run().await?);
        }
    }
    table.memory = [wkube.memory_mib()?, bare.memory_mib()?];
    table.print();
    Ok(())
}
