//! Pods on other nodes: reached through the API server, which has a connection to every node.

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderName, Request, Response, Uri};
use http_body_util::BodyExt as _;
use wkube_client::Client;

use crate::table::Endpoint;
use crate::{Body, BoxError, respond};

/// The largest request body that goes to another node, which is held in memory on the way (response bodies stream).
const BODY_MAX: usize = 32 << 20;

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
}

/// Uses the `pods/proxy` subresource of the Kubernetes API.
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
