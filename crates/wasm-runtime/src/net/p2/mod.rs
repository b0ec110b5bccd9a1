//! `wasi:sockets` 0.2 over the port to the network.
//!
//! The traits are those that wasmtime-wasi generated for its own sockets. A resource is a number with a type that only
//! the compiler sees, so what they call its `TcpSocket` is a number under which the table has one of ours: [`ours`].

mod lookup;
mod streams;
mod tcp;
mod udp;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddressFamily};
use wasmtime_wasi::p2::bindings::sockets::{
    instance_network, ip_name_lookup, tcp as tcp_interface, tcp_create_socket, udp as udp_interface, udp_create_socket,
};
use wasmtime_wasi::p2::{SocketError, SocketResult};

use crate::ctx::Ctx;
use crate::net::NetError;
use crate::net::address::Family;
use crate::net::code::Code;
use crate::net::sockets::Sockets;

/// What the calls work on.
pub(super) struct View<'a> {
    pub(super) sockets: &'a Sockets,
    pub(super) table: &'a mut ResourceTable,
}

struct HasView;

impl HasData for HasView {
    type Data<'a> = View<'a>;
}

/// Replaces wasmtime-wasi's sockets, which are the kernel's, by ours.
pub(crate) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    network::add_to_linker::<Ctx, HasView>(linker, &network::LinkOptions::default(), view)?;
    instance_network::add_to_linker::<Ctx, HasView>(linker, view)?;
    ip_name_lookup::add_to_linker::<Ctx, HasView>(linker, view)?;
    tcp_create_socket::add_to_linker::<Ctx, HasView>(linker, view)?;
    tcp_interface::add_to_linker::<Ctx, HasView>(linker, view)?;
    udp_create_socket::add_to_linker::<Ctx, HasView>(linker, view)?;
    udp_interface::add_to_linker::<Ctx, HasView>(linker, view)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn view(ctx: &mut Ctx) -> View<'_> {
    View { sockets: &ctx.sockets, table: &mut ctx.table }
}

/// The handle that 0.2 passes around as the right to use the network. Every instance has it; what it reaches is the
/// host's decision.
struct NetworkHandle;

/// Looks at a resource by the type that we keep under its number.
fn ours<Ours: 'static, Theirs: 'static>(theirs: &Resource<Theirs>) -> Resource<Ours> {
    Resource::new_borrow(theirs.rep())
}

/// Gives a resource of ours the type that the interface names.
fn theirs<Ours: 'static, Theirs: 'static>(ours: &Resource<Ours>) -> Resource<Theirs> {
    Resource::new_own(ours.rep())
}

impl View<'_> {
    fn push<Ours: Send + 'static, Theirs: 'static>(&mut self, value: Ours) -> SocketResult<Resource<Theirs>> {
        Ok(theirs(&self.table.push(value)?))
    }

    fn delete<Ours: 'static, Theirs: 'static>(&mut self, resource: &Resource<Theirs>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Ours>::new_own(resource.rep()))?;
        Ok(())
    }

    fn check_network(&self, network: &Resource<network::Network>) -> SocketResult<()> {
        self.table.get(&ours::<NetworkHandle, _>(network))?;
        Ok(())
    }
}

impl From<Code> for ErrorCode {
    fn from(code: Code) -> Self {
        match code {
            Code::InvalidState => Self::InvalidState,
            Code::InvalidArgument => Self::InvalidArgument,
            Code::Conflict => Self::ConcurrencyConflict,
            Code::NotInProgress => Self::NotInProgress,
            Code::WouldBlock => Self::WouldBlock,
            Code::Broken => Self::ConnectionAborted,
            Code::OutOfMemory => Self::OutOfMemory,
            Code::Net(error) => match error {
                NetError::Denied => Self::AccessDenied,
                NetError::NotBindable => Self::AddressNotBindable,
                NetError::InUse => Self::AddressInUse,
                NetError::Refused => Self::ConnectionRefused,
                NetError::Unreachable => Self::RemoteUnreachable,
                NetError::TimedOut => Self::Timeout,
                NetError::Reset => Self::ConnectionReset,
                NetError::NoName => Self::NameUnresolvable,
                NetError::NameUnavailable => Self::TemporaryResolverFailure,
                NetError::TooLarge => Self::DatagramTooLarge,
                NetError::TooMany => Self::NewSocketLimit,
                NetError::Unsupported => Self::NotSupported,
            },
        }
    }
}

/// `?` on our own results, in functions that return the interface's.
fn refused(code: Code) -> SocketError {
    ErrorCode::from(code).into()
}

impl From<IpAddressFamily> for Family {
    fn from(family: IpAddressFamily) -> Self {
        match family {
            IpAddressFamily::Ipv4 => Self::V4,
            IpAddressFamily::Ipv6 => Self::V6,
        }
    }
}

impl From<Family> for IpAddressFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::Ipv4,
            Family::V6 => Self::Ipv6,
        }
    }
}

impl network::Host for View<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        let error = self.table.get(&error)?.downcast_ref::<NetError>();
        Ok(error.map(|error| Code::from(*error).into()))
    }
}

impl network::HostNetwork for View<'_> {
    fn drop(&mut self, network: Resource<network::Network>) -> wasmtime::Result<()> {
        self.delete::<NetworkHandle, _>(&network)
    }
}

impl instance_network::Host for View<'_> {
    fn instance_network(&mut self) -> wasmtime::Result<Resource<network::Network>> {
        Ok(theirs(&self.table.push(NetworkHandle)?))
    }
}
