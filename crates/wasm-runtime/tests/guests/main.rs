//! The runtime with real guests: WebAssembly text where a few instructions say it, built guests otherwise.
#![expect(clippy::unwrap_used, reason = "the exception for tests does not cover their helpers")]

mod cache;
mod command;
mod fences;
mod http;
mod registry;
mod streams;
mod support;
