//! The client commands, one file each: they say what kubectl says.

pub(crate) mod apply;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod get;
pub(crate) mod image;
pub(crate) mod logs;
pub(crate) mod preflight;
pub(crate) mod push;
pub(crate) mod run;
pub(crate) mod scale;
pub(crate) mod store;
pub(crate) mod token;
pub(crate) mod version;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Request;
use serde_json::Value;
use wkube_client::Client;

use crate::print;

/// The media type of a table rendered by the server, with plain JSON for kinds that have none.
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Reads a JSON document.
pub(crate) async fn read(client: &Client, path: &str, accept: &str) -> Result<Value> {
    let request =
        Request::get(path).header("accept", accept).body(Bytes::new()).context("failed to build a request")?;
    let body = client.call(request).await?;
    serde_json::from_slice(&body).with_context(|| format!("the server's answer to {path} is not JSON"))
}

/// Objects that were named but do not exist. The others are still printed, and these are complained about in the end.
#[derive(Debug)]
pub(crate) struct Missing {
    is_fine: bool,
    errors: Vec<anyhow::Error>,
}

impl Missing {
    /// Begins without any; with `is_fine` nobody will complain.
    pub(crate) fn new(is_fine: bool) -> Self {
        Self { is_fine, errors: Vec::new() }
    }

    /// Whether nothing is missing.
    pub(crate) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// Passes a result on; `None` if its object does not exist, which is noted.
    pub(crate) fn or<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error)
                if error.downcast_ref::<wkube_client::Error>().is_some_and(wkube_client::Error::is_not_found) =>
            {
                if !self.is_fine {
                    self.errors.push(error);
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Complains about all that is missing.
    ///
    /// # Errors
    /// The last one, which the caller prints.
    pub(crate) fn report(mut self) -> Result<()> {
        let last = self.errors.pop();
        self.errors.iter().for_each(print::error);
        last.map_or(Ok(()), Err)
    }
}

/// Reads a text.
pub(crate) async fn read_text(client: &Client, path: &str) -> Result<String> {
    let request = Request::get(path).body(Bytes::new()).context("failed to build a request")?;
    let body = client.call(request).await?;
    String::from_utf8(body.to_vec()).with_context(|| format!("the server's answer to {path} is not text"))
}
