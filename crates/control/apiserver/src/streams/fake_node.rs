//! A node for tests: real HTTP/2 over an in-memory pipe, and commands whose names say what they do.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, Request};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use futures::StreamExt as _;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use wkube_api::Status;
use wkube_api::remote_command::{Channel, Decoder, Frame, Outcome};
use wkube_base::Tasks;

use super::node::{self, FromNode, ToNode};
use crate::tunnel::Nodes;

/// A server's view of one connected node named `n`.
pub(crate) struct FakeNode {
    pub(crate) nodes: Nodes,
    tasks: Tasks,
}

impl FakeNode {
    /// Connects a node.
    pub(crate) async fn connect() -> Self {
        let (nodes, tasks) = (Nodes::default(), Tasks::new());
        let (near, far) = tokio::io::duplex(64 << 10);
        let commands = tasks.clone();
        let routes = Router::new()
            .route(
                "/exec/{namespace}/{pod}/{container}",
                post(move |Path((_, _, does)): Path<(String, String, String)>, query: RawQuery, request: Request| async move {
                    exec(&commands, does, query.0.unwrap_or_default(), request)
                }),
            )
            .route("/portforward/{namespace}/{pod}/{port}", post(port_forward));
        tasks.spawn("node", async move {
            let service = TowerToHyperService::new(routes);
            let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(far), service).await;
        });
        nodes.attach("n", near).await.expect("speaks HTTP/2");
        Self { nodes, tasks }
    }

    /// Starts the command of this name.
    pub(crate) async fn exec(&self, does: &str) -> Result<(ToNode, FromNode), Status> {
        node::open(&self.nodes, "n", &format!("/exec/d/p/{does}?command=x")).await
    }

    /// The node's machine is gone.
    pub(crate) fn die(&self) {
        self.tasks.cancel();
    }
}

fn exec(tasks: &Tasks, does: String, query: String, request: Request) -> Response {
    if does == "refuse" {
        let status = Status::new(404, "NotFound", "container not found (\"refuse\")");
        return (http::StatusCode::NOT_FOUND, status.to_json().to_string()).into_response();
    }
    let (say, said) = mpsc::channel::<Bytes>(4);
    tasks.spawn("command", async move {
        let speak = async |frame: Frame| say.send(frame.encode()).await.is_ok();
        match does.as_str() {
            "fail" => {
                speak(Frame::new(Channel::Stdout, "out")).await;
                speak(Frame::new(Channel::Stderr, "err")).await;
                speak(Outcome::Exited(3).frame()).await;
            }
            "query" => {
                speak(Frame::new(Channel::Stdout, query)).await;
                speak(Outcome::Success.frame()).await;
            }
            "vanish" => drop(speak(Frame::new(Channel::Stdout, "out")).await),
            "flood" => while speak(Frame::new(Channel::Stdout, vec![b'x'; 32 << 10])).await {},
            "sleep" => tokio::time::sleep(Duration::from_hours(24)).await,
            // Says back what it hears, up to the end of it.
            _ => {
                let mut decoder = Decoder::default();
                let mut heard = request.into_body().into_data_stream();
                'hearing: while let Some(Ok(bytes)) = heard.next().await {
                    decoder.push(&bytes);
                    while let Ok(Some(frame)) = decoder.next_frame() {
                        match frame.channel {
                            Channel::Close => break 'hearing,
                            _ => drop(speak(Frame::new(Channel::Stdout, frame.payload)).await),
                        }
                    }
                }
                speak(Outcome::Success.frame()).await;
            }
        }
    });
    Body::from_stream(ReceiverStream::new(said).map(Ok::<_, std::convert::Infallible>)).into_response()
}

/// Port 7 echoes; port 9 takes everything and says nothing; no other is open.
async fn port_forward(Path((_, _, port)): Path<(String, String, u16)>, request: Request) -> Response {
    match port {
        7 => Body::new(request.into_body()).into_response(),
        9 => Body::from_stream(futures::stream::pending::<Result<Bytes, std::convert::Infallible>>()).into_response(),
        _ => (http::StatusCode::BAD_GATEWAY, format!("nothing listens on port {port}")).into_response(),
    }
}
