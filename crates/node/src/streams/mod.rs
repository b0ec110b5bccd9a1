//! Exec, attach and port-forward: requests whose bodies are streams both ways, over the tunnel.
//!
//! ```text
//!  POST /exec/NS/POD/CONTAINER?command=..&stdin=..&stdout=..&stderr=..&tty=..    frames (`api/remote_command.rs`)
//!  POST /attach/NS/POD/CONTAINER?stdin=..&stdout=..&stderr=..&tty=..             frames
//!  POST /portforward/NS/POD/PORT                                                 raw bytes
//!  POST /podips/IP/connect?from=..&port=..                                       raw bytes
//!  POST /podips/IP/datagrams                                                     datagrams (`proxy/src/net/datagram.rs`)
//! ```
//! What goes wrong before a stream starts is an HTTP error with a `Status`; afterwards it is the stream's last frame.

mod frames;
mod params;
mod pod_ips;
mod port_forward;
mod session;
mod terminal;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::mpsc;
use wkube_api::Status;

use self::frames::{FrameReader, frames_to_body};
use self::params::Params;
use self::session::{Client, attend_attached, attend_command};
use crate::context::Context;
use crate::grants;
use crate::pod::phase::Note;
use crate::pod::spec;
use crate::pods::{Known, Pods};
use crate::runtime::{Exec, Image, StartError};
use crate::stdio::queue;

/// Pieces of input that may wait for a command; a piece is at most 64 KiB.
const STDIN_PIECES_MAX: usize = 4;
/// Frames that may wait for the connection; a frame is at most 64 KiB.
const FRAMES_WAITING_MAX: usize = 4;

/// Returns the routes.
pub(crate) fn routes() -> Router<Pods> {
    Router::new()
        .route("/exec/{namespace}/{pod}/{container}", post(exec))
        .route("/attach/{namespace}/{pod}/{container}", post(attach))
        .route("/portforward/{namespace}/{pod}/{port}", post(port_forward))
        .route("/podips/{ip}/connect", post(pod_ips::connect))
        .route("/podips/{ip}/datagrams", post(pod_ips::datagrams))
}

/// What a client is told instead of a stream.
struct Refused(Status);

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self(status)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.0.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (code, axum::Json(self.0.to_json())).into_response()
    }
}

fn find(pods: &Pods, namespace: &str, name: &str) -> Result<Known, Status> {
    // The words of `pkg/kubelet/server/server.go`, `getExec`.
    pods.find(namespace, name).ok_or_else(|| Status::new(404, "NotFound", "pod does not exist"))
}

/// As the kubelet says it, whether the name is wrong or the container does not run (`kubelet_pods.go`, `GetExec`).
fn container_not_found(container: &str) -> Status {
    Status::new(500, "InternalError", format!("container not found (\"{container}\")"))
}

async fn exec(
    State(pods): State<Pods>,
    Path((namespace, name, container)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Refused> {
    let known = find(&pods, &namespace, &name)?;
    let params = Params::parse(query.as_deref().unwrap_or_default())?;
    if params.command.is_empty() {
        return Err(Status::bad_request("you must specify at least 1 command for the pod").into());
    }
    let (stdin, pieces) = mpsc::channel(STDIN_PIECES_MAX);
    let (output, printed) = queue();
    let context = pods.context();
    let command = Exec {
        stdin: params.stdin.then_some(pieces),
        image: exec_image(context, &known.pod, &container),
        ..Exec::new(shell_with_prompt(&params), Arc::new(output))
    };
    let started = context.live.exec(spec::uid(&known.pod), &container, command).await;
    let command = started.ok_or_else(|| container_not_found(&container))?.map_err(|error| match error {
        StartError::Unrunnable(why) => Status::bad_request(why),
        StartError::Failed(why) => Status::unavailable(why),
    })?;
    let (client, body) = client(request, &params);
    let stdin = params.stdin.then_some(stdin);
    context.tasks.spawn("exec", attend_command(command, printed, stdin, client));
    Ok(stream(body))
}

async fn attach(
    State(pods): State<Pods>,
    Path((namespace, name, container)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Refused> {
    let known = find(&pods, &namespace, &name)?;
    let mut params = Params::parse(query.as_deref().unwrap_or_default())?;
    params.tty |= has_tty(&known.pod, &container);
    let context = pods.context();
    let attached = context.live.attached(spec::uid(&known.pod), &container);
    let attached = attached.ok_or_else(|| container_not_found(&container))?;
    let printed = attached.attach();
    let (client, body) = client(request, &params);
    let speaker = params.stdin.then_some(attached);
    context.tasks.spawn("attach", attend_attached(printed, speaker, client));
    Ok(stream(body))
}

/// Returns the image that the pod offers for such commands, to be fetched if one is not among what the container has.
fn exec_image(
    context: &Arc<Context>,
    pod: &Arc<Pod>,
    container: &str,
) -> Option<BoxFuture<'static, Result<Image, StartError>>> {
    let name = grants::exec_image(pod, container)?.to_owned();
    let (context, pod, container) = (Arc::clone(context), Arc::clone(pod), container.to_owned());
    let fetching =
        async move {
            let wanted = Container { image: Some(name.clone()), name: container.clone(), ..Container::default() };
            let record = |note: Note| context.record(&pod, &Note { container: Some(container.clone()), ..note });
            context.images.ensure(&pod, &wanted, &record).await.map_err(|failure| {
                StartError::Failed(format!("annotation {}: {}", grants::EXEC_IMAGE, failure.message()))
            })
        };
    Some(fetching.boxed())
}

/// A guest cannot see that it has a terminal, so the shell that is asked for without anything else is told.
fn shell_with_prompt(params: &Params) -> Vec<String> {
    let mut args = params.command.clone();
    if params.tty && matches!(args.as_slice(), [shell] if shell == "sh" || shell == "/bin/sh") {
        args.push("-i".to_owned());
    }
    args
}

fn has_tty(pod: &Pod, container: &str) -> bool {
    spec::container(pod, container).is_some_and(|container| container.tty == Some(true))
}

fn client(request: Request, params: &Params) -> (Client, Body) {
    let (frames, sent) = mpsc::channel(FRAMES_WAITING_MAX);
    let client = Client::new(FrameReader::new(request.into_body()), frames, params);
    (client, frames_to_body(sent))
}

fn stream(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response()
}

async fn port_forward(
    State(pods): State<Pods>,
    Path((namespace, name, port)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Refused> {
    let known = find(&pods, &namespace, &name)?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
        Status::bad_request(format!("unable to parse \"{port}\" as a port: it must be between 1 and 65535"))
    })?;
    let context = pods.context();
    let ip = known.status.pod_ip.as_deref().and_then(|ip| ip.parse().ok());
    let dial = |ip: IpAddr| context.local.dial_within(SocketAddr::new(ip, port), &context.tasks).ok();
    let Some(connection) = ip.and_then(dial) else {
        let why = format!(
            "failed to connect to localhost:{port} inside namespace \"{}\", connection refused",
            spec::uid(&known.pod)
        );
        return Err(Status::new(500, "InternalError", why).into());
    };
    let (carrying, body) = port_forward::join(connection, request.into_body());
    context.tasks.spawn("port-forward", carrying);
    Ok(stream(body))
}

#[cfg(test)]
mod tests;
