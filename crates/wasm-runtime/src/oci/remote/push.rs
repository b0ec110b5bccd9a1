//! Uploads: a blob in one request, and the manifest that names it.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};

use super::auth::Access;
use super::{Call, Remote};
use crate::oci::artifact;
use crate::oci::digest::Digest;
use crate::oci::registry::RegistryError;

impl Remote {
    /// Uploads a blob under its digest, unless it is there.
    pub(in crate::oci) async fn push_blob(&self, name: &str, bytes: Bytes) -> Result<(), RegistryError> {
        let digest = Digest::of(&bytes);
        let call = |method, rest: &str, body| Call {
            method,
            url: self.url(name, rest),
            headers: HeaderMap::new(),
            body,
            access: Access::push(name),
        };
        match self.send(&call(Method::HEAD, &format!("blobs/{digest}"), Bytes::new())).await {
            Ok(_) => return Ok(()),
            Err(RegistryError::NotFound) => {}
            Err(error) => return Err(error),
        }
        let mut begin = call(Method::POST, "blobs/uploads/", Bytes::new());
        begin.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        let response = self.send(&begin).await?;
        let location = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
        let upload = location.and_then(|location| response.url().join(location).ok());
        let mut url = upload.ok_or_else(|| RegistryError::Said("an upload without place".to_owned()))?;
        url.query_pairs_mut().append_pair("digest", digest.as_str());
        let mut put = Call { url, ..call(Method::PUT, "", bytes) };
        put.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        self.send(&put).await.map(drop)
    }

    /// Uploads a manifest under a tag.
    pub(in crate::oci) async fn push_manifest(
        &self,
        name: &str,
        tag: &str,
        manifest: Bytes,
    ) -> Result<(), RegistryError> {
        let mut put = Call {
            method: Method::PUT,
            url: self.url(name, &format!("manifests/{tag}")),
            headers: HeaderMap::new(),
            body: manifest,
            access: Access::push(name),
        };
        put.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(artifact::OCI_MANIFEST));
        self.send(&put).await.map(drop)
    }
}
