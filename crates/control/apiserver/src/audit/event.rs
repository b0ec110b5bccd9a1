//! The record of one request, and the events that are made of it (`apiserver/pkg/audit/request.go`).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use wkube_api::object::format_micro_time;
use wkube_api::{decode, protobuf};

use super::Audit;
use super::policy::{Asked, Level, Stage, Verdict};
use crate::auth::User;
use crate::negotiate::{self, BodyFormat};
use crate::service::header;

/// A client's own name, at most so long.
const USER_AGENT_MAX: usize = 1024;

/// A request, as it came in.
pub(crate) struct Seen<'a> {
    /// The `Audit-Id`.
    pub(crate) id: &'a str,
    /// Path and query.
    pub(crate) uri: &'a http::Uri,
    /// The headers.
    pub(crate) headers: &'a HeaderMap,
    /// Who is on the other end of the connection.
    pub(crate) peer: Option<SocketAddr>,
    /// What the policy is asked.
    pub(crate) asked: Asked<'a>,
    /// The version of the resource.
    pub(crate) version: &'a str,
}

/// Bytes that somebody sent, and what they are.
#[derive(Debug, Clone)]
pub(crate) struct Payload {
    /// The media type.
    pub(crate) content_type: String,
    /// As sent.
    pub(crate) bytes: Bytes,
}

impl Payload {
    /// Returns the document; `None` if it is none.
    fn document(&self, omit_managed_fields: bool) -> Option<Value> {
        let mut document: Value = match negotiate::body_format(&self.content_type) {
            Ok(BodyFormat::Protobuf) => protobuf::decode(&self.bytes).ok()?,
            Ok(BodyFormat::Json) => serde_json::from_slice(&self.bytes).ok()?,
            // Patches are JSON, except for applied configurations.
            _ => match serde_json::from_slice(&self.bytes) {
                Ok(document) => document,
                Err(_) => decode::yaml(std::str::from_utf8(&self.bytes).ok()?).ok()?.0,
            },
        };
        if omit_managed_fields {
            strip(&mut document);
            document.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten().for_each(strip);
        }
        Some(document)
    }
}

fn strip(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// What is known about a request so far.
pub(crate) struct Record {
    audit: Arc<Audit>,
    verdict: Verdict,
    known: Mutex<Known>,
}

#[derive(Clone, Default)]
struct Known {
    event: Map<String, Value>,
    request: Option<Payload>,
    response: Option<Payload>,
}

impl Record {
    pub(super) fn new(audit: Arc<Audit>, verdict: Verdict, seen: &Seen<'_>, now: Timestamp) -> Self {
        let mut event = Map::new();
        let mut put = |key: &str, value: Value| event.insert(key.to_owned(), value);
        put("kind", "Event".into());
        put("apiVersion", "audit.k8s.io/v1".into());
        put("level", verdict.level.as_str().into());
        put("auditID", seen.id.into());
        put("stage", Value::Null);
        put("requestURI", seen.uri.path_and_query().map_or("/", |text| text.as_str()).into());
        put("verb", seen.asked.verb.into());
        put("user", seen.asked.user.map_or_else(|| json!({}), user));
        let sources = sources(seen.headers, seen.peer);
        if !sources.is_empty() {
            put("sourceIPs", sources.into());
        }
        let agent: String = header(seen.headers, "user-agent").chars().take(USER_AGENT_MAX).collect();
        if !agent.is_empty() {
            put("userAgent", agent.into());
        }
        if !seen.asked.resource.is_empty() {
            put("objectRef", reference(seen));
        }
        put("requestReceivedTimestamp", format_micro_time(now).into());
        Self { audit, verdict, known: Mutex::new(Known { event, ..Known::default() }) }
    }

    /// Whether what the client gets is logged.
    pub(crate) fn wants_response(&self) -> bool {
        self.verdict.level >= Level::RequestResponse
    }

    /// Notes as whom the request acts.
    pub(crate) fn impersonates(&self, whom: &User) {
        self.known.lock().event.insert("impersonatedUser".to_owned(), user(whom));
    }

    /// Notes what happened on the way; the first note of a key stays.
    pub(crate) fn annotate(&self, key: &str, value: impl Into<Value>) {
        let mut known = self.known.lock();
        let notes = known.event.entry("annotations").or_insert_with(|| json!({}));
        if let Some(notes) = notes.as_object_mut() {
            notes.entry(key).or_insert_with(|| value.into());
        }
    }

    /// Notes what the client sent. At the lowest level only what it is called is logged.
    pub(crate) fn request(&self, payload: Payload) {
        self.known.lock().request = Some(payload);
    }

    /// Notes what the client gets.
    pub(crate) fn response(&self, payload: Payload) {
        self.known.lock().response = Some(payload);
    }

    /// Notes how it ended.
    pub(crate) fn status(&self, code: u16, message: &str, reason: &str) {
        let mut status = json!({"metadata": {}, "code": code});
        if !reason.is_empty() {
            status = json!({"metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code});
        }
        self.known.lock().event.insert("responseStatus".to_owned(), status);
    }

    /// A long answer has begun.
    pub(crate) fn started(&self) {
        self.log(Stage::ResponseStarted);
    }

    /// The answer is out.
    pub(crate) fn complete(&self) {
        self.log(Stage::ResponseComplete);
    }

    /// The handler broke.
    pub(crate) fn panicked(&self) {
        self.log(Stage::Panic);
    }

    pub(super) fn log(&self, stage: Stage) {
        if self.verdict.omitted.contains(&stage) {
            return;
        }
        let Known { mut event, request, response } = self.known.lock().clone();
        event.insert("stage".to_owned(), stage.as_str().into());
        event.insert("stageTimestamp".to_owned(), format_micro_time(self.audit.clock.now()).into());
        self.audit.send(Event {
            known: event,
            request,
            response,
            shows_request: self.verdict.level >= Level::Request,
            omit_managed_fields: self.verdict.omit_managed_fields,
        });
    }
}

/// What is written as one line.
pub(super) struct Event {
    known: Map<String, Value>,
    request: Option<Payload>,
    response: Option<Payload>,
    shows_request: bool,
    omit_managed_fields: bool,
}

impl Event {
    /// Returns how much memory its objects take.
    pub(super) fn bytes(&self) -> usize {
        [&self.request, &self.response].into_iter().flatten().map(|payload| payload.bytes.len()).sum()
    }

    /// Appends the line.
    pub(super) fn write(mut self, out: &mut Vec<u8>) {
        for (field, payload) in [("requestObject", &self.request), ("responseObject", &self.response)] {
            let Some(document) = payload.as_ref().and_then(|payload| payload.document(self.omit_managed_fields)) else {
                continue;
            };
            if field == "requestObject" {
                complete_reference(&mut self.known, &document);
                if !self.shows_request {
                    continue;
                }
            }
            self.known.insert(field.to_owned(), document);
        }
        if serde_json::to_writer(&mut *out, &self.known).is_ok() {
            out.push(b'\n');
        }
    }
}

fn user(user: &User) -> Value {
    let mut written = json!({"username": user.name});
    if !user.uid.is_empty() {
        written["uid"] = user.uid.as_str().into();
    }
    if !user.groups.is_empty() {
        written["groups"] = user.groups.clone().into();
    }
    if !user.extra.is_empty() {
        written["extra"] = json!(user.extra);
    }
    written
}

fn reference(seen: &Seen<'_>) -> Value {
    let asked = &seen.asked;
    let fields = [
        ("resource", asked.resource),
        ("namespace", asked.namespace),
        ("name", asked.name),
        ("apiGroup", asked.group),
        ("apiVersion", seen.version),
        ("subresource", asked.subresource),
    ];
    fields
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect::<Map<_, _>>()
        .into()
}

/// What the URL does not say, the object does (`LogRequestObject`).
fn complete_reference(event: &mut Map<String, Value>, document: &Value) {
    let Some(reference) = event.get_mut("objectRef").and_then(Value::as_object_mut) else { return };
    for field in ["name", "namespace", "uid", "resourceVersion"] {
        if let Some(value) = document["metadata"][field].as_str().filter(|value| !value.is_empty()) {
            reference.entry(field).or_insert_with(|| value.into());
        }
    }
}

/// Who sent it: what proxies say, then who is on the other end (`net.SourceIPs`).
fn sources(headers: &HeaderMap, peer: Option<SocketAddr>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let forwarded = header(headers, "x-forwarded-for").split(',').map(str::trim);
    let real = std::iter::once(header(headers, "x-real-ip").trim());
    for text in forwarded.chain(real) {
        if let Ok(address) = text.parse::<std::net::IpAddr>() {
            let address = address.to_string();
            if !found.contains(&address) {
                found.push(address);
            }
        }
    }
    if let Some(peer) = peer.map(|peer| peer.ip().to_string())
        && found.last() != Some(&peer)
    {
        found.push(peer);
    }
    found
}
