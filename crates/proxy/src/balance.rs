//! Which endpoint takes the next request. Pure: the caller brings the turn.

use std::net::IpAddr;

use crate::table::Endpoint;

/// What there is to send a request to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick<'t> {
    /// This endpoint.
    Endpoint(&'t Endpoint),
    /// None runs, but the workload may be woken.
    MayWake,
    /// None.
    Nothing,
}

/// Picks the endpoint whose turn it is: among the ready ones, or, if there is none, among those that still serve
/// while they terminate (`pkg/proxy/topology.go`, KEP-1669). `skip` passes over that many candidates, so that a retry
/// meets another endpoint.
pub fn pick(endpoints: &[Endpoint], may_wake: bool, turn: usize, skip: usize) -> Pick<'_> {
    let nth = |wanted: fn(&Endpoint) -> bool| {
        let count = endpoints.iter().filter(|endpoint| wanted(endpoint)).count();
        if skip >= count {
            return None;
        }
        endpoints.iter().filter(|endpoint| wanted(endpoint)).nth((turn.wrapping_add(skip)) % count)
    };
    if let Some(endpoint) = nth(|endpoint| endpoint.is_ready) {
        return Pick::Endpoint(endpoint);
    }
    let has_ready = endpoints.iter().any(|endpoint| endpoint.is_ready);
    if !has_ready && let Some(endpoint) = nth(|endpoint| endpoint.is_serving && endpoint.is_terminating) {
        return Pick::Endpoint(endpoint);
    }
    if may_wake && endpoints.is_empty() { Pick::MayWake } else { Pick::Nothing }
}

/// Picks the endpoint for a connection of `client`, among those that [`pick`] would choose from and that `may` admits.
/// With `is_sticky` it is the same one as long as that one is there (`sessionAffinity: ClientIP`): the client's address
/// alone decides, so that nothing has to be remembered and every node decides alike.
pub fn pick_for(
    endpoints: &[Endpoint],
    client: IpAddr,
    is_sticky: bool,
    turn: usize,
    may: impl Fn(&Endpoint) -> bool,
) -> Option<&Endpoint> {
    let those = |wanted: fn(&Endpoint) -> bool| -> Vec<&Endpoint> {
        endpoints.iter().filter(|endpoint| wanted(endpoint) && may(endpoint)).collect()
    };
    let mut found = those(|endpoint| endpoint.is_ready);
    if found.is_empty() {
        found = those(|endpoint| endpoint.is_serving && endpoint.is_terminating);
    }
    if is_sticky {
        return found.into_iter().max_by_key(|endpoint| affinity(client, endpoint));
    }
    let count = found.len().max(1);
    found.get(turn % count).copied()
}

/// The highest of these wins (rendezvous hashing): who leaves moves nobody but its own clients.
fn affinity(client: IpAddr, endpoint: &Endpoint) -> (u64, IpAddr) {
    let mut hasher = Fnv::new();
    hasher.take(client);
    hasher.take(endpoint.address);
    (hasher.mixed(), endpoint.address)
}

/// FNV-1a with a last mix, because similar addresses shall not mean similar numbers. Not the standard library's: all nodes
/// must agree, whatever they were built with.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn take(&mut self, ip: IpAddr) {
        let bytes = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn mixed(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^ (mixed >> 33)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(last: u8, is_ready: bool, is_terminating: bool) -> Endpoint {
        Endpoint {
            address: [10, 42, 0, last].into(),
            port: 8080,
            node: None,
            pod: None,
            is_ready,
            is_serving: true,
            is_terminating,
            hostname: None,
        }
    }

    fn last(pick: Pick<'_>) -> Option<u8> {
        match pick {
            Pick::Endpoint(endpoint) => endpoint.address.to_string().rsplit('.').next()?.parse().ok(),
            Pick::MayWake | Pick::Nothing => None,
        }
    }

    #[test]
    fn ready_endpoints_take_turns() {
        let endpoints = [endpoint(1, true, false), endpoint(2, false, false), endpoint(3, true, false)];
        let turns: Vec<_> = (0..4).map(|turn| last(pick(&endpoints, false, turn, 0))).collect();
        assert_eq!(turns, [Some(1), Some(3), Some(1), Some(3)]);
    }

    #[test]
    fn terminating_endpoints_serve_only_when_no_other_does() {
        let leaving = [endpoint(1, false, true), endpoint(2, false, false)];
        assert_eq!(last(pick(&leaving, false, 7, 0)), Some(1));
        let with_ready = [endpoint(1, false, true), endpoint(2, true, false)];
        assert_eq!(last(pick(&with_ready, false, 7, 0)), Some(2));
        assert_eq!(pick(&with_ready, false, 7, 1), Pick::Nothing);
    }

    #[test]
    fn a_retry_meets_another_endpoint() {
        let endpoints = [endpoint(1, true, false), endpoint(2, true, false)];
        assert_ne!(last(pick(&endpoints, false, 5, 0)), last(pick(&endpoints, false, 5, 1)));
        assert_eq!(pick(&endpoints, false, 5, 2), Pick::Nothing);
    }

    #[test]
    fn nothing_runs_but_it_may_wake() {
        assert_eq!(pick(&[], true, 0, 0), Pick::MayWake);
        assert_eq!(pick(&[], false, 0, 0), Pick::Nothing);
    }

    fn stuck(endpoints: &[Endpoint], client: u8, turn: usize) -> Option<IpAddr> {
        pick_for(endpoints, [10, 42, 1, client].into(), true, turn, |_| true).map(|endpoint| endpoint.address)
    }

    #[test]
    fn connections_take_turns_too() {
        let endpoints = [endpoint(1, true, false), endpoint(2, false, false), endpoint(3, true, false)];
        let client = [10, 42, 1, 1].into();
        let turns = (0..3).map(|turn| pick_for(&endpoints, client, false, turn, |_| true).map(|one| one.address));
        let turns: Vec<_> = turns.map(|address| last_of(address.unwrap())).collect();
        assert_eq!(turns, [1, 3, 1]);
        assert_eq!(pick_for(&[], client, false, 3, |_| true), None);
        assert_eq!(pick_for(&[endpoint(2, false, false)], client, false, 3, |_| true), None);
        let leaving = [endpoint(4, false, true)];
        assert_eq!(pick_for(&leaving, client, false, 3, |_| true), Some(&leaving[0]));
        assert_eq!(pick_for(&endpoints, client, false, 3, |one| last_of(one.address) == 2), None);
    }

    fn last_of(address: IpAddr) -> u8 {
        let IpAddr::V4(ip) = address else { panic!("these are of IPv4") };
        ip.octets()[3]
    }

    #[test]
    fn a_sticky_client_meets_the_same_endpoint_while_it_is_there() {
        let all: Vec<Endpoint> = (1..=5).map(|last| endpoint(last, true, false)).collect();
        for client in 0..100 {
            let first = stuck(&all, client, 0).unwrap();
            assert_eq!(stuck(&all, client, 7), Some(first), "whoever's turn it is");
            let without_another: Vec<_> =
                all.iter().filter(|one| one.address == first || last_of(one.address) > 2).cloned().collect();
            assert_eq!(stuck(&without_another, client, 1), Some(first), "others come and go");
            let without: Vec<_> = all.iter().filter(|one| one.address != first).cloned().collect();
            assert!(stuck(&without, client, 1).is_some_and(|next| next != first));
        }
    }

    #[test]
    fn sticky_clients_spread_over_the_endpoints() {
        let all: Vec<Endpoint> = (1..=4).map(|last| endpoint(last, true, false)).collect();
        for one in &all {
            let count = (0..200).filter(|client| stuck(&all, *client, 0) == Some(one.address)).count();
            assert!((25..=75).contains(&count), "{count} of 200 clients on one of four endpoints");
        }
    }
}
