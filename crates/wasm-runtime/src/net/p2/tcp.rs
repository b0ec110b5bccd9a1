//! `wasi:sockets/tcp@0.2` and `tcp-create-socket@0.2`.

use std::future::poll_fn;

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{IpAddressFamily, IpSocketAddress, Network};
use wasmtime_wasi::p2::bindings::sockets::tcp::{Host, HostTcpSocket, ShutdownType};
use wasmtime_wasi::p2::bindings::sockets::tcp_create_socket;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, Pollable, SocketResult, TcpSocket as Theirs, subscribe,
};

use super::streams::{Input, Output};
use super::{View, ours, refused, theirs};
use crate::net::code::Code;
use crate::net::options::Options;
use crate::net::tcp::{Shutdown, TcpSocket};

#[wasmtime_wasi::async_trait]
impl Pollable for TcpSocket {
    async fn ready(&mut self) {
        poll_fn(|context| self.poll_ready(context)).await;
    }
}

impl View<'_> {
    fn tcp(&mut self, socket: &Resource<Theirs>) -> SocketResult<&mut TcpSocket> {
        Ok(self.table.get_mut(&ours::<TcpSocket, _>(socket))?)
    }

    fn on_tcp<T>(
        &mut self,
        socket: &Resource<Theirs>,
        call: impl FnOnce(&mut TcpSocket) -> Result<T, Code>,
    ) -> SocketResult<T> {
        call(self.tcp(socket)?).map_err(refused)
    }

    fn get<T>(&mut self, socket: &Resource<Theirs>, get: fn(&Options) -> T) -> SocketResult<T> {
        self.on_tcp(socket, |socket| socket.options().map(|options| get(options)))
    }

    fn set<T>(
        &mut self,
        socket: &Resource<Theirs>,
        set: fn(&mut Options, T) -> Result<(), Code>,
        value: T,
    ) -> SocketResult<()> {
        self.on_tcp(socket, |socket| set(socket.options()?, value))
    }

    /// Makes the streams of a connected socket; they are its children, so it cannot be dropped before them.
    fn tcp_streams(&mut self, socket: &Resource<TcpSocket>) -> SocketResult<Streams> {
        let connected = self.table.get(socket)?;
        let receiver = connected.receiver().map_err(refused)?;
        let sender = connected.sender().map_err(refused)?;
        let input: DynInputStream = Box::new(Input::new(receiver));
        let output: DynOutputStream = Box::new(Output::new(sender));
        Ok((self.table.push_child(input, socket)?, self.table.push_child(output, socket)?))
    }
}

type Streams = (Resource<DynInputStream>, Resource<DynOutputStream>);

impl tcp_create_socket::Host for View<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<Theirs>> {
        let socket = TcpSocket::new(self.sockets, family.into()).map_err(refused)?;
        self.push(socket)
    }
}

impl Host for View<'_> {}

impl HostTcpSocket for View<'_> {
    async fn start_bind(
        &mut self,
        socket: Resource<Theirs>,
        network: Resource<Network>,
        local: IpSocketAddress,
    ) -> SocketResult<()> {
        self.check_network(&network)?;
        self.on_tcp(&socket, |socket| socket.start_bind(local.into()))
    }

    fn finish_bind(&mut self, socket: Resource<Theirs>) -> SocketResult<()> {
        self.on_tcp(&socket, TcpSocket::finish_bind)
    }

    fn start_connect(
        &mut self,
        socket: Resource<Theirs>,
        network: Resource<Network>,
        remote: IpSocketAddress,
    ) -> SocketResult<()> {
        self.check_network(&network)?;
        self.on_tcp(&socket, |socket| socket.start_connect(remote.into()))
    }

    fn finish_connect(&mut self, socket: Resource<Theirs>) -> SocketResult<Streams> {
        self.on_tcp(&socket, TcpSocket::finish_connect)?;
        self.tcp_streams(&ours(&socket))
    }

    async fn start_listen(&mut self, socket: Resource<Theirs>) -> SocketResult<()> {
        self.on_tcp(&socket, |socket| if socket.is_bound() { socket.start_listen() } else { Err(Code::InvalidState) })
    }

    fn finish_listen(&mut self, socket: Resource<Theirs>) -> SocketResult<()> {
        self.on_tcp(&socket, TcpSocket::finish_listen)
    }

    fn accept(
        &mut self,
        socket: Resource<Theirs>,
    ) -> SocketResult<(Resource<Theirs>, Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let accepted = self.on_tcp(&socket, TcpSocket::accept)?;
        let accepted = self.table.push(accepted)?;
        let (input, output) = self.tcp_streams(&accepted)?;
        Ok((theirs(&accepted), input, output))
    }

    fn local_address(&mut self, socket: Resource<Theirs>) -> SocketResult<IpSocketAddress> {
        self.on_tcp(&socket, |socket| socket.local().map(IpSocketAddress::from))
    }

    fn remote_address(&mut self, socket: Resource<Theirs>) -> SocketResult<IpSocketAddress> {
        self.on_tcp(&socket, |socket| socket.remote().map(IpSocketAddress::from))
    }

    fn is_listening(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<bool> {
        Ok(self.table.get(&ours::<TcpSocket, _>(&socket))?.is_listening())
    }

    fn address_family(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&ours::<TcpSocket, _>(&socket))?.family().into())
    }

    fn set_listen_backlog_size(&mut self, socket: Resource<Theirs>, value: u64) -> SocketResult<()> {
        self.on_tcp(&socket, |socket| socket.set_backlog(value))
    }

    fn keep_alive_enabled(&mut self, socket: Resource<Theirs>) -> SocketResult<bool> {
        self.get(&socket, |options| options.keep_alive)
    }

    fn set_keep_alive_enabled(&mut self, socket: Resource<Theirs>, value: bool) -> SocketResult<()> {
        self.on_tcp(&socket, |socket| {
            socket.options()?.keep_alive = value;
            Ok(())
        })
    }

    fn keep_alive_idle_time(&mut self, socket: Resource<Theirs>) -> SocketResult<u64> {
        self.get(&socket, Options::keep_alive_idle)
    }

    fn set_keep_alive_idle_time(&mut self, socket: Resource<Theirs>, value: u64) -> SocketResult<()> {
        self.set(&socket, Options::set_keep_alive_idle, value)
    }

    fn keep_alive_interval(&mut self, socket: Resource<Theirs>) -> SocketResult<u64> {
        self.get(&socket, Options::keep_alive_interval)
    }

    fn set_keep_alive_interval(&mut self, socket: Resource<Theirs>, value: u64) -> SocketResult<()> {
        self.set(&socket, Options::set_keep_alive_interval, value)
    }

    fn keep_alive_count(&mut self, socket: Resource<Theirs>) -> SocketResult<u32> {
        self.get(&socket, Options::keep_alive_count)
    }

    fn set_keep_alive_count(&mut self, socket: Resource<Theirs>, value: u32) -> SocketResult<()> {
        self.set(&socket, Options::set_keep_alive_count, value)
    }

    fn hop_limit(&mut self, socket: Resource<Theirs>) -> SocketResult<u8> {
        self.get(&socket, Options::hop_limit)
    }

    fn set_hop_limit(&mut self, socket: Resource<Theirs>, value: u8) -> SocketResult<()> {
        self.set(&socket, Options::set_hop_limit, value)
    }

    fn receive_buffer_size(&mut self, socket: Resource<Theirs>) -> SocketResult<u64> {
        self.get(&socket, Options::receive_buffer)
    }

    fn set_receive_buffer_size(&mut self, socket: Resource<Theirs>, value: u64) -> SocketResult<()> {
        self.set(&socket, Options::set_receive_buffer, value)
    }

    fn send_buffer_size(&mut self, socket: Resource<Theirs>) -> SocketResult<u64> {
        self.get(&socket, Options::send_buffer)
    }

    fn set_send_buffer_size(&mut self, socket: Resource<Theirs>, value: u64) -> SocketResult<()> {
        self.set(&socket, Options::set_send_buffer, value)
    }

    fn subscribe(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, ours::<TcpSocket, _>(&socket))
    }

    fn shutdown(&mut self, socket: Resource<Theirs>, how: ShutdownType) -> SocketResult<()> {
        let how = match how {
            ShutdownType::Receive => Shutdown::Receive,
            ShutdownType::Send => Shutdown::Send,
            ShutdownType::Both => Shutdown::Both,
        };
        self.on_tcp(&socket, |socket| socket.shut_down(how))
    }

    fn drop(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<()> {
        self.delete::<TcpSocket, _>(&socket)
    }
}
