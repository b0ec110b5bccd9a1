//! Watches over WebSocket: an event is a message (`HandleWS` in `apiserver/pkg/endpoints/handlers/watch.go`). Older Java and
//! JavaScript clients watch like this.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use futures::StreamExt as _;
use futures::stream::{self, Stream};
use http::{Request, Response};
use tokio_tungstenite::tungstenite::Message;

use super::{negotiate, upgraded, websocket};
use crate::Api;
use crate::call::Call;
use crate::negotiate::Format;
use crate::registry::Outcome;
use crate::render::Frames;
use crate::respond::Body;

/// Carries a watch over a WebSocket, if its client asked for one; otherwise its events are lines of the answer's body.
pub(crate) fn carry(api: &Arc<Api>, call: &Call, request: Request<Body>, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Watch(watching) if negotiate::is_websocket(request.headers()) => {
            let frames = Frames::new(call.media, call.resource.clone(), api.registry.clock.clone());
            Outcome::Raw(answer(api, request, call.media.format, watching.frames(frames)))
        }
        other => other,
    }
}

/// Upgrades the request's connection. `pieces` are events, one or many at once, each whole.
fn answer<P>(api: &Api, mut request: Request<Body>, format: Format, pieces: P) -> Response<Body>
where
    P: Stream<Item = Bytes> + Send + 'static,
{
    // There is no protocol to choose from: a single one is the client's own business, and said back to it.
    let served = negotiate::only_protocol(request.headers()).to_owned();
    match negotiate::websocket(request.method(), request.headers(), &[&served]) {
        Err(refused) => refused.response(),
        Ok((_, response)) => {
            let messages = pieces.flat_map(move |piece| stream::iter(messages(format, piece)));
            upgraded(api, "websocket-watch", &mut request, move |stream, stopping| async move {
                websocket::send_all(stream, messages, &stopping).await;
            });
            response
        }
    }
}

/// Returns the events of a piece as messages.
fn messages(format: Format, mut piece: Bytes) -> Vec<Message> {
    let mut messages = Vec::new();
    if format == Format::Protobuf {
        // Each event has its length before it, which a message needs not.
        while piece.remaining() >= size_of::<u32>() {
            let size = usize::try_from(piece.get_u32()).unwrap_or(usize::MAX);
            messages.push(Message::binary(piece.split_to(size.min(piece.len()))));
        }
        return messages;
    }
    while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
        let line = piece.split_to(end + 1);
        // What we render is UTF-8; anything else would have to go as it is.
        messages.push(match line.clone().try_into() {
            Ok(text) => Message::Text(text),
            Err(_) => Message::binary(line),
        });
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_message() {
        let expected = [Message::text("{\"a\":1}\n"), Message::text("{\"b\":\"\\n\"}\n")];
        assert_eq!(messages(Format::Json, "{\"a\":1}\n{\"b\":\"\\n\"}\n".into()), expected);
        assert_eq!(messages(Format::Json, Bytes::new()), []);
    }

    #[test]
    fn in_protobuf_the_length_is_the_messages() {
        let piece = Bytes::from_static(b"\0\0\0\x03abc\0\0\0\x01d");
        assert_eq!(messages(Format::Protobuf, piece), [Message::binary("abc"), Message::binary("d")]);
        assert_eq!(messages(Format::Protobuf, Bytes::from_static(b"\0\0\0\x09ab")), [Message::binary("ab")]);
    }
}
