//! What one instance has of the network: the way to it, and how many sockets it may hold.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::code::Code;
use super::{NetError, Network};
use crate::memory::{Budget, Held};

/// Sockets, connections and look-ups under way of one instance. A process on Linux has 1,024 file descriptors unless it
/// asks for more. What their buffers may hold is bounded by the network: 64 KiB each way of a connection, and 4 MiB for all
/// datagrams that wait in a pod.
pub(crate) const SOCKETS_MAX: usize = 1_024;

/// What each counts for in the guest's memory: as much as one direction of a connection holds that nobody reads from.
/// Buffers grow with what waits in them; one that is read from holds next to nothing.
pub(crate) const SOCKET_BYTES: u64 = 64 << 10;

/// How often who waits for a socket looks whether there is memory for it.
const RETRY: Duration = Duration::from_millis(50);

/// Held by everything that counts as a socket, down to the last byte that still has to leave. Shared by both directions
/// of a connection.
pub(crate) type Slot = Arc<Taken>;

/// The right to one socket, and its memory.
#[derive(Debug)]
pub(crate) struct Taken {
    _permit: OwnedSemaphorePermit,
    _memory: Option<Held>,
}

/// The sockets of one instance. Clones share the bound.
#[derive(Clone)]
pub(crate) struct Sockets {
    network: Option<Arc<dyn Network>>,
    slots: Arc<Semaphore>,
    /// Whose memory they use; `None` counts nothing.
    budget: Option<Arc<Budget>>,
}

impl Sockets {
    /// Returns those of an instance on `network`; without one every socket is refused.
    pub(crate) fn new(network: Option<Arc<dyn Network>>) -> Self {
        Self { network, slots: Arc::new(Semaphore::new(SOCKETS_MAX)), budget: None }
    }

    /// Counts them as memory of this budget.
    pub(crate) fn within(self, budget: &Arc<Budget>) -> Self {
        Self { budget: Some(Arc::clone(budget)), ..self }
    }

    /// Returns the network.
    pub(crate) fn network(&self) -> Result<&Arc<dyn Network>, Code> {
        self.network.as_ref().ok_or(Code::Net(NetError::Denied))
    }

    /// Takes the right to one more socket.
    pub(crate) fn slot(&self) -> Result<Slot, Code> {
        let permit = Arc::clone(&self.slots).try_acquire_owned();
        let permit = permit.map_err(|_| Code::Net(NetError::TooMany))?;
        Ok(Arc::new(Taken { _permit: permit, _memory: self.memory()? }))
    }

    /// Waits until the instance may have one more socket.
    pub(crate) fn next_slot(&self) -> impl Future<Output = Slot> + Send + 'static + use<> {
        let me = self.clone();
        async move {
            let permit = Arc::clone(&me.slots).acquire_owned().await.expect("never closed");
            loop {
                if let Ok(memory) = me.memory() {
                    return Arc::new(Taken { _permit: permit, _memory: memory });
                }
                // Whatever gives memory back tells nobody.
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    fn memory(&self) -> Result<Option<Held>, Code> {
        let held = self.budget.as_ref().map(|budget| budget.hold(SOCKET_BYTES));
        held.transpose().map_err(|_| Code::OutOfMemory)
    }
}

/// Returns a context for looking once, where whoever wants to wait polls again with a context of its own.
pub(crate) fn once() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_memory_of_their_guest() {
        let budget = Arc::new(Budget::new(2 * SOCKET_BYTES, 0, None));
        let sockets = Sockets::new(None).within(&budget);
        let held: Vec<_> = (0..2).map(|_| sockets.slot().unwrap()).collect();
        assert_eq!(budget.used(), 2 * SOCKET_BYTES);
        assert_eq!(sockets.slot().map(drop), Err(Code::OutOfMemory));
        drop(held);
        assert_eq!(budget.used(), 0);
        assert!(sockets.slot().is_ok(), "the refused one took nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_socket_gets_it_when_there_is_memory_again() {
        let budget = Arc::new(Budget::new(SOCKET_BYTES, 0, None));
        let sockets = Sockets::new(None).within(&budget);
        let first = sockets.slot().unwrap();
        let mut next = std::pin::pin!(sockets.next_slot());
        assert!(tokio::time::timeout(10 * RETRY, &mut next).await.is_err());
        drop(first);
        drop(next.await);
        assert_eq!(budget.used(), 0);
    }
}
