//! From two looks at a node to what it uses. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use wkube_api::stats::{Summary, Usage};

/// What a node said.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// When, for differences.
    pub(super) at: Instant,
    /// When, for people.
    pub(super) time: Timestamp,
    /// What.
    pub(super) summary: Summary,
}

/// What something uses now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rate {
    /// Billionths of a processor.
    pub(super) cpu_nanos: u64,
    /// Bytes.
    pub(super) memory_bytes: u64,
}

/// What a node and its containers use now.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rates {
    /// When this was so.
    pub(super) time: Timestamp,
    /// Over how long the processors' part was measured.
    pub(super) window: Duration,
    /// The whole machine.
    pub(super) machine: Rate,
    /// The containers, by the uid of their pod and their name.
    pub(super) containers: BTreeMap<(String, String), Rate>,
}

/// Compares two looks. A container that was not there before, or that has started anew, has used what it has used since.
pub(super) fn rates(before: &Sample, now: &Sample) -> Rates {
    let window = now.at.saturating_duration_since(before.at);
    let rate = |old: Usage, new: Usage| {
        let base = if new.cpu_nanos < old.cpu_nanos { 0 } else { old.cpu_nanos };
        let used = u128::from(new.cpu_nanos - base) * 1_000_000_000;
        let cpu_nanos = used.checked_div(window.as_nanos()).unwrap_or(0);
        Rate { cpu_nanos: u64::try_from(cpu_nanos).unwrap_or(u64::MAX), memory_bytes: new.memory_bytes }
    };
    let old: BTreeMap<(&str, &str), Usage> =
        before.summary.containers.iter().map(|one| ((one.pod_uid.as_str(), one.name.as_str()), one.usage)).collect();
    let containers = now.summary.containers.iter().map(|one| {
        let base = old.get(&(one.pod_uid.as_str(), one.name.as_str())).copied().unwrap_or_default();
        ((one.pod_uid.clone(), one.name.clone()), rate(base, one.usage))
    });
    Rates {
        time: now.time,
        window,
        machine: rate(before.summary.machine, now.summary.machine),
        containers: containers.collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use wkube_api::stats::ContainerUsage;

    use super::*;

    /// One start for all: instants cannot be made from nothing.
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);

    fn sample(after: Duration, machine: u64, containers: &[(&str, u64)]) -> Sample {
        let containers = containers.iter().map(|(name, cpu_nanos)| ContainerUsage {
            pod_uid: "u".into(),
            name: (*name).into(),
            usage: Usage { cpu_nanos: *cpu_nanos, memory_bytes: 9 },
        });
        let summary =
            Summary { machine: Usage { cpu_nanos: machine, memory_bytes: 99 }, containers: containers.collect() };
        Sample { at: *START + after, time: Timestamp::UNIX_EPOCH, summary }
    }

    #[test]
    fn processor_use_is_what_was_used_in_between() {
        let (second, none) = (Duration::from_secs(2), Duration::ZERO);
        let before = sample(none, 1_000, &[("a", 500), ("reborn", 900)]);
        let now = sample(second, 3_000, &[("a", 1_500), ("reborn", 100), ("new", 40)]);
        let rates = rates(&before, &now);
        assert_eq!(rates.machine, Rate { cpu_nanos: 1_000, memory_bytes: 99 });
        let of = |name: &str| rates.containers[&("u".to_owned(), name.to_owned())].cpu_nanos;
        assert_eq!((of("a"), of("reborn"), of("new")), (500, 50, 20));
        assert_eq!(rates.window, second);
    }

    #[test]
    fn without_a_window_nothing_was_used() {
        let at = sample(Duration::ZERO, 1_000, &[]);
        assert_eq!(rates(&at, &at).machine.cpu_nanos, 0);
    }
}
