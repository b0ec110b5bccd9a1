//! A request to a node whose two bodies stream at the same time, over the connection that the node keeps open.

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt as _;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt as _, Limited, StreamBody};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use wkube_api::Status;

use super::limits;
use crate::tunnel::Nodes;

/// What goes to the node. Dropping it ends the request's body.
pub(crate) type ToNode = mpsc::Sender<Bytes>;

/// What comes from the node. Dropping it gives the request up, and the node notices.
pub(crate) struct FromNode(Incoming);

impl FromNode {
    /// Returns the next bytes; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            match self.0.frame().await? {
                Ok(frame) => match frame.into_data() {
                    Ok(bytes) => return Some(Ok(bytes)),
                    Err(_trailers) => {}
                },
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Sends a POST and returns both directions once the node has agreed.
///
/// # Errors
/// What the node said, or that it cannot be asked.
pub(crate) async fn open(nodes: &Nodes, node: &str, path: &str) -> Result<(ToNode, FromNode), Status> {
    let (to_node, pieces) = mpsc::channel::<Bytes>(limits::PIECES);
    let pieces = ReceiverStream::new(pieces).map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
    let request = Request::post(path).body(Body::new(StreamBody::new(pieces)));
    let request = request.map_err(|error| Status::internal(&error))?;
    let answer = tokio::time::timeout(limits::NODE_ANSWER, nodes.request(node, request)).await;
    let failed = |error: &dyn std::fmt::Display| Status::internal(&format!("error dialing backend: {error}"));
    let response = answer
        .map_err(|_| failed(&format!("node {node} did not answer within {:?}", limits::NODE_ANSWER)))?
        .map_err(|error| failed(&error))?;
    let code = response.status();
    if code.is_success() {
        return Ok((to_node, FromNode(response.into_body())));
    }
    let body = Limited::new(response.into_body(), limits::REFUSAL_MAX).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Err(refusal(code.as_u16(), &body))
}

/// Returns what a node said instead of agreeing: a `Status`, or a sentence as the kubelet's.
pub(crate) fn refusal(code: u16, body: &[u8]) -> Status {
    if let Ok(status) = serde_json::from_slice::<Status>(body) {
        return Status { code, ..status };
    }
    let text = String::from_utf8_lossy(body).trim().to_owned();
    match code {
        400 => Status::bad_request(text),
        404 => Status::new(404, "NotFound", text),
        503 => Status::unavailable(text),
        _ => Status { code, ..Status::internal(&text) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusing_node_is_quoted() {
        let status = Status::not_found(&wkube_api::kinds::builtin()[0], "x");
        let said = refusal(404, status.to_json().to_string().as_bytes());
        assert_eq!(said, status);
        let sentence = refusal(400, b"container not found (\"x\")\n");
        assert_eq!((sentence.code, sentence.message.as_str()), (400, "container not found (\"x\")"));
        assert_eq!(refusal(500, b"no").message, "Internal error occurred: no");
    }
}
