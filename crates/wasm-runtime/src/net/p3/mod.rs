//! `wasi:sockets` 0.3 over the port to the network, by the traits that wasmtime-wasi generated; see `p2` for how.

mod lookup;
mod streams;
mod tcp;
mod udp;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p3::bindings::sockets::{ip_name_lookup, types};
use wasmtime_wasi::p3::sockets::{SocketError, SocketResult};

use self::types::{ErrorCode, IpAddressFamily};
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

pub(super) struct HasView;

impl HasData for HasView {
    type Data<'a> = View<'a>;
}

/// Replaces wasmtime-wasi's sockets, which are the kernel's, by ours.
pub(crate) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    ip_name_lookup::add_to_linker::<Ctx, HasView>(linker, view)?;
    types::add_to_linker::<Ctx, HasView>(linker, view)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn view(ctx: &mut Ctx) -> View<'_> {
    View { sockets: &ctx.sockets, table: &mut ctx.table }
}

/// Looks at a resource by the type that we keep under its number.
fn ours<Ours: 'static, Theirs: 'static>(theirs: &Resource<Theirs>) -> Resource<Ours> {
    Resource::new_borrow(theirs.rep())
}

impl View<'_> {
    fn push<Ours: Send + 'static, Theirs: 'static>(&mut self, value: Ours) -> SocketResult<Resource<Theirs>> {
        let ours = self.table.push(value).map_err(SocketError::trap)?;
        Ok(Resource::new_own(ours.rep()))
    }

    fn delete<Ours: 'static, Theirs: 'static>(&mut self, resource: &Resource<Theirs>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Ours>::new_own(resource.rep()))?;
        Ok(())
    }

    /// Calls a method of the socket that is ours.
    fn on<Ours: 'static, Theirs: 'static, T>(
        &mut self,
        resource: &Resource<Theirs>,
        call: impl FnOnce(&mut Ours) -> Result<T, Code>,
    ) -> SocketResult<T> {
        let socket = self.table.get_mut(&ours::<Ours, _>(resource)).map_err(SocketError::trap)?;
        call(socket).map_err(refused)
    }
}

impl From<Code> for ErrorCode {
    fn from(code: Code) -> Self {
        match code {
            Code::InvalidState | Code::Conflict | Code::NotInProgress => Self::InvalidState,
            Code::InvalidArgument => Self::InvalidArgument,
            Code::WouldBlock => Self::Other(Some(String::from("not ready yet"))),
            Code::Broken => Self::ConnectionBroken,
            Code::OutOfMemory => Self::OutOfMemory,
            Code::Net(error) => match error {
                NetError::Denied => Self::AccessDenied,
                NetError::NotBindable => Self::AddressNotBindable,
                NetError::InUse => Self::AddressInUse,
                NetError::Refused => Self::ConnectionRefused,
                NetError::Unreachable => Self::RemoteUnreachable,
                NetError::TimedOut => Self::Timeout,
                NetError::Reset => Self::ConnectionReset,
                NetError::TooLarge => Self::DatagramTooLarge,
                NetError::Unsupported => Self::NotSupported,
                // 0.3 has no codes of its own for these.
                NetError::TooMany | NetError::NoName | NetError::NameUnavailable => {
                    Self::Other(Some(error.to_string()))
                }
            },
        }
    }
}

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

impl types::Host for View<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }
}
