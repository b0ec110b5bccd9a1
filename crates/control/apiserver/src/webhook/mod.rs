//! Calls to servers that extend the API: admission and conversion webhooks, and the backends of `APIService`s.
//!
//! ```text
//! clientConfig ─ Target ─> Client ─┬ URL ──────> TCP ─┬─ TLS (Trust) ─────────────────────────────> HTTP
//!                                  └ Service ─> Reach ┴─ none, if the port's appProtocol is http ─> HTTP
//! ```
//! These servers are strangers: every call has a deadline, every answer a limit, and no redirect is followed.

mod client;
mod dial;
mod services;
mod target;
#[cfg(test)]
mod tests;
mod trust;

pub(crate) use client::{CallError, Client, Connector, Post, words};
pub(crate) use dial::Transport;
pub(crate) use services::StoredServices;
pub(crate) use target::{Place, Target};
pub(crate) use trust::{Trust, Verification, config};
