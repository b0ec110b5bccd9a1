//! Addresses for pods, out of the node's pod CIDR. One is never given twice while in use; a restarted agent keeps those
//! that its pods had.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// The bits of 10.128.0.0/9 that nodes share out among them.
const SHARED_BITS: u32 = 23;
/// The bits of a range that is chosen, without those before it: 4,093 pods, or as many as a node was told to take.
const HOST_BITS: std::ops::RangeInclusive<u32> = 12..=16;

/// A range of IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    base: u32,
    bits: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.bits)
    }
}

impl Cidr {
    /// Reads `10.42.1.0/24`; `None` if it is no IPv4 range.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        let bits: u8 = bits.parse().ok().filter(|bits| *bits <= 30)?;
        let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
        Some(Self { base: u32::from(address) & mask, bits })
    }

    /// Returns a range for a node that was given none: one of 2,048 in 10.128.0.0/9, each with room for 4,000 pods, or a
    /// larger one for a node that takes more. The search begins at a place that depends on the name, so that nodes that
    /// register at the same time hardly meet.
    pub fn choose(name: &str, pods: u32, taken: &[Self]) -> Self {
        // The network's own address, the gateway's and that for broadcasts are no pod's.
        let host_bits =
            (u32::BITS - pods.saturating_add(2).leading_zeros()).clamp(*HOST_BITS.start(), *HOST_BITS.end());
        let ranges = 1 << (SHARED_BITS - host_bits);
        // FNV-1a: stable over versions and machines, unlike the standard library's hasher.
        let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let range = |index: u32| Self {
            base: u32::from_be_bytes([10, 128, 0, 0]) + ((index % ranges) << host_bits),
            bits: u8::try_from(u32::BITS - host_bits).expect("at most 32"),
        };
        let first = hash >> (u32::BITS - (SHARED_BITS - host_bits));
        let free =
            (0..ranges).map(|step| range(first + step)).find(|range| !taken.iter().any(|other| range.overlaps(*other)));
        free.unwrap_or_else(|| range(first))
    }

    /// Whether some address is in both.
    pub fn overlaps(self, other: Self) -> bool {
        let bits = 32 - u32::from(self.bits.min(other.bits));
        (u64::from(self.base) >> bits) == (u64::from(other.base) >> bits)
    }

    /// Returns how many addresses there are, the network's and broadcast ones not counted.
    fn hosts(self) -> u32 {
        let size: u64 = 1 << (32 - u32::from(self.bits));
        u32::try_from(size - 2).unwrap_or(u32::MAX)
    }

    fn contains(self, ip: Ipv4Addr) -> bool {
        let offset = u32::from(ip).wrapping_sub(self.base);
        offset > 0 && offset <= self.hosts()
    }
}

/// The addresses of one node. Clones share them.
#[derive(Debug, Clone)]
pub struct Addresses(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    cidr: Cidr,
    used: BTreeSet<u32>,
    /// Where the search goes on, so that a freed address rests as long as possible.
    next: u32,
}

/// Every address is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no pod address is free on this node")]
pub struct Exhausted;

impl Addresses {
    /// Returns the addresses of a range, all free.
    pub fn new(cidr: Cidr) -> Self {
        // The first host is the gateway's by custom; nobody is confused if no pod has it.
        Self(Arc::new(Mutex::new(State { cidr, used: BTreeSet::new(), next: 2 })))
    }

    /// Takes the address that a pod had, if it is of this range and free; else a new one.
    ///
    /// # Errors
    /// If all are in use.
    pub fn take(&self, had: Option<IpAddr>) -> Result<IpAddr, Exhausted> {
        let mut state = self.0.lock();
        if let Some(IpAddr::V4(ip)) = had
            && state.cidr.contains(ip)
            && state.used.insert(u32::from(ip))
        {
            return Ok(ip.into());
        }
        let hosts = state.cidr.hosts();
        for step in 0..hosts {
            let offset = (state.next - 1 + step) % hosts + 1;
            let ip = state.cidr.base + offset;
            if offset != 1 && state.used.insert(ip) {
                state.next = offset % hosts + 1;
                return Ok(Ipv4Addr::from(ip).into());
            }
        }
        Err(Exhausted)
    }

    /// Gives new addresses out of another range from now on; those in use stay in use.
    pub fn move_to(&self, cidr: Cidr) {
        let mut state = self.0.lock();
        if state.cidr != cidr {
            state.cidr = cidr;
            state.next = 2;
        }
    }

    /// Gives an address back.
    pub fn release(&self, ip: IpAddr) {
        if let IpAddr::V4(ip) = ip {
            self.0.lock().used.remove(&u32::from(ip));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 42, 1, last])
    }

    fn addresses(cidr: &str) -> Addresses {
        Addresses::new(Cidr::parse(cidr).unwrap())
    }

    #[test]
    fn an_address_is_never_given_twice_and_a_freed_one_rests() {
        let addresses = addresses("10.42.1.0/24");
        assert_eq!((addresses.take(None), addresses.take(None)), (Ok(ip(2)), Ok(ip(3))));
        addresses.release(ip(2));
        assert_eq!(addresses.take(None), Ok(ip(4)), "2 was in use a moment ago");
    }

    #[test]
    fn a_pod_keeps_its_address_over_a_restart() {
        let addresses = addresses("10.42.1.0/24");
        assert_eq!(addresses.take(Some(ip(9))), Ok(ip(9)));
        assert_eq!(addresses.take(Some(ip(9))), Ok(ip(2)), "somebody else has it");
        assert_eq!(addresses.take(Some(IpAddr::from([10, 42, 2, 9]))), Ok(ip(3)), "not of this node");
    }

    #[test]
    fn a_full_range_says_so_and_recovers() {
        let addresses = addresses("10.42.1.0/29");
        let taken: Vec<_> = std::iter::from_fn(|| addresses.take(None).ok()).collect();
        assert_eq!(taken, [2, 3, 4, 5, 6].map(ip), "0 and 7 are the range's own, 1 the gateway's");
        addresses.release(ip(4));
        assert_eq!(addresses.take(None), Ok(ip(4)));
        assert_eq!(addresses.take(None), Err(Exhausted));
    }

    #[test]
    fn nodes_choose_ranges_that_do_not_overlap() {
        let first = Cidr::choose("a", 110, &[]);
        assert_eq!(first, Cidr::choose("a", 110, &[]), "a node that comes back chooses the same");
        let second = Cidr::choose("a", 110, &[first]);
        assert!(!first.overlaps(second) && first.hosts() > 1_100);
        let half = Cidr::parse("10.128.0.0/10").unwrap();
        for name in ["a", "b", "c", "d"] {
            let chosen = Cidr::choose(name, 110, &[half]);
            assert!(!chosen.overlaps(half) && chosen.base >> 23 == half.base >> 23, "{chosen}");
        }
    }

    #[test]
    fn a_node_for_more_pods_chooses_a_larger_range() {
        for (pods, bits) in [(110, 20), (4_000, 20), (4_093, 20), (4_094, 19), (10_000, 18), (1_000_000, 16)] {
            let range = Cidr::choose("a", pods, &[]);
            assert_eq!(range.bits, bits, "{pods}");
            assert_eq!(range.base & !(u32::MAX << (32 - bits)), 0, "{range} begins where such a range begins");
            assert!(range.overlaps(Cidr::parse("10.128.0.0/9").unwrap()));
            assert!(!Cidr::choose("a", pods, &[range]).overlaps(range));
        }
    }

    #[test]
    fn another_range_is_used_from_now_on() {
        let addresses = addresses("10.42.1.0/24");
        assert_eq!(addresses.take(None), Ok(ip(2)));
        addresses.move_to(Cidr::parse("10.42.2.0/24").unwrap());
        assert_eq!(addresses.take(None), Ok(IpAddr::from([10, 42, 2, 2])));
        assert_eq!(addresses.take(Some(ip(2))), Ok(IpAddr::from([10, 42, 2, 3])), "of the range before");
    }

    #[test]
    fn ranges_are_read_strictly() {
        assert_eq!(Cidr::parse("10.42.1.77/24"), Cidr::parse("10.42.1.0/24"));
        for text in ["", "10.42.1.0", "10.42.1.0/31", "10.42.1.0/x", "fd00::/64"] {
            assert_eq!(Cidr::parse(text), None, "{text}");
        }
    }
}
