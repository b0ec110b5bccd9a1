//! Frames in a request's body and in a response's.

use std::io;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use tokio::sync::mpsc;
use wkube_api::remote_command::{Decoder, Frame};

/// Reads what the client sends.
pub(super) struct FrameReader {
    body: BodyDataStream,
    decoder: Decoder,
}

impl FrameReader {
    /// Returns a reader of a request's body.
    pub(super) fn new(body: Body) -> Self {
        Self { body: body.into_data_stream(), decoder: Decoder::default() }
    }

    /// Returns the next frame; `None` when the client has no more to say. Not cancel safe: keep polling the same future.
    pub(super) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(io::Error::other)? {
                return Ok(Some(frame));
            }
            match self.body.next().await {
                Some(bytes) => self.decoder.push(&bytes.map_err(io::Error::other)?),
                None => return self.decoder.finish().map(|()| None).map_err(io::Error::other),
            }
        }
    }
}

/// Returns the body that carries what is sent.
pub(super) fn frames_to_body(mut sent: mpsc::Receiver<Frame>) -> Body {
    let frames = stream::poll_fn(move |context| sent.poll_recv(context));
    Body::from_stream(frames.map(|frame| Ok::<Bytes, io::Error>(frame.encode())))
}
