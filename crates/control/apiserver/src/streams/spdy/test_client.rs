//! A SPDY client for tests: sends and hears frames by hand.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::frame::{Decoder, Encoder, Frame};
use super::headers::Headers;

/// The client's end of a connection.
pub(crate) struct Client<S> {
    pub(crate) pipe: S,
    encoder: Encoder,
    decoder: Decoder,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(pipe: S) -> Self {
        Self { pipe, encoder: Encoder::default(), decoder: Decoder::default() }
    }

    pub(crate) async fn send(&mut self, frame: Frame) {
        let mut bytes = BytesMut::new();
        self.encoder.encode(&frame, &mut bytes);
        self.pipe.write_all(&bytes).await.expect("the server reads");
        self.pipe.flush().await.expect("the server reads");
    }

    /// Opens a stream.
    pub(crate) async fn open(&mut self, stream: u32, headers: &[(&str, &str)]) {
        self.send(Frame::SynStream { stream, headers: Headers::of(headers), fin: false }).await;
    }

    /// Opens a stream and waits until it is accepted.
    pub(crate) async fn opened(&mut self, stream: u32, headers: &[(&str, &str)]) {
        self.open(stream, headers).await;
        let reply = self.hear().await;
        assert!(matches!(reply, Some(Frame::SynReply { stream: accepted, .. }) if accepted == stream), "{reply:?}");
    }

    pub(crate) async fn say(&mut self, stream: u32, text: &'static str, fin: bool) {
        self.send(Frame::Data { stream, payload: text.into(), fin }).await;
    }

    /// Returns the next frame; `None` when the server has closed.
    pub(crate) async fn hear(&mut self) -> Option<Frame> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(frame) = self.decoder.next_frame().expect("SPDY") {
                return Some(frame);
            }
            let count = self.pipe.read(&mut buffer).await.expect("the server writes");
            if count == 0 {
                return None;
            }
            self.decoder.push(&buffer[..count]);
        }
    }

    /// Returns what the server says on a stream up to its end there; what it says elsewhere is lost.
    pub(crate) async fn hear_all(&mut self, wanted: u32) -> Bytes {
        let mut said = BytesMut::new();
        loop {
            match self.hear().await.expect("the stream has not ended") {
                Frame::Data { stream, payload, fin } if stream == wanted => {
                    said.extend_from_slice(&payload);
                    if fin {
                        return said.freeze();
                    }
                }
                Frame::Reset { stream, status } if stream == wanted => panic!("reset with {status}"),
                _ => {}
            }
        }
    }
}
