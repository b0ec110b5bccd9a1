//! Pods on other nodes: reached through the API server, which has a connection to every node.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use http_body_util::BodyExt as _;
use wkube_client::Client;

use crate::table::Endpoint;
use crate::{Body, BoxError};

/// The largest request body that goes to another node, which is held in memory on the way (response bodies stream).
const BODY_MAX: usize = 32 << 20;

/// A port: sends a request to a pod that is not in this process.
pub trait Remote: Send + Sync {
    /// Sends `request` to `endpoint`.
    fn send(&self, endpoint: &Endpoint, request: Request<Body>)
    -> BoxFuture<'static, Result<Response<Body>, BoxError>>;
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
    ) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
        let Some(pod) = &endpoint.pod else {
            let address = endpoint.address;
            return async move { Err(format!("no pod is known at {address}").into()) }.boxed();
        };
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri = format!("/api/v1/namespaces/{}/pods/{}:{}/proxy{path}", pod.namespace, pod.name, endpoint.port);
        forward(self.0.clone(), uri, request).boxed()
    }
}

async fn forward(client: Client, uri: String, request: Request<Body>) -> Result<Response<Body>, BoxError> {
    let (mut parts, mut body) = request.into_parts();
    parts.uri = uri.parse::<Uri>()?;
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > BODY_MAX {
            return Err(format!("a request to a pod of another node may have {} MiB of body", BODY_MAX >> 20).into());
        }
    }
    Ok(client.send(Request::from_parts(parts, bytes.into())).await?)
}
