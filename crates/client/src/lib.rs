//! How every component but the API server sees the cluster: a client, shared caches, queues and the controller shell.

pub mod client;

pub use client::{Client, Error};
