//! `wasi:sockets/ip-name-lookup@0.3`.

use std::future::poll_fn;

use wasmtime::component::Accessor;
use wasmtime_wasi::p3::bindings::sockets::ip_name_lookup::{ErrorCode, Host, HostWithStore};
use wasmtime_wasi::p3::bindings::sockets::types::IpAddress;

use super::{HasView, View};
use crate::net::NetError;
use crate::net::code::Code;
use crate::net::lookup::Lookup;

impl Host for View<'_> {}

impl<T: Send> HostWithStore<T> for HasView {
    async fn resolve_addresses(
        store: &Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<Vec<IpAddress>, ErrorCode>> {
        let lookup = store.with(|mut store| Lookup::start(store.get().sockets, &name));
        Ok(all(lookup).await.map_err(refused))
    }
}

async fn all(lookup: Result<Lookup, Code>) -> Result<Vec<IpAddress>, Code> {
    let mut lookup = lookup?;
    poll_fn(|context| lookup.poll_ready(context)).await;
    let mut addresses = Vec::new();
    while let Some(address) = lookup.next()? {
        addresses.push(address.into());
    }
    Ok(addresses)
}

fn refused(code: Code) -> ErrorCode {
    match code {
        Code::InvalidArgument => ErrorCode::InvalidArgument,
        Code::Net(NetError::Denied) => ErrorCode::AccessDenied,
        Code::Net(NetError::NoName) => ErrorCode::NameUnresolvable,
        Code::Net(NetError::NameUnavailable | NetError::TimedOut) => ErrorCode::TemporaryResolverFailure,
        Code::Net(error) => ErrorCode::Other(Some(error.to_string())),
        Code::OutOfMemory => ErrorCode::Other(Some(String::from("out of memory"))),
        Code::InvalidState | Code::Conflict | Code::NotInProgress | Code::WouldBlock | Code::Broken => {
            ErrorCode::Other(None)
        }
    }
}
