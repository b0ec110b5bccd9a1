//! The TCP socket of `wasi:sockets`: its states, and what each call does in them. Shared by 0.2 and 0.3.
//!
//! ```text
//!  Unbound --start_bind--> BindStarted --finish_bind--> Bound --start_listen--> ListenStarted --finish_listen--> Listening
//!     |                                                   |                                                        |
//!     +---------------- start_connect --------------------+--> Connecting --finish_connect--> Connected <--accept--+
//!                                                                  |
//!                                                                  +-- failed --> Closed: nothing but dropping is left
//! ```
//!
//! What 0.3 does in one call is start and finish here. Nothing in this file waits: who wants to calls `poll_ready`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::address::{Family, check_tcp_bind, check_tcp_connect};
use super::code::Code;
use super::options::Options;
use super::sockets::{Slot, Sockets, once};
use super::stream::{SharedReceiver, SharedSender, split};
use super::{Connection, Incoming, NetError, TcpPort};

/// A TCP socket.
pub(crate) struct TcpSocket {
    sockets: Sockets,
    slot: Slot,
    family: Family,
    options: Options,
    state: State,
}

enum State {
    Unbound,
    BindStarted(Box<dyn TcpPort>),
    Bound(Box<dyn TcpPort>),
    ListenStarted(Listening),
    Listening(Listening),
    Connecting(Connecting),
    Connected(Connected),
    Closed,
}

struct Listening {
    /// Holds the port for as long as the socket lives.
    port: Box<dyn TcpPort>,
    /// Gone once [`TcpSocket::take_acceptor`] handed it out.
    acceptor: Option<Acceptor>,
}

/// The connections of a listening socket.
pub(crate) struct Acceptor {
    incoming: Box<dyn Incoming>,
    next: Option<Result<Connection, NetError>>,
}

struct Connecting {
    attempt: BoxFuture<'static, Result<Connection, NetError>>,
    result: Option<Result<Connection, NetError>>,
}

struct Connected {
    local: SocketAddr,
    remote: SocketAddr,
    receiver: SharedReceiver,
    sender: SharedSender,
    is_receiver_taken: bool,
    is_sender_taken: bool,
}

/// Which directions to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shutdown {
    /// We do not read any more.
    Receive,
    /// We do not write any more.
    Send,
    /// Both.
    Both,
}

impl TcpSocket {
    /// Makes a socket that is not bound.
    pub(crate) fn new(sockets: &Sockets, family: Family) -> Result<Self, Code> {
        sockets.network()?;
        let slot = sockets.slot()?;
        Ok(Self { sockets: sockets.clone(), slot, family, options: Options::default(), state: State::Unbound })
    }

    /// Makes the socket of a connection that a listener accepted; it inherits the listener's options.
    pub(crate) fn accepted(
        sockets: &Sockets,
        slot: Slot,
        family: Family,
        options: &Options,
        connection: Connection,
    ) -> Self {
        let state = State::Connected(Connected::new(connection, &slot));
        Self { sockets: sockets.clone(), slot, family, options: options.clone(), state }
    }

    /// Takes the port.
    pub(crate) fn start_bind(&mut self, local: SocketAddr) -> Result<(), Code> {
        self.check_idle()?;
        if !matches!(self.state, State::Unbound) {
            return Err(Code::InvalidState);
        }
        check_tcp_bind(self.family, local)?;
        self.state = State::BindStarted(self.sockets.network()?.bind_tcp(local)?);
        Ok(())
    }

    /// Ends what `start_bind` began.
    pub(crate) fn finish_bind(&mut self) -> Result<(), Code> {
        self.finish(|state| match state {
            State::BindStarted(port) => Ok(State::Bound(port)),
            other => Err(other),
        })
    }

    /// Begins to connect, from the bound port or else from any.
    pub(crate) fn start_connect(&mut self, remote: SocketAddr) -> Result<(), Code> {
        self.check_idle()?;
        if !matches!(self.state, State::Unbound | State::Bound(_)) {
            return Err(Code::InvalidState);
        }
        check_tcp_connect(self.family, remote)?;
        let attempt = self.port()?.connect(remote);
        self.state = State::Connecting(Connecting { attempt, result: None });
        // Sets off now, and not when the guest first asks how far it is.
        let _ = self.poll_ready(&mut once());
        Ok(())
    }

    /// Ends what `start_connect` began, with [`Code::WouldBlock`] while it is under way.
    pub(crate) fn finish_connect(&mut self) -> Result<(), Code> {
        let _ = self.poll_ready(&mut once());
        let State::Connecting(connecting) = &mut self.state else { return Err(Code::NotInProgress) };
        match connecting.result.take() {
            None => Err(Code::WouldBlock),
            Some(Ok(connection)) => {
                self.state = State::Connected(Connected::new(connection, &self.slot));
                Ok(())
            }
            Some(Err(error)) => {
                self.state = State::Closed;
                Err(error.into())
            }
        }
    }

    /// Reports whether the socket has a port of its own.
    pub(crate) fn is_bound(&self) -> bool {
        !matches!(self.state, State::Unbound | State::Closed)
    }

    /// Begins to listen, on the bound port or else on any. By 0.2 the caller makes sure that the socket is bound.
    pub(crate) fn start_listen(&mut self) -> Result<(), Code> {
        self.check_idle()?;
        if !matches!(self.state, State::Unbound | State::Bound(_)) {
            return Err(Code::InvalidState);
        }
        let port = self.port()?;
        match port.listen(self.options.backlog()) {
            Ok(incoming) => {
                let acceptor = Some(Acceptor { incoming, next: None });
                self.state = State::ListenStarted(Listening { port, acceptor });
                Ok(())
            }
            Err(error) => {
                self.state = State::Bound(port);
                Err(error.into())
            }
        }
    }

    /// Ends what `start_listen` began.
    pub(crate) fn finish_listen(&mut self) -> Result<(), Code> {
        self.finish(|state| match state {
            State::ListenStarted(listening) => Ok(State::Listening(listening)),
            other => Err(other),
        })
    }

    /// Returns the next connection, with [`Code::WouldBlock`] if there is none. A connection waits while the instance
    /// has too many sockets.
    pub(crate) fn accept(&mut self) -> Result<Self, Code> {
        let State::Listening(Listening { acceptor: Some(acceptor), .. }) = &mut self.state else {
            return Err(Code::InvalidState);
        };
        if acceptor.poll_ready(&mut once()).is_pending() {
            return Err(Code::WouldBlock);
        }
        let slot = self.sockets.slot()?;
        let connection = acceptor.take().ok_or(Code::WouldBlock)??;
        Ok(Self::accepted(&self.sockets, slot, self.family, &self.options, connection))
    }

    /// Hands out what a listening socket accepts; from then on the socket itself accepts nothing.
    pub(crate) fn take_acceptor(&mut self) -> Result<Acceptor, Code> {
        let State::Listening(listening) = &mut self.state else { return Err(Code::InvalidState) };
        listening.acceptor.take().ok_or(Code::InvalidState)
    }

    /// Completes when `finish_connect` or `accept` is worth another call; at once if nothing is under way.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            State::Connecting(connecting) if connecting.result.is_none() => {
                connecting.result = Some(ready!(connecting.attempt.as_mut().poll(context)));
                Poll::Ready(())
            }
            State::Listening(Listening { acceptor: Some(acceptor), .. }) => acceptor.poll_ready(context),
            _ => Poll::Ready(()),
        }
    }

    /// Returns our own address.
    pub(crate) fn local(&self) -> Result<SocketAddr, Code> {
        match &self.state {
            State::BindStarted(port) | State::Bound(port) => Ok(port.local()),
            State::ListenStarted(listening) | State::Listening(listening) => Ok(listening.port.local()),
            State::Connected(connected) => Ok(connected.local),
            State::Unbound | State::Connecting(_) | State::Closed => Err(Code::InvalidState),
        }
    }

    /// Returns the other's address.
    pub(crate) fn remote(&self) -> Result<SocketAddr, Code> {
        Ok(self.connected()?.remote)
    }

    /// Reports whether it accepts connections.
    pub(crate) fn is_listening(&self) -> bool {
        matches!(self.state, State::Listening(_))
    }

    /// Returns the family that it was made for.
    pub(crate) fn family(&self) -> Family {
        self.family
    }

    /// Returns the options.
    pub(crate) fn options(&mut self) -> Result<&mut Options, Code> {
        if matches!(self.state, State::Closed) { Err(Code::InvalidState) } else { Ok(&mut self.options) }
    }

    /// Sets how many connections may wait; the network has been told already once the socket listens.
    pub(crate) fn set_backlog(&mut self, connections: u64) -> Result<(), Code> {
        match self.state {
            State::Unbound | State::BindStarted(_) | State::Bound(_) => self.options.set_backlog(connections),
            State::ListenStarted(_) | State::Listening(_) if connections == 0 => Err(Code::InvalidArgument),
            State::ListenStarted(_) | State::Listening(_) => Err(NetError::Unsupported.into()),
            State::Connecting(_) | State::Connected(_) | State::Closed => Err(Code::InvalidState),
        }
    }

    /// Ends one direction or both; again is no mistake.
    pub(crate) fn shut_down(&mut self, how: Shutdown) -> Result<(), Code> {
        let connected = self.connected()?;
        if how != Shutdown::Send {
            connected.receiver.lock().close();
        }
        if how != Shutdown::Receive {
            connected.sender.lock().close();
        }
        Ok(())
    }

    /// Returns what comes in.
    pub(crate) fn receiver(&self) -> Result<SharedReceiver, Code> {
        Ok(Arc::clone(&self.connected()?.receiver))
    }

    /// Returns what goes out.
    pub(crate) fn sender(&self) -> Result<SharedSender, Code> {
        Ok(Arc::clone(&self.connected()?.sender))
    }

    /// Returns what comes in, once.
    pub(crate) fn take_receiver(&mut self) -> Result<SharedReceiver, Code> {
        let State::Connected(connected) = &mut self.state else { return Err(Code::InvalidState) };
        if std::mem::replace(&mut connected.is_receiver_taken, true) {
            return Err(Code::InvalidState);
        }
        Ok(Arc::clone(&connected.receiver))
    }

    /// Returns what goes out, once.
    pub(crate) fn take_sender(&mut self) -> Result<SharedSender, Code> {
        let State::Connected(connected) = &mut self.state else { return Err(Code::InvalidState) };
        if std::mem::replace(&mut connected.is_sender_taken, true) {
            return Err(Code::InvalidState);
        }
        Ok(Arc::clone(&connected.sender))
    }

    fn connected(&self) -> Result<&Connected, Code> {
        if let State::Connected(connected) = &self.state { Ok(connected) } else { Err(Code::InvalidState) }
    }

    /// One operation after the other: whatever was started must be finished first.
    fn check_idle(&self) -> Result<(), Code> {
        match self.state {
            State::BindStarted(_) | State::ListenStarted(_) | State::Connecting(_) => Err(Code::Conflict),
            _ => Ok(()),
        }
    }

    /// Takes the port out of the state, or any port if there is none yet. The caller puts the next state in.
    fn port(&mut self) -> Result<Box<dyn TcpPort>, Code> {
        match std::mem::replace(&mut self.state, State::Unbound) {
            State::Bound(port) => Ok(port),
            _ => Ok(self.sockets.network()?.bind_tcp(self.family.anywhere())?),
        }
    }

    fn finish(&mut self, step: impl FnOnce(State) -> Result<State, State>) -> Result<(), Code> {
        match step(std::mem::replace(&mut self.state, State::Closed)) {
            Ok(next) => {
                self.state = next;
                Ok(())
            }
            Err(unchanged) => {
                self.state = unchanged;
                Err(Code::NotInProgress)
            }
        }
    }
}

impl Acceptor {
    /// Completes when there is a connection, or the network is gone.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.next.is_none() {
            self.next = Some(ready!(self.incoming.poll_accept(context)));
        }
        Poll::Ready(())
    }

    /// Returns what [`Acceptor::poll_ready`] found.
    pub(crate) fn take(&mut self) -> Option<Result<Connection, NetError>> {
        self.next.take()
    }
}

impl Connected {
    fn new(connection: Connection, slot: &Slot) -> Self {
        let Connection { local, remote, stream } = connection;
        let (receiver, sender) = split(stream, slot);
        Self {
            local,
            remote,
            receiver: Arc::new(Mutex::new(receiver)),
            sender: Arc::new(Mutex::new(sender)),
            is_receiver_taken: false,
            is_sender_taken: false,
        }
    }
}

#[cfg(test)]
#[path = "tcp_tests.rs"]
mod tests;
