//! In-process service routing: which endpoint answers for a name, and how the request gets there.
//!
//! ```text
//!  Services, EndpointSlices, Ingresses --sync--> RouteTable (swapped atomically)
//!  gateway (Host header), guests' outgoing HTTP --Proxy--> route -> pick -> LocalPods (a function call)
//!                                                                        -> Remote (another node)
//!  guests' sockets --net--> route -> a pipe to another guest, Remote, the API server, or outside
//! ```

pub mod balance;
pub mod gateway;
pub mod http;
pub mod ingress;
pub mod local;
pub mod name;
pub mod net;
pub mod remote;
pub mod respond;
mod sync;
pub mod table;

use bytes::Bytes;

pub use self::gateway::Gateway;
pub use self::http::{Proxy, SendError};
pub use self::local::{Backend, LocalPods, Ports, Registration};
pub use self::remote::{Remote, RemoteError};
pub use self::sync::service_of;
pub use self::table::{Endpoint, RouteTable};

/// An error of any kind, as bodies carry it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// An HTTP body; the same type as the runtime's, so that requests pass between the two without a conversion.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;
