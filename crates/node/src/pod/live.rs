//! The containers of a node that run now, for those who want something of one: exec, attach, exec probes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use wkube_api::stats::ContainerUsage;

use crate::logs::entry::Stream;
use crate::runtime::{Amounts, Exec, Exit, Guest, StartError};
use crate::stdio::{Attached, queue};

/// What a probe's command may say in an event (`maxProbeMessageLength` in `pkg/kubelet/prober/prober.go`).
const SAID_BYTES_MAX: usize = 10 * 1024;

/// The running containers, by the pod's uid and their name. Clones share them.
#[derive(Clone, Default)]
pub struct Live(Arc<Mutex<BTreeMap<(String, String), Entry>>>);

#[derive(Clone)]
struct Entry {
    guest: Arc<dyn Guest>,
    attached: Arc<Attached>,
}

/// Keeps a container in the list.
pub struct Registration {
    live: Live,
    key: (String, String),
}

impl Live {
    /// Lists a container until the registration is dropped.
    #[must_use = "dropping the registration takes the container off the list"]
    pub fn register(&self, uid: &str, container: &str, guest: Arc<dyn Guest>, attached: Arc<Attached>) -> Registration {
        let key = (uid.to_owned(), container.to_owned());
        self.0.lock().insert(key.clone(), Entry { guest, attached });
        Registration { live: self.clone(), key }
    }

    fn find(&self, uid: &str, container: &str) -> Option<Entry> {
        self.0.lock().get(&(uid.to_owned(), container.to_owned())).cloned()
    }

    /// Returns the clients of a container; `None` if it does not run.
    pub fn attached(&self, uid: &str, container: &str) -> Option<Arc<Attached>> {
        Some(self.find(uid, container)?.attached)
    }

    /// Returns what every container uses.
    pub fn usage(&self) -> Vec<ContainerUsage> {
        let live = self.0.lock();
        let used = live.iter().map(|((pod_uid, name), entry)| ContainerUsage {
            pod_uid: pod_uid.clone(),
            name: name.clone(),
            usage: entry.guest.usage(),
        });
        used.collect()
    }

    /// Gives a running container other amounts.
    pub fn resize(&self, uid: &str, container: &str, to: &Amounts) {
        if let Some(Entry { guest, .. }) = self.find(uid, container) {
            guest.resize(to);
        }
    }

    /// Starts a command beside a container; `None` if it does not run. The command is killed when the container ends,
    /// or when the last hold on it is dropped.
    pub async fn exec(&self, uid: &str, container: &str, exec: Exec) -> Option<Result<Beside, StartError>> {
        let Entry { guest, .. } = self.find(uid, container)?;
        let container_ended = guest.ended();
        // Only the container's end is kept, not the container: whoever runs a command must not prolong it.
        let process = guest.exec(exec).await;
        Some(process.map(|process| Beside { process, container_ended }))
    }

    /// Runs a command beside a container to its end and returns how it ended and the beginning of what it said.
    ///
    /// # Errors
    /// If it could not be started.
    pub async fn run(&self, uid: &str, container: &str, args: Vec<String>) -> Result<(Exit, String), String> {
        let (output, mut printed) = queue();
        let started = self.exec(uid, container, Exec::new(args, Arc::new(output))).await;
        let beside = started.ok_or_else(|| format!("container not found (\"{container}\")"))?;
        let beside = beside.map_err(|error| error.to_string())?;
        let mut said = Vec::new();
        let listening = async {
            while let Some((Stream::Stdout | Stream::Stderr, bytes)) = printed.next().await {
                let left = SAID_BYTES_MAX - said.len();
                said.extend_from_slice(&bytes[..bytes.len().min(left)]);
            }
        };
        let (exit, ()) = tokio::join!(beside.ended(), listening);
        Ok((exit, String::from_utf8_lossy(&said).into_owned()))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.live.0.lock().remove(&self.key);
    }
}

/// A command that runs beside a container.
pub struct Beside {
    process: Arc<dyn Guest>,
    container_ended: BoxFuture<'static, Exit>,
}

impl Beside {
    /// Completes when the command has ended, by itself or because its container has.
    pub async fn ended(self) -> Exit {
        let Self { process, container_ended } = self;
        tokio::select! {
            biased;
            exit = process.ended() => exit,
            _ = container_ended => {
                process.stop(Duration::ZERO).await;
                process.ended().await
            }
        }
    }
}
