//! What flow control counts, under Kubernetes' names (`util/flowcontrol/metrics`).

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use wkube_base::metrics::{Histogram, Kind, Text};

use super::FlowControl;
use super::level::Refusal;

/// `requestDurationSecondsBuckets` upstream.
const WAIT_SECONDS: &[f64] = &[0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
const REFUSALS: [Refusal; 3] = [Refusal::ConcurrencyLimit, Refusal::QueueFull, Refusal::TimeOut];

/// The counts of one flow schema.
#[derive(Debug)]
pub(super) struct Counts {
    dispatched: AtomicU64,
    executing: AtomicI64,
    refused: [AtomicU64; REFUSALS.len()],
    waited: Histogram,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            dispatched: AtomicU64::default(),
            executing: AtomicI64::default(),
            refused: Default::default(),
            waited: Histogram::new(WAIT_SECONDS),
        }
    }
}

impl Counts {
    pub(super) fn began(&self, waited: Option<Duration>) {
        self.dispatched.fetch_add(1, Ordering::Relaxed);
        self.executing.fetch_add(1, Ordering::Relaxed);
        // Nearly nobody waits; those who did not are the difference to `dispatched`.
        if let Some(waited) = waited {
            self.waited.observe(waited.as_secs_f64());
        }
    }

    pub(super) fn ended(&self) {
        self.executing.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        let slot = REFUSALS.iter().position(|one| *one == refusal).unwrap_or_default();
        self.refused[slot].fetch_add(1, Ordering::Relaxed);
    }
}

impl FlowControl {
    /// Appends all metrics.
    pub(crate) fn write_metrics(&self, text: &mut Text) {
        self.write_schemas(text);
        self.write_levels(text);
    }

    fn write_schemas(&self, text: &mut Text) {
        let schemas = self.schemas.load();
        let name = "apiserver_flowcontrol_dispatched_requests_total";
        text.family(name, "Number of requests executed by API Priority and Fairness subsystem", Kind::Counter);
        for schema in schemas.iter() {
            text.sample(name, &schema.labels(), schema.counts.dispatched.load(Ordering::Relaxed));
        }
        let name = "apiserver_flowcontrol_rejected_requests_total";
        text.family(name, "Number of requests rejected by API Priority and Fairness subsystem", Kind::Counter);
        for schema in schemas.iter() {
            for (refusal, count) in REFUSALS.iter().zip(&schema.counts.refused) {
                let [level, flow] = schema.labels();
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    text.sample(name, &[level, flow, ("reason", refusal.as_str())], count);
                }
            }
        }
        let name = "apiserver_flowcontrol_current_executing_requests";
        text.family(name, "Number of requests in execution", Kind::Gauge);
        for schema in schemas.iter() {
            text.sample(name, &schema.labels(), schema.counts.executing.load(Ordering::Relaxed));
        }
        let name = "apiserver_flowcontrol_request_wait_duration_seconds";
        text.family(name, "Length of time a request spent waiting in its queue", Kind::Histogram);
        for schema in schemas.iter() {
            text.histogram(name, &schema.labels(), &schema.counts.waited);
        }
    }

    fn write_levels(&self, text: &mut Text) {
        let levels = self.levels.lock();
        let mut gauge = |name: &str, help: &str, of: &dyn Fn(&super::Held) -> i64| {
            text.family(name, help, Kind::Gauge);
            for held in levels.values() {
                text.sample(name, &[("priority_level", held.level.name())], of(held));
            }
        };
        gauge(
            "apiserver_flowcontrol_current_inqueue_requests",
            "Number of requests currently pending in queues",
            &|held| i64::try_from(held.level.waiting()).unwrap_or(i64::MAX),
        );
        gauge("apiserver_flowcontrol_current_executing_seats", "Concurrency in use by executing requests", &|held| {
            held.level.in_use()
        });
        gauge("apiserver_flowcontrol_current_limit_seats", "Current derived number of execution seats", &|held| {
            held.level.limit()
        });
        gauge("apiserver_flowcontrol_nominal_limit_seats", "Nominal number of execution seats", &|held| {
            held.bounds.nominal.into()
        });
        gauge(
            "apiserver_flowcontrol_lower_limit_seats",
            "Configured lower bound on number of execution seats",
            &|held| held.bounds.min.into(),
        );
        gauge(
            "apiserver_flowcontrol_upper_limit_seats",
            "Configured upper bound on number of execution seats",
            &|held| held.bounds.max.into(),
        );
    }
}

impl super::Schema {
    fn labels(&self) -> [(&'static str, &str); 2] {
        [("priority_level", &self.plan.level), ("flow_schema", &self.plan.name)]
    }
}
