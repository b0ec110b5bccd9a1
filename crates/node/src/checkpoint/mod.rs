//! What a node keeps on its own disk, so that it can start its pods while nobody tells it anything
//! (`pkg/kubelet/checkpointmanager`, for more than the kubelet keeps there).
//!
//! ```text
//!  state/node/self.json                     who this node is, and the range of its pods' addresses
//!  state/pods/<uid>.json                    a pod and its newest status
//!  state/{configmaps,secrets,tokens,services}/…   what pods were started with
//!  state/{routes,ingresses}/…               where requests go
//! ```
//! Whoever keeps something does not wait: a task of its own writes what changed since it last looked, each file whole or
//! not at all. Files and folders are for the owner's eyes only.

mod disk;
mod record;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use wkube_base::{Backoff, Tasks};

/// The largest thing that is kept: a pod may take up most of 1.5 MiB in the store, a Secret 1 MiB before it is encoded.
const RECORD_BYTES_MAX: usize = 4 << 20;
/// All of it together. A thousand pods with a Secret each come to some 10 MiB.
const TOTAL_BYTES_MAX: u64 = 512 << 20;
/// When a disk that refused is tried again.
const RETRY: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(30) };

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The node itself.
    Node,
    /// Pods, by uid.
    Pods,
    /// `ConfigMap`s that pods need.
    ConfigMaps,
    /// Secrets that pods need.
    Secrets,
    /// Tokens of service accounts.
    Tokens,
    /// The services of a namespace, as environments name them.
    Services,
    /// Runtime classes that pods name.
    RuntimeClasses,
    /// A service with its endpoints.
    Routes,
    /// Ingress rules.
    Ingresses,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Node,
        Self::Pods,
        Self::ConfigMaps,
        Self::Secrets,
        Self::Tokens,
        Self::Services,
        Self::RuntimeClasses,
        Self::Routes,
        Self::Ingresses,
    ];

    fn folder(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Pods => "pods",
            Self::ConfigMaps => "configmaps",
            Self::Secrets => "secrets",
            Self::Tokens => "tokens",
            Self::Services => "services",
            Self::RuntimeClasses => "runtimeclasses",
            Self::Routes => "routes",
            Self::Ingresses => "ingresses",
        }
    }
}

/// A thing's kind and key. A key is one file's name: uids, and names joined by `_`, which no name contains.
type Id = (Kind, String);

/// The state of one node on disk. Clones share it.
#[derive(Clone)]
pub struct Checkpoints(Arc<Inner>);

struct Inner {
    root: PathBuf,
    state: Mutex<State>,
    changed: Notify,
    /// Held while files are written, so that whoever settles waits for what is under way.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// How many bytes each thing has, on disk or on its way there.
    sizes: BTreeMap<Id, u64>,
    /// Their sum.
    total: u64,
    /// What is not on disk yet: the new content, or `None` for what goes. Bounded by the sizes' total.
    waiting: BTreeMap<Id, Option<Arc<[u8]>>>,
    /// What was written last, to leave out what did not change.
    written: BTreeMap<Id, [u8; 32]>,
}

impl Checkpoints {
    /// Opens the state under `root`, which is made if it is not there.
    ///
    /// # Errors
    /// If the folders cannot be made or read.
    pub fn open(root: &Path) -> io::Result<Self> {
        let mut sizes = BTreeMap::new();
        for kind in Kind::ALL {
            for (key, size) in disk::open_folder(&root.join(kind.folder()))? {
                sizes.insert((kind, key), size);
            }
        }
        let state = Mutex::new(State { total: sizes.values().sum(), sizes, ..State::default() });
        let root = root.to_owned();
        Ok(Self(Arc::new(Inner { root, state, changed: Notify::new(), writing: tokio::sync::Mutex::default() })))
    }

    /// Writes what is kept from now on.
    pub fn start(&self, tasks: &Tasks) {
        let me = self.clone();
        tasks.spawn("checkpoints", async move {
            let mut failures = 0;
            loop {
                me.0.changed.notified().await;
                failures = if me.settle().await { 0 } else { failures + 1 };
                if failures > 0 {
                    tokio::time::sleep(RETRY.after(failures)).await;
                    me.0.changed.notify_one();
                }
            }
        });
    }

    /// Keeps `value` instead of what was kept under this key.
    pub fn keep(&self, kind: Kind, key: &str, value: &impl Serialize) {
        let bytes = match record::encode(value) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(kind = kind.folder(), key, %error, "cannot be kept on disk");
                return;
            }
        };
        let id = (kind, key.to_owned());
        let mut state = self.0.state.lock();
        let sum = record_sum(&bytes);
        if state.written.get(&id) == Some(&sum) {
            return;
        }
        let (size, before) = (bytes.len() as u64, state.sizes.get(&id).copied().unwrap_or(0));
        let total = state.total - before + size;
        if bytes.len() > RECORD_BYTES_MAX || total > TOTAL_BYTES_MAX {
            tracing::warn!(
                kind = kind.folder(),
                key,
                size,
                total,
                "too much to keep on disk; a restart needs the server"
            );
            return;
        }
        state.total = total;
        state.sizes.insert(id.clone(), size);
        state.written.insert(id.clone(), sum);
        state.waiting.insert(id, Some(bytes.into()));
        drop(state);
        self.0.changed.notify_one();
    }

    /// Keeps nothing under this key any more.
    pub fn forget(&self, kind: Kind, key: &str) {
        let id = (kind, key.to_owned());
        let mut state = self.0.state.lock();
        if let Some(size) = state.sizes.remove(&id) {
            state.total -= size;
            state.written.remove(&id);
            state.waiting.insert(id, None);
            drop(state);
            self.0.changed.notify_one();
        }
    }

    /// Forgets what `is_needed` does not accept.
    pub fn retain(&self, kind: Kind, is_needed: impl Fn(&str) -> bool) {
        for key in self.keys(kind).iter().filter(|key| !is_needed(key)) {
            self.forget(kind, key);
        }
    }

    /// Returns the keys of a kind, in order.
    pub fn keys(&self, kind: Kind) -> Vec<String> {
        let state = self.0.state.lock();
        let from = state.sizes.range((kind, String::new())..);
        from.take_while(|((of, _), _)| *of == kind).map(|((_, key), _)| key.clone()).collect()
    }

    /// Returns what is kept under a key. A file that is damaged is named in the log, and gone.
    pub fn recall<T: DeserializeOwned>(&self, kind: Kind, key: &str) -> Option<T> {
        let id = (kind, key.to_owned());
        let waiting = {
            let state = self.0.state.lock();
            state.sizes.get(&id)?;
            state.waiting.get(&id).cloned().flatten()
        };
        let path = self.path(&id);
        let bytes = match waiting {
            Some(bytes) => Ok(bytes.to_vec()),
            None => disk::read(&path, RECORD_BYTES_MAX),
        };
        match bytes.map_err(record_error).and_then(|bytes| record::decode(&bytes).map_err(record_error)) {
            Ok(value) => Some(value),
            Err(error) => {
                tracing::error!(file = %path.display(), error, "what was kept on disk is damaged and is dropped");
                self.forget(kind, key);
                None
            }
        }
    }

    /// Returns everything of a kind with its key.
    pub fn recall_all<T: DeserializeOwned>(&self, kind: Kind) -> Vec<(String, T)> {
        let keys = self.keys(kind).into_iter();
        keys.filter_map(|key| self.recall(kind, &key).map(|value| (key, value))).collect()
    }

    /// Completes when everything that was kept before is on disk. Returns whether the disk took it all.
    pub async fn settle(&self) -> bool {
        let _turn = self.0.writing.lock().await;
        let changes = self.0.state.lock().waiting.clone();
        if changes.is_empty() {
            return true;
        }
        let files: Vec<_> = changes.iter().map(|(id, content)| (self.path(id), content.clone())).collect();
        let written = tokio::task::spawn_blocking(move || disk::write_all(&files)).await;
        match written.map_err(io::Error::other).flatten() {
            Ok(()) => {
                let mut state = self.0.state.lock();
                // What changed again meanwhile waits for the next turn.
                let is_same = |now: &Option<Arc<[u8]>>, then: &Option<Arc<[u8]>>| match (now, then) {
                    (Some(now), Some(then)) => Arc::ptr_eq(now, then),
                    (now, then) => now.is_none() && then.is_none(),
                };
                state.waiting.retain(|id, now| changes.get(id).is_none_or(|then| !is_same(now, then)));
                true
            }
            Err(error) => {
                tracing::warn!(dir = %self.0.root.display(), %error, "the node's state is not written; trying again");
                false
            }
        }
    }

    fn path(&self, (kind, key): &Id) -> PathBuf {
        self.0.root.join(kind.folder()).join(format!("{key}{}", disk::SUFFIX))
    }
}

/// The checksum in a record's first line stands for its content.
fn record_sum(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    // What `encode` wrote has 64 digits there.
    let _ = hex::decode_to_slice(bytes.get(7..71).unwrap_or_default(), &mut sum);
    sum
}

fn record_error(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
