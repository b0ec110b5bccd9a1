//! Pods on other nodes: reached through the API server, which has a connection to every node.

use std::io;
use std::net::{IpAddr, SocketAddr};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use http::header::CONTENT_TYPE;
use http::{HeaderName, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio_util::io::{ReaderStream, StreamReader};
use wkube_api::remote_command::RAW;
use wkube_client::Client;
use wkube_client::client::ResponseBody;

use crate::net::{NetError, PIPE_BYTES, Stream};
use crate::table::Endpoint;
use crate::{Body, BoxError, respond};

/// The largest request body that goes to another node, which is held in memory on the way (response bodies stream).
const BODY_MAX: usize = 32 << 20;

/// The resource of addresses that pods have.
const POD_IPS: &str = "/apis/wkube.dev/v1/podips";

/// The API server's answer bears this header if the node that it was to ask has no connection.
const UNREACHED: HeaderName = HeaderName::from_static("wkube-unreached");

/// Why a pod of another node did not answer.
#[derive(Debug)]
pub enum RemoteError {
    /// It is safe to try another pod: this one has seen nothing of the request, or may see it twice.
    Unreached {
        /// The request, to be sent elsewhere.
        request: Box<Request<Body>>,
        /// What went wrong.
        source: BoxError,
    },
    /// The pod may have acted on the request.
    Failed(BoxError),
}

/// A port: sends a request to a pod that is not in this process.
pub trait Remote: Send + Sync {
    /// Sends `request` to `endpoint`.
    fn send(
        &self,
        endpoint: &Endpoint,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, RemoteError>>;

    /// Opens a connection from a pod of this process to the pod that has the address `to` on another node.
    fn connect(&self, from: SocketAddr, to: SocketAddr) -> BoxFuture<'static, Result<Box<dyn Stream>, NetError>> {
        let _ = (from, to);
        std::future::ready(Err(NetError::Unreachable)).boxed()
    }

    /// Carries datagrams, as they are encoded, to the pod that has the address `to` on another node, until there are no more.
    fn carry(&self, to: IpAddr, datagrams: BoxStream<'static, Bytes>) -> BoxFuture<'static, Result<(), NetError>> {
        let _ = (to, datagrams);
        std::future::ready(Err(NetError::Unreachable)).boxed()
    }
}

/// Uses `pods/proxy` of the Kubernetes API for requests, and `podips` of `wkube.dev` for everything else.
pub struct ThroughApi(Client);

impl ThroughApi {
    /// Returns a way to other nodes' pods with the rights of `client`.
    pub fn new(client: Client) -> Self {
        Self(client)
    }
}

impl Remote for ThroughApi {
    fn send(
        &self,
        endpoint: &Endpoint,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, RemoteError>> {
        let Some(pod) = &endpoint.pod else {
            let address = endpoint.address;
            return async move { Err(RemoteError::Failed(format!("no pod is known at {address}").into())) }.boxed();
        };
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri = format!("/api/v1/namespaces/{}/pods/{}:{}/proxy{path}", pod.namespace, pod.name, endpoint.port);
        forward(self.0.clone(), uri, request).boxed()
    }

    fn connect(&self, from: SocketAddr, to: SocketAddr) -> BoxFuture<'static, Result<Box<dyn Stream>, NetError>> {
        let uri = format!("{POD_IPS}/{}/connect?port={}&from={from}", to.ip(), to.port());
        let client = self.0.clone();
        async move {
            let (near, far) = tokio::io::duplex(PIPE_BYTES);
            let answer = open(&client, uri, ReaderStream::new(far)).await?;
            let incoming = answer.into_data_stream().map_err(io::Error::other);
            Ok(Box::new(tokio::io::join(StreamReader::new(incoming), near)) as Box<dyn Stream>)
        }
        .boxed()
    }

    fn carry(&self, to: IpAddr, datagrams: BoxStream<'static, Bytes>) -> BoxFuture<'static, Result<(), NetError>> {
        let (client, uri) = (self.0.clone(), format!("{POD_IPS}/{to}/datagrams"));
        async move {
            let mut answer = open(&client, uri, datagrams.map(Ok)).await?;
            // The other node says nothing, and ends when we have.
            while let Some(frame) = answer.frame().await {
                frame.map_err(|_| NetError::Unreachable)?;
            }
            Ok(())
        }
        .boxed()
    }
}

/// Opens a connection whose directions are the two bodies of one request. An upgrade would be Kubernetes' way, but there is
/// none in HTTP/2, nor in process.
async fn open(
    client: &Client,
    uri: String,
    outgoing: impl futures::Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Result<ResponseBody, NetError> {
    let request = Request::post(uri).header(CONTENT_TYPE, RAW).body(StreamBody::new(outgoing.map_ok(Frame::data)));
    let request = request.map_err(|_| NetError::Unreachable)?;
    let answer = client.exchange(request).await.map_err(|error| {
        tracing::debug!(%error, "a pod of another node was not reached");
        if matches!(error, wkube_client::Error::Timeout(_)) { NetError::TimedOut } else { NetError::Unreachable }
    })?;
    match answer.status() {
        StatusCode::OK => Ok(answer.into_body()),
        // No node has the pod, or the node has no connection.
        StatusCode::NOT_FOUND | StatusCode::SERVICE_UNAVAILABLE => Err(NetError::Unreachable),
        // The node was asked and found nobody on that port.
        _ => Err(NetError::Refused),
    }
}

async fn forward(client: Client, uri: String, request: Request<Body>) -> Result<Response<Body>, RemoteError> {
    let (parts, body) = request.into_parts();
    let bytes = whole(body).await.map_err(RemoteError::Failed)?;
    let mut forwarded = parts.clone();
    forwarded.uri = uri.parse::<Uri>().map_err(|error| RemoteError::Failed(error.into()))?;
    let is_repeatable = parts.method.is_idempotent();
    let unreached = |parts, bytes: Bytes, source| {
        let request = Box::new(Request::from_parts(parts, respond::full(bytes)));
        Err(RemoteError::Unreached { request, source })
    };
    match client.send(Request::from_parts(forwarded, bytes.clone())).await {
        Ok(response) if response.headers().contains_key(UNREACHED) => {
            let node = response.headers()[UNREACHED].to_str().unwrap_or_default().to_owned();
            unreached(parts, bytes, format!("node {node} is not connected to the control plane").into())
        }
        Ok(response) => Ok(response),
        // The control plane is away. A request that changes nothing the second time may go to a pod of this node.
        Err(error) if is_repeatable => unreached(parts, bytes, error.into()),
        Err(error) => Err(RemoteError::Failed(error.into())),
    }
}

async fn whole(mut body: Body) -> Result<Bytes, BoxError> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > BODY_MAX {
            return Err(format!("a request to a pod of another node may have {} MiB of body", BODY_MAX >> 20).into());
        }
    }
    Ok(bytes.freeze())
}
