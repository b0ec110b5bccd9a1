//! Port-forward: bytes between a client and whatever answers on a port of the pod.

use std::future::Future;
use std::io;

use axum::body::Body;
use futures::TryStreamExt;
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::{ReaderStream, StreamReader};
use wkube_proxy::net::Stream;

/// Returns what carries the client's bytes, to be driven, and the body in which the pod's are. Each direction ends by itself.
pub(super) fn join(pod: Box<dyn Stream>, body: Body) -> (impl Future<Output = ()> + Send + 'static, Body) {
    let mut incoming = StreamReader::new(TryStreamExt::map_err(body.into_data_stream(), io::Error::other));
    let (from_pod, mut to_pod) = tokio::io::split(pod);
    let carrying = async move {
        // An end in the middle is an end: nobody is left to be told.
        let carried = tokio::io::copy(&mut incoming, &mut to_pod).await;
        let ended = to_pod.shutdown().await;
        if let Err(error) = carried.and(ended) {
            tracing::debug!(%error, "a forwarded connection ended early");
        }
    };
    (carrying, Body::from_stream(ReaderStream::new(from_pod)))
}
