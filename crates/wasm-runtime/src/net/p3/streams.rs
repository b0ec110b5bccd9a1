//! What a listening socket accepts, and the two directions of a connection, as streams of the component model.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use wasmtime::component::{Destination, Resource, Source, StreamConsumer, StreamProducer, StreamResult};
use wasmtime::{AsContextMut as _, StoreContextMut};
use wasmtime_wasi::p3::bindings::sockets::types::{ErrorCode, TcpSocket as Theirs};

use super::View;
use crate::net::address::Family;
use crate::net::code::Code;
use crate::net::options::Options;
use crate::net::sockets::{Slot, Sockets};
use crate::net::stream::{READ_BYTES_MAX, SharedReceiver, SharedSender};
use crate::net::tcp::{Acceptor, TcpSocket};

/// How the stream ended, for the future that goes with it.
pub(super) type Outcome = Result<(), ErrorCode>;

/// A poll that is answered with "cancelled" instead of waiting, once the guest wants its buffer back.
fn unless(finish: bool, poll: Poll<StreamResult>) -> Poll<wasmtime::Result<StreamResult>> {
    match poll {
        Poll::Ready(result) => Poll::Ready(Ok(result)),
        Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
        Poll::Pending => Poll::Pending,
    }
}

/// The connections that a socket accepts. Dropping it ends the listening.
pub(super) struct Accepted<D: 'static> {
    acceptor: Acceptor,
    sockets: Sockets,
    family: Family,
    options: Options,
    /// Set while the instance has as many sockets as it may have.
    waiting: Option<BoxFuture<'static, Slot>>,
    view: for<'a> fn(&'a mut D) -> View<'a>,
}

impl<D> Accepted<D> {
    pub(super) fn new(
        acceptor: Acceptor,
        sockets: &Sockets,
        family: Family,
        options: &Options,
        view: for<'a> fn(&'a mut D) -> View<'a>,
    ) -> Self {
        Self { acceptor, sockets: sockets.clone(), family, options: options.clone(), waiting: None, view }
    }

    /// Returns the next connection, `None` when the network is gone.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<TcpSocket>> {
        ready!(self.acceptor.poll_ready(context));
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(self.sockets.next_slot()));
        let slot = ready!(waiting.as_mut().poll(context));
        self.waiting = None;
        let accepted = self.acceptor.take().and_then(Result::ok);
        Poll::Ready(
            accepted.map(|connection| TcpSocket::accepted(&self.sockets, slot, self.family, &self.options, connection)),
        )
    }
}

impl<D: 'static> StreamProducer<D> for Accepted<D> {
    type Item = Resource<Theirs>;
    type Buffer = Option<Self::Item>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        // A read of nothing asks whether there is something.
        if destination.remaining(&mut store) == Some(0) {
            return unless(finish, self.acceptor.poll_ready(context).map(|()| StreamResult::Completed));
        }
        match self.poll_next(context) {
            Poll::Pending => unless(finish, Poll::Pending),
            Poll::Ready(None) => Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Ready(Some(socket)) => {
                let socket = (self.view)(store.data_mut()).table.push(socket)?;
                destination.set_buffer(Some(Resource::new_own(socket.rep())));
                Poll::Ready(Ok(StreamResult::Completed))
            }
        }
    }
}

/// What comes in. Dropping it is `shutdown(receive)`.
pub(super) struct Received {
    receiver: SharedReceiver,
    outcome: Option<oneshot::Sender<Outcome>>,
}

impl Received {
    pub(super) fn new(receiver: SharedReceiver, outcome: oneshot::Sender<Outcome>) -> Self {
        Self { receiver, outcome: Some(outcome) }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.receiver.lock().close();
        tell(&mut self.outcome, Ok(()));
    }
}

impl<D> StreamProducer<D> for Received {
    type Item = u8;
    type Buffer = BytesMut;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        destination: Destination<'a, u8, BytesMut>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let is_question = destination.remaining(store.as_context_mut()) == Some(0);
        let this = &mut *self;
        let mut receiver = this.receiver.lock();
        if receiver.poll_ready(context).is_pending() {
            return unless(finish, Poll::Pending);
        }
        if is_question {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        if let Some(end) = receiver.end() {
            drop(receiver);
            tell(&mut this.outcome, end.map_err(|error| Code::from(error).into()));
            return Poll::Ready(Ok(StreamResult::Dropped));
        }
        let mut destination = destination.as_direct(store, READ_BYTES_MAX);
        let bytes = receiver.take(destination.remaining().len());
        destination.remaining()[..bytes.len()].copy_from_slice(&bytes);
        destination.mark_written(bytes.len());
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

/// What goes out. Its end is ours: dropping it is `shutdown(send)`.
pub(super) struct Sent {
    sender: SharedSender,
    outcome: Option<oneshot::Sender<Outcome>>,
}

impl Sent {
    pub(super) fn new(sender: SharedSender, outcome: oneshot::Sender<Outcome>) -> Self {
        Self { sender, outcome: Some(outcome) }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.sender.lock().close();
        tell(&mut self.outcome, Ok(()));
    }
}

impl<D> StreamConsumer<D> for Sent {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut source = source.as_direct(store);
        let this = &mut *self;
        let mut sender = this.sender.lock();
        if sender.poll_ready(context).is_pending() {
            return unless(finish, Poll::Pending);
        }
        // A write of nothing asks whether there is room.
        match sender.offer(source.remaining()) {
            Ok(count) => {
                source.mark_read(count);
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Err(error) => {
                drop(sender);
                let code = error.map_or(Code::Broken, Code::from);
                tell(&mut this.outcome, Err(code.into()));
                Poll::Ready(Ok(StreamResult::Dropped))
            }
        }
    }
}

fn tell(outcome: &mut Option<oneshot::Sender<Outcome>>, result: Outcome) {
    if let Some(outcome) = outcome.take() {
        // The guest may have dropped the future; then nobody wants to know.
        let _ = outcome.send(result);
    }
}
