//! `tcp-socket` of `wasi:sockets/types@0.3`.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::Poll;

use tokio::sync::oneshot;
use wasmtime::component::{Access, Accessor, FutureReader, Resource, StreamReader};
use wasmtime_wasi::p3::bindings::sockets::types::{
    ErrorCode, HostTcpSocket, HostTcpSocketWithStore, IpAddressFamily, IpSocketAddress, TcpSocket as Theirs,
};
use wasmtime_wasi::p3::sockets::{SocketError, SocketResult};

use super::streams::{Accepted, Outcome, Received, Sent};
use super::{HasView, View, ours, refused};
use crate::net::code::Code;
use crate::net::options::Options;
use crate::net::tcp::TcpSocket;

impl View<'_> {
    fn tcp<T>(
        &mut self,
        socket: &Resource<Theirs>,
        call: impl FnOnce(&mut TcpSocket) -> Result<T, Code>,
    ) -> SocketResult<T> {
        self.on::<TcpSocket, _, _>(socket, call)
    }

    fn get<T>(&mut self, socket: &Resource<Theirs>, get: fn(&Options) -> T) -> SocketResult<T> {
        self.tcp(socket, |socket| socket.options().map(|options| get(options)))
    }

    fn set<T>(
        &mut self,
        socket: &Resource<Theirs>,
        set: fn(&mut Options, T) -> Result<(), Code>,
        value: T,
    ) -> SocketResult<()> {
        self.tcp(socket, |socket| set(socket.options()?, value))
    }
}

fn listen(socket: &mut TcpSocket) -> Result<(crate::net::tcp::Acceptor, Options), Code> {
    socket.start_listen()?;
    socket.finish_listen()?;
    Ok((socket.take_acceptor()?, socket.options()?.clone()))
}

impl<T: Send + 'static> HostTcpSocketWithStore<T> for HasView {
    async fn connect(store: &Accessor<T, Self>, socket: Resource<Theirs>, remote: IpSocketAddress) -> SocketResult<()> {
        let remote = SocketAddr::from(remote);
        // By 0.3 there is no operation to conflict with: a socket that connects is in the wrong state.
        store.with(|mut store| store.get().tcp(&socket, |socket| socket.start_connect(remote)))?;
        poll_fn(|context| {
            store.with(|mut store| {
                let mut view = store.get();
                let ready = match view.table.get_mut(&ours::<TcpSocket, _>(&socket)) {
                    Ok(socket) => socket.poll_ready(context),
                    Err(error) => return Poll::Ready(Err(SocketError::trap(error))),
                };
                ready.map(|()| view.tcp(&socket, TcpSocket::finish_connect))
            })
        })
        .await
    }

    async fn listen(
        mut store: Access<'_, T, Self>,
        socket: Resource<Theirs>,
    ) -> SocketResult<StreamReader<Resource<Theirs>>> {
        let view = store.getter();
        let accepted = {
            let mut data = store.get();
            let (acceptor, options) = data.tcp(&socket, listen)?;
            let family = data.tcp(&socket, |socket| Ok(socket.family()))?;
            Accepted::new(acceptor, data.sockets, family, &options, view)
        };
        StreamReader::new(&mut store, accepted).map_err(SocketError::trap)
    }

    fn send(
        mut store: Access<'_, T, Self>,
        socket: Resource<Theirs>,
        mut data: StreamReader<u8>,
    ) -> wasmtime::Result<FutureReader<Outcome>> {
        let view = store.get();
        match view.table.get_mut(&ours::<TcpSocket, _>(&socket))?.take_sender() {
            Ok(sender) => {
                let (outcome, reader) = oneshot::channel();
                data.pipe(&mut store, Sent::new(sender, outcome))?;
                FutureReader::new(&mut store, reader)
            }
            Err(code) => {
                data.close(&mut store)?;
                FutureReader::new(&mut store, async move { wasmtime::error::Ok(Err(ErrorCode::from(code))) })
            }
        }
    }

    fn receive(
        mut store: Access<'_, T, Self>,
        socket: Resource<Theirs>,
    ) -> wasmtime::Result<(StreamReader<u8>, FutureReader<Outcome>)> {
        let view = store.get();
        match view.table.get_mut(&ours::<TcpSocket, _>(&socket))?.take_receiver() {
            Ok(receiver) => {
                let (outcome, reader) = oneshot::channel();
                let bytes = StreamReader::new(&mut store, Received::new(receiver, outcome))?;
                Ok((bytes, FutureReader::new(&mut store, reader)?))
            }
            Err(code) => {
                let nothing = StreamReader::new(&mut store, std::iter::empty())?;
                let why = async move { wasmtime::error::Ok(Err(ErrorCode::from(code))) };
                Ok((nothing, FutureReader::new(&mut store, why)?))
            }
        }
    }
}

impl HostTcpSocket for View<'_> {
    async fn bind(&mut self, socket: Resource<Theirs>, local: IpSocketAddress) -> SocketResult<()> {
        self.tcp(&socket, |socket| {
            socket.start_bind(local.into())?;
            socket.finish_bind()
        })
    }

    fn create(&mut self, family: IpAddressFamily) -> SocketResult<Resource<Theirs>> {
        let socket = TcpSocket::new(self.sockets, family.into()).map_err(refused)?;
        self.push(socket)
    }

    fn get_local_address(&mut self, socket: Resource<Theirs>) -> SocketResult<IpSocketAddress> {
        self.tcp(&socket, |socket| socket.local().map(IpSocketAddress::from))
    }

    fn get_remote_address(&mut self, socket: Resource<Theirs>) -> SocketResult<IpSocketAddress> {
        self.tcp(&socket, |socket| socket.remote().map(IpSocketAddress::from))
    }

    fn get_is_listening(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<bool> {
        Ok(self.table.get(&ours::<TcpSocket, _>(&socket))?.is_listening())
    }

    fn get_address_family(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&ours::<TcpSocket, _>(&socket))?.family().into())
    }

    fn set_listen_backlog_size(&mut self, socket: Resource<Theirs>, value: u64) -> SocketResult<()> {
        self.tcp(&socket, |socket| socket.set_backlog(value))
    }

    fn get_keep_alive_enabled(&mut self, socket: Resource<Theirs>) -> SocketResult<bool> {
        self.get(&socket, |options| options.keep_alive)
    }

    fn set_keep_alive_enabled(&mut self, socket: Resource<Theirs>, value: bool) -> SocketResult<()> {
        self.tcp(&socket, |socket| {
            socket.options()?.keep_alive = value;
            Ok(())
        })
    }

    fn get_keep_alive_idle_time(&mut self, socket: Resource<Theirs>) -> SocketResult<u64> {
        self.get(&socket, Options::keep_alive_idle)
    }

    fn set_keep_alive_idle_time(&mut self, socket: Resource<Theirs>, value: u64) -> SocketResult<()> {
        self.set(&socket, Options::set_keep_alive_idle, value)
    }

    fn get_keep_alive_interval(&mut self, socket: Resource<Theirs>) -> SocketResult<u64> {
        self.get(&socket, Options::keep_alive_interval)
    }

    fn set_keep_alive_interval(&mut self, socket: Resource<Theirs>, value: u64) -> SocketResult<()> {
        self.set(&socket, Options::set_keep_alive_interval, value)
    }

    fn get_keep_alive_count(&mut self, socket: Resource<Theirs>) -> SocketResult<u32> {
        self.get(&socket, Options::keep_alive_count)
    }

    fn set_keep_alive_count(&mut self, socket: Resource<Theirs>, value: u32) -> SocketResult<()> {
        self.set(&socket, Options::set_keep_alive_count, value)
    }

    fn get_hop_limit(&mut self, socket: Resource<Theirs>) -> SocketResult<u8> {
        self.get(&socket, Options::hop_limit)
    }

    fn set_hop_limit(&mut self, socket: Resource<Theirs>, value: u8) -> SocketResult<()> {
        self.set(&socket, Options::set_hop_limit, value)
    }

    fn get_receive_buffer_size(&mut self, socket: Resource<Theirs>) -> SocketResult<u64> {
        self.get(&socket, Options::receive_buffer)
    }

    fn set_receive_buffer_size(&mut self, socket: Resource<Theirs>, value: u64) -> SocketResult<()> {
        self.set(&socket, Options::set_receive_buffer, value)
    }

    fn get_send_buffer_size(&mut self, socket: Resource<Theirs>) -> SocketResult<u64> {
        self.get(&socket, Options::send_buffer)
    }

    fn set_send_buffer_size(&mut self, socket: Resource<Theirs>, value: u64) -> SocketResult<()> {
        self.set(&socket, Options::set_send_buffer, value)
    }

    fn drop(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<()> {
        self.delete::<TcpSocket, _>(&socket)
    }
}
