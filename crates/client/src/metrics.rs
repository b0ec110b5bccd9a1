//! What clients and queues of this process count, under client-go's names (`component-base/metrics/prometheus/{restclient,workqueue}`).

use std::sync::Arc;

use wkube_base::metrics::{Counter, Family, Gauge, Histogram, register};

/// `durationBuckets` of rest clients, in seconds.
const REQUEST_SECONDS: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];
/// `ExponentialBuckets(10e-9, 10, 10)` of work queues, in seconds.
const WORK_SECONDS: &[f64] = &[1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0];

/// Requests by status code, method and host.
pub(crate) static REQUESTS: Family<Counter> = Family::counters(
    "rest_client_requests_total",
    "Number of HTTP requests, partitioned by status code, method, and host.",
    &["code", "method", "host"],
);
/// How long they took.
pub(crate) static REQUEST_DURATION: Family<Histogram> = Family::new(
    "rest_client_request_duration_seconds",
    "Request latency in seconds. Broken down by verb, and host.",
    &["verb", "host"],
    || Histogram::new(REQUEST_SECONDS),
);
static ADDS: Family<Counter> =
    Family::counters("workqueue_adds_total", "Total number of adds handled by workqueue", &["name"]);
static DEPTH: Family<Gauge> = Family::gauges("workqueue_depth", "Current depth of workqueue", &["name"]);
static RETRIES: Family<Counter> =
    Family::counters("workqueue_retries_total", "Total number of retries handled by workqueue", &["name"]);
static WORK_DURATION: Family<Histogram> = Family::new(
    "workqueue_work_duration_seconds",
    "How long in seconds processing an item from workqueue takes.",
    &["name"],
    || Histogram::new(WORK_SECONDS),
);

/// What one queue counts.
#[derive(Debug)]
pub(crate) struct QueueCounts {
    pub(crate) adds: Arc<Counter>,
    pub(crate) depth: Arc<Gauge>,
    pub(crate) retries: Arc<Counter>,
}

impl QueueCounts {
    /// Returns the counts of the queue of this name.
    pub(crate) fn of(name: &str) -> Self {
        register(&[&ADDS, &DEPTH, &RETRIES, &WORK_DURATION]);
        Self { adds: ADDS.with(&[name]), depth: DEPTH.with(&[name]), retries: RETRIES.with(&[name]) }
    }
}

/// Returns where the time for one key of the queue of this name is counted.
pub(crate) fn work_duration(name: &str) -> Arc<Histogram> {
    WORK_DURATION.with(&[name])
}

/// Makes what clients count part of what the process tells.
pub(crate) fn register_requests() {
    register(&[&REQUESTS, &REQUEST_DURATION]);
}
