//! Logs over WebSocket: pieces of text as messages, without channels (`streaming/pkg/httpstream/wsstream/stream.go`).

use std::pin::pin;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Message;

use super::negotiate;
use super::websocket::{self, goodbye};
use super::{limits, upgraded};
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
            upgraded(api, "websocket-log", &mut request, move |stream| async move {
                carry(stream, chosen == BASE64, text).await;
            });
            response
        }
    }
}

/// Sends the text in pieces until it ends or the client is gone.
async fn carry<S: AsyncRead + AsyncWrite + Unpin>(stream: S, base64: bool, mut text: Body) {
    let message = |bytes: Bytes| if base64 { Message::text(STANDARD.encode(bytes)) } else { Message::binary(bytes) };
    let (mut sink, mut source) = websocket::open(stream).await.split();
    let reading = async move { while let Some(Ok(_)) = source.next().await {} };
    let writing = async {
        // Says that the connection is there, before the first line may be a while away.
        sink.send(message(Bytes::new())).await?;
        while let Some(Ok(frame)) = text.frame().await {
            if let Ok(bytes) = frame.into_data() {
                sink.send(message(bytes)).await?;
            }
        }
        sink.send(goodbye()).await
    };
    let mut reading = pin!(reading);
    let written = tokio::select! {
        () = &mut reading => return,
        written = writing => written,
    };
    if written.is_ok() {
        let _ = tokio::time::timeout(limits::FINISH, reading).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;
    use crate::respond;

    async fn messages(base64: bool) -> Vec<Message> {
        let (near, far) = tokio::io::duplex(1024);
        let client = async {
            let socket = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
            socket.map(|message| message.expect("a message")).collect::<Vec<_>>().await
        };
        tokio::join!(carry(near, base64, respond::full("two\nlines\n")), client).1
    }

    #[tokio::test]
    async fn text_follows_an_empty_message_and_ends_with_a_normal_close() {
        let expected = [Message::binary(Bytes::new()), Message::binary("two\nlines\n"), goodbye()];
        assert_eq!(messages(false).await, expected);
        let expected = [Message::text(""), Message::text("dHdvCmxpbmVzCg=="), goodbye()];
        assert_eq!(messages(true).await, expected);
    }
}
