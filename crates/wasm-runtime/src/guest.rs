//! The words between a host and its guests: what a guest is given, and how it ended.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::cpu::Cpu;
use crate::memory::Budget;
use crate::net::Network;

/// An error of any kind, as bodies and host ports carry it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// An HTTP body. `proxy` names the same type, so that requests pass between the two without a conversion.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// What the node lets one guest have: nothing is granted that is not named here.
#[derive(Default)]
pub struct GuestSpec {
    /// `argv`, the program name first.
    pub args: Vec<String>,
    /// The environment; later duplicates have been removed.
    pub env: Vec<(String, String)>,
    /// Directories of the host that the guest sees.
    pub mounts: Vec<Mount>,
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
    /// `wasi:config` values.
    pub config: BTreeMap<String, String>,
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
    /// All linear memories and tables together, in bytes, summed over concurrent requests.
    pub memory_bytes: u64,
    /// The processor time that the guest may have, in thousandths of a processor; `None` is no limit.
    pub cpu_millis: Option<u32>,
    /// How many requests may run at once (`wasi:http` guests).
    pub concurrency: usize,
    /// How long one request may take until its response head.
    pub request_deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 256 << 20, cpu_millis: None, concurrency: 64, request_deadline: Duration::from_secs(30) }
    }
}

/// What a running guest may still use, for others that run inside its limits. Clones share it.
#[derive(Debug, Clone)]
pub struct Allowance {
    pub(crate) budget: Arc<Budget>,
    pub(crate) cpu: Arc<Cpu>,
}

impl Allowance {
    /// Returns a fresh one.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { budget: Arc::new(Budget::new(limits.memory_bytes)), cpu: Arc::new(Cpu::new(limits.cpu_millis)) }
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
