//! The body of a guest's answer, which holds on to its instance.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::channel::oneshot;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use wasmtime_wasi_http::WasiBody;

use crate::guest::{Body, BoxError};

/// Whether the instance went before its answer was complete. wasmtime-wasi-http ends the body then as if it were
/// whole (up to 48.0.8); a client must see that it is not.
#[derive(Debug, Clone, Default)]
pub(super) struct Broken(Arc<AtomicBool>);

/// Marks the answers of an instance as broken when it is dropped, unless the guest has ended well.
#[derive(Debug, Default)]
pub(crate) struct Fuse(Vec<Broken>);

impl Fuse {
    /// Adds an answer, and forgets those that nobody reads any more.
    pub(super) fn arm(&mut self, broken: Broken) {
        self.0.retain(|Broken(flag)| Arc::strong_count(flag) > 1);
        self.0.push(broken);
    }

    pub(super) fn defuse(&mut self) {
        self.0.clear();
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        for Broken(flag) in &self.0 {
            flag.store(true, Ordering::Release);
        }
    }
}

/// Tells the guest's task when it has been read to its end, and, by being dropped, that the client went away.
pub(super) struct GuestBody {
    inner: WasiBody,
    client: Option<oneshot::Sender<()>>,
    broken: Broken,
}

impl GuestBody {
    pub(super) fn new(inner: WasiBody, client: oneshot::Sender<()>, broken: Broken) -> Self {
        Self { inner, client: Some(client), broken }
    }

    pub(super) fn boxed(self) -> Body {
        self.boxed_unsync()
    }

    fn note_end(&mut self) {
        if let Some(client) = self.client.take() {
            // The guest may have ended before its answer was read.
            let _ = client.send(());
        }
    }
}

impl http_body::Body for GuestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                // HTTP/2 queues empty frames without a bound (GHSA-f8mm-ggr3-89wh).
                Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                Some(frame) => return Poll::Ready(Some(frame.map_err(Into::into))),
                // A frame after the end would be the same error again: report it once.
                None if self.client.is_some() && self.broken.0.load(Ordering::Acquire) => {
                    self.client = None;
                    return Poll::Ready(Some(Err("the guest failed before its answer was complete".into())));
                }
                None => {
                    self.note_end();
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for GuestBody {
    fn drop(&mut self) {
        // A server does not poll a body that says it has ended.
        if self.inner.is_end_stream() {
            self.note_end();
        }
    }
}
