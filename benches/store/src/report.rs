//! The table.

use std::time::Duration;

use crate::gates::{Gate, Passed};
use crate::load::Measured;
use crate::sizes::{CHANGES, Churn, Large, MANY};

/// Everything measured.
#[derive(Default)]
pub struct Table {
    /// By what is done: ours and etcd's, a pair for each round.
    rows: Vec<(String, Vec<(Measured, Measured)>)>,
    pub disk: Vec<(f64, Duration, Duration)>,
    pub gates: Vec<(Gate, Passed, Passed)>,
    pub churn: Churn,
    pub large: Large,
}

impl Table {
    /// Adds what a round was.
    pub fn add(&mut self, what: &str, pair: (Measured, Measured)) {
        match self.rows.iter_mut().find(|(name, _)| name == what) {
            Some((_, pairs)) => pairs.push(pair),
            None => self.rows.push((what.to_owned(), vec![pair])),
        }
    }

    #[allow(clippy::print_stdout)]
    pub fn print(&self, gate_seconds: u32) {
        println!("| what | wkube | p50 / p99 | etcd | p50 / p99 | wkube ÷ etcd, by round |");
        println!("| --- | --- | --- | --- | --- | --- |");
        for (what, pairs) in &self.rows {
            let (ours, etcd): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
            let ratios: Vec<f64> = pairs.iter().map(|(ours, etcd)| ours.per_second / etcd.per_second).collect();
            println!("| {what} | {} | {} | {} |", side(&ours), side(&etcd), spread(&ratios, 2));
        }
        for (gate, ours, etcd) in &self.gates {
            let name = format!("`check perf` {}: {} writes/s by {}", gate.name, gate.limit, gate.clients);
            println!("| {name}, {gate_seconds} s | {} | {} | |", verdict(ours), verdict(etcd));
        }
        let Large { open_ours, open_etcd, each_ours, each_etcd } = &self.large;
        let (ours, etcd) = (open_ours.as_secs_f64(), open_etcd.as_secs_f64());
        println!(
            "| open after kill -9, {MANY} objects of 2 KiB | {ours:.2} s | | {etcd:.2} s | | {:.2} |",
            etcd / ours
        );
        println!(
            "| memory for each of them | {each_ours} B | | {each_etcd} B | | {:.2} |",
            div(*each_etcd, *each_ours)
        );
        let Churn { raw, ours, etcd } = &self.churn;
        let mib = |bytes: &u64| bytes >> 20;
        println!(
            "| file, {CHANGES} times {} MiB written and compacted | {} MiB | | {} MiB | | {:.2} |",
            mib(raw),
            mib(ours),
            mib(etcd),
            div(*etcd, *ours),
        );
        let rates: Vec<f64> = self.disk.iter().map(|(rate, ..)| *rate).collect();
        let millis = |of: fn(&(f64, Duration, Duration)) -> Duration| {
            median(self.disk.iter().map(|round| of(round).as_secs_f64() * 1e3).collect())
        };
        println!(
            "\nThe disk alone, overwriting 2 KiB: {} fdatasync/s, p50 {:.2} ms, p99 {:.2} ms.",
            spread(&rates, 0),
            millis(|round| round.1),
            millis(|round| round.2),
        );
    }
}

fn side(rounds: &[Measured]) -> String {
    let of = |value: fn(&Measured) -> f64| median(rounds.iter().map(value).collect());
    let (rate, p50, p99) =
        (of(|one| one.per_second), of(|one| one.p50.as_secs_f64() * 1e3), of(|one| one.p99.as_secs_f64() * 1e3));
    format!("{rate:.0}/s | {p50:.3} / {p99:.2} ms")
}

fn verdict(passed: &Passed) -> String {
    let Passed { per_second, slowest, deviation, passes } = passed;
    let word = if *passes { "pass" } else { "FAIL" };
    format!("{word}, {per_second:.0}/s | slowest {:.0} ms, σ {:.1} ms", slowest.as_secs_f64() * 1e3, deviation * 1e3)
}

/// The median, and the range in brackets.
fn spread(values: &[f64], digits: usize) -> String {
    let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(a, b), value| (a.min(*value), b.max(*value)));
    format!("{:.digits$} ({least:.digits$}–{most:.digits$})", median(values.to_vec()))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[allow(clippy::cast_precision_loss)]
fn div(one: u64, other: u64) -> f64 {
    one as f64 / other.max(1) as f64
}
