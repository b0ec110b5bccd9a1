//! How datagrams leave the node: for each pod elsewhere that is talked to, one stream there, opened by the first datagram
//! and closed when none has come for a while. Answers come by a stream of the other node's.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use wkube_base::Tasks;

use super::datagram::Datagram;
use super::room::{Held, Room};
use crate::remote::Remote;

/// To how many pods of other nodes this one talks at once. Datagrams to more are lost.
const LINKS_MAX: usize = 256;
/// How many datagrams wait for one pod, and how many bytes of them for all (a send buffer; more are lost).
const QUEUE_MAX: usize = 64;
const BYTES_MAX: usize = 8 << 20;
/// Linux forgets a flow of UDP after so long (`nf_conntrack_udp_timeout_stream` is 120 s, without an answer 30 s).
const IDLE: Duration = Duration::from_secs(30);
/// How long a pod that was not reached is not tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The streams of one node, by the pod's address.
#[derive(Clone)]
pub(crate) struct Links(Arc<Inner>);

struct Inner {
    open: Mutex<BTreeMap<IpAddr, mpsc::Sender<Waiting>>>,
    room: Room,
}

/// A datagram that waits, as it travels.
struct Waiting {
    bytes: Bytes,
    _held: Held,
}

impl Default for Links {
    fn default() -> Self {
        Self(Arc::new(Inner { open: Mutex::default(), room: Room::of(BYTES_MAX) }))
    }
}

impl Links {
    /// Sends a datagram to a pod of another node; it may be lost. `tasks` carry it.
    pub(super) fn send(
        &self,
        remote: &Arc<dyn Remote>,
        tasks: &Tasks,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &Bytes,
    ) {
        let bytes = Datagram { from, port: to.port(), bytes: bytes.clone() }.encode();
        let Some(held) = self.0.room.hold(bytes.len()) else { return };
        let waiting = Waiting { bytes, _held: held };
        let mut open = self.0.open.lock();
        if let Some(link) = open.get(&to.ip()) {
            let _ = link.try_send(waiting);
        } else if open.len() < LINKS_MAX {
            let (link, queue) = mpsc::channel(QUEUE_MAX);
            let _ = link.try_send(waiting);
            open.insert(to.ip(), link);
            tasks.spawn("datagrams to another node", self.clone().carry(Arc::clone(remote), to.ip(), queue));
        } else {
            tracing::debug!(%to, "a datagram was lost: this node talks to {LINKS_MAX} pods of others already");
        }
    }

    async fn carry(self, remote: Arc<dyn Remote>, to: IpAddr, queue: mpsc::Receiver<Waiting>) {
        let datagrams = stream::unfold(queue, |mut queue| async {
            let next = tokio::time::timeout(IDLE, queue.recv()).await.ok()??;
            Some((next.bytes, queue))
        });
        if let Err(error) = remote.carry(to, datagrams.boxed()).await {
            tracing::debug!(%to, %error, "datagrams did not reach another node");
            tokio::time::sleep(RETRY).await;
        }
        self.0.open.lock().remove(&to);
    }
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
