//! `udp-socket` of `wasi:sockets/types@0.3`.

use std::net::SocketAddr;

use bytes::Bytes;
use wasmtime::component::{Accessor, Resource};
use wasmtime_wasi::p3::bindings::sockets::types::{
    HostUdpSocket, HostUdpSocketWithStore, IpAddressFamily, IpSocketAddress, UdpSocket as Theirs,
};
use wasmtime_wasi::p3::sockets::SocketResult;

use super::{HasView, View, ours, refused};
use crate::net::NetError;
use crate::net::code::Code;
use crate::net::options::Options;
use crate::net::udp::{DATAGRAM_BYTES_MAX, UdpSocket};

impl View<'_> {
    fn udp<T>(
        &mut self,
        socket: &Resource<Theirs>,
        call: impl FnOnce(&mut UdpSocket) -> Result<T, Code>,
    ) -> SocketResult<T> {
        self.on::<UdpSocket, _, _>(socket, call)
    }

    fn get_udp<T>(&mut self, socket: &Resource<Theirs>, get: fn(&Options) -> T) -> SocketResult<T> {
        self.udp(socket, |socket| Ok(get(socket.options())))
    }

    fn set_udp<T>(
        &mut self,
        socket: &Resource<Theirs>,
        set: fn(&mut Options, T) -> Result<(), Code>,
        value: T,
    ) -> SocketResult<()> {
        self.udp(socket, |socket| set(socket.options(), value))
    }
}

impl<T: Send> HostUdpSocketWithStore<T> for HasView {
    async fn send(
        store: &Accessor<T, Self>,
        socket: Resource<Theirs>,
        data: Vec<u8>,
        remote: Option<IpSocketAddress>,
    ) -> SocketResult<()> {
        if data.len() > DATAGRAM_BYTES_MAX {
            return Err(refused(NetError::TooLarge.into()));
        }
        let (channel, to) = store.with(|mut store| {
            store.get().udp(&socket, |socket| {
                let to = socket.destination(remote.map(SocketAddr::from))?;
                socket.bind_anywhere()?;
                Ok((socket.channel()?, to))
            })
        })?;
        let datagram = Bytes::from(data);
        channel.send(&datagram, to).await.map_err(|error| refused(error.into()))
    }

    async fn receive(store: &Accessor<T, Self>, socket: Resource<Theirs>) -> SocketResult<(Vec<u8>, IpSocketAddress)> {
        let channel = store.with(|mut store| store.get().udp(&socket, |socket| socket.channel()))?;
        let (datagram, from) = channel.receive().await.map_err(|error| refused(error.into()))?;
        Ok((datagram.into(), from.into()))
    }
}

impl HostUdpSocket for View<'_> {
    async fn create(&mut self, family: IpAddressFamily) -> SocketResult<Resource<Theirs>> {
        let socket = UdpSocket::new(self.sockets, family.into()).map_err(refused)?;
        self.push(socket)
    }

    async fn bind(&mut self, socket: Resource<Theirs>, local: IpSocketAddress) -> SocketResult<()> {
        self.udp(&socket, |socket| {
            socket.start_bind(local.into())?;
            socket.finish_bind()
        })
    }

    async fn connect(&mut self, socket: Resource<Theirs>, remote: IpSocketAddress) -> SocketResult<()> {
        self.udp(&socket, |socket| {
            socket.connect(remote.into())?;
            socket.bind_anywhere()
        })
    }

    fn disconnect(&mut self, socket: Resource<Theirs>) -> SocketResult<()> {
        self.udp(&socket, UdpSocket::disconnect)
    }

    fn get_local_address(&mut self, socket: Resource<Theirs>) -> SocketResult<IpSocketAddress> {
        self.udp(&socket, |socket| socket.local().map(IpSocketAddress::from))
    }

    fn get_remote_address(&mut self, socket: Resource<Theirs>) -> SocketResult<IpSocketAddress> {
        self.udp(&socket, |socket| socket.remote().map(IpSocketAddress::from))
    }

    fn get_address_family(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&ours::<UdpSocket, _>(&socket))?.family().into())
    }

    fn get_unicast_hop_limit(&mut self, socket: Resource<Theirs>) -> SocketResult<u8> {
        self.get_udp(&socket, Options::hop_limit)
    }

    fn set_unicast_hop_limit(&mut self, socket: Resource<Theirs>, value: u8) -> SocketResult<()> {
        self.set_udp(&socket, Options::set_hop_limit, value)
    }

    fn get_receive_buffer_size(&mut self, socket: Resource<Theirs>) -> SocketResult<u64> {
        self.get_udp(&socket, Options::receive_buffer)
    }

    fn set_receive_buffer_size(&mut self, socket: Resource<Theirs>, value: u64) -> SocketResult<()> {
        self.set_udp(&socket, Options::set_receive_buffer, value)
    }

    fn get_send_buffer_size(&mut self, socket: Resource<Theirs>) -> SocketResult<u64> {
        self.get_udp(&socket, Options::send_buffer)
    }

    fn set_send_buffer_size(&mut self, socket: Resource<Theirs>, value: u64) -> SocketResult<()> {
        self.set_udp(&socket, Options::set_send_buffer, value)
    }

    fn drop(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<()> {
        self.delete::<UdpSocket, _>(&socket)
    }
}
