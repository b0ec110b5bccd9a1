//! Figures as a person compares them: percentiles, rates, and the processor time behind them.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long something took, many times.
#[derive(Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Returns the time that `share` of all (0 to 1) did not exceed.
    pub fn percentile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        sorted.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }

    /// Writes median and 99th percentile.
    pub fn summary(&self) -> String {
        format!("p50 {}, p99 {}", shown(self.percentile(0.5)), shown(self.percentile(0.99)))
    }
}

/// Writes a time with three digits in the unit that fits.
pub fn shown(time: Duration) -> String {
    match time.as_nanos() {
        nanos if nanos < 1_000_000 => format!("{:.1} µs", nanos as f64 / 1e3),
        nanos if nanos < 1_000_000_000 => format!("{:.2} ms", nanos as f64 / 1e6),
        nanos => format!("{:.2} s", nanos as f64 / 1e9),
    }
}

/// Returns the processor time of this process so far, all threads together.
pub fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Returns this process's resident memory in bytes.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Prints a Markdown table.
pub fn table(columns: &[&str], rows: &[Vec<String>]) {
    println!("| {} |\n|{}", columns.join(" | "), " --- |".repeat(columns.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
}
