//! Why a call on a socket failed, in words that both generations of `wasi:sockets` and preview 1 have an answer for.

use super::NetError;

/// A guest's mistake, or what the network said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// The socket is not in a state in which that can be done.
    InvalidState,
    /// An address or a value that cannot be used.
    InvalidArgument,
    /// Another operation of this socket is under way.
    Conflict,
    /// Finished without having been started.
    NotInProgress,
    /// Nothing yet; waiting helps.
    WouldBlock,
    /// Our own end does not write any more.
    Broken,
    /// The guest has no memory left for it.
    OutOfMemory,
    /// The network refused.
    Net(NetError),
}

impl From<NetError> for Code {
    fn from(error: NetError) -> Self {
        Self::Net(error)
    }
}
