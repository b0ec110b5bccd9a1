//! What of a machine is kept from pods: `--kube-reserved`, `--system-reserved`, and what evictions defend. Pure.

use std::str::FromStr;

use wkube_api::quantity::Quantity;

use crate::eviction::signals::Signal;
use crate::eviction::thresholds::Thresholds;
use crate::resources::Machine;

/// Memory that the agent keeps for itself (`kubeReserved`): what it needs with a thousand pods, and some air.
const AGENT_MEMORY_BYTES: u64 = 256 << 20;

/// Amounts of the node's resources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Thousandths of a processor.
    pub cpu_millis: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of the disk with volumes and logs.
    pub disk_bytes: u64,
}

/// What a node was told to keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reservations {
    /// For the agent (`--kube-reserved`); `None` for the default.
    pub kube: Option<Reserved>,
    /// For everything else on the machine (`--system-reserved`).
    pub system: Reserved,
}

/// More is kept than there is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid Node Allocatable configuration. Resource {resource:?} has a reservation of {reserved} but capacity of \
     {capacity}. Expected capacity >= reservation."
)]
pub struct TooMuch {
    resource: &'static str,
    reserved: Quantity,
    capacity: Quantity,
}

impl Reserved {
    /// Returns what the agent keeps for itself of a machine unless told otherwise: at most three quarters.
    pub fn of_agent(memory_bytes: u64) -> Self {
        Self { memory_bytes: AGENT_MEMORY_BYTES.min(memory_bytes / 4 * 3), ..Self::default() }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            disk_bytes: self.disk_bytes.saturating_add(other.disk_bytes),
        }
    }
}

impl Reservations {
    /// Returns all that is kept of `machine` (`GetNodeAllocatableReservation`): pods that used it would be evicted.
    ///
    /// # Errors
    /// If that is more than there is.
    pub fn kept(&self, machine: &Machine, thresholds: &Thresholds) -> Result<Reserved, TooMuch> {
        let defended = |signal, capacity: u64| thresholds.of(signal).map_or(0, |least| least.amount(capacity));
        let evictions = Reserved {
            // On a machine so small that the usual threshold is much of it, pods should find something all the same.
            memory_bytes: defended(Signal::Memory, machine.memory_bytes).min(machine.memory_bytes / 8),
            disk_bytes: defended(Signal::NodeDisk, machine.disk_bytes),
            ..Reserved::default()
        };
        let agent = self.kube.unwrap_or_else(|| Reserved::of_agent(machine.memory_bytes));
        let kept = agent.plus(self.system).plus(evictions);
        let bytes = |bytes: u64| Quantity::from_bytes(bytes.try_into().unwrap_or(i64::MAX));
        let millis = |millis: u64| Quantity::from_milli(millis.try_into().unwrap_or(i64::MAX));
        let cpus = machine.cpus as u64 * 1000;
        for (resource, reserved, capacity, shown) in [
            ("cpu", kept.cpu_millis, cpus, millis as fn(u64) -> Quantity),
            ("memory", kept.memory_bytes, machine.memory_bytes, bytes),
            ("ephemeral-storage", kept.disk_bytes, machine.disk_bytes, bytes),
        ] {
            if reserved > capacity {
                return Err(TooMuch { resource, reserved: shown(reserved), capacity: shown(capacity) });
            }
        }
        Ok(kept)
    }
}

/// Why a reservation cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl FromStr for Reserved {
    type Err = Invalid;

    /// Reads `cpu=200m,memory=500Mi,ephemeral-storage=1Gi` (`parseResourceList` in `cmd/kubelet/app/server.go`).
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut reserved = Self::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (name, value) =
                entry.split_once('=').ok_or_else(|| Invalid(format!("{entry} must be formatted as key=value")))?;
            let quantity: Quantity = value
                .parse()
                .map_err(|_| Invalid(format!("failed to parse quantity {value:?} for {name:?} resource")))?;
            if quantity.is_negative() {
                return Err(Invalid(format!("resource quantity for {name:?} cannot be negative: {value}")));
            }
            let whole = |value: i128| u64::try_from(value).unwrap_or(u64::MAX);
            match name {
                "cpu" => reserved.cpu_millis = whole(quantity.milli()),
                "memory" => reserved.memory_bytes = whole(quantity.value()),
                "ephemeral-storage" => reserved.disk_bytes = whole(quantity.value()),
                // Guests are no processes: there is nothing to keep from them.
                "pid" => {}
                _ => return Err(Invalid(format!("cannot reserve {name:?} resource"))),
            }
        }
        Ok(reserved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine { cpus: 2, memory_bytes: 4 << 30, disk_bytes: 40 << 30, pods: 100 };

    #[test]
    fn the_agent_keeps_some_memory_for_itself() {
        let kept = Reservations::default().kept(&MACHINE, &Thresholds::none()).unwrap();
        assert_eq!(kept, Reserved { memory_bytes: 256 << 20, ..Reserved::default() });
        let told = Reservations { kube: Some(Reserved::default()), ..Reservations::default() };
        assert_eq!(told.kept(&MACHINE, &Thresholds::none()).unwrap(), Reserved::default());
    }

    #[test]
    fn all_that_is_kept_adds_up() {
        let reservations = Reservations {
            kube: Some("cpu=100m,memory=128Mi".parse().unwrap()),
            system: "cpu=200m,memory=64Mi,ephemeral-storage=1Gi".parse().unwrap(),
        };
        let thresholds = "memory.available<100Mi,nodefs.available<10%".parse().unwrap();
        let kept = reservations.kept(&MACHINE, &thresholds).unwrap();
        assert_eq!(kept, Reserved { cpu_millis: 300, memory_bytes: 292 << 20, disk_bytes: 5 << 30 });
    }

    #[test]
    fn a_small_machine_has_something_left_for_pods() {
        let small = Machine { memory_bytes: 128 << 20, ..MACHINE };
        let kept = Reservations::default().kept(&small, &Thresholds::default()).unwrap();
        assert_eq!(kept.memory_bytes, (96 + 16) << 20);
    }

    #[test]
    fn more_than_there_is_cannot_be_kept() {
        let problem = |text: &str| {
            let reservations = Reservations { system: text.parse().unwrap(), ..Reservations::default() };
            reservations.kept(&MACHINE, &Thresholds::none()).unwrap_err().to_string()
        };
        assert_eq!(
            problem("cpu=2500m"),
            "invalid Node Allocatable configuration. Resource \"cpu\" has a reservation of 2500m but capacity of 2. \
             Expected capacity >= reservation."
        );
        assert!(problem("memory=4Gi").contains("\"memory\" has a reservation of 4352Mi but capacity of 4Gi"));
        assert!(problem("ephemeral-storage=41Gi").contains("41Gi but capacity of 40Gi"));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_reason() {
        for (text, problem) in [
            ("cpu", "cpu must be formatted as key=value"),
            ("memory=lots", "failed to parse quantity \"lots\" for \"memory\" resource"),
            ("memory=-1Mi", "resource quantity for \"memory\" cannot be negative: -1Mi"),
            ("nvidia.com/gpu=1", "cannot reserve \"nvidia.com/gpu\" resource"),
        ] {
            assert_eq!(text.parse::<Reserved>().unwrap_err().to_string(), problem);
        }
        assert_eq!("".parse::<Reserved>(), Ok(Reserved::default()));
        assert_eq!(" cpu=1 , memory=1k".parse(), Ok(Reserved { cpu_millis: 1000, memory_bytes: 1000, disk_bytes: 0 }));
    }
}
