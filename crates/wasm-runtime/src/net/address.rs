//! Which addresses a socket takes. Pure; the rules are those of the `wasi:sockets` documents.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::code::Code;

/// The family of a socket, chosen when it is made. One of IPv6 never speaks IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Returns the address that leaves both address and port to the network, for sockets that are bound on the way.
    pub(crate) fn anywhere(self) -> SocketAddr {
        match self {
            Self::V4 => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
            Self::V6 => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
        }
    }

    fn takes(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4, IpAddr::V4(_)) => true,
            (Self::V6, IpAddr::V6(address)) => address.to_ipv4_mapped().is_none() && !is_ipv4_compatible(address),
            _ => false,
        }
    }
}

/// Deprecated since 2006 and treated differently everywhere.
fn is_ipv4_compatible(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0, 0, 0, 0, 0, 0, _, _])
        && address != Ipv6Addr::UNSPECIFIED
        && address != Ipv6Addr::LOCALHOST
}

fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_multicast() && !address.is_broadcast(),
        IpAddr::V6(address) => !address.is_multicast(),
    }
}

fn is_a_destination(address: SocketAddr) -> bool {
    !address.ip().is_unspecified() && address.port() != 0
}

fn check(holds: bool) -> Result<(), Code> {
    if holds { Ok(()) } else { Err(Code::InvalidArgument) }
}

/// Checks what a TCP socket is to be bound to.
pub(crate) fn check_tcp_bind(family: Family, address: SocketAddr) -> Result<(), Code> {
    check(family.takes(address.ip()) && is_unicast(address.ip()))
}

/// Checks whom a TCP socket is to connect to.
pub(crate) fn check_tcp_connect(family: Family, address: SocketAddr) -> Result<(), Code> {
    check_tcp_bind(family, address)?;
    check(is_a_destination(address))
}

/// Checks what a UDP socket is to be bound to.
pub(crate) fn check_udp_bind(family: Family, address: SocketAddr) -> Result<(), Code> {
    check(family.takes(address.ip()))
}

/// Checks whom a UDP socket is to send to.
pub(crate) fn check_udp_send(family: Family, address: SocketAddr) -> Result<(), Code> {
    check(family.takes(address.ip()) && is_a_destination(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_socket_takes_addresses_of_its_family_only() {
        assert!(check_tcp_bind(Family::V4, address("0.0.0.0:0")).is_ok());
        assert!(check_tcp_bind(Family::V6, address("[::]:80")).is_ok());
        assert_eq!(check_tcp_bind(Family::V4, address("[::1]:80")), Err(Code::InvalidArgument));
        assert_eq!(check_udp_bind(Family::V6, address("127.0.0.1:80")), Err(Code::InvalidArgument));
    }

    #[test]
    fn ipv4_in_ipv6_is_refused_mapped_and_compatible() {
        for text in ["[::ffff:10.0.0.1]:80", "[::10.0.0.1]:80"] {
            assert_eq!(check_tcp_connect(Family::V6, address(text)), Err(Code::InvalidArgument), "{text}");
            assert_eq!(check_udp_send(Family::V6, address(text)), Err(Code::InvalidArgument), "{text}");
        }
        assert!(check_tcp_connect(Family::V6, address("[::1]:80")).is_ok());
    }

    #[test]
    fn tcp_is_for_one_peer_and_udp_may_be_for_many() {
        for text in ["224.0.0.1:80", "255.255.255.255:80"] {
            assert_eq!(check_tcp_bind(Family::V4, address(text)), Err(Code::InvalidArgument), "{text}");
            assert_eq!(check_tcp_connect(Family::V4, address(text)), Err(Code::InvalidArgument), "{text}");
            assert!(check_udp_send(Family::V4, address(text)).is_ok(), "{text}");
        }
        assert_eq!(check_tcp_connect(Family::V6, address("[ff02::1]:80")), Err(Code::InvalidArgument));
    }

    #[test]
    fn a_destination_has_an_address_and_a_port() {
        for text in ["0.0.0.0:80", "10.0.0.1:0"] {
            assert_eq!(check_tcp_connect(Family::V4, address(text)), Err(Code::InvalidArgument), "{text}");
            assert_eq!(check_udp_send(Family::V4, address(text)), Err(Code::InvalidArgument), "{text}");
        }
    }
}
