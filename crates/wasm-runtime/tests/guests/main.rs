//! The runtime with real guests: WebAssembly text where a few instructions say it, built guests otherwise.
#![expect(clippy::unwrap_used, reason = "the exception for tests does not cover their helpers")]

mod bodies;
mod cache;
mod command;
mod exports;
mod fences;
mod http;
mod interfaces;
mod network;
mod registry;
mod reuse;
mod sockets;
mod streams;
mod support;
mod tls;
