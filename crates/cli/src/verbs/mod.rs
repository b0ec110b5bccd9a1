//! The client commands, one file each: they say what kubectl says.

pub(crate) mod apply;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod get;
pub(crate) mod logs;
pub(crate) mod push;
pub(crate) mod run;
pub(crate) mod scale;
pub(crate) mod token;
pub(crate) mod version;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Request;
use serde_json::Value;
use wkube_client::Client;

/// The media type of a table rendered by the server, with plain JSON for kinds that have none.
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Reads a JSON document.
pub(crate) async fn read(client: &Client, path: &str, accept: &str) -> Result<Value> {
    let request = Request::get(path).header("accept", accept).body(Bytes::new()).context("failed to build a request")?;
    let body = client.call(request).await?;
    serde_json::from_slice(&body).with_context(|| format!("the server's answer to {path} is not JSON"))
}

/// Reads a text.
pub(crate) async fn read_text(client: &Client, path: &str) -> Result<String> {
    let request = Request::get(path).body(Bytes::new()).context("failed to build a request")?;
    let body = client.call(request).await?;
    String::from_utf8(body.to_vec()).with_context(|| format!("the server's answer to {path} is not text"))
}
