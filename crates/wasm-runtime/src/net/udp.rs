//! The UDP socket of `wasi:sockets`: where it is bound, whom it talks to. Shared by 0.2 and 0.3.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::Mutex;

use super::address::{Family, check_udp_bind, check_udp_send};
use super::code::Code;
use super::options::Options;
use super::sockets::{Slot, Sockets, once};
use super::{NetError, UdpPort};

/// What fits into one IPv4 packet after its headers, as on Linux.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 65_507;

/// A UDP socket.
pub(crate) struct UdpSocket {
    sockets: Sockets,
    slot: Slot,
    family: Family,
    options: Options,
    state: State,
    remote: Option<SocketAddr>,
    turns: Arc<Turns>,
}

/// Who waits at the port: one for each direction, because a port wakes the last who asked. By 0.3 several tasks of a guest
/// may use a socket at once.
#[derive(Default)]
struct Turns {
    sending: Mutex<()>,
    receiving: Mutex<()>,
}

enum State {
    Unbound,
    BindStarted(Arc<dyn UdpPort>),
    Bound(Arc<dyn UdpPort>),
}

impl UdpSocket {
    /// Makes a socket that is not bound.
    pub(crate) fn new(sockets: &Sockets, family: Family) -> Result<Self, Code> {
        sockets.network()?;
        let slot = sockets.slot()?;
        let (sockets, options, turns) = (sockets.clone(), Options::default(), Arc::default());
        Ok(Self { sockets, slot, family, options, state: State::Unbound, remote: None, turns })
    }

    /// Takes the port.
    pub(crate) fn start_bind(&mut self, local: SocketAddr) -> Result<(), Code> {
        match self.state {
            State::Unbound => {}
            State::BindStarted(_) => return Err(Code::Conflict),
            State::Bound(_) => return Err(Code::InvalidState),
        }
        check_udp_bind(self.family, local)?;
        self.state = State::BindStarted(self.sockets.network()?.bind_udp(local)?.into());
        Ok(())
    }

    /// Ends what `start_bind` began.
    pub(crate) fn finish_bind(&mut self) -> Result<(), Code> {
        let State::BindStarted(port) = &self.state else { return Err(Code::NotInProgress) };
        self.state = State::Bound(Arc::clone(port));
        Ok(())
    }

    /// Takes any port unless the socket has one, as the first `connect` or `send` of 0.3 does.
    pub(crate) fn bind_anywhere(&mut self) -> Result<(), Code> {
        if matches!(self.state, State::Unbound) {
            self.state = State::Bound(self.sockets.network()?.bind_udp(self.family.anywhere())?.into());
        }
        Ok(())
    }

    /// Talks to `remote` only, from now on.
    pub(crate) fn connect(&mut self, remote: SocketAddr) -> Result<(), Code> {
        check_udp_send(self.family, remote)?;
        self.remote = Some(remote);
        Ok(())
    }

    /// Talks to anybody again.
    pub(crate) fn disconnect(&mut self) -> Result<(), Code> {
        self.remote.take().map(|_| ()).ok_or(Code::InvalidState)
    }

    /// Says where a datagram goes that the guest addressed to `to`.
    pub(crate) fn destination(&self, to: Option<SocketAddr>) -> Result<SocketAddr, Code> {
        destination(self.family, self.remote, to)
    }

    /// Returns the bound port, with whom it talks to now.
    pub(crate) fn channel(&self) -> Result<Channel, Code> {
        let State::Bound(port) = &self.state else { return Err(Code::InvalidState) };
        let (port, turns, slot) = (Arc::clone(port), Arc::clone(&self.turns), Arc::clone(&self.slot));
        Ok(Channel { port, family: self.family, remote: self.remote, turns, _slot: slot })
    }

    /// Returns our own address.
    pub(crate) fn local(&self) -> Result<SocketAddr, Code> {
        match &self.state {
            State::Unbound => Err(Code::InvalidState),
            State::BindStarted(port) | State::Bound(port) => Ok(port.local()),
        }
    }

    /// Returns whom it talks to, if to one only.
    pub(crate) fn remote(&self) -> Result<SocketAddr, Code> {
        self.remote.ok_or(Code::InvalidState)
    }

    /// Returns the family that it was made for.
    pub(crate) fn family(&self) -> Family {
        self.family
    }

    /// Returns the options.
    pub(crate) fn options(&mut self) -> &mut Options {
        &mut self.options
    }
}

/// A bound port, and the one peer that it talks to if the socket was connected.
#[derive(Clone)]
pub(crate) struct Channel {
    port: Arc<dyn UdpPort>,
    family: Family,
    remote: Option<SocketAddr>,
    turns: Arc<Turns>,
    _slot: Slot,
}

impl Channel {
    /// Sends one datagram after those of others, once there is room.
    pub(crate) async fn send(&self, datagram: &Bytes, to: SocketAddr) -> Result<(), NetError> {
        let _turn = self.turns.sending.lock().await;
        poll_fn(|context| self.poll_send(context, datagram, to)).await
    }

    /// Waits for a datagram that nobody who waited before takes.
    pub(crate) async fn receive(&self) -> Result<(Bytes, SocketAddr), NetError> {
        let _turn = self.turns.receiving.lock().await;
        poll_fn(|context| self.poll_receive(context)).await
    }

    /// Sends one datagram.
    fn poll_send(&self, context: &mut Context<'_>, datagram: &Bytes, to: SocketAddr) -> Poll<Result<(), NetError>> {
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Poll::Ready(Err(NetError::TooLarge));
        }
        self.port.poll_send(context, datagram, to)
    }

    /// Returns the next datagram; one from anybody else than the peer is dropped.
    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Result<(Bytes, SocketAddr), NetError>> {
        loop {
            let (datagram, from) = ready!(self.port.poll_receive(context))?;
            if self.remote.is_none_or(|remote| remote == from) {
                return Poll::Ready(Ok((datagram, from)));
            }
        }
    }
}

/// What comes in, with one datagram held for the guest that waits for it.
pub(crate) struct Inbox {
    channel: Channel,
    next: Option<Result<(Bytes, SocketAddr), NetError>>,
}

impl Inbox {
    /// Returns the inbox of a bound port.
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel, next: None }
    }

    /// Completes when [`Inbox::take`] has something.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.next.is_none() {
            self.next = Some(ready!(self.channel.poll_receive(context)));
        }
        Poll::Ready(())
    }

    /// Returns the next datagram if there is one.
    pub(crate) fn take(&mut self) -> Option<Result<(Bytes, SocketAddr), NetError>> {
        let _ = self.poll_ready(&mut once());
        self.next.take()
    }
}

/// What goes out, with one datagram held that the network had no room for.
pub(crate) struct Outbox {
    channel: Channel,
    waiting: Option<(Bytes, SocketAddr)>,
    /// How many datagrams the guest may send with its next call.
    pub(crate) permitted: usize,
}

impl Outbox {
    /// Returns the outbox of a bound port.
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel, waiting: None, permitted: 0 }
    }

    /// Completes when [`Outbox::send`] takes another datagram.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some((datagram, to)) = &self.waiting {
            // It was accepted when it was queued; UDP owes nobody the news that it did not arrive.
            let _ = ready!(self.channel.poll_send(context, datagram, *to));
            self.waiting = None;
        }
        Poll::Ready(())
    }

    /// Reports whether the next datagram is taken.
    pub(crate) fn has_room(&mut self) -> bool {
        self.poll_ready(&mut once()).is_ready()
    }

    /// Sends one datagram or queues it; [`Code::WouldBlock`] if one is queued already.
    pub(crate) fn send(&mut self, datagram: Bytes, to: Option<SocketAddr>) -> Result<(), Code> {
        if self.poll_ready(&mut once()).is_pending() {
            return Err(Code::WouldBlock);
        }
        let to = destination(self.channel.family, self.channel.remote, to)?;
        match self.channel.poll_send(&mut once(), &datagram, to) {
            Poll::Ready(sent) => Ok(sent?),
            Poll::Pending => {
                self.waiting = Some((datagram, to));
                Ok(())
            }
        }
    }
}

/// Says where a datagram goes. Connected, the address may be left out or repeated; otherwise it must be there.
fn destination(family: Family, remote: Option<SocketAddr>, to: Option<SocketAddr>) -> Result<SocketAddr, Code> {
    let address = to.or(remote).ok_or(Code::InvalidArgument)?;
    check_udp_send(family, address)?;
    if remote.is_some_and(|remote| remote != address) {
        return Err(Code::InvalidArgument);
    }
    Ok(address)
}

#[cfg(test)]
#[path = "udp_tests.rs"]
mod tests;
