//! Logs over WebSocket: pieces of text as messages, without channels (`streaming/pkg/httpstream/wsstream/stream.go`).

use std::future::ready;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, Stream};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio_tungstenite::tungstenite::Message;

use super::{negotiate, upgraded, websocket};
use crate::Api;
use crate::respond::Body;

const BASE64: &str = "base64.binary.k8s.io";
const SERVED: [&str; 3] = ["", "binary.k8s.io", BASE64];

/// Returns the answer to a request for logs, whose text is in `text`: over a WebSocket, if the client asked for one.
pub(crate) fn answer(api: &Arc<Api>, mut request: Request<Body>, text: Response<Body>) -> Response<Body> {
    if !text.status().is_success() || !negotiate::is_websocket(request.headers()) {
        return text;
    }
    match negotiate::websocket(request.method(), request.headers(), &SERVED) {
        Err(refused) => refused.response(),
        Ok((chosen, response)) => {
            let text = text.into_body();
            upgraded(api, "websocket-log", &mut request, move |stream, stopping| async move {
                websocket::send_all(stream, messages(chosen == BASE64, text), &stopping).await;
            });
            response
        }
    }
}

/// Returns the text in pieces. The first is empty: it says that the connection is there, before the first line, which may
/// be a while away.
fn messages(base64: bool, text: Body) -> impl Stream<Item = Message> {
    let pieces = text.into_data_stream().take_while(|piece| ready(piece.is_ok())).filter_map(|piece| ready(piece.ok()));
    let all = stream::once(ready(Bytes::new())).chain(pieces);
    all.map(move |bytes| if base64 { Message::text(STANDARD.encode(bytes)) } else { Message::binary(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::respond;

    async fn said(base64: bool) -> Vec<Message> {
        messages(base64, respond::full("two\nlines\n")).collect().await
    }

    #[tokio::test]
    async fn text_follows_an_empty_message() {
        assert_eq!(said(false).await, [Message::binary(Bytes::new()), Message::binary("two\nlines\n")]);
        assert_eq!(said(true).await, [Message::text(""), Message::text("dHdvCmxpbmVzCg==")]);
    }
}
