//! HTTP/2 between a node and a worker: how much of it may be under way at once.

use hyper::{client, server};
use hyper_util::rt::TokioExecutor;

/// How many requests one pod has open at once, in each direction.
const REQUESTS_MAX: u32 = 1_000;
/// How many connections the sockets of one pod have open at once, those that listening sockets wait for among them.
pub(super) const CONNECTIONS_MAX: u32 = 4_096;
const STREAMS_MAX: u32 = REQUESTS_MAX + CONNECTIONS_MAX;
/// What may be on its way in one direction of one of them, as in the pipes of the network.
const STREAM_BYTES: u32 = 64 << 10;
/// Enough for all of them at once: a stream that nobody reads never holds up another.
const CONNECTION_BYTES: u32 = STREAMS_MAX * STREAM_BYTES;

/// Returns the half that calls.
pub(super) fn client() -> client::conn::http2::Builder<TokioExecutor> {
    let mut client = client::conn::http2::Builder::new(TokioExecutor::new());
    client
        .initial_stream_window_size(STREAM_BYTES)
        .initial_connection_window_size(CONNECTION_BYTES)
        .max_send_buf_size(STREAM_BYTES as usize)
        .max_concurrent_reset_streams(STREAMS_MAX as usize)
        // Counted over the whole life of a connection, and its end: but each guest that closes a socket while its peer
        // still writes is one, and pods live for long.
        .max_local_error_reset_streams(None);
    client
}

/// Returns the half that answers.
pub(super) fn server() -> server::conn::http2::Builder<TokioExecutor> {
    let mut server = server::conn::http2::Builder::new(TokioExecutor::new());
    server
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_BYTES)
        .initial_connection_window_size(CONNECTION_BYTES)
        .max_send_buf_size(STREAM_BYTES as usize)
        // A guest that gives up what it has just begun is no attack. Who calls is one process of our own, and has no
        // more of them than this.
        .max_pending_accept_reset_streams(STREAMS_MAX as usize)
        .max_local_error_reset_streams(None);
    server
}
