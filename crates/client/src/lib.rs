//! How every component but the API server sees the cluster: a client, shared caches, queues and the controller shell.
//!
//! ```text
//! Client --- Api<K>                          ask and change (typed, or on documents)
//!    |------ Informers --- Lister<K>         see: one watch per kind per process, read-only views
//!    |------ Controller<impl Reconcile>      act: which keys want attention, and when
//!    |------ Recorder, lease                 tell: events, signs of life
//!    |------ election                        lead: one of several servers
//!    `------ config                          where the server is and who we are
//! ```

pub mod api;
pub mod barrier;
pub mod cache;
pub mod client;
pub mod config;
pub mod controller;
pub mod election;
pub mod error;
pub mod events;
pub mod informers;
pub mod kind;
pub mod lease;
mod lines;
mod metrics;
mod packed;
mod path;
pub mod queue;
mod watcher;

#[cfg(test)]
mod scripted;

pub use api::{Api, DeleteOptions, List, Patch, Propagation, Scope};
pub use cache::{Change, Lister};
pub use client::Client;
pub use controller::{Controller, Next, Reconcile};
pub use error::Error;
pub use events::{EventType, Recorder};
pub use informers::Informers;
pub use kind::{Kind, KindName, Revision};
pub use packed::Packed;
