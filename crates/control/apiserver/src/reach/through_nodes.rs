//! `Reach` over the connections that the nodes keep open; what is outside the cluster is dialled.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryStreamExt as _};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Collected, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio_util::io::{ReaderStream, StreamReader};
use wkube_api::{Object, ObjectKey, Resource, Status};
use wkube_base::{Rng, Tasks};

use super::endpoints::{Destination, PortRef, candidates};
use super::outside::Outside;
use super::{Error, Reach, Stream, Target};
use crate::catalog::Catalog;
use crate::encoding;
use crate::registry::{Caches, keys};
use crate::router;
use crate::tunnel::{Nodes, Unreachable};

/// What may wait in a connection on its way to the node.
const BUFFER_BYTES: usize = 64 * 1024;
/// A node answers at once; an address outside the cluster that takes longer is not there (`net.Dialer` in Kubernetes'
/// own transports waits 30 s, which is longer than any webhook may take).
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// A refusal is one sentence.
const REFUSAL_BYTES_MAX: usize = 8 * 1024;

/// Reaches pods through their nodes. Clones share everything.
#[derive(Clone)]
pub(crate) struct ThroughNodes(Arc<Inner>);

struct Inner {
    nodes: Nodes,
    caches: Arc<Caches>,
    rng: Rng,
    tasks: Tasks,
    pods: Arc<Resource>,
    services: Arc<Resource>,
    slices: Arc<Resource>,
    outside: Outside,
}

/// Which endpoints of a Service are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Only {
    Pods,
    All,
}

impl ThroughNodes {
    /// Returns the way over `nodes` to what `caches` know.
    pub(crate) fn new(
        nodes: Nodes,
        caches: Arc<Caches>,
        catalog: &Catalog,
        rng: Rng,
        tasks: &Tasks,
        outside: Outside,
    ) -> Self {
        let row =
            |group, plural| catalog.find(group, "v1", plural).cloned().expect("built-in kinds are in the catalog");
        Self(Arc::new(Inner {
            nodes,
            caches,
            rng,
            tasks: tasks.clone(),
            pods: row("", "pods"),
            services: row("", "services"),
            slices: row("discovery.k8s.io", "endpointslices"),
            outside,
        }))
    }

    async fn service(&self, key: ObjectKey, port: u16, only: Only) -> Result<Box<dyn Stream>, Error> {
        let inner = &self.0;
        let service = self.object(&inner.services, "service", &key)?;
        let slices = inner.caches.objects(&inner.slices, &key.namespace).await;
        let mut found = candidates(&service, slices.iter().map(AsRef::as_ref), PortRef::Number(port))?;
        found.retain(|destination| only == Only::All || matches!(destination, Destination::Pod { .. }));
        if found.is_empty() {
            return Err(Error::NoEndpoints(key));
        }
        match found.swap_remove(inner.rng.below(found.len())) {
            Destination::Pod { name, port } => self.pod(ObjectKey::new(key.namespace, name), port).await,
            Destination::Outside { host, port } => Ok(Box::new(inner.outside.connect(&host, port).await?)),
        }
    }

    async fn pod(&self, key: ObjectKey, port: u16) -> Result<Box<dyn Stream>, Error> {
        let pod = self.object(&self.0.pods, "pod", &key)?;
        let node = pod.str_at(&["spec", "nodeName"]);
        if node.is_empty() {
            return Err(Error::NotScheduled(key));
        }
        let (near, far) = tokio::io::duplex(BUFFER_BYTES);
        let path = format!("/portforward/{}/{}/{port}", router::encode(&key.namespace), router::encode(&key.name));
        let request = Request::post(path).body(Body::from_stream(ReaderStream::new(far)));
        let request = request.expect("an encoded path is one");
        let response = self.0.nodes.request(node, request).await.map_err(Error::Node)?;
        let (head, body) = response.into_parts();
        if head.status != StatusCode::OK {
            return Err(Error::Refused(sentence(body).await));
        }
        let incoming = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
        Ok(Box::new(tokio::io::join(incoming, near)))
    }

    /// The node's API is HTTP/2 without bytes beneath it, so somebody has to speak HTTP/1.1 to whoever dialled.
    fn node(&self, node: String) -> Result<Box<dyn Stream>, Error> {
        let nodes = self.0.nodes.clone();
        if !nodes.is_connected(&node) {
            return Err(Error::Node(Unreachable::NotConnected { node }));
        }
        let (near, far) = tokio::io::duplex(BUFFER_BYTES);
        let passing = service_fn(move |request: Request<Incoming>| {
            let (nodes, node) = (nodes.clone(), node.clone());
            async move { nodes.request(&node, request.map(Body::new)).await }
        });
        self.0.tasks.spawn("node-connection", async move {
            // Ends when the one who dialled hangs up, in whatever way.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(far), passing).await;
        });
        Ok(Box::new(near))
    }

    fn object(&self, resource: &Resource, kind: &'static str, key: &ObjectKey) -> Result<Object, Error> {
        let stored = self.0.caches.store().get(&keys::object(resource, &key.namespace, &key.name));
        // A store that cannot be read has told its own story; whoever dials finds nothing.
        let entry = stored.ok().flatten();
        let object = entry.and_then(|entry| encoding::decode(&entry.value, entry.modified));
        object.ok_or_else(|| Error::NotFound { kind, key: key.clone() })
    }
}

impl Reach for ThroughNodes {
    fn dial(&self, target: Target, port: u16) -> BoxFuture<'static, Result<Box<dyn Stream>, Error>> {
        let me = self.clone();
        let dialling = async move {
            match target {
                Target::Node(name) => me.node(name),
                Target::Pod(key) => me.pod(key, port).await,
                Target::Service(key) => me.service(key, port, Only::All).await,
                Target::PodsOf(key) => me.service(key, port, Only::Pods).await,
            }
        };
        async { tokio::time::timeout(DIAL_TIMEOUT, dialling).await.unwrap_or(Err(Error::TimedOut(DIAL_TIMEOUT))) }
            .boxed()
    }
}

/// Returns what a refusing node says, as a `Status` or in plain words.
async fn sentence(body: Incoming) -> String {
    let read = Limited::new(body, REFUSAL_BYTES_MAX).collect().await;
    let bytes = read.map(Collected::to_bytes).unwrap_or_default();
    let plain = || String::from_utf8_lossy(&bytes).trim().to_owned();
    let text = serde_json::from_slice::<Status>(&bytes).map_or_else(|_| plain(), |status| status.message);
    if text.is_empty() { "the node refused without a word".to_owned() } else { text }
}

#[cfg(test)]
#[path = "through_nodes_tests.rs"]
mod tests;
