//! The table.

use crate::load::{Measured, Phase, Round};

/// Everything measured, a value for each round.
#[derive(Default)]
pub struct Table {
    pub wkube: Vec<Round>,
    pub bare: Vec<Round>,
    /// Commits per second of the store alone.
    pub durable: Vec<f64>,
    pub fdatasync: Vec<f64>,
    /// Resident MiB of wkube and of the yardstick.
    pub memory: [u64; 2],
}

/// What a real kube-apiserver 1.20 with etcd did a second on such a machine.
const KUBE_APISERVER: [(Phase, &str, f64); 6] = [
    (Phase::Create, "create, 1 KiB", 1_070.0),
    (Phase::Get, "get", 2_400.0),
    (Phase::List, "list of 2,000 objects", 27.0),
    (Phase::Patch, "merge-patch", 990.0),
    (Phase::Delete, "delete", 1_150.0),
    (Phase::Watch, "watch events to 50 watchers", 33_000.0),
];

impl Table {
    #[allow(clippy::print_stdout)]
    pub fn print(&self) {
        println!(
            "| what | wkube | p50 / p99 | processor each (bare) | ÷ bare hyper+TLS | ÷ store alone | ÷ kube-apiserver |"
        );
        println!("| --- | --- | --- | --- | --- | --- | --- |");
        for (phase, name, reference) in KUBE_APISERVER {
            let median_of = |rounds: &[Round], value: fn(&Measured) -> f64| {
                median(rounds.iter().map(|round| value(&round[&phase])).collect())
            };
            let of = |value| median_of(&self.wkube, value);
            let processor = |measured: &Measured| measured.processor.as_secs_f64() * 1e6;
            let rate = of(|measured| measured.per_second);
            let bare =
                self.wkube.iter().zip(&self.bare).map(|(ours, bare)| ours[&phase].per_second / bare[&phase].per_second);
            let is_write = matches!(phase, Phase::Create | Phase::Patch | Phase::Delete);
            let store = self.wkube.iter().zip(&self.durable).map(|(ours, durable)| ours[&phase].per_second / durable);
            let store = if is_write { format!("{:.2}", median(store.collect())) } else { String::new() };
            println!(
                "| {name} | {rate:.0}/s | {:.2} / {:.2} ms | {:.0} µs ({:.0}) | {:.2} | {store} | {:.1} |",
                of(|measured| measured.p50.as_secs_f64() * 1e3),
                of(|measured| measured.p99.as_secs_f64() * 1e3),
                of(processor),
                median_of(&self.bare, processor),
                median(bare.collect()),
                rate / reference,
            );
        }
        println!(
            "\nStore alone: {:.0} durable commits/s; the disk alone: {:.0} fdatasync/s; memory at the end: {} MiB (bare: {} MiB).",
            median(self.durable.clone()),
            median(self.fdatasync.clone()),
            self.memory[0],
            self.memory[1],
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
