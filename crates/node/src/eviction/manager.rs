//! Decides under what pressure the node is, and what has to be relieved. Pure: told what is left, it answers.
//!
//! ```text
//!  observations --> thresholds met --> condition true --(met no more for the transition period)--> false
//!                        |
//!                        '--> the first of them is relieved, by one pod at a time
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::signals::{Condition, Observation, Signal};
use super::thresholds::{Threshold, Thresholds};
use crate::pod::backoff::elapsed;

/// How long a condition stays after its thresholds were met for the last time (`evictionPressureTransitionPeriod`), so
/// that a node at the edge does not take the pods back that it has just evicted.
pub const TRANSITION_PERIOD: Duration = Duration::from_mins(5);

/// What a manager knows between two looks.
#[derive(Debug, Clone, Default)]
pub struct Manager {
    thresholds: Thresholds,
    last_met: BTreeMap<Condition, Timestamp>,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// The conditions that hold.
    pub conditions: BTreeSet<Condition>,
    /// What to relieve first, and what was seen of it.
    pub relieve: Option<(Threshold, Observation)>,
}

impl Manager {
    /// Returns a manager that has seen nothing.
    pub fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, last_met: BTreeMap::new() }
    }

    /// Returns its thresholds.
    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// Looks at what is left.
    pub fn look(&mut self, seen: &[Observation], now: Timestamp) -> Decision {
        let of = |signal: Signal| seen.iter().find(|seen| seen.signal == signal);
        let met: Vec<(Threshold, Observation)> = self
            .thresholds
            .iter()
            .filter_map(|threshold| {
                let seen = of(threshold.signal)?;
                threshold.is_met(seen).then_some((*threshold, *seen))
            })
            .collect();
        for (threshold, _) in &met {
            self.last_met.insert(threshold.signal.condition(), now);
        }
        self.last_met.retain(|_, since| elapsed(*since, now) < TRANSITION_PERIOD);
        let relieve = met.into_iter().min_by_key(|(threshold, _)| threshold.signal);
        Decision { conditions: self.last_met.keys().copied().collect(), relieve }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(signal: Signal, percent: u64) -> Observation {
        Observation { signal, available: percent * (10 << 20), capacity: 1_000 << 20 }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn names(decision: &Decision) -> Vec<&'static str> {
        decision.conditions.iter().map(|condition| condition.name()).collect()
    }

    #[test]
    fn enough_of_everything_is_no_pressure() {
        let mut manager = Manager::default();
        let seen = Signal::ALL.map(|signal| left(signal, 50));
        assert_eq!(manager.look(&seen, at(0)), Decision::default());
        assert_eq!(manager.look(&[], at(1)), Decision::default(), "what cannot be read is not scarce");
    }

    #[test]
    fn memory_is_relieved_before_disk() {
        let mut manager = Manager::default();
        let decision = manager.look(&[left(Signal::NodeDisk, 1), left(Signal::Memory, 1)], at(0));
        assert_eq!(names(&decision), ["MemoryPressure", "DiskPressure"]);
        assert_eq!(decision.relieve.unwrap().0.signal, Signal::Memory);
    }

    #[test]
    fn a_condition_stays_for_a_while_but_nothing_more_is_evicted_for_it() {
        let mut manager = Manager::default();
        assert!(manager.look(&[left(Signal::Memory, 1)], at(0)).relieve.is_some());
        let decision = manager.look(&[left(Signal::Memory, 90)], at(299));
        assert_eq!((names(&decision), decision.relieve), (vec!["MemoryPressure"], None));
        assert!(names(&manager.look(&[left(Signal::Memory, 90)], at(300))).is_empty());
    }

    #[test]
    fn pressure_that_comes_back_starts_the_time_anew() {
        let mut manager = Manager::default();
        for second in [0, 200] {
            manager.look(&[left(Signal::NodeInodes, 4)], at(second));
        }
        let rest = [left(Signal::NodeInodes, 90)];
        assert_eq!(names(&manager.look(&rest, at(499))), ["DiskPressure"]);
        assert!(names(&manager.look(&rest, at(500))).is_empty());
    }

    #[test]
    fn a_clock_that_goes_back_does_not_keep_a_condition_for_ever() {
        let mut manager = Manager::default();
        manager.look(&[left(Signal::Memory, 1)], at(10_000));
        assert_eq!(names(&manager.look(&[left(Signal::Memory, 90)], at(0))), ["MemoryPressure"]);
        assert!(names(&manager.look(&[left(Signal::Memory, 90)], at(10_300))).is_empty());
    }
}
