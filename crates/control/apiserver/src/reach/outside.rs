//! Connections to what is outside the cluster, and not to what only this machine should reach.
//!
//! Whoever may write Services and `EndpointSlice`s chooses where webhooks and backends of `APIService`s are looked for. A
//! name is as good as an address, so what counts is what it resolves to, and the address that was looked at is the one
//! that is dialled.

use std::io;
use std::net::{IpAddr, UdpSocket};

use tokio::net::{TcpStream, lookup_host};

use super::Error;

/// How far out is outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Outside {
    /// Other machines.
    #[default]
    Elsewhere,
    /// This machine, too: for servers without a network of their own, whose tests have their backends here.
    Here,
}

impl Outside {
    /// Connects to the first address of a host that may be reached and answers.
    pub(super) async fn connect(self, host: &str, port: u16) -> Result<TcpStream, Error> {
        let failed = |source| Error::Connect { address: format!("{host}:{port}"), source };
        let mut refused = Error::NotAllowed { host: host.to_owned() };
        for address in lookup_host((host, port)).await.map_err(failed)? {
            if !self.permits(address.ip()) {
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => refused = failed(error),
            }
        }
        Err(refused)
    }

    fn permits(self, address: IpAddr) -> bool {
        match self {
            Self::Elsewhere => !is_special(address) && !is_own(address),
            Self::Here => true,
        }
    }
}

/// Whether an address means this machine, its link or many at once (`IsProxyableIP` in `component-helpers`, and
/// `ValidateNonSpecialIP` in `pkg/apis/core/validation`).
pub(super) fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_multicast(),
        IpAddr::V6(ip) => {
            let mapped = ip.to_ipv4_mapped().is_some_and(|ip| is_special(ip.into()));
            mapped || ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast()
        }
    }
}

/// Whether an address is one of this machine's. Nobody else's can be bound, whatever else is wrong with ours.
fn is_own(address: IpAddr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn special_addresses_are_not_dialled() {
        for special in [
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "0.0.0.0",
            "224.0.0.1",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
        ] {
            assert!(is_special(ip(special)) && !Outside::Elsewhere.permits(ip(special)), "{special}");
        }
        for plain in ["192.0.2.7", "10.0.0.1", "2001:db8::1", "::ffff:192.0.2.7"] {
            assert!(!is_special(ip(plain)), "{plain}");
        }
    }

    #[test]
    fn an_address_of_this_machine_is_known_as_such() {
        assert!(is_own(ip("127.0.0.1")));
        assert!(!is_own(ip("192.0.2.7")), "for documentation, so nobody's (RFC 5737)");
        assert!(Outside::Elsewhere.permits(ip("192.0.2.7")));
    }

    #[tokio::test]
    async fn a_name_for_this_machine_is_refused_by_what_it_resolves_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        for host in ["localhost", "127.0.0.1"] {
            let refused = Outside::Elsewhere.connect(host, port).await.expect_err("refused");
            assert_eq!(refused.to_string(), format!("address not allowed: {host}"));
            assert!(Outside::Here.connect(host, port).await.is_ok());
        }
    }
}
