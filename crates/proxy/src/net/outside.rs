//! What is outside of the cluster: who may go there, and who is never reached.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::net::TcpStream;
use wkube_api::cidr::Cidr;

use super::{NetError, Stream};

/// An address that takes longer is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the machine's resolver may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// How many ranges a pod may name.
const RANGES_MAX: usize = 64;

/// What of the outside a pod may reach: ranges of addresses, none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outside(Vec<Cidr>);

impl Outside {
    /// Reads ranges such as `192.0.2.0/24, 2001:db8::/32`; an address alone is a range of one.
    ///
    /// # Errors
    /// Says which of them is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let ranges: Vec<Cidr> = parts.map(range).collect::<Result<_, _>>()?;
        if ranges.len() > RANGES_MAX {
            return Err(format!("{} ranges are more than the {RANGES_MAX} that a pod may have", ranges.len()));
        }
        Ok(Self(ranges))
    }

    /// Whether anything is.
    pub fn is_any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether a pod with this grant may go there.
    pub fn permits(&self, ip: IpAddr) -> bool {
        !is_special(ip) && self.0.iter().any(|range| range.contains(ip))
    }

    /// Connects, if the grant permits it.
    pub(super) async fn connect(&self, to: SocketAddr) -> Result<Box<dyn Stream>, NetError> {
        if !self.permits(to.ip()) || is_of_this_machine(to.ip()) {
            return Err(if self.is_any() { NetError::Denied } else { NetError::Unreachable });
        }
        connect(to).await
    }

    /// Looks a name up with the machine's resolver. A pod without a grant learns nothing: names leave the machine, too.
    pub(super) async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, NetError> {
        if !self.is_any() {
            return Err(NetError::NoName);
        }
        let found = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((name, 0))).await;
        match found {
            Ok(Ok(addresses)) => {
                let mut all: Vec<IpAddr> = addresses.map(|address| address.ip()).collect();
                all.dedup();
                if all.is_empty() { Err(NetError::NoName) } else { Ok(all) }
            }
            // `getaddrinfo` has no kind for what does not exist.
            Ok(Err(_)) => Err(NetError::NoName),
            Err(_late) => Err(NetError::NameUnavailable),
        }
    }
}

/// Reads a range, or an address alone.
fn range(text: &str) -> Result<Cidr, String> {
    let alone = || text.parse().ok().and_then(|ip: IpAddr| Cidr::new(ip, if ip.is_ipv4() { 32 } else { 128 }));
    let found = text.parse().ok().or_else(alone);
    found.ok_or_else(|| format!("{text:?} is not a range of addresses such as 192.0.2.0/24"))
}

/// Opens a connection of the kernel's.
pub(super) async fn connect(to: SocketAddr) -> Result<Box<dyn Stream>, NetError> {
    match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(to)).await {
        Ok(Ok(stream)) => {
            // Whoever writes little by little waits for each answer.
            let _ = stream.set_nodelay(true);
            Ok(Box::new(stream))
        }
        Ok(Err(error)) => Err(match error.kind() {
            io::ErrorKind::ConnectionRefused => NetError::Refused,
            io::ErrorKind::TimedOut => NetError::TimedOut,
            _ => NetError::Unreachable,
        }),
        Err(_late) => Err(NetError::TimedOut),
    }
}

/// Whether an address means this machine, its link (where clouds keep their secrets) or many at once.
pub fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()
        }
        IpAddr::V6(ip) => {
            let mapped = ip.to_ipv4_mapped().is_some_and(|ip| is_special(ip.into()));
            mapped || ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast()
        }
    }
}

/// Whether an address is one of this machine's. Nobody else's can be bound, whatever else is wrong with ours.
fn is_of_this_machine(address: IpAddr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(grant: &str, ip: &str) -> bool {
        Outside::parse(grant).unwrap().permits(ip.parse().unwrap())
    }

    #[test]
    fn nothing_is_permitted_that_is_not_granted() {
        assert!(!permits("", "192.0.2.1") && !Outside::default().is_any());
        assert!(permits("192.0.2.0/24", "192.0.2.255") && !permits("192.0.2.0/24", "192.0.3.0"));
        assert!(permits("198.51.100.7", "198.51.100.7") && !permits("198.51.100.7", "198.51.100.8"));
        assert!(permits("192.0.2.0/24, 2001:db8::/32,", "2001:db8:1::1"));
        assert!(!permits("0.0.0.0/0", "2001:db8::1") && permits("0.0.0.0/0,::/0", "2001:db8::1"));
    }

    #[test]
    fn no_grant_leads_to_this_machine_or_its_link() {
        for special in [
            "127.0.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
        ] {
            assert!(!permits("0.0.0.0/0,::/0", special), "{special}");
        }
    }

    #[test]
    fn what_is_no_range_is_named() {
        for text in ["example.com", "10.0.0.0/33", "10.0.0.0/x", "::/129", "10.0.0/8", "*"] {
            let problem = Outside::parse(&format!("192.0.2.1,{text}")).unwrap_err();
            assert_eq!(problem, format!("{text:?} is not a range of addresses such as 192.0.2.0/24"));
        }
        assert!(Outside::parse(&"192.0.2.1,".repeat(65)).unwrap_err().starts_with("65 ranges are more than the 64"));
    }

    #[tokio::test]
    async fn a_pod_without_a_grant_connects_nowhere_and_asks_nobody() {
        let to: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let none = Outside::default();
        assert_eq!(none.connect(to).await.err(), Some(NetError::Unreachable));
        assert_eq!(none.lookup("example.com").await, Err(NetError::NoName));
        let other = Outside::parse("198.51.100.0/24").unwrap();
        assert_eq!(other.connect(to).await.err(), Some(NetError::Denied));
    }
}
