//! `Client`: one way in, over HTTPS to a server elsewhere or straight into the API server's router in this process.

use http::{Request, Response};
use tower::BoxError;

/// What went wrong with a request.
pub type Error = kube_client::Error;

/// A handle on the API. Clones share connections.
#[derive(Clone)]
pub struct Client {
    inner: kube_client::Client,
}

impl Client {
    /// Returns a client over any HTTP service, such as the API server's own router in process.
    pub fn new<S, B>(service: S) -> Self
    where
        S: tower::Service<Request<kube_client::client::Body>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self { inner: kube_client::Client::new(service, "default") }
    }

    /// Returns the `kube` client underneath, for typed `kube_client::Api`s.
    pub fn kube(&self) -> kube_client::Client {
        self.inner.clone()
    }
}
