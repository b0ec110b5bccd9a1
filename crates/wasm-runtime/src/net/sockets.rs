//! What one instance has of the network: the way to it, and how many sockets it may hold.

use std::sync::Arc;
use std::task::{Context, Waker};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::code::Code;
use super::{NetError, Network};

/// Sockets, connections and look-ups under way of one instance. A process on Linux has 1,024 file descriptors unless it
/// asks for more. What their buffers may hold is bounded by the network: 64 KiB each way of a connection, and 4 MiB for all
/// datagrams that wait in a pod.
pub(crate) const SOCKETS_MAX: usize = 1_024;

/// Held by everything that counts as a socket, down to the last byte that still has to leave. Shared by both directions
/// of a connection.
pub(crate) type Slot = Arc<OwnedSemaphorePermit>;

/// The sockets of one instance. Clones share the bound.
#[derive(Clone)]
pub(crate) struct Sockets {
    network: Option<Arc<dyn Network>>,
    slots: Arc<Semaphore>,
}

impl Sockets {
    /// Returns those of an instance on `network`; without one every socket is refused.
    pub(crate) fn new(network: Option<Arc<dyn Network>>) -> Self {
        Self { network, slots: Arc::new(Semaphore::new(SOCKETS_MAX)) }
    }

    /// Returns the network.
    pub(crate) fn network(&self) -> Result<&Arc<dyn Network>, Code> {
        self.network.as_ref().ok_or(Code::Net(NetError::Denied))
    }

    /// Takes the right to one more socket.
    pub(crate) fn slot(&self) -> Result<Slot, Code> {
        let permit = Arc::clone(&self.slots).try_acquire_owned();
        permit.map(Arc::new).map_err(|_| Code::Net(NetError::TooMany))
    }

    /// Waits until the instance may have one more socket.
    pub(crate) fn next_slot(&self) -> impl Future<Output = Slot> + Send + 'static + use<> {
        let slots = Arc::clone(&self.slots);
        async move { Arc::new(slots.acquire_owned().await.expect("never closed")) }
    }
}

/// Returns a context for looking once, where whoever wants to wait polls again with a context of its own.
pub(crate) fn once() -> Context<'static> {
    Context::from_waker(Waker::noop())
}
