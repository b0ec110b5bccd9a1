//! The control plane's own registry, over the same connection as everything else.

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use wkube_client::Client;
use wkube_client::client::ResponseBody;
use wkube_wasm_runtime::oci::artifact::ACCEPTED;
use wkube_wasm_runtime::oci::registry::MANIFEST_BYTES_MAX;
use wkube_wasm_runtime::oci::{Digest, Registry, RegistryError, Transfer};

/// The registry behind `/v2/` of the API server.
pub(super) struct BuiltIn(pub(super) Client);

impl BuiltIn {
    async fn get(&self, path: String, accept: &str) -> Result<Response<ResponseBody>, RegistryError> {
        let request = Request::get(path).header(header::ACCEPT, accept).body(Bytes::new());
        let request = request.map_err(|error| RegistryError::Said(error.to_string()))?;
        let response = self.0.send(request).await.map_err(|error| RegistryError::Unavailable(error.into()))?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::NOT_FOUND => Err(RegistryError::NotFound),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(RegistryError::Unauthorized),
            status => Err(RegistryError::Unavailable(format!("the built-in registry answered {status}").into())),
        }
    }

    async fn document(&self, path: String) -> Result<Bytes, RegistryError> {
        let mut chunks = self.get(path, &ACCEPTED.join(", ")).await?.into_body().into_data_stream();
        let mut document = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(RegistryError::Unavailable)?;
            if document.len() + chunk.len() > MANIFEST_BYTES_MAX {
                return Err(RegistryError::TooLarge(MANIFEST_BYTES_MAX as u64));
            }
            document.extend_from_slice(&chunk);
        }
        Ok(document.freeze())
    }
}

impl Registry for BuiltIn {
    fn manifest<'a>(&'a self, name: &'a str, version: &'a str) -> BoxFuture<'a, Result<Bytes, RegistryError>> {
        self.document(format!("/v2/{name}/manifests/{version}")).boxed()
    }

    fn blob<'a>(
        &'a self,
        name: &'a str,
        digest: &'a Digest,
        _from: u64,
    ) -> BoxFuture<'a, Result<Transfer, RegistryError>> {
        let getting = async move {
            let response = self.get(format!("/v2/{name}/blobs/{digest}"), "*/*").await?;
            let bytes = response.into_body().into_data_stream().map_err(std::io::Error::other).boxed();
            Ok(Transfer { from: 0, bytes })
        };
        getting.boxed()
    }

    fn referrers<'a>(&'a self, name: &'a str, digest: &'a Digest) -> BoxFuture<'a, Result<Bytes, RegistryError>> {
        self.document(format!("/v2/{name}/referrers/{digest}")).boxed()
    }
}
