//! Below what a node is under pressure: `memory.available<100Mi,nodefs.available<10%`. Pure.

use std::str::FromStr;

use wkube_api::quantity::Quantity;

use super::signals::{Observation, Signal};

/// The least that must be left of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// Of what.
    pub signal: Signal,
    /// How much.
    pub least: Least,
}

/// An amount, or a part of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Least {
    /// So much.
    Amount(u64),
    /// So many hundredths of what there is.
    Percent(u8),
    /// The same, but not more than an amount.
    PercentUpTo(u8, u64),
}

impl Threshold {
    /// Returns the amount that must be left of `capacity`.
    pub fn amount(&self, capacity: u64) -> u64 {
        match self.least {
            Least::Amount(amount) => amount,
            Least::Percent(percent) => part(capacity, percent),
            Least::PercentUpTo(percent, most) => part(capacity, percent).min(most),
        }
    }

    /// Whether less is left.
    pub fn is_met(&self, seen: &Observation) -> bool {
        seen.available < self.amount(seen.capacity)
    }
}

fn part(capacity: u64, percent: u8) -> u64 {
    (u128::from(capacity) * u128::from(percent) / 100).try_into().unwrap_or(u64::MAX)
}

/// The thresholds of a node, at most one for each signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thresholds(Vec<Threshold>);

impl Default for Thresholds {
    /// As in `pkg/kubelet/eviction/defaults_linux.go`, but on a large disk a few gigabytes are enough: what is stored here
    /// is megabytes where container images are gigabytes, and a laptop with nine tenths of its disk full is a usual one.
    fn default() -> Self {
        Self(vec![
            Threshold { signal: Signal::Memory, least: Least::Amount(100 << 20) },
            Threshold { signal: Signal::NodeDisk, least: Least::PercentUpTo(10, 2 << 30) },
            Threshold { signal: Signal::NodeInodes, least: Least::Percent(5) },
            Threshold { signal: Signal::ImageDisk, least: Least::PercentUpTo(15, 3 << 30) },
        ])
    }
}

impl Thresholds {
    /// Returns those of a node that evicts nobody.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Returns them.
    pub fn iter(&self) -> impl Iterator<Item = &Threshold> {
        self.0.iter()
    }

    /// Returns that of one signal.
    pub fn of(&self, signal: Signal) -> Option<&Threshold> {
        self.0.iter().find(|threshold| threshold.signal == signal)
    }
}

/// Why a list of thresholds cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl FromStr for Thresholds {
    type Err = Invalid;

    /// Reads `--eviction-hard`: what is not named has no threshold; the empty text turns evictions off.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut all = Vec::<Threshold>::new();
        for statement in text.split(',').map(str::trim).filter(|statement| !statement.is_empty()) {
            let (name, least) = statement.split_once('<').ok_or_else(|| {
                Invalid(format!("invalid eviction threshold syntax {statement}, expected <signal><operator><value>"))
            })?;
            let known = Signal::ALL.into_iter().find(|signal| signal.name() == name);
            let signal = known.ok_or_else(|| Invalid(format!("unsupported eviction signal {name}")))?;
            if all.iter().any(|threshold| threshold.signal == signal) {
                return Err(Invalid(format!("found duplicate eviction threshold for signal {name}")));
            }
            let least = parse_least(least)
                .ok_or_else(|| Invalid(format!("invalid eviction threshold value {least} of {name}")))?;
            all.push(Threshold { signal, least });
        }
        all.sort_by_key(|threshold| threshold.signal);
        Ok(Self(all))
    }
}

fn parse_least(text: &str) -> Option<Least> {
    if let Some(percent) = text.strip_suffix('%') {
        return percent.parse().ok().filter(|percent| (1..=100).contains(percent)).map(Least::Percent);
    }
    let quantity: Quantity = text.parse().ok()?;
    u64::try_from(quantity.value()).ok().filter(|amount| *amount > 0).map(Least::Amount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_kubelet_but_for_large_disks() {
        let text = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%";
        let kubelets: Thresholds = text.parse().unwrap();
        for (ours, kubelets) in Thresholds::default().iter().zip(kubelets.iter()) {
            assert_eq!(ours.signal, kubelets.signal);
            assert_eq!(ours.amount(16 << 30), kubelets.amount(16 << 30), "{:?}", ours.signal);
        }
        let disk = *Thresholds::default().of(Signal::NodeDisk).unwrap();
        assert_eq!(disk.amount(250 << 30), 2 << 30);
    }

    #[test]
    fn what_is_not_named_has_no_threshold() {
        let thresholds: Thresholds = " pid.available<1k, memory.available<5% ".parse().unwrap();
        assert_eq!(thresholds.of(Signal::Pids).unwrap().least, Least::Amount(1_000));
        assert_eq!(thresholds.of(Signal::Memory).unwrap().least, Least::Percent(5));
        assert_eq!(thresholds.of(Signal::NodeDisk), None);
        assert_eq!("".parse::<Thresholds>().unwrap().iter().count(), 0);
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_reason() {
        for (text, problem) in [
            ("memory.available", "invalid eviction threshold syntax memory.available"),
            ("memory.available>1Mi", "invalid eviction threshold syntax"),
            ("swap.available<1Mi", "unsupported eviction signal swap.available"),
            ("memory.available<lots", "invalid eviction threshold value lots of memory.available"),
            ("memory.available<0%", "invalid eviction threshold value 0%"),
            ("memory.available<101%", "invalid eviction threshold value"),
            ("memory.available<-1Mi", "invalid eviction threshold value"),
            ("memory.available<1Mi,memory.available<2Mi", "found duplicate eviction threshold"),
        ] {
            let error = text.parse::<Thresholds>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn a_part_is_of_what_there_is() {
        let seen = |available| Observation { signal: Signal::NodeDisk, available, capacity: 1_000 };
        let tenth = Threshold { signal: Signal::NodeDisk, least: Least::Percent(10) };
        assert!(tenth.is_met(&seen(99)));
        assert!(!tenth.is_met(&seen(100)), "the threshold itself is enough");
    }
}
