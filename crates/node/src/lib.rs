//! The node agent (the kubelet of wkube) as a library: registers a node and runs its pods.
//!
//! ```text
//!  pods      informer of pods with spec.nodeName = me -> one worker per UID
//!  pod/      phase (pure machine) <- worker -> attempt: images, env, volumes -> runtime
//!            status (pure) -> status_writer -> PATCH pods/status
//!  register  Node object, Lease
//!  server    logs and requests to pods, over the tunnel that this node dials
//! ```
//! No globals: several nodes may live in one process.

pub mod admission;
pub mod builder;
pub mod checkpoint;
pub mod context;
pub mod env;
pub mod eviction;
pub mod grants;
pub mod image_gc;
pub mod image_keeper;
pub mod images;
pub mod ip;
pub mod join;
pub mod logs;
pub mod metrics;
pub mod network;
pub mod node_events;
pub mod objects;
pub mod pod;
pub mod pods;
pub mod register;
pub mod registration;
pub mod reserved;
pub mod resources;
pub mod routes;
pub mod runtime;
pub mod server;
pub mod static_pods;
mod stats;
pub mod status_writer;
pub mod stdio;
pub mod streams;
pub mod tls;
pub mod tunnel;
pub mod volumes;

pub use builder::{Builder, Node, StartError};
pub use runtime::Runtime;
pub use runtime::wasm::WasmRuntime;
pub use tls::ReverseOverTls;
pub use tunnel::Reverse;
