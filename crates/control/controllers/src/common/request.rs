//! Requests that the typed API has no verb for.

use http::{Method, Request, header};
use serde_json::Value;
use wkube_client::{Client, Error};

/// Replaces what is at a path, such as a subresource.
pub(crate) async fn put(client: &Client, path: &str, body: &Value) -> Result<(), Error> {
    let request = Request::builder()
        .method(Method::PUT)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .body(body.to_string().into())
        .map_err(Error::other)?;
    client.call(request).await?;
    Ok(())
}

/// Returns the document at a path.
pub(crate) async fn get(client: &Client, path: &str) -> Result<Value, Error> {
    let answer = client.call(get_request(path)?).await?;
    serde_json::from_slice(&answer).map_err(Error::other)
}

/// Returns a request for the document, or the stream, at a path.
pub(crate) fn get_request(path: &str) -> Result<Request<bytes::Bytes>, Error> {
    let request = Request::builder().uri(path).header(header::ACCEPT, "application/json");
    request.body(bytes::Bytes::new()).map_err(Error::other)
}
