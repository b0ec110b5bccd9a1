//! A scripted API server, which takes down what it is told.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use wkube_client::Client;
use wkube_client::client::RequestBody;

use super::*;

/// An API server that takes down what it is told.
#[derive(Clone, Default)]
pub(super) struct Server(pub(super) Arc<Mutex<Told>>, Arc<AtomicUsize>);

#[derive(Default)]
pub(super) struct Told {
    pub(super) statuses: Vec<(String, Value)>,
    pub(super) deletes: Vec<Value>,
    pub(super) events: Vec<String>,
    pub(super) writes_max: usize,
    /// How many more writes of a status are refused with 409.
    pub(super) conflicts: usize,
    /// Whether nobody reaches it.
    pub(super) is_away: bool,
    /// The pods that it lists.
    pub(super) pods: Vec<Value>,
    /// `ConfigMap`s and Secrets, by `plural/name`.
    pub(super) objects: BTreeMap<String, Value>,
    pub(super) tokens: usize,
    /// What the node made, by name: mirrors of static pods.
    pub(super) mirrors: BTreeMap<String, Value>,
    /// How many of them so far.
    pub(super) mirrors_made: usize,
}

impl Server {
    pub(super) fn client(&self) -> Client {
        let me = self.clone();
        Client::new(tower::service_fn(move |request: Request<RequestBody>| {
            let me = me.clone();
            async move {
                if me.0.lock().is_away {
                    return Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
                }
                Ok(me.answer(request).await)
            }
        }))
    }

    /// Answers a watch: the list, and then silence.
    async fn watch(&self, query: &str) -> Response<Full<Bytes>> {
        if !query.contains("sendInitialEvents=true") {
            std::future::pending::<()>().await;
        }
        let added = |pod: &Value| json!({ "type": "ADDED", "object": pod }).to_string();
        let mut lines: Vec<String> = self.0.lock().pods.iter().map(added).collect();
        let end = json!({ "resourceVersion": "9", "annotations": { "k8s.io/initial-events-end": "true" } });
        lines.push(json!({ "type": "BOOKMARK", "object": { "metadata": end } }).to_string());
        Response::new(Full::from(lines.join("\n") + "\n"))
    }

    async fn answer(&self, request: Request<RequestBody>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        if let Some(query) = parts.uri.query().filter(|query| query.contains("watch=true")) {
            return self.watch(query).await;
        }
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let path = parts.uri.path().to_owned();
        let name = path.trim_end_matches("/status").rsplit('/').next().unwrap_or_default().to_owned();
        let conflict =
            json!({ "kind": "Status", "code": 409, "reason": "Conflict", "message": "the object has been modified" });
        if let Some((code, answer)) = self.answer_about_mirrors(&parts.method, &path, &body) {
            let mut response = Response::new(Full::from(answer.to_string()));
            *response.status_mut() = StatusCode::from_u16(code).unwrap();
            return response;
        }
        let (code, answer) = if path.ends_with("/status") && self.takes_conflict() {
            (409, conflict)
        } else if path.ends_with("/status") && parts.method == Method::PATCH {
            let under_way = self.1.fetch_add(1, Ordering::Relaxed) + 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.1.fetch_sub(1, Ordering::Relaxed);
            let mut told = self.0.lock();
            told.writes_max = told.writes_max.max(under_way);
            told.statuses.push((name, body["status"].clone()));
            (200, json!({ "metadata": { "resourceVersion": "2" } }))
        } else if parts.method == Method::DELETE {
            self.0.lock().deletes.push(body);
            (200, json!({ "kind": "Status", "status": "Success" }))
        } else if path.ends_with("/events") || path.contains("/events/") {
            // A patch only counts one up that was told before.
            if let (Some(reason), Some(message)) = (body["reason"].as_str(), body["message"].as_str()) {
                self.0.lock().events.push(format!("{reason}: {message}"));
            }
            (201, body)
        } else if path.ends_with(&format!("/pods/{name}")) {
            (200, json!({ "metadata": { "name": name, "namespace": "n", "uid": format!("uid-{name}") } }))
        } else if path.ends_with("/token") {
            let mut told = self.0.lock();
            told.tokens += 1;
            (
                201,
                json!({ "status": { "token": format!("token-{}", told.tokens), "expirationTimestamp": "2026-01-01T01:00:00Z" } }),
            )
        } else if let Some(object) =
            self.0.lock().objects.iter().find(|(end, _)| path.ends_with(*end)).map(|(_, it)| it.clone())
        {
            (200, object)
        } else if path.ends_with("/services") {
            (200, json!({ "metadata": { "resourceVersion": "1" }, "items": [] }))
        } else {
            (404, json!({ "kind": "Status", "code": 404, "reason": "NotFound", "message": "not found" }))
        };
        let mut response = Response::new(Full::from(answer.to_string()));
        *response.status_mut() = StatusCode::from_u16(code).unwrap();
        response
    }

    /// Answers what is asked about static pods, whose names end with the node's.
    fn answer_about_mirrors(&self, method: &Method, path: &str, body: &Value) -> Option<(u16, Value)> {
        let mut told = self.0.lock();
        if *method == Method::POST && path.ends_with("/pods") {
            told.mirrors_made += 1;
            let (name, uid) = (body["metadata"]["name"].as_str()?.to_owned(), format!("mirror-{}", told.mirrors_made));
            let mut made = body.clone();
            made["metadata"]["uid"] = json!(uid);
            told.mirrors.insert(name, made.clone());
            return Some((201, made));
        }
        let name = path.rsplit('/').next().filter(|name| name.ends_with("-n1") && !path.ends_with("/status"))?;
        let found = told.mirrors.get(name).cloned();
        if *method == Method::DELETE {
            told.mirrors.remove(name);
            return Some((200, json!({ "kind": "Status", "status": "Success" })));
        }
        Some(found.map_or((404, json!({ "kind": "Status", "code": 404, "reason": "NotFound" })), |found| (200, found)))
    }

    fn takes_conflict(&self) -> bool {
        let mut told = self.0.lock();
        let is_left = told.conflicts > 0;
        told.conflicts = told.conflicts.saturating_sub(1);
        is_left
    }

    pub(super) fn latest(&self, pod: &str) -> Value {
        let told = self.0.lock();
        told.statuses.iter().rev().find(|(name, _)| name == pod).map(|(_, status)| status.clone()).unwrap_or_default()
    }
}
