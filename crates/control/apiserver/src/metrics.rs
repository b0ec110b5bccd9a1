//! What the server counts, under Kubernetes' names (`apiserver/pkg/endpoints/metrics`), in Prometheus' text format.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use parking_lot::RwLock;
use wkube_base::metrics::{Counter, Family, Gauge, Histogram, Kind, Text};

use crate::Api;
use crate::admission;
use crate::pipeline::Info;
use crate::registry::keys;
use crate::router::{Target, Verb};

mod process;

/// The text format's media type.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const COMPONENT: (&str, &str) = ("component", "apiserver");
/// `requestLatencies` upstream, in seconds.
const DURATIONS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];
/// `responseSizes` upstream, in bytes.
const SIZES: &[f64] = &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Distinct labels that are kept apart; later ones are counted together.
const LABELS_MAX: usize = 4000;

/// Events sent to watchers.
pub(crate) static WATCH_EVENTS: Family<Counter> = Family::counters(
    "apiserver_watch_events_total",
    "Number of events sent in watch clients",
    &["group", "version", "resource"],
);

/// What requests of one kind came to.
#[derive(Debug)]
struct Series {
    labels: Vec<(&'static str, String)>,
    codes: RwLock<BTreeMap<u16, Counter>>,
    durations: Histogram,
    sizes: Histogram,
    long: Gauge,
}

/// The server's counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    // Looked up for every request; written in order.
    requests: RwLock<HashMap<String, Arc<Series>>>,
    reading: Gauge,
    mutating: Gauge,
}

/// Counts a request as being answered until it is dropped.
pub(crate) struct InFlight<'a>(&'a Gauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// Counts a long answer as running until it is dropped.
pub(crate) struct Running(Arc<Series>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.long.add(-1);
    }
}

impl Metrics {
    /// Counts a request that does not last as being answered.
    pub(crate) fn in_flight(&self, verb: Option<Verb>) -> InFlight<'_> {
        let gauge = match verb {
            None | Some(Verb::Get | Verb::List | Verb::Watch) => &self.reading,
            Some(_) => &self.mutating,
        };
        gauge.add(1);
        InFlight(gauge)
    }

    /// Counts an answered request. What is not served gets one label together: the names in its path are the client's.
    pub(crate) fn count(&self, api: &Api, info: &Info, code: StatusCode, took: Option<Duration>, size: Option<u64>) {
        let series = self.series(api, info, code);
        let counted = series.codes.read().get(&code.as_u16()).map(|counter| counter.add(1));
        if counted.is_none() {
            series.codes.write().entry(code.as_u16()).or_default().add(1);
        }
        if let Some(took) = took {
            series.durations.observe(took.as_secs_f64());
        }
        #[expect(clippy::cast_precision_loss, reason = "a size for a histogram")]
        if let Some(size) = size {
            series.sizes.observe(size as f64);
        }
    }

    /// Counts a long answer that begins.
    pub(crate) fn running(&self, api: &Api, info: &Info) -> Running {
        let series = self.series(api, info, StatusCode::OK);
        series.long.add(1);
        Running(series)
    }

    fn series(&self, api: &Api, info: &Info, code: StatusCode) -> Arc<Series> {
        thread_local! {
            static KEY: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
        }
        let is_strange =
            matches!(code, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) && !is_served(api, info);
        let mut labels = Labels::of(info, is_strange);
        KEY.with_borrow_mut(|key| {
            labels.write_key(key);
            if let Some(found) = self.requests.read().get(key.as_str()) {
                return found.clone();
            }
            let mut requests = self.requests.write();
            if requests.len() >= LABELS_MAX {
                labels = Labels { verb: labels.verb, ..Labels::default() };
                labels.write_key(key);
            }
            requests.entry(key.clone()).or_insert_with(|| Arc::new(labels.series())).clone()
        })
    }
}

/// Whether a request is about something that is there, so that its path may be a label.
fn is_served(api: &Api, info: &Info) -> bool {
    match &info.target {
        Target::Resource(path) => {
            let row = api.registry.catalog.route(&path.group, &path.version, &path.resource);
            row.is_some_and(|row| path.subresource.is_empty() || row.subresource(&path.subresource).is_some())
        }
        Target::Other => false,
    }
}

/// The labels of a request.
#[derive(Debug, Clone, Copy, Default)]
struct Labels<'a> {
    verb: &'static str,
    group: &'a str,
    version: &'a str,
    resource: &'a str,
    subresource: &'a str,
    scope: &'static str,
    dry_run: &'static str,
}

impl<'a> Labels<'a> {
    fn of(info: &'a Info, is_strange: bool) -> Self {
        let verb = verb(info);
        match &info.target {
            Target::Resource(path) if !is_strange => Self {
                verb,
                group: &path.group,
                version: &path.version,
                resource: &path.resource,
                subresource: &path.subresource,
                scope: match (path.name.is_empty() && info.verb != Some(Verb::Create), path.namespace.is_empty()) {
                    (false, _) => "resource",
                    (true, false) => "namespace",
                    (true, true) => "cluster",
                },
                dry_run: if info.query.has("dryRun") { "All" } else { "" },
            },
            Target::Resource(_) | Target::Other => Self { verb, ..Self::default() },
        }
    }

    fn fields(self) -> [(&'static str, &'a str); 7] {
        [
            ("dry_run", self.dry_run),
            ("group", self.group),
            ("resource", self.resource),
            ("scope", self.scope),
            ("subresource", self.subresource),
            ("verb", self.verb),
            ("version", self.version),
        ]
    }

    fn write_key(self, key: &mut String) {
        key.clear();
        for (_, value) in self.fields() {
            key.push_str(value);
            key.push('\n');
        }
    }

    fn series(self) -> Series {
        Series {
            labels: self.fields().map(|(label, value)| (label, value.to_owned())).into(),
            codes: RwLock::default(),
            durations: Histogram::new(DURATIONS),
            sizes: Histogram::new(SIZES),
            long: Gauge::default(),
        }
    }
}

/// Returns the verb as Kubernetes reports it (`CleanVerb`).
fn verb(info: &Info) -> &'static str {
    if info.connects() {
        return "CONNECT";
    }
    match info.verb {
        Some(Verb::Get) => "GET",
        Some(Verb::List) => "LIST",
        Some(Verb::Watch) => "WATCH",
        Some(Verb::Create) => "POST",
        Some(Verb::Update) => "PUT",
        Some(Verb::Patch) => "PATCH",
        Some(Verb::Delete) => "DELETE",
        Some(Verb::DeleteCollection) => "DELETECOLLECTION",
        None => match info.method.as_str() {
            "GET" | "HEAD" => "GET",
            "POST" => "POST",
            "PUT" => "PUT",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            _ => "OTHER",
        },
    }
}

/// Returns all metrics as text.
pub(crate) fn text(api: &Api) -> String {
    let mut text = Text::default();
    requests(&api.metrics, &mut text);
    WATCH_EVENTS.write(&mut text);
    admission::metrics::write(&mut text);
    api.flow.write_metrics(&mut text);
    if let Some(audit) = &api.audit {
        audit.write_metrics(&mut text);
    }
    storage(api, &mut text);
    wkube_base::metrics::write_process(&mut text);
    process::write(&mut text, &api.registry.clock, api.began);
    text.into_string()
}

fn requests(metrics: &Metrics, text: &mut Text) {
    let mut all: Vec<_> = metrics.requests.read().iter().map(|(key, series)| (key.clone(), series.clone())).collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    let name = "apiserver_request_total";
    text.family(name, "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.", Kind::Counter);
    for (_, series) in &all {
        for (code, count) in series.codes.read().iter() {
            let code = code.to_string();
            text.sample(name, &labelled(series, Some(("code", &code))), count.get());
        }
    }
    let name = "apiserver_request_duration_seconds";
    text.family(name, "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.", Kind::Histogram);
    for (_, series) in all.iter().filter(|(_, series)| series.durations.count() > 0) {
        text.histogram(name, &labelled(series, None), &series.durations);
    }
    let name = "apiserver_response_sizes";
    text.family(name, "Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.", Kind::Histogram);
    for (_, series) in all.iter().filter(|(_, series)| series.sizes.count() > 0) {
        text.histogram(name, &labelled(series, None), &series.sizes);
    }
    let name = "apiserver_longrunning_requests";
    text.family(name, "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.", Kind::Gauge);
    for (_, series) in all.iter().filter(|(_, series)| series.long.get() > 0) {
        text.sample(name, &labelled(series, None), series.long.get());
    }
    let name = "apiserver_current_inflight_requests";
    text.family(
        name,
        "Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
        Kind::Gauge,
    );
    text.sample(name, &[("request_kind", "mutating")], metrics.mutating.get());
    text.sample(name, &[("request_kind", "readOnly")], metrics.reading.get());
}

fn labelled<'a>(series: &'a Series, first: Option<(&'a str, &'a str)>) -> Vec<(&'a str, &'a str)> {
    let own = series.labels.iter().map(|(label, value)| (*label, value.as_str()));
    first.into_iter().chain([COMPONENT]).chain(own).collect()
}

fn storage(api: &Api, text: &mut Text) {
    api.store.write_metrics(text);
    let rows = || api.registry.catalog.rows().iter().filter(|row| row.is_stored());
    let count = |prefix: String| {
        let range = wkube_store::Range { prefix, limit: 1, ..wkube_store::Range::default() };
        api.registry.store.list(&range).map_or(0, |listed| listed.entries.len() + listed.remaining)
    };
    let counted: Vec<_> = rows().map(|row| (row, count(keys::prefix(row)))).collect();
    let name = "apiserver_storage_objects";
    text.family(name, "[DEPRECATED, consider using apiserver_resource_objects instead] Number of stored objects at the time of last check split by kind.", Kind::Gauge);
    let mut seen = std::collections::BTreeSet::new();
    for (row, objects) in counted.iter().filter(|(row, _)| seen.insert(row.qualified())) {
        text.sample(name, &[("resource", &row.qualified())], objects);
    }
    let name = "apiserver_resource_objects";
    text.family(name, "Number of stored objects at the time of last check split by kind.", Kind::Gauge);
    let mut seen = std::collections::BTreeSet::new();
    for (row, objects) in counted.iter().filter(|(row, _)| seen.insert(row.qualified())) {
        text.sample(name, &[("group", &*row.group), ("resource", &*row.plural)], objects);
    }
    let health = api.registry.store.health();
    let name = "apiserver_storage_size_bytes";
    text.family(name, "Size of the storage database file physically allocated in bytes.", Kind::Gauge);
    text.sample(name, &[("storage_cluster_id", "etcd-0")], health.bytes);
    let keys = health.keys as u64;
    for (name, help, value) in [
        (
            "apiserver_storage_db_total_size_in_bytes",
            "Total size of the storage database file physically allocated in bytes.",
            health.bytes,
        ),
        (
            "etcd_mvcc_db_total_size_in_bytes",
            "Total size of the underlying database physically allocated in bytes.",
            health.bytes,
        ),
        (
            "etcd_mvcc_db_total_size_in_use_in_bytes",
            "Total size of the underlying database logically in use in bytes.",
            health.live_bytes,
        ),
        ("etcd_debugging_mvcc_keys_total", "Total number of keys.", keys),
        ("etcd_debugging_mvcc_current_revision", "The current revision of store.", health.revision.0),
        ("etcd_debugging_mvcc_compact_revision", "The revision of the last compaction in store.", health.compacted.0),
    ] {
        text.single(name, help, Kind::Gauge, value);
    }
}
