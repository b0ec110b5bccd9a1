//! Counters in Prometheus' text format. Few enough to need no library.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use http::{Method, StatusCode};
use parking_lot::Mutex;
use wkube_store::Health;

use crate::router::Target;

/// What a request counts as. Only names from the table of kinds may become labels; everything else would let a client
/// grow the map without end, so the map is capped.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Label {
    method: String,
    group: String,
    resource: String,
    subresource: String,
}

/// Distinct labels that are kept apart; later ones are counted together.
const LABELS_MAX: usize = 2000;

impl Label {
    /// Returns the label of a request.
    pub(crate) fn of(method: &Method, target: &Target) -> Self {
        let method = method.to_string();
        match target {
            Target::Other => Self { method, ..Self::default() },
            Target::Resource(path) => Self {
                method,
                group: path.group.clone(),
                resource: path.resource.clone(),
                subresource: path.subresource.clone(),
            },
        }
    }
}

/// The server's counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(Label, u16), u64>>,
}

impl Metrics {
    /// Counts an answered request.
    pub(crate) fn count(&self, label: Label, code: StatusCode) {
        let mut requests = self.requests.lock();
        let full = requests.len() >= LABELS_MAX;
        // What is not served gets one label together: the names in its path are the client's.
        let strange = code == StatusCode::NOT_FOUND || code == StatusCode::METHOD_NOT_ALLOWED || full;
        let label = if strange { Label { method: label.method, ..Label::default() } } else { label };
        *requests.entry((label, code.as_u16())).or_default() += 1;
    }

    /// Returns all metrics as text.
    pub(crate) fn text(&self, store: &Health) -> String {
        let mut out = String::from(
            "# HELP apiserver_request_total Requests by method, resource and status code.\n\
             # TYPE apiserver_request_total counter\n",
        );
        for ((label, code), count) in &*self.requests.lock() {
            let Label { method, group, resource, subresource } = label;
            let _ = writeln!(
                out,
                "apiserver_request_total{{verb={method:?},group={group:?},resource={resource:?},\
                 subresource={subresource:?},code=\"{code}\"}} {count}"
            );
        }
        for (name, help, value) in [
            ("wkube_store_revision", "The newest revision.", store.revision.0),
            ("wkube_store_keys", "Keys that exist.", store.keys as u64),
            ("wkube_store_bytes", "Bytes on disk.", store.bytes),
        ] {
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
        }
        out
    }
}
