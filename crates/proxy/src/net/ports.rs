//! The ports of one pod: who may take which, and who gets what is sent to an address. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use super::NetError;

/// The ports that are given to whoever does not care (`net.ipv4.ip_local_port_range` of Linux).
pub const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

/// The ports of one protocol in one pod.
#[derive(Debug)]
pub struct PortSpace {
    pod: IpAddr,
    /// The addresses on which each port is taken.
    taken: BTreeMap<u16, Vec<IpAddr>>,
    next: u16,
}

impl PortSpace {
    /// Returns the ports of the pod with this address, all of them free.
    pub fn new(pod: IpAddr) -> Self {
        Self { pod, taken: BTreeMap::new(), next: *EPHEMERAL.start() }
    }

    /// Takes a port; 0 stands for any that is free. Returns what was taken.
    ///
    /// # Errors
    /// `NotBindable` if the address is not the pod's, `InUse` if somebody has the port, `TooMany` if all are taken.
    pub fn take(&mut self, wanted: SocketAddr) -> Result<SocketAddr, NetError> {
        let ip = wanted.ip();
        if !ip.is_unspecified() && !is_own(self.pod, ip) {
            return Err(NetError::NotBindable);
        }
        let port = match wanted.port() {
            0 => self.free(ip).ok_or(NetError::TooMany)?,
            port if self.is_free(ip, port) => port,
            _ => return Err(NetError::InUse),
        };
        self.taken.entry(port).or_default().push(ip);
        Ok(SocketAddr::new(ip, port))
    }

    /// Gives a port back.
    pub fn release(&mut self, taken: SocketAddr) {
        let Some(holders) = self.taken.get_mut(&taken.port()) else { return };
        if let Some(at) = holders.iter().position(|ip| *ip == taken.ip()) {
            holders.swap_remove(at);
        }
        if holders.is_empty() {
            self.taken.remove(&taken.port());
        }
    }

    fn is_free(&self, ip: IpAddr, port: u16) -> bool {
        let holders = self.taken.get(&port).map_or(&[][..], Vec::as_slice);
        !holders.iter().any(|holder| overlap(*holder, ip))
    }

    /// Goes round, so that a port that was just given back rests: late packets of its last life find nobody.
    fn free(&mut self, ip: IpAddr) -> Option<u16> {
        let (first, last) = EPHEMERAL.into_inner();
        let found = (self.next..=last).chain(first..self.next).find(|port| self.is_free(ip, *port))?;
        self.next = if found == last { first } else { found + 1 };
        Some(found)
    }
}

/// Whether `ip` leads back into the pod itself.
pub fn is_own(pod: IpAddr, ip: IpAddr) -> bool {
    ip == pod || ip.is_loopback()
}

/// Whether a socket bound to `bound` gets what is sent to `to`, an address of its pod.
pub fn hears(bound: IpAddr, to: IpAddr) -> bool {
    bound == to || (bound.is_unspecified() && bound.is_ipv4() == to.is_ipv4())
}

/// Whether two sockets could not both have the same port. Sockets of IPv6 never speak IPv4 (`wasi:sockets`).
fn overlap(one: IpAddr, other: IpAddr) -> bool {
    hears(one, other) || hears(other, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> PortSpace {
        PortSpace::new([10, 42, 0, 2].into())
    }

    fn take(space: &mut PortSpace, text: &str) -> Result<String, NetError> {
        space.take(text.parse().unwrap()).map(|taken| taken.to_string())
    }

    #[test]
    fn a_port_belongs_to_one() {
        let mut space = space();
        assert_eq!(take(&mut space, "0.0.0.0:80").unwrap(), "0.0.0.0:80", "a pod needs no privilege for low ports");
        for taken in ["0.0.0.0:80", "10.42.0.2:80", "127.0.0.1:80"] {
            assert_eq!(take(&mut space, taken), Err(NetError::InUse), "{taken}");
        }
        assert!(take(&mut space, "0.0.0.0:81").is_ok());
    }

    #[test]
    fn addresses_and_families_have_ports_of_their_own() {
        let mut space = space();
        for free in ["10.42.0.2:80", "127.0.0.1:80", "[::]:80"] {
            assert_eq!(take(&mut space, free).as_deref(), Ok(free));
        }
        assert_eq!(take(&mut space, "0.0.0.0:80"), Err(NetError::InUse));
        assert_eq!(take(&mut space, "[::1]:80"), Err(NetError::InUse));
    }

    #[test]
    fn a_port_that_was_given_back_is_free() {
        let mut space = space();
        let taken = space.take("127.0.0.1:80".parse().unwrap()).unwrap();
        assert!(take(&mut space, "10.42.0.2:80").is_ok());
        space.release(taken);
        assert!(take(&mut space, "127.0.0.1:80").is_ok());
        assert_eq!(take(&mut space, "10.42.0.2:80"), Err(NetError::InUse), "the other was not given back");
    }

    #[test]
    fn only_the_pods_addresses_can_be_bound() {
        for other in ["10.42.0.3:80", "0.0.0.1:80", "192.0.2.1:0", "[fd00::1]:80"] {
            assert_eq!(take(&mut space(), other), Err(NetError::NotBindable), "{other}");
        }
    }

    #[test]
    fn any_port_is_one_of_the_ephemeral_and_rests_after_use() {
        let mut space = space();
        let first = space.take("0.0.0.0:0".parse().unwrap()).unwrap();
        assert_eq!(first.port(), 32_768);
        space.release(first);
        assert_eq!(take(&mut space, "0.0.0.0:0").as_deref(), Ok("0.0.0.0:32769"));
    }

    #[test]
    fn ports_run_out_and_come_back() {
        let mut space = space();
        let all: Vec<_> = std::iter::from_fn(|| space.take("0.0.0.0:0".parse().unwrap()).ok()).collect();
        assert_eq!(all.len(), EPHEMERAL.len());
        assert_eq!(take(&mut space, "127.0.0.1:0"), Err(NetError::TooMany));
        space.release(all[7]);
        assert_eq!(take(&mut space, "127.0.0.1:0").unwrap(), format!("127.0.0.1:{}", all[7].port()));
    }

    #[test]
    fn who_is_bound_to_one_address_does_not_hear_the_other() {
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        assert!(hears(ip("0.0.0.0"), ip("10.42.0.2")) && hears(ip("0.0.0.0"), ip("127.0.0.1")));
        assert!(hears(ip("127.0.0.1"), ip("127.0.0.1")) && hears(ip("::"), ip("::1")));
        assert!(!hears(ip("127.0.0.1"), ip("10.42.0.2")) && !hears(ip("::"), ip("127.0.0.1")));
    }
}
