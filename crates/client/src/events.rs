//! `Recorder`: tells users what happened to an object, as Kubernetes Events, without ever holding anybody up.
//!
//! The same news about the same object is counted on one Event instead of repeated (client-go's
//! `tools/record/events_cache.go`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::json;
use tokio::sync::mpsc;
use tracing::{debug, warn};
use wkube_api::ObjectKey;
use wkube_base::{Backoff, Clock, Tasks};

use crate::api::{Api, Patch};
use crate::client::Client;
use crate::error::Error;
use crate::kind::Kind;

/// How many Events are written at once. News about one object always takes the same lane, so that it stays in order and
/// is counted right. A thousand pods starting together make several thousand Events; one after the other they would
/// take many durable commits' time.
const LANES: usize = 8;

/// How much news may wait in one lane; more is dropped, as in client-go's broadcaster (1,000 per watcher).
const WAITING_MAX: usize = 1_000;

/// How many Events a lane remembers for counting; client-go's cache holds 4,096.
const REMEMBERED_MAX: usize = 4_096 / LANES;

/// How often one Event is tried. News that cannot be written soon is not news any more.
const ATTEMPTS_MAX: u32 = 5;

/// `message` is cut here (`validation.go`: 1,024 bytes).
const MESSAGE_BYTES_MAX: usize = 1_024;

/// Whether an event is the normal course of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventType {
    /// Nothing to worry about.
    Normal,
    /// Somebody may want to look.
    Warning,
}

impl EventType {
    fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// What happened to which object. Two equal ones are one Event with a count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct News {
    api_version: &'static str,
    kind: &'static str,
    key: ObjectKey,
    uid: String,
    /// The part of the object, such as `spec.containers{web}`; empty for the whole.
    field_path: String,
    type_: EventType,
    reason: String,
    message: String,
}

/// A handle for recording events as one component. Clones share its queues.
#[derive(Clone)]
pub struct Recorder {
    lanes: Arc<[mpsc::Sender<(News, Timestamp)>]>,
    dropped: Arc<AtomicU64>,
    clock: Clock,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    /// Returns a recorder for a component, such as `kubelet`, on a host (a node's name, or empty).
    pub fn new(client: &Client, clock: &Clock, component: &str, host: &str, tasks: &Tasks) -> Self {
        let events = Api::new(&client.named(component));
        let lanes = (0..LANES).map(|_| {
            let (waiting, incoming) = mpsc::channel(WAITING_MAX);
            let writer = Writer {
                events: events.clone(),
                component: component.to_owned(),
                host: host.to_owned(),
                known: BTreeMap::new(),
            };
            tasks.spawn("events", writer.run(incoming));
            waiting
        });
        Self { lanes: lanes.collect(), dropped: Arc::default(), clock: clock.clone() }
    }

    /// Records that something happened to `object`. Never waits; when too much is waiting already, it is dropped.
    pub fn event<K: Kind>(&self, object: &K, kind: EventType, reason: &str, message: impl Into<String>) {
        self.event_at(object, "", kind, reason, message);
    }

    /// Records that something happened to a part of `object`, such as `spec.containers{web}`.
    pub fn event_at<K: Kind>(
        &self,
        object: &K,
        field_path: &str,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let news = News {
            api_version: K::API_VERSION,
            kind: K::KIND,
            key: object.key(),
            uid: object.uid().to_owned(),
            field_path: field_path.to_owned(),
            type_: kind,
            reason: reason.to_owned(),
            message: cut(message.into()),
        };
        let lane = &self.lanes[lane_of(&news.key)];
        if lane.try_send((news, self.clock.now())).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            // One line for every doubling, or the log would suffer from what the events are spared.
            if dropped.is_power_of_two() {
                warn!(dropped, "too many events are waiting, or the component is stopping");
            }
        }
    }
}

/// Returns the lane for news about an object (FNV-1a, which is the same in every run).
fn lane_of(key: &ObjectKey) -> usize {
    let bytes = key.namespace.bytes().chain(key.name.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash as usize % LANES
}

/// Cuts a message at a character boundary.
fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
    }
    message
}

/// Writes what recorders send, one after the other.
struct Writer {
    events: Api<Event>,
    component: String,
    host: String,
    known: BTreeMap<News, Written>,
}

/// An Event that exists.
#[derive(Debug, Clone, Copy)]
struct Written {
    /// When it happened for the first time, from which the Event has its name.
    first: Timestamp,
    count: i32,
}

impl Writer {
    async fn run(mut self, mut incoming: mpsc::Receiver<(News, Timestamp)>) {
        while let Some((news, at)) = incoming.recv().await {
            self.write(news, at).await;
        }
    }

    async fn write(&mut self, news: News, at: Timestamp) {
        for attempt in 1..=ATTEMPTS_MAX {
            match self.try_write(&news, at).await {
                Ok(written) => {
                    if self.known.len() >= REMEMBERED_MAX {
                        self.known.clear();
                    }
                    self.known.insert(news, written);
                    return;
                }
                Err(error) if error.is_transient() => tokio::time::sleep(Backoff::RECONNECT.after(attempt)).await,
                Err(error) => {
                    // The namespace is being deleted, or the object's name is too long: nobody can help.
                    debug!(object = %news.key, reason = news.reason, %error, "an event was refused");
                    return;
                }
            }
        }
        warn!(object = %news.key, reason = news.reason, "an event could not be written");
    }

    async fn try_write(&self, news: &News, at: Timestamp) -> Result<Written, Error> {
        if let Some(known) = self.known.get(news) {
            let count = known.count.saturating_add(1);
            let patch = Patch::Merge(json!({ "count": count, "lastTimestamp": Time(at) }));
            match self.events.patch(&news.event_key(known.first), &patch).await {
                Ok(_) => return Ok(Written { count, ..*known }),
                // Events are kept for an hour only; this one has gone, so the news is new again.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let event = event_of(news, at, &self.component, &self.host);
        match self.events.create(&event).await {
            Ok(_) => {}
            // Our own earlier attempt, whose answer was lost.
            Err(error) if error.is_already_exists() => {}
            Err(error) => return Err(error),
        }
        Ok(Written { first: at, count: 1 })
    }
}

impl News {
    /// Returns the key of the Event for news that first came at a time: the object's name with the time, as client-go makes
    /// it. Events about cluster-scoped objects live in `default` (client-go's `makeEvent`).
    fn event_key(&self, first: Timestamp) -> ObjectKey {
        let namespace = if self.key.namespace.is_empty() { "default" } else { &self.key.namespace };
        ObjectKey::new(namespace, format!("{}.{:x}", self.key.name, first.as_nanosecond()))
    }
}

/// Returns a new Event.
fn event_of(news: &News, at: Timestamp, component: &str, host: &str) -> Event {
    let ObjectKey { namespace, name } = news.event_key(at);
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..ObjectMeta::default() },
        involved_object: ObjectReference {
            api_version: Some(news.api_version.to_owned()),
            kind: Some(news.kind.to_owned()),
            name: Some(news.key.name.clone()),
            namespace: some(&news.key.namespace),
            uid: some(&news.uid),
            field_path: some(&news.field_path),
            resource_version: None,
        },
        type_: Some(news.type_.name().to_owned()),
        reason: Some(news.reason.clone()),
        message: Some(news.message.clone()),
        source: Some(EventSource { component: some(component), host: some(host) }),
        reporting_component: some(component),
        reporting_instance: some(host),
        count: Some(1),
        first_timestamp: Some(Time(at)),
        last_timestamp: Some(Time(at)),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests;
