//! `wasi:sockets/udp@0.2` and `udp-create-socket@0.2`.

use std::future::{Future, poll_fn, ready};
use std::net::SocketAddr;

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Network};
use wasmtime_wasi::p2::bindings::sockets::udp::{
    Host, HostIncomingDatagramStream, HostOutgoingDatagramStream, HostUdpSocket, IncomingDatagram,
    IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream,
};
use wasmtime_wasi::p2::bindings::sockets::udp_create_socket;
use wasmtime_wasi::p2::{DynPollable, Pollable, SocketError, SocketResult, UdpSocket as Theirs, subscribe};

use super::{View, ours, refused, theirs};
use crate::net::code::Code;
use crate::net::options::Options;
use crate::net::udp::{Inbox, Outbox, UdpSocket};

/// Datagrams that one call takes or returns: a megabyte at most.
const BATCH_MAX: usize = 16;
/// A call that returns datagrams stops after as many bytes.
const BATCH_BYTES: usize = 64 << 10;

#[wasmtime_wasi::async_trait]
impl Pollable for UdpSocket {
    async fn ready(&mut self) {
        // Nothing that the socket itself does takes time; what its streams do has pollables of its own.
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Inbox {
    async fn ready(&mut self) {
        poll_fn(|context| self.poll_ready(context)).await;
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Outbox {
    async fn ready(&mut self) {
        poll_fn(|context| self.poll_ready(context)).await;
    }
}

impl View<'_> {
    fn on_udp<T>(
        &mut self,
        socket: &Resource<Theirs>,
        call: impl FnOnce(&mut UdpSocket) -> Result<T, Code>,
    ) -> SocketResult<T> {
        call(self.table.get_mut(&ours::<UdpSocket, _>(socket))?).map_err(refused)
    }

    fn get_udp<T>(&mut self, socket: &Resource<Theirs>, get: fn(&Options) -> T) -> SocketResult<T> {
        self.on_udp(socket, |socket| Ok(get(socket.options())))
    }

    fn set_udp<T>(
        &mut self,
        socket: &Resource<Theirs>,
        set: fn(&mut Options, T) -> Result<(), Code>,
        value: T,
    ) -> SocketResult<()> {
        self.on_udp(socket, |socket| set(socket.options(), value))
    }

    fn udp_streams(&mut self, socket: &Resource<Theirs>, remote: Option<SocketAddr>) -> SocketResult<Streams> {
        let parent = ours::<UdpSocket, _>(socket);
        let has_streams = self.table.iter_children(&parent)?.any(|child| child.is::<Inbox>() || child.is::<Outbox>());
        if has_streams {
            return Err(SocketError::trap(wasmtime::format_err!("the streams of this UDP socket are still in use")));
        }
        let channel = self.on_udp(socket, |socket| {
            // By 0.2 a socket is bound before it talks to anybody.
            socket.channel()?;
            match remote {
                Some(remote) => socket.connect(remote)?,
                None if socket.remote().is_ok() => socket.disconnect()?,
                None => {}
            }
            socket.channel()
        })?;
        let inbox = self.table.push_child(Inbox::new(channel.clone()), &parent)?;
        let outbox = self.table.push_child(Outbox::new(channel), &parent)?;
        Ok((theirs(&inbox), theirs(&outbox)))
    }
}

type Streams = (Resource<IncomingDatagramStream>, Resource<OutgoingDatagramStream>);

impl udp_create_socket::Host for View<'_> {
    async fn create_udp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<Theirs>> {
        let socket = UdpSocket::new(self.sockets, family.into()).map_err(refused)?;
        self.push(socket)
    }
}

impl Host for View<'_> {}

impl HostUdpSocket for View<'_> {
    async fn start_bind(
        &mut self,
        socket: Resource<Theirs>,
        network: Resource<Network>,
        local: IpSocketAddress,
    ) -> SocketResult<()> {
        self.check_network(&network)?;
        self.on_udp(&socket, |socket| socket.start_bind(local.into()))
    }

    fn finish_bind(&mut self, socket: Resource<Theirs>) -> SocketResult<()> {
        self.on_udp(&socket, UdpSocket::finish_bind)
    }

    async fn stream(&mut self, socket: Resource<Theirs>, remote: Option<IpSocketAddress>) -> SocketResult<Streams> {
        self.udp_streams(&socket, remote.map(SocketAddr::from))
    }

    fn local_address(&mut self, socket: Resource<Theirs>) -> SocketResult<IpSocketAddress> {
        self.on_udp(&socket, |socket| socket.local().map(IpSocketAddress::from))
    }

    fn remote_address(&mut self, socket: Resource<Theirs>) -> SocketResult<IpSocketAddress> {
        self.on_udp(&socket, |socket| socket.remote().map(IpSocketAddress::from))
    }

    fn address_family(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&ours::<UdpSocket, _>(&socket))?.family().into())
    }

    fn unicast_hop_limit(&mut self, socket: Resource<Theirs>) -> SocketResult<u8> {
        self.get_udp(&socket, Options::hop_limit)
    }

    fn set_unicast_hop_limit(&mut self, socket: Resource<Theirs>, value: u8) -> SocketResult<()> {
        self.set_udp(&socket, Options::set_hop_limit, value)
    }

    fn receive_buffer_size(&mut self, socket: Resource<Theirs>) -> SocketResult<u64> {
        self.get_udp(&socket, Options::receive_buffer)
    }

    fn set_receive_buffer_size(&mut self, socket: Resource<Theirs>, value: u64) -> SocketResult<()> {
        self.set_udp(&socket, Options::set_receive_buffer, value)
    }

    fn send_buffer_size(&mut self, socket: Resource<Theirs>) -> SocketResult<u64> {
        self.get_udp(&socket, Options::send_buffer)
    }

    fn set_send_buffer_size(&mut self, socket: Resource<Theirs>, value: u64) -> SocketResult<()> {
        self.set_udp(&socket, Options::set_send_buffer, value)
    }

    fn subscribe(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, ours::<UdpSocket, _>(&socket))
    }

    fn drop(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<()> {
        self.delete::<UdpSocket, _>(&socket)
    }
}

impl HostIncomingDatagramStream for View<'_> {
    fn receive(
        &mut self,
        stream: Resource<IncomingDatagramStream>,
        max_results: u64,
    ) -> SocketResult<Vec<IncomingDatagram>> {
        let inbox = self.table.get_mut(&ours::<Inbox, _>(&stream))?;
        let wanted = usize::try_from(max_results).unwrap_or(usize::MAX).min(BATCH_MAX);
        let mut datagrams = Vec::new();
        let mut bytes = 0;
        while datagrams.len() < wanted && bytes < BATCH_BYTES {
            match inbox.take() {
                None => break,
                Some(Ok((data, from))) => {
                    bytes += data.len();
                    datagrams.push(IncomingDatagram { data: data.into(), remote_address: from.into() });
                }
                // What has arrived comes first, and the error again with the next call.
                Some(Err(_)) if !datagrams.is_empty() => break,
                Some(Err(error)) => return Err(refused(error.into())),
            }
        }
        Ok(datagrams)
    }

    fn subscribe(&mut self, stream: Resource<IncomingDatagramStream>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, ours::<Inbox, _>(&stream))
    }

    fn drop(&mut self, stream: Resource<IncomingDatagramStream>) -> wasmtime::Result<()> {
        self.delete::<Inbox, _>(&stream)
    }
}

impl HostOutgoingDatagramStream for View<'_> {
    fn check_send(&mut self, stream: Resource<OutgoingDatagramStream>) -> SocketResult<u64> {
        let outbox = self.table.get_mut(&ours::<Outbox, _>(&stream))?;
        outbox.permitted = if outbox.has_room() { BATCH_MAX } else { 0 };
        Ok(outbox.permitted as u64)
    }

    fn send(
        &mut self,
        stream: Resource<OutgoingDatagramStream>,
        datagrams: Vec<OutgoingDatagram>,
    ) -> SocketResult<u64> {
        let outbox = self.table.get_mut(&ours::<Outbox, _>(&stream))?;
        if datagrams.is_empty() {
            return Ok(0);
        }
        if datagrams.len() > std::mem::take(&mut outbox.permitted) {
            return Err(SocketError::trap(wasmtime::format_err!("send of more datagrams than check-send permitted")));
        }
        let mut sent = 0;
        for datagram in datagrams {
            match outbox.send(datagram.data.into(), datagram.remote_address.map(SocketAddr::from)) {
                Ok(()) => sent += 1,
                Err(Code::WouldBlock) => break,
                // Errors are for calls of which nothing was sent.
                Err(_) if sent > 0 => break,
                Err(code) => return Err(ErrorCode::from(code).into()),
            }
        }
        Ok(sent)
    }

    fn subscribe(&mut self, stream: Resource<OutgoingDatagramStream>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, ours::<Outbox, _>(&stream))
    }

    fn drop(&mut self, stream: Resource<OutgoingDatagramStream>) -> impl Future<Output = wasmtime::Result<()>> + Send {
        ready(self.delete::<Outbox, _>(&stream))
    }
}
