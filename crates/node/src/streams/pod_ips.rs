//! What pods of other nodes send to the addresses of this node's: connections and datagrams.

use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::response::Response;
use futures::TryStreamExt as _;
use serde::Deserialize;
use tokio_util::io::StreamReader;
use wkube_api::Status;

use super::{Refused, port_forward, stream};
use crate::pods::Pods;

/// Who connects to what.
#[derive(Debug, Deserialize)]
pub(super) struct Dial {
    from: SocketAddr,
    port: u16,
}

/// Connects to what listens on the pod's address; its loopback is not meant.
pub(super) async fn connect(
    State(pods): State<Pods>,
    Path(ip): Path<IpAddr>,
    Query(dial): Query<Dial>,
    request: Request,
) -> Result<Response, Refused> {
    present(&pods, ip)?;
    let context = pods.context();
    let dialled = context.local.dial(dial.from, SocketAddr::new(ip, dial.port), &context.tasks);
    let connection = dialled.map_err(|error| {
        Status::new(500, "InternalError", format!("failed to connect to {ip}:{}: {error}", dial.port))
    })?;
    let (carrying, body) = port_forward::join(connection, request.into_body());
    context.tasks.spawn("connection of another node", carrying);
    Ok(stream(body))
}

/// Delivers the datagrams in the request's body. The answer ends when they do, and says nothing.
pub(super) async fn datagrams(
    State(pods): State<Pods>,
    Path(ip): Path<IpAddr>,
    request: Request,
) -> Result<Response, Refused> {
    present(&pods, ip)?;
    let local = pods.context().local.clone();
    let incoming = StreamReader::new(request.into_body().into_data_stream().map_err(std::io::Error::other));
    let delivering = async move { local.receive(ip, incoming).await.map(|()| bytes::Bytes::new()) };
    Ok(stream(Body::from_stream(futures::stream::once(delivering))))
}

fn present(pods: &Pods, ip: IpAddr) -> Result<(), Status> {
    let is_here = pods.context().local.has(ip);
    is_here.then_some(()).ok_or_else(|| Status::new(404, "NotFound", format!("no pod here has the address {ip}")))
}
