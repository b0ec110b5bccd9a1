//! How many seats each priority level has: by shares, then lent and borrowed as demand moves
//! (`util/flowcontrol/apf_controller.go`, `conc_alloc.go`). Pure.

/// What a level may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Its share of the server.
    pub(crate) nominal: u32,
    /// What nobody can borrow from it.
    pub(crate) min: u32,
    /// What it has at most, everything borrowed included.
    pub(crate) max: u32,
}

/// What a level asks for in its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    /// `nominalConcurrencyShares`.
    pub(crate) nominal: u32,
    /// `lendablePercent`.
    pub(crate) lendable_percent: u32,
    /// `borrowingLimitPercent`; `None` is no limit.
    pub(crate) borrowing_percent: Option<u32>,
}

/// Splits `total` seats by shares.
pub(crate) fn bounds(total: u32, shares: &[Shares]) -> Vec<Bounds> {
    let sum: u64 = shares.iter().map(|level| u64::from(level.nominal)).sum::<u64>().max(1);
    let of = |level: &Shares| {
        let nominal = narrow((u64::from(total) * u64::from(level.nominal)).div_ceil(sum));
        let percent = |percent: u32| narrow((u64::from(nominal) * u64::from(percent) + 50) / 100);
        let max = level.borrowing_percent.map_or(nominal.saturating_add(total), |limit| nominal + percent(limit));
        Bounds { nominal, min: nominal - percent(level.lendable_percent).min(nominal), max }
    };
    shares.iter().map(of).collect()
}

fn narrow(seats: u64) -> u32 {
    u32::try_from(seats).unwrap_or(u32::MAX)
}

/// How much of yesterday's demand is still believed after one period; `seatDemandSmoothingCoefficient` upstream.
const MEMORY: f64 = 0.977;

/// Returns the demand to plan with: a rise counts at once, a fall slowly.
pub(crate) fn smooth(before: f64, peak: f64) -> f64 {
    peak.max(MEMORY * before + (1.0 - MEMORY) * peak)
}

/// A level's demand for the next period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Demand {
    /// What it may have.
    pub(crate) bounds: Bounds,
    /// What it wants, smoothed.
    pub(crate) wanted: f64,
}

/// Returns each level's seats: everyone who lent gets back what he wants first; what is left goes to all in proportion to
/// what they want, between their bounds.
pub(crate) fn allocate(levels: &[Demand]) -> Vec<u32> {
    let total: f64 = levels.iter().map(|level| f64::from(level.bounds.nominal)).sum();
    // Up to his share, a level gets what it wants, whatever others want.
    let floor = |level: &Demand| {
        let (min, nominal) = (f64::from(level.bounds.min), f64::from(level.bounds.nominal));
        level.wanted.clamp(min, nominal)
    };
    let target = |level: &Demand| level.wanted.max(f64::from(level.bounds.min)).max(1.0);
    let at =
        |fraction: f64, level: &Demand| (fraction * target(level)).min(f64::from(level.bounds.max)).max(floor(level));
    // The sum grows with the fraction, so the fraction at which it is the total is found by halving.
    let (mut low, mut high) = (0.0, total.max(1.0));
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        let sum: f64 = levels.iter().map(|level| at(middle, level)).sum();
        if sum > total { high = middle } else { low = middle }
    }
    levels.iter().map(|level| rounded(at(low, level))).collect()
}

/// A level without any seat would never answer.
fn rounded(seats: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seats are few and not negative")]
    let whole = seats.round() as u32;
    whole.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(nominal: u32, lendable_percent: u32) -> Shares {
        Shares { nominal, lendable_percent, borrowing_percent: None }
    }

    /// Kubernetes' own levels: catch-all, global-default, leader-election, node-high, system, workload-high, workload-low.
    fn kubernetes() -> Vec<Bounds> {
        let levels = [(5, 0), (20, 50), (10, 0), (40, 25), (30, 33), (40, 50), (100, 90)];
        bounds(600, &levels.map(|(nominal, lendable)| shares(nominal, lendable)))
    }

    fn check(wanted: [f64; 7]) -> Vec<u32> {
        let levels: Vec<_> =
            kubernetes().into_iter().zip(wanted).map(|(bounds, wanted)| Demand { bounds, wanted }).collect();
        let seats = allocate(&levels);
        for (level, seats) in levels.iter().zip(&seats) {
            assert!((level.bounds.min.max(1)..=level.bounds.max).contains(seats), "{level:?}: {seats}");
        }
        seats
    }

    #[test]
    fn seats_follow_the_shares() {
        let nominal: Vec<_> = kubernetes().iter().map(|bounds| bounds.nominal).collect();
        assert_eq!(nominal, [13, 49, 25, 98, 74, 98, 245]);
        assert_eq!(kubernetes()[6], Bounds { nominal: 245, min: 24, max: 845 });
        let limited = Shares { borrowing_percent: Some(20), ..shares(10, 0) };
        assert_eq!(bounds(100, &[limited, shares(10, 0)])[0], Bounds { nominal: 50, min: 50, max: 60 });
    }

    #[test]
    fn levels_without_any_shares_have_no_seats() {
        assert_eq!(bounds(100, &[shares(0, 0)])[0].nominal, 0);
    }

    #[test]
    fn a_busy_level_borrows_what_idle_ones_can_lend() {
        let seats = check([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1000.0]);
        assert!(seats[6] > 350, "{seats:?}");
        assert_eq!(seats[2], 25, "leader election lends nothing");
        let together: u32 = seats.iter().sum();
        assert!((598..=606).contains(&together), "{together}");
    }

    #[test]
    fn a_lender_gets_its_seats_back_when_it_wants_them() {
        let seats = check([1000.0; 7]);
        let nominal: Vec<_> = kubernetes().iter().map(|bounds| bounds.nominal).collect();
        assert_eq!(seats, nominal, "when everyone wants everything, everyone has his share");
        let seats = check([0.0, 0.0, 0.0, 98.0, 0.0, 0.0, 1000.0]);
        assert_eq!(seats[3], 98, "nodes first, however much workloads want: {seats:?}");
    }

    #[test]
    fn idle_levels_keep_enough_to_begin_with() {
        let seats = check([0.0; 7]);
        assert!(seats.iter().all(|seats| *seats >= 13), "{seats:?}");
    }

    #[test]
    fn demand_rises_at_once_and_falls_slowly() {
        let equal = |one: f64, other: f64| (one - other).abs() < 1e-9;
        assert!(equal(smooth(1.0, 9.0), 9.0));
        assert!(smooth(100.0, 0.0) > 97.0);
    }
}
