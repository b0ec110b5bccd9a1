//! Every limit of exec, attach, port-forward and logs over WebSocket, with its reason.

use std::time::Duration;

/// A connection on which nothing moves ends; `defaultIdleConnectionTimeout` in `apiserver/pkg/util/proxy/websocket.go`.
pub(crate) const IDLE: Duration = Duration::from_hours(4);
/// After the last byte was written, a slow client gets this long to read it and close; `finishTimeout` there.
pub(crate) const FINISH: Duration = Duration::from_mins(15);
/// A client makes the streams that belong together within this; `DefaultStreamCreationTimeout` of the kubelet.
pub(crate) const STREAM_CREATION: Duration = Duration::from_secs(30);
/// A node starts to answer within this.
pub(crate) const NODE_ANSWER: Duration = Duration::from_secs(30);
/// Streams of one SPDY connection at once: two for each connection that a port-forward carries.
pub(crate) const SPDY_STREAMS: usize = 1000;
/// One WebSocket message; `DefaultMaxPayloadBytes` of Go's `x/net/websocket`, which Kubernetes' server uses. Programs send
/// a whole file as one message.
pub(crate) const MESSAGE_MAX: usize = 32 << 20;
/// Ports of one port-forward over plain WebSocket: there are two channels for each, numbered by one byte.
pub(crate) const PORTS_MAX: usize = 127;
/// Pieces that wait between a client and a node, per direction.
pub(crate) const PIECES: usize = 4;
/// A refusal of a node is read up to here.
pub(crate) const REFUSAL_MAX: usize = 64 * 1024;
