//! The servers under load, each a process of its own.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};

use crate::client::Connection;

const START: Duration = Duration::from_secs(30);

/// A running server; it ends with this value.
pub struct Server {
    pub kubeconfig: PathBuf,
    process: Child,
}

impl Server {
    /// Starts a control plane without nodes on free ports.
    pub async fn wkube(binary: &str, directory: &Path) -> Result<Self> {
        let data = directory.join("data");
        let mut command = Command::new(binary);
        command.arg("server").arg("--data-dir").arg(&data);
        command.arg("--api").arg(free_address()?).arg("--registry").arg(free_address()?);
        Self::start(command, data.join("kubeconfig")).await
    }

    /// Starts this program as the yardstick.
    pub async fn bare(directory: &Path) -> Result<Self> {
        let kubeconfig = directory.join("bare.kubeconfig");
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("bare").arg(&kubeconfig);
        Self::start(command, kubeconfig).await
    }

    async fn start(mut command: Command, kubeconfig: PathBuf) -> Result<Self> {
        command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let process = command.spawn().with_context(|| format!("{command:?} does not start"))?;
        let server = Self { kubeconfig, process };
        let began = Instant::now();
        while !server.is_ready().await {
            if began.elapsed() > START {
                bail!("{command:?} is not ready after {START:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(server)
    }

    async fn is_ready(&self) -> bool {
        let Ok(mut connection) = Connection::open(&self.kubeconfig).await else { return false };
        connection.call("GET", "/readyz", "", Vec::new()).await.is_ok()
    }

    /// Processor time so far, in user and kernel mode.
    pub fn processor(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()?))?;
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        // Linux counts in hundredths of a second on every machine that this runs on.
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Resident memory.
    pub fn memory_mib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()?))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS")).context("no VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no number in VmRSS")?.parse()?;
        Ok(kib / 1024)
    }

    fn id(&self) -> Result<u32> {
        self.process.id().context("the server has ended")
    }
}

fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
