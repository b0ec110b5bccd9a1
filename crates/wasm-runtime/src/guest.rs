//! The words between a host and its guests: what a guest is given, and how it ended.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::cpu::Cpu;
use crate::keyvalue::Bucket;
use crate::memory::Budget;
use crate::net::Network;
use crate::tls::TlsTrust;
use crate::turns::WEIGHT_OF_PROCESSOR;

/// An error of any kind, as bodies and host ports carry it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// An HTTP body. `proxy` names the same type, so that requests pass between the two without a conversion.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// What the node lets one guest have: nothing is granted that is not named here.
#[derive(Default)]
pub struct GuestSpec {
    /// `argv`, the program name first.
    pub args: Vec<String>,
    /// The environment; later duplicates have been removed. It is also what `wasi:config` answers from: what a program is
    /// configured with does not depend on the way in which it asks.
    pub env: Arc<Vec<(String, String)>>,
    /// Directories of the host that the guest sees.
    pub mounts: Vec<Mount>,
    /// The absolute path that components are told to begin in (`initial-cwd` of `wasi:cli/environment`); preview 1 has no
    /// such thing.
    pub working_dir: Option<String>,
    /// What the guest may use.
    pub limits: Limits,
    /// Whose memory and processor time it uses up, instead of its own by `limits`.
    pub allowance: Option<Allowance>,
    /// What it reads, until the sender is dropped; `None` is nothing. Only commands read.
    pub stdin: Option<mpsc::Receiver<Bytes>>,
    /// Where its output goes.
    pub output: Option<Arc<dyn Output>>,
    /// Where its outgoing HTTP requests go; `None` refuses them.
    pub outbound: Option<Arc<dyn Outbound>>,
    /// The network that its sockets are on; `None` refuses every socket.
    pub network: Option<Arc<dyn Network>>,
    /// The TCP ports of `network` that a preview 1 module listens on, which cannot open sockets itself: descriptors 3, 4 …
    /// in this order, before its directories, as socket activation has it. The guest is told by `LISTEN_FDS`, unless `env`
    /// says otherwise; a host that has names for the ports adds `LISTEN_FDNAMES` (joined by colons) to `env`. Components
    /// open their own sockets: for them it is ignored.
    pub listen: Vec<u16>,
    /// Whom it trusts as a client by `wasi:tls`, if not whom the machine trusts.
    pub tls: Option<TlsTrust>,
    /// `wasi:keyvalue` buckets by the names that the guest opens them by.
    pub buckets: BTreeMap<String, Bucket>,
    /// The exported function to call instead of the guest's own entry point, as [`Artifact::function`] returned it.
    ///
    /// [`Artifact::function`]: crate::Artifact::function
    pub export: Option<String>,
}

/// One directory of the host inside the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The directory on the host.
    pub host: PathBuf,
    /// The absolute path that the guest sees.
    pub guest: String,
    /// Whether the guest may write.
    pub access: Access,
}

/// Whether a mount may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    ReadOnly,
    /// Read and write.
    ReadWrite,
}

/// What a guest may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All linear memories and tables together, in bytes, summed over concurrent requests, and 64 KiB for each instance.
    pub memory_bytes: u64,
    /// How much of it the guest is promised: over that, it is refused first when the machine runs short.
    pub memory_promised: u64,
    /// The processor time that the guest may have, in thousandths of a processor; `None` is no limit.
    pub cpu_millis: Option<u32>,
    /// The guest's share where several want the same processor (`cpu.shares`: 1024 for each one requested, at least 2).
    pub cpu_shares: u32,
    /// How many requests may run at once (`wasi:http` guests).
    pub concurrency: usize,
    /// How many requests may wait for that; more are turned away.
    pub queue: usize,
    /// How long one request may take until its response head, waiting included.
    pub request_deadline: Duration,
    /// Whether an instance answers more than one request (`wasi:http` guests).
    pub reuse: Reuse,
}

/// Whether and how long an instance of a `wasi:http` guest is kept for further requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse {
    /// Whether at all.
    pub mode: ReuseMode,
    /// How many requests one instance may have at once. By WASI 0.2 it is always one.
    pub concurrency: usize,
    /// After how many requests an instance has served its time.
    pub requests: u32,
    /// How long an instance without requests is kept.
    pub idle: Duration,
}

impl Default for Reuse {
    fn default() -> Self {
        Self { mode: ReuseMode::ByVersion, concurrency: 16, requests: 1_000, idle: Duration::from_secs(1) }
    }
}

/// Whether instances are reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReuseMode {
    /// By WASI 0.3 yes, for it was made for that; by 0.2 no.
    ByVersion,
    /// A fresh instance for each request.
    Never,
    /// Also by WASI 0.2, one request after the other.
    Always,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            memory_promised: 0,
            cpu_millis: None,
            cpu_shares: WEIGHT_OF_PROCESSOR,
            concurrency: 64,
            queue: 1_024,
            request_deadline: Duration::from_secs(30),
            reuse: Reuse::default(),
        }
    }
}

/// What guests may still use that belong together. Clones share it.
///
/// Allowances form a tree, as control groups do: the machine's ([`Engine::allowance`](crate::Engine::allowance) takes from
/// it), a pod's, a container's. What is used counts at every level, and every level's limit holds.
#[derive(Debug, Clone)]
pub struct Allowance {
    pub(crate) budget: Arc<Budget>,
    pub(crate) cpu: Arc<Cpu>,
}

impl Allowance {
    /// Returns one that nobody else shares.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self::below(limits, None, None)
    }

    pub(crate) fn below(limits: &Limits, memory: Option<Arc<Budget>>, cpu: Option<Arc<Cpu>>) -> Self {
        Self {
            budget: Arc::new(Budget::new(limits.memory_bytes, limits.memory_promised, memory)),
            cpu: Arc::new(Cpu::new(limits.cpu_millis, limits.cpu_shares, cpu)),
        }
    }

    /// Returns a part of it, with limits of its own.
    #[must_use]
    pub fn part(&self, limits: &Limits) -> Self {
        Self::below(limits, Some(Arc::clone(&self.budget)), Some(Arc::clone(&self.cpu)))
    }

    /// Sets other limits for what runs already. Memory that is used above them stays, but does not grow.
    pub fn resize(&self, limits: &Limits) {
        self.budget.resize(limits.memory_bytes, limits.memory_promised);
        self.cpu.resize(limits.cpu_millis, limits.cpu_shares);
    }

    /// Returns the memory that is used now, in bytes.
    pub fn memory_used(&self) -> u64 {
        self.budget.used()
    }

    /// Returns the most memory that was used at once, in bytes.
    pub fn memory_peak(&self) -> u64 {
        self.budget.peak()
    }

    /// Returns the time on threads.
    pub fn cpu_time(&self) -> Duration {
        self.cpu.used()
    }
}

/// Which stream a guest wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A port: takes what a guest prints. Called from guest threads; must not block for long.
pub trait Output: Send + Sync {
    /// Takes some bytes, not necessarily a whole line.
    fn write(&self, stream: StdStream, bytes: &[u8]);

    /// Returns what to wait for before the next write, so that a slow reader slows the guest down instead of filling
    /// memory; `None` if there is room.
    fn room(&self) -> Option<BoxFuture<'static, ()>> {
        None
    }
}

/// A port: sends a guest's outgoing HTTP request.
pub trait Outbound: Send + Sync {
    /// Sends `request`, whose URI is absolute.
    fn send(&self, request: http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, BoxError>>;
}

/// How a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The exit code as a shell would show it: 0 to 255; 137 killed or out of memory, 143 stopped, 134 abort.
    pub code: i32,
    /// The kind of end.
    pub reason: ExitReason,
    /// What a person should read, such as the wasm backtrace; may be empty.
    pub message: String,
}

/// The kinds of ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// The guest returned or exited.
    Exited,
    /// The guest trapped.
    Trapped,
    /// The guest wanted more memory than its limit.
    OutOfMemory,
    /// We stopped it.
    Stopped,
}
