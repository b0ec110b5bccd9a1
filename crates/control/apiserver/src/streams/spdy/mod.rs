//! SPDY/3.1, as far as Kubernetes' clients speak it (`moby/spdystream`): streams with headers over one connection.
//!
//! ```text
//!  bytes --frame::Decoder--> frames --connection--> Stream { headers, incoming, outgoing }
//!  bytes <--frame::Encoder-- frames <--------------------------------------'
//! ```

mod connection;
mod frame;
mod headers;

pub(crate) use connection::{Connection, Incoming, Outgoing, Piece, Stream, open};
pub(crate) use headers::Headers;

#[cfg(test)]
pub(crate) use frame::Frame;
#[cfg(test)]
pub(crate) mod test_client;
