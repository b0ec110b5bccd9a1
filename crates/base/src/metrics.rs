//! Numbers for Prometheus: counters, gauges and histograms by label, and the text format in which they are read.
//!
//! ```text
//! static REQUESTS: Family<Counter> = Family::counters("x_total", "Help.", &["code"]);
//! REQUESTS.with(&["200"]).add(1);          Text::default() <- REQUESTS.write(&mut text)
//! ```

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::RwLock;

/// Series of one family that are kept apart; what comes later is counted under the label values `other`. Values may come
/// from clients, and a metric must not be the way to fill the memory.
const SERIES_MAX: usize = 10_000;

/// What kind of number a family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Returns the number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds, or takes away.
    pub fn add(&self, more: i64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Replaces the number.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Returns the number.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts values by size.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One per bound, and one for what is larger than all.
    counts: Box<[AtomicU64]>,
    /// In millionths: enough for seconds and bytes alike, and one atomic addition.
    sum: AtomicU64,
}

impl Histogram {
    /// Returns an empty histogram with these ascending upper bounds.
    pub fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Counts a value, which is not negative.
    pub fn observe(&self, value: f64) {
        let slot = self.bounds.partition_point(|bound| *bound < value);
        self.counts[slot].fetch_add(1, Ordering::Relaxed);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        self.sum.fetch_add((value * 1e6) as u64, Ordering::Relaxed);
    }

    /// Returns how many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// A number that a family can have.
pub trait Series: Send + Sync {
    /// Its kind.
    const KIND: Kind;

    /// Appends its lines.
    fn write(&self, text: &mut Text, name: &str, labels: &[(&str, &str)]);
}

impl Series for Counter {
    const KIND: Kind = Kind::Counter;

    fn write(&self, text: &mut Text, name: &str, labels: &[(&str, &str)]) {
        text.sample(name, labels, self.get());
    }
}

impl Series for Gauge {
    const KIND: Kind = Kind::Gauge;

    fn write(&self, text: &mut Text, name: &str, labels: &[(&str, &str)]) {
        text.sample(name, labels, self.get());
    }
}

impl Series for Histogram {
    const KIND: Kind = Kind::Histogram;

    fn write(&self, text: &mut Text, name: &str, labels: &[(&str, &str)]) {
        text.histogram(name, labels, self);
    }
}

/// One metric with a number for each combination of label values. Can be a static.
#[derive(Debug)]
pub struct Family<S> {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    make: fn() -> S,
    series: RwLock<BTreeMap<Box<[String]>, Arc<S>>>,
}

impl Family<Counter> {
    /// Returns a family of counters.
    pub const fn counters(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self::new(name, help, labels, Counter::default_value)
    }
}

impl Family<Gauge> {
    /// Returns a family of gauges.
    pub const fn gauges(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self::new(name, help, labels, Gauge::default_value)
    }
}

impl Counter {
    fn default_value() -> Self {
        Self::default()
    }
}

impl Gauge {
    fn default_value() -> Self {
        Self::default()
    }
}

impl<S: Series> Family<S> {
    /// Returns a family whose numbers are made by `make`.
    pub const fn new(name: &'static str, help: &'static str, labels: &'static [&'static str], make: fn() -> S) -> Self {
        Self { name, help, labels, make, series: RwLock::new(BTreeMap::new()) }
    }

    /// Returns the number with these label values. Hot paths keep it.
    pub fn with(&self, values: &[&str]) -> Arc<S> {
        debug_assert_eq!(values.len(), self.labels.len(), "{}: a value for each label", self.name);
        let key: Box<[String]> = values.iter().map(|value| (*value).to_owned()).collect();
        if let Some(found) = self.series.read().get(&key) {
            return found.clone();
        }
        let mut series = self.series.write();
        let key = if series.len() < SERIES_MAX { key } else { values.iter().map(|_| "other".to_owned()).collect() };
        series.entry(key).or_insert_with(|| Arc::new((self.make)())).clone()
    }

    /// Appends the metric.
    pub fn write(&self, text: &mut Text) {
        let series = self.series.read();
        if series.is_empty() {
            return;
        }
        text.family(self.name, self.help, S::KIND);
        for (values, number) in series.iter() {
            let labels: Vec<_> = self.labels.iter().copied().zip(values.iter().map(String::as_str)).collect();
            number.write(text, self.name, &labels);
        }
    }
}

/// Anything that has numbers.
pub trait Collect: Send + Sync {
    /// Appends its metrics.
    fn collect(&self, text: &mut Text);
}

impl<S: Series> Collect for Family<S> {
    fn collect(&self, text: &mut Text) {
        self.write(text);
    }
}

/// What all parts of this process count, in the order in which they began.
static PROCESS: RwLock<Vec<&'static dyn Collect>> = RwLock::new(Vec::new());

/// Makes these metrics part of what the process tells. Doing so again changes nothing.
pub fn register(metrics: &[&'static dyn Collect]) {
    let mut all = PROCESS.write();
    for metric in metrics {
        if !all.iter().any(|known| std::ptr::addr_eq(*known, *metric)) {
            all.push(*metric);
        }
    }
}

/// Appends everything that was registered.
pub fn write_process(text: &mut Text) {
    for metric in PROCESS.read().iter() {
        metric.collect(text);
    }
}

/// Prometheus' text format, version 0.0.4.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Begins a metric.
    pub fn family(&mut self, name: &str, help: &str, kind: Kind) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str());
    }

    /// Appends one line.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.line(name, "", labels, None, value);
    }

    /// Appends a metric of one number without labels.
    pub fn single(&mut self, name: &str, help: &str, kind: Kind, value: impl Display) {
        self.family(name, help, kind);
        self.sample(name, &[], value);
    }

    /// Appends the lines of a histogram.
    pub fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let mut total = 0;
        for (slot, count) in histogram.counts.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            let bound = histogram.bounds.get(slot).map_or_else(|| "+Inf".to_owned(), ToString::to_string);
            self.line(name, "_bucket", labels, Some(("le", &bound)), total);
        }
        #[expect(clippy::cast_precision_loss, reason = "a sum of measurements")]
        let sum = histogram.sum.load(Ordering::Relaxed) as f64 / 1e6;
        self.line(name, "_sum", labels, None, sum);
        self.line(name, "_count", labels, None, total);
    }

    fn line(
        &mut self,
        name: &str,
        suffix: &str,
        labels: &[(&str, &str)],
        more: Option<(&str, &str)>,
        value: impl Display,
    ) {
        self.0.push_str(name);
        self.0.push_str(suffix);
        for (index, (label, value)) in labels.iter().copied().chain(more).enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{value}\"", if index == 0 { '{' } else { ',' });
        }
        let end = if labels.is_empty() && more.is_none() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }

    /// Returns the text.
    pub fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_written_once_with_a_line_for_each_series() {
        let family = Family::counters("x_total", "Help\nme.", &["code", "what"]);
        family.with(&["200", "a \"b\"\\"]).add(2);
        family.with(&["200", "a \"b\"\\"]).add(1);
        family.with(&["404", ""]).add(1);
        let mut text = Text::default();
        family.write(&mut text);
        let expected = "# HELP x_total Help\\nme.\n# TYPE x_total counter\n\
            x_total{code=\"200\",what=\"a \\\"b\\\"\\\\\"} 3\nx_total{code=\"404\",what=\"\"} 1\n";
        assert_eq!(text.into_string(), expected);
    }

    #[test]
    fn a_histogram_counts_up_to_each_bound() {
        let histogram = Histogram::new(&[0.1, 1.0]);
        for value in [0.05, 0.1, 0.5, 7.0] {
            histogram.observe(value);
        }
        let mut text = Text::default();
        text.histogram("h", &[("a", "b")], &histogram);
        let expected = "h_bucket{a=\"b\",le=\"0.1\"} 2\nh_bucket{a=\"b\",le=\"1\"} 3\nh_bucket{a=\"b\",le=\"+Inf\"} 4\n\
            h_sum{a=\"b\"} 7.65\nh_count{a=\"b\"} 4\n";
        assert_eq!((text.into_string().as_str(), histogram.count()), (expected, 4));
    }

    #[test]
    fn a_family_without_series_says_nothing() {
        let mut text = Text::default();
        Family::gauges("g", "Help.", &["a"]).write(&mut text);
        assert_eq!(text.into_string(), "");
    }

    #[test]
    fn what_is_registered_twice_is_written_once() {
        static ONCE: Family<Counter> = Family::counters("once_total", "Help.", &[]);
        ONCE.with(&[]).add(5);
        register(&[&ONCE]);
        register(&[&ONCE]);
        let mut text = Text::default();
        write_process(&mut text);
        assert_eq!(text.into_string().matches("once_total 5").count(), 1);
    }

    #[test]
    fn label_values_cannot_fill_the_memory() {
        let family = Family::gauges("g", "Help.", &["a"]);
        for value in 0..2 * SERIES_MAX {
            family.with(&[&value.to_string()]).set(1);
        }
        assert_eq!(family.series.read().len(), SERIES_MAX + 1);
    }
}
