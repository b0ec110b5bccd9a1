//! Runs WASI modules and components, fenced. Has never heard of a pod.
//!
//! ```text
//!  oci/      reference -> manifest -> the layer that is wasm -> bytes, digests verified, kept on disk
//!  inspect   bytes -> kind, imports; refuses what this host cannot run, before anything is compiled
//!  engine    digest -> Artifact: from memory, else from the ahead-of-time cache, else compiled once
//!  Artifact  -> start -> Running    a command: one task on the guest threads, one Exit
//!            -> serve -> HttpGuest  an HTTP handler: a fresh instance for each request
//! ```
//!
//! Invariants: nothing is granted that the [`GuestSpec`] does not name; every memory and table of a guest counts
//! against one budget; no guest holds a thread for longer than an epoch tick; nothing of wasmtime leaves the crate.

// The fakes of the integration tests, which some tests in here use, know the crate by its name.
#[cfg(test)]
extern crate self as wkube_wasm_runtime;

mod artifact;
mod bulk;
mod cache;
mod command;
mod compile_budget;
mod compiler;
mod config;
mod cpu;
mod ctx;
mod engine;
mod error;
mod exit;
mod export;
mod guest;
mod http;
mod input;
mod inspect;
mod keyvalue;
mod lifecycle;
mod logging;
mod memory;
mod native;
mod net;
mod order;
mod output;
mod settings;
mod ticker;
mod tls;
mod turns;
mod worlds;

pub mod oci;

pub use self::artifact::Artifact;
pub use self::command::Running;
pub use self::compiler::{COMPILE_WORKER, run_compile_worker};
pub use self::engine::{Engine, EngineOptions};
pub use self::error::Error;
pub use self::guest::{
    Access, Allowance, Body, BoxError, Exit, ExitReason, GuestSpec, Limits, Mount, Outbound, Output, Reuse, ReuseMode,
    StdStream,
};
pub use self::http::{HandleError, HttpGuest};
pub use self::inspect::{Inspection, Kind, Refusal, inspect, wat_to_wasm};
pub use self::keyvalue::{Bucket, BucketError, Buckets};
pub use self::net::{Connection, Incoming, NetError, Network, Stream, TcpPort, UdpPort};
pub use self::tls::TlsTrust;
