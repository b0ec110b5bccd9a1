//! The suite and its helper.

mod access;
mod admission;
mod apiservices;
mod conversion;
mod create;
mod definitions;
mod delete;
mod escalation;
mod events;
mod failing;
mod front;
mod hostile;
mod https;
mod list;
mod manifests;
mod metrics_api;
mod mutating_policies;
mod operations;
mod patch;
mod policies;
mod sub;
mod tls;
mod token;
mod update;
mod watch;
mod webhooks;
mod wire;

use std::sync::Arc;

use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use wkube_apiserver::auth::User;
use wkube_apiserver::{ApiServer, Body, InProcess};
use wkube_base::{Clock, Rng, Tasks};
use wkube_store::MemoryStore;

/// A server and a client with all rights.
pub(crate) struct Server {
    pub(crate) api: ApiServer,
    pub(crate) store: Arc<MemoryStore>,
    service: InProcess,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// Returns the string at a dotted path, or `""`.
    pub(crate) fn at(&self, path: &str) -> String {
        at(&self.body, path)
    }
}

/// Returns the value at a dotted path as text, or `""`.
pub(crate) fn at(value: &Value, path: &str) -> String {
    let found = path.split('.').try_fold(value, |value, field| match field.parse::<usize>() {
        Ok(index) => value.get(index),
        Err(_) => value.get(field),
    });
    match found {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

impl Server {
    pub(crate) async fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let server = ApiServer::in_memory(store.clone(), Clock::system(), Rng::seeded(1), &Tasks::new()).await;
        let service = server.in_process(admin());
        Self { api: server, store, service }
    }

    /// Sends a request with a JSON body.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.call_as(method, path, "application/json", body).await
    }

    /// Sends a request with a body of the given type.
    pub(crate) async fn call_as(&self, method: &str, path: &str, content_type: &str, body: Option<Value>) -> Answer {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).expect("a method"))
            .uri(path)
            .header("content-type", content_type)
            .header("user-agent", "tester/1")
            .body(Full::from(body))
            .expect("a request");
        self.send(request).await
    }

    pub(crate) async fn send(&self, request: Request<Full<bytes::Bytes>>) -> Answer {
        answer(self.stream(request).await).await
    }

    /// Sends a request with a JSON body as another user.
    pub(crate) async fn as_user(&self, user: User, method: &str, path: &str, body: Value) -> Answer {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.body(Full::from(body.to_string())).expect("a request");
        answer(self.api.in_process(user).oneshot(request).await.expect("never fails")).await
    }

    pub(crate) async fn stream(&self, request: Request<Full<bytes::Bytes>>) -> http::Response<Body> {
        self.service.clone().oneshot(request).await.expect("never fails")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.call("PUT", path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, None).await
    }

    /// Creates a `ConfigMap` in `default` and returns it.
    pub(crate) async fn config_map(&self, name: &str, labels: Value) -> Value {
        let answer = self.post(CONFIG_MAPS, config_map(name, labels)).await;
        assert_eq!(answer.code, 201, "{answer:?}");
        answer.body
    }

    /// Opens a watch.
    pub(crate) async fn watch(&self, path: &str) -> Watch {
        let request = Request::builder().uri(path).body(Full::default()).expect("a request");
        let response = self.stream(request).await;
        Watch { code: response.status().as_u16(), body: response.into_body(), buffer: Vec::new() }
    }
}

async fn answer(response: http::Response<Body>) -> Answer {
    let (code, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    let body =
        serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    Answer { code, headers, body }
}

/// An open watch.
pub(crate) struct Watch {
    pub(crate) code: u16,
    body: Body,
    buffer: Vec<u8>,
}

impl Watch {
    /// Returns the next event, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("JSON"));
            }
            let frame = tokio::time::timeout(std::time::Duration::from_hours(3), self.body.frame());
            let frame = frame.await.expect("an event in time")?.expect("a frame");
            self.buffer.extend_from_slice(&frame.into_data().expect("data"));
        }
    }

    /// Returns the next event as `TYPE name`.
    pub(crate) async fn line(&mut self) -> String {
        let Some(event) = self.next().await else { return "end".to_owned() };
        format!("{} {}", at(&event, "type"), at(&event, "object.metadata.name"))
    }
}

pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

pub(crate) fn admin() -> User {
    User { name: "admin".into(), groups: vec!["system:masters".into()], ..User::default() }
}

pub(crate) fn config_map(name: &str, labels: impl Into<Value>) -> Value {
    let labels = labels.into();
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"a": "1"},
    })
}

pub(crate) fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": "x"}]},
    })
}
