//! A server that answers from a script, for tests of what stands on a client.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::BoxError;

use crate::client::{Client, RequestBody};

/// What the server does with one request.
pub(crate) enum Answer {
    /// Answers with this code and document.
    Document(u16, Value),
    /// Sends these lines and closes.
    Lines(Vec<Value>),
    /// Sends these lines, then what comes through the channel, and closes when it closes.
    Live(Vec<Value>, mpsc::UnboundedReceiver<Value>),
    /// Sends these lines and stays silent for ever.
    Hold(Vec<Value>),
    /// Breaks the connection.
    Cut,
}

/// The script and what was asked so far.
#[derive(Clone, Default)]
pub(crate) struct Server {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    requests: Arc<Mutex<Vec<Asked>>>,
}

/// A request as the server saw it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) body: Value,
}

impl Server {
    pub(crate) fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), requests: Arc::default() }
    }

    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        Client::new(tower::service_fn(move |request: Request<RequestBody>| {
            let server = server.clone();
            async move { server.answer(request).await }
        }))
    }

    /// Returns `METHOD path?query` of every request so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests.lock().iter().map(|asked| asked.line.clone()).collect()
    }

    pub(crate) fn requests(&self) -> Vec<Asked> {
        self.requests.lock().clone()
    }

    async fn answer(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError> {
        let line = format!("{} {}", request.method(), request.uri());
        let body = request.into_body().collect().await?.to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        self.requests.lock().push(Asked { line, body });
        let answer = self.answers.lock().pop_front();
        let (code, frames) = match answer {
            None => (200, stream::pending().boxed()),
            Some(Answer::Cut) => return Err("connection reset".into()),
            Some(Answer::Document(code, document)) => (code, lines(vec![document]).boxed()),
            Some(Answer::Lines(values)) => (200, lines(values).boxed()),
            Some(Answer::Hold(values)) => (200, lines(values).chain(stream::pending()).boxed()),
            Some(Answer::Live(values, more)) => {
                let more = stream::unfold(more, |mut more| async { more.recv().await.map(|value| (value, more)) });
                (200, lines(values).chain(more.map(line_of)).boxed())
            }
        };
        Ok(Response::builder().status(code).body(StreamBody::new(frames).boxed_unsync())?)
    }
}

type Part = Result<Frame<Bytes>, BoxError>;

fn lines(values: Vec<Value>) -> impl stream::Stream<Item = Part> + Send {
    stream::iter(values).map(line_of)
}

#[expect(clippy::needless_pass_by_value, clippy::unnecessary_wraps, reason = "it is mapped over streams")]
fn line_of(value: Value) -> Part {
    Ok(Frame::data(Bytes::from(format!("{value}\n"))))
}

/// A watch event of a `ConfigMap` `default/NAME` written at `revision`, with `data.v` set to `value`.
pub(crate) fn event(kind: &str, name: &str, revision: u64, value: &str) -> Value {
    json!({ "type": kind, "object": config_map(name, revision, value) })
}

/// A `ConfigMap` `default/NAME` written at `revision`.
pub(crate) fn config_map(name: &str, revision: u64, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": name, "namespace": "default", "uid": format!("uid-{name}"), "resourceVersion": revision.to_string()
        },
        "data": { "v": value },
    })
}

/// A bookmark of `ConfigMap`s.
pub(crate) fn bookmark(revision: u64) -> Value {
    json!({ "type": "BOOKMARK", "object": {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "resourceVersion": revision.to_string() }
    }})
}

/// The bookmark that ends the initial events.
pub(crate) fn initial_end(revision: u64) -> Value {
    let mut value = bookmark(revision);
    value["object"]["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
    value
}

/// A failure as the server sends it.
pub(crate) fn failure(code: u16, reason: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("no: {reason}"), "reason": reason, "code": code,
    })
}
