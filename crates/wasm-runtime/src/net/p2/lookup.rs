//! `wasi:sockets/ip-name-lookup@0.2`.

use std::future::poll_fn;

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{Host, HostResolveAddressStream, ResolveAddressStream};
use wasmtime_wasi::p2::bindings::sockets::network::{IpAddress, Network};
use wasmtime_wasi::p2::{DynPollable, Pollable, SocketResult, subscribe};

use super::{View, ours, refused};
use crate::net::lookup::Lookup;

#[wasmtime_wasi::async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        poll_fn(|context| self.poll_ready(context)).await;
    }
}

impl Host for View<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> SocketResult<Resource<ResolveAddressStream>> {
        self.check_network(&network)?;
        let lookup = Lookup::start(self.sockets, &name).map_err(refused)?;
        self.push(lookup)
    }
}

impl HostResolveAddressStream for View<'_> {
    fn resolve_next_address(&mut self, lookup: Resource<ResolveAddressStream>) -> SocketResult<Option<IpAddress>> {
        let address = self.table.get_mut(&ours::<Lookup, _>(&lookup))?.next().map_err(refused)?;
        Ok(address.map(IpAddress::from))
    }

    fn subscribe(&mut self, lookup: Resource<ResolveAddressStream>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, ours::<Lookup, _>(&lookup))
    }

    fn drop(&mut self, lookup: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        self.delete::<Lookup, _>(&lookup)
    }
}
