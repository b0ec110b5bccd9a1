//! Which endpoint takes the next request. Pure: the caller brings the turn.

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
}
