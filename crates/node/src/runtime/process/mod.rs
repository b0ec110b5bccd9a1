//! Pods in a process of their own (`RuntimeClass` `wasm-process`): one worker process for each pod, the same binary,
//! confined by seccomp and Landlock and with a memory limit of its own. What crashes it takes that pod and no other.
//!
//! ```text
//!  node process                                    worker process of one pod
//!   host.rs     Workers -> Worker -> Remote: Guest  ═ HTTP/2 ═>  worker.rs -> launch.rs -> the same engine
//!   the proxy                                       <═ HTTP/2 ═  outbound.rs: what its guests send
//!   the pod's network                               <═ HTTP/2 ═  sockets/: their sockets
//! ```

mod channel;
mod confine;
mod host;
mod inbound;
mod launch;
mod outbound;
mod sockets;
mod wire;
mod worker;

use std::path::PathBuf;

pub(super) use self::host::Workers;
pub use self::worker::run_worker;

#[cfg(test)]
mod tests;

/// What the process of a pod may have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// The memory of all its containers, in bytes.
    pub memory_bytes: u64,
    /// Directories that it may read.
    pub readable: Vec<PathBuf>,
    /// Directories that it may read and write.
    pub writable: Vec<PathBuf>,
}
