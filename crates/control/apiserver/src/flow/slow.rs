//! Answers that are read slowly: large ones keep their turn until they are out, and have a limited time for it.
//!
//! A client that asks for many large lists and reads none of them would otherwise fill the memory: an answer's bytes
//! wait here, beside the permit that let the request in, so that there are never more of them than seats.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};
use wkube_base::Tasks;

use super::Permit;
use crate::limits;
use crate::respond::{Body, BoxError};

/// Smaller answers fit into the buffers of the connection.
const LARGE: u64 = 64 * 1024;
/// How much of it is handed over at once.
const PIECE: usize = 64 * 1024;

/// A body that carries something along to its end.
pub(crate) struct Held<T> {
    body: Body,
    _with: T,
}

impl<T: Unpin> Held<T> {
    /// Returns a body that drops `with` when it ends, or when the client goes away.
    pub(crate) fn new(body: Body, with: T) -> Self {
        Self { body, _with: with }
    }
}

impl<T: Unpin> HttpBody for Held<T> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Lets a large answer keep its permit until it is out. A small one gives it back at once.
pub(crate) fn held(response: Response<Body>, permit: Permit, tasks: &Tasks) -> Response<Body> {
    let Some(left) = response.body().size_hint().exact().filter(|size| *size > LARGE) else { return response };
    let (parts, body) = response.into_parts();
    let waiting = Arc::new(Mutex::new(Some(Waiting { body, piece: Bytes::new(), _permit: permit })));
    let over = CancellationToken::new();
    let (late, ended) = (waiting.clone(), over.clone());
    tasks.spawn("slow-reader", async move {
        tokio::select! {
            biased;
            () = ended.cancelled() => {}
            () = tokio::time::sleep(limits::REQUEST_TIMEOUT) => drop(late.lock().take()),
        }
    });
    Response::from_parts(parts, Slowly { waiting, left, _over: over.drop_guard() }.boxed_unsync())
}

/// A large answer, in pieces.
struct Slowly {
    /// Taken away when the time is over.
    waiting: Arc<Mutex<Option<Waiting>>>,
    /// Bytes that are not out yet.
    left: u64,
    _over: DropGuard,
}

struct Waiting {
    body: Body,
    piece: Bytes,
    _permit: Permit,
}

impl HttpBody for Slowly {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let mut held = this.waiting.lock();
        let Some(waiting) = held.as_mut() else {
            return Poll::Ready(Some(Err("the answer was not read in time".into())));
        };
        while waiting.piece.is_empty() {
            match ready!(Pin::new(&mut waiting.body).poll_frame(context)) {
                Some(Ok(frame)) => waiting.piece = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let size = waiting.piece.len().min(PIECE);
        let piece = waiting.piece.split_to(size);
        this.left = this.left.saturating_sub(size as u64);
        if this.left == 0 {
            // The next request need not wait until somebody asks for more.
            *held = None;
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
