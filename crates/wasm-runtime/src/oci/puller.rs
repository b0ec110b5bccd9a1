//! Pulls the module of an image: manifest, layer, bytes; every digest is verified and every size is capped.

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use super::artifact::{self, Document, Platform, Problem};
use super::digest::Digest;
use super::reference::Reference;
use crate::guest::BoxError;
use crate::inspect::MODULE_BYTES_MAX;

/// A manifest lists a few blobs; registries cap it at 4 MiB too (distribution specification, "Pushing Manifests").
const MANIFEST_BYTES_MAX: usize = 4 << 20;

/// The bytes of a blob as they come.
pub type ByteStream = BoxStream<'static, Result<Bytes, std::io::Error>>;

/// A port: a place that has images.
pub trait Registry: Send + Sync {
    /// Returns the manifest or index that `version`, a tag or a digest, stands for.
    fn manifest<'a>(&'a self, name: &'a str, version: &'a str) -> BoxFuture<'a, Result<Bytes, RegistryError>>;

    /// Returns the bytes of a blob.
    fn blob<'a>(&'a self, name: &'a str, digest: &'a Digest) -> BoxFuture<'a, Result<ByteStream, RegistryError>>;
}

/// What a registry says when it does not deliver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// It does not have it.
    #[error("not found")]
    NotFound,
    /// It does not let us.
    #[error("not authorized")]
    Unauthorized,
    /// It could not be reached, or failed.
    #[error("registry unavailable")]
    Unavailable(#[source] BoxError),
}

/// A reference to a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    #[serde(default)]
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// How many bytes.
    pub size: u64,
    /// In an index: for whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// An image's module, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// What the image is pinned by: the digest of the manifest, or of the index.
    pub digest: Digest,
    /// The digest of the module's bytes, by which compiled code is cached.
    pub module: Digest,
    /// The module.
    pub wasm: Bytes,
}

/// Why an image could not be pulled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The registry did not deliver.
    #[error("pull {image}: {what}")]
    Registry {
        /// The image.
        image: String,
        /// What was asked for.
        what: &'static str,
        /// What the registry said.
        #[source]
        source: RegistryError,
    },
    /// What came has another digest than what was asked for.
    #[error("pull {image}: the {what} has digest {found} instead of {wanted}; push it again")]
    Digest {
        /// The image.
        image: String,
        /// Which document or blob.
        what: &'static str,
        /// What was asked for.
        wanted: Digest,
        /// What came.
        found: Digest,
    },
    /// The registry has the manifest, but not what it refers to.
    #[error("pull {image}: the registry has lost its module {module}; push it again")]
    Lost {
        /// The image.
        image: String,
        /// The module.
        module: Digest,
    },
    /// Over the limit.
    #[error("pull {image}: the {what} has more than {limit} bytes")]
    TooLarge {
        /// The image.
        image: String,
        /// Which document or blob.
        what: &'static str,
        /// How many bytes it may have.
        limit: u64,
    },
    /// The image is none that this host runs.
    #[error("pull {image}: {problem}")]
    Unusable {
        /// The image.
        image: String,
        /// What it is instead.
        problem: Problem,
    },
}

impl PullError {
    /// Reports whether trying again without a change can help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Registry { source, .. } => matches!(source, RegistryError::Unavailable(_)),
            // A proxy that cuts a transfer short looks like this, too.
            Self::Digest { .. } => true,
            Self::Lost { .. } | Self::TooLarge { .. } | Self::Unusable { .. } => false,
        }
    }
}

/// Pulls the module that `reference` names.
///
/// # Errors
/// The [`PullError`] names the image, the step and the cause.
pub async fn pull(registry: &dyn Registry, reference: &Reference) -> Result<Pulled, PullError> {
    Pull { registry, reference }.run().await
}

struct Pull<'a> {
    registry: &'a dyn Registry,
    reference: &'a Reference,
}

impl Pull<'_> {
    async fn run(&self) -> Result<Pulled, PullError> {
        let bytes = self.manifest(self.reference.version(), self.reference.digest()).await?;
        let digest = Digest::of(&bytes);
        let mut document = self.parse(&bytes)?;
        if let Some(manifests) = &document.manifests {
            let chosen = artifact::choose_manifest(manifests).map_err(|problem| self.unusable(problem))?;
            let bytes = self.manifest(chosen.digest.as_str(), Some(&chosen.digest)).await?;
            document = self.parse(&bytes)?;
            if document.manifests.is_some() {
                return Err(self.unusable(Problem::Nested));
            }
        }
        let layer = artifact::choose_layer(&document).map_err(|problem| self.unusable(problem))?;
        let wasm = self.blob(layer).await?;
        Ok(Pulled { digest, module: layer.digest.clone(), wasm })
    }

    async fn manifest(&self, version: &str, wanted: Option<&Digest>) -> Result<Bytes, PullError> {
        let what = "manifest";
        let answer = self.registry.manifest(self.reference.name(), version).await;
        let bytes = answer.map_err(|source| self.failed(what, source))?;
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(self.too_large(what, MANIFEST_BYTES_MAX as u64));
        }
        if let Some(wanted) = wanted {
            self.verify(what, wanted, &bytes)?;
        }
        Ok(bytes)
    }

    async fn blob(&self, layer: &Descriptor) -> Result<Bytes, PullError> {
        let what = "module";
        if layer.size > MODULE_BYTES_MAX as u64 {
            return Err(self.too_large(what, MODULE_BYTES_MAX as u64));
        }
        let answer = self.registry.blob(self.reference.name(), &layer.digest).await;
        let mut chunks = answer
            .map_err(|source| match source {
                RegistryError::NotFound => {
                    PullError::Lost { image: self.reference.to_string(), module: layer.digest.clone() }
                }
                source => self.failed(what, source),
            })?
            .map_err(|error| self.failed(what, RegistryError::Unavailable(error.into())));
        let mut bytes = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            if (bytes.len() + chunk.len()) as u64 > layer.size {
                return Err(self.too_large(what, layer.size));
            }
            bytes.extend_from_slice(&chunk);
        }
        self.verify(what, &layer.digest, &bytes)?;
        Ok(bytes.freeze())
    }

    fn verify(&self, what: &'static str, wanted: &Digest, bytes: &[u8]) -> Result<(), PullError> {
        let found = Digest::of(bytes);
        if found == *wanted {
            return Ok(());
        }
        Err(PullError::Digest { image: self.reference.to_string(), what, wanted: wanted.clone(), found })
    }

    fn parse(&self, bytes: &[u8]) -> Result<Document, PullError> {
        artifact::parse(bytes).map_err(|problem| self.unusable(problem))
    }

    fn failed(&self, what: &'static str, source: RegistryError) -> PullError {
        PullError::Registry { image: self.reference.to_string(), what, source }
    }

    fn too_large(&self, what: &'static str, limit: u64) -> PullError {
        PullError::TooLarge { image: self.reference.to_string(), what, limit }
    }

    fn unusable(&self, problem: Problem) -> PullError {
        PullError::Unusable { image: self.reference.to_string(), problem }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    /// A registry in memory: manifests by tag or digest, blobs by digest.
    #[derive(Default)]
    struct Shelf {
        manifests: BTreeMap<String, Bytes>,
        blobs: BTreeMap<Digest, Bytes>,
    }

    impl Shelf {
        fn put_manifest(&mut self, tag: &str, manifest: &serde_json::Value) -> Digest {
            let bytes = Bytes::from(manifest.to_string());
            let digest = Digest::of(&bytes);
            self.manifests.insert(tag.to_owned(), bytes.clone());
            self.manifests.insert(digest.to_string(), bytes);
            digest
        }

        fn put_wasm(&mut self, wasm: &'static [u8]) -> serde_json::Value {
            let digest = Digest::of(wasm);
            self.blobs.insert(digest.clone(), Bytes::from_static(wasm));
            json!({ "mediaType": artifact::WASM_LAYER, "digest": digest, "size": wasm.len() })
        }
    }

    impl Registry for Shelf {
        fn manifest<'a>(&'a self, _: &'a str, version: &'a str) -> BoxFuture<'a, Result<Bytes, RegistryError>> {
            Box::pin(async move { self.manifests.get(version).cloned().ok_or(RegistryError::NotFound) })
        }

        fn blob<'a>(&'a self, _: &'a str, digest: &'a Digest) -> BoxFuture<'a, Result<ByteStream, RegistryError>> {
            Box::pin(async move {
                let bytes = self.blobs.get(digest).cloned().ok_or(RegistryError::NotFound)?;
                let (head, tail) = (bytes.slice(..bytes.len() / 2), bytes.slice(bytes.len() / 2..));
                Ok(futures::stream::iter([Ok(head), Ok(tail)]).boxed())
            })
        }
    }

    async fn check(shelf: &Shelf, image: &str) -> Result<Pulled, String> {
        pull(shelf, &image.parse().unwrap()).await.map_err(|error| {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            format!("{error}{}", source.unwrap_or_default())
        })
    }

    #[tokio::test]
    async fn the_module_of_a_plain_artifact_is_pulled() {
        let mut shelf = Shelf::default();
        let layer = shelf.put_wasm(b"\0asm module");
        let digest = shelf.put_manifest("v1", &json!({ "schemaVersion": 2, "layers": [layer] }));
        let pulled = check(&shelf, "app:v1").await.unwrap();
        assert_eq!((pulled.digest, pulled.module), (digest, Digest::of(b"\0asm module")));
        assert_eq!(&pulled.wasm[..], b"\0asm module");
    }

    #[tokio::test]
    async fn an_index_is_pinned_by_its_own_digest() {
        let mut shelf = Shelf::default();
        let layer = shelf.put_wasm(b"\0asm inner");
        let inner = shelf.put_manifest("inner", &json!({ "layers": [layer] }));
        let index = json!({ "manifests": [
            { "mediaType": artifact::OCI_MANIFEST, "digest": Digest::of(b"other"), "size": 1,
              "platform": { "os": "linux", "architecture": "amd64" } },
            { "mediaType": artifact::OCI_MANIFEST, "digest": inner, "size": 1,
              "platform": { "os": "wasip1", "architecture": "wasm" } },
        ]});
        let digest = shelf.put_manifest("latest", &index);
        assert_eq!(check(&shelf, "app").await.unwrap().digest, digest);
        assert_eq!(&check(&shelf, &format!("app@{digest}")).await.unwrap().wasm[..], b"\0asm inner");
    }

    #[tokio::test]
    async fn swapped_bytes_are_noticed() {
        let mut shelf = Shelf::default();
        let layer = shelf.put_wasm(b"\0asm good");
        let digest = shelf.put_manifest("v1", &json!({ "layers": [layer] }));
        shelf.blobs.insert(Digest::of(b"\0asm good"), Bytes::from_static(b"\0asm evil"));
        let error = check(&shelf, "app:v1").await.unwrap_err();
        assert!(error.starts_with("pull app:v1: the module has digest sha256:"), "{error}");
        shelf.manifests.insert(digest.to_string(), Bytes::from_static(b"{}"));
        let error = check(&shelf, &format!("app@{digest}")).await.unwrap_err();
        assert!(error.contains("the manifest has digest"), "{error}");
    }

    #[tokio::test]
    async fn a_blob_longer_than_announced_is_cut_off() {
        let mut shelf = Shelf::default();
        let mut layer = shelf.put_wasm(b"\0asm long");
        layer["size"] = json!(4);
        shelf.put_manifest("v1", &json!({ "layers": [layer] }));
        assert_eq!(check(&shelf, "app:v1").await.unwrap_err(), "pull app:v1: the module has more than 4 bytes");
    }

    #[tokio::test]
    async fn what_is_missing_is_named() {
        let mut shelf = Shelf::default();
        assert_eq!(check(&shelf, "app:v1").await.unwrap_err(), "pull app:v1: manifest: not found");
        let layer = shelf.put_wasm(b"\0asm");
        let lost = Digest::of(b"\0asm");
        shelf.put_manifest("v1", &json!({ "layers": [layer] }));
        shelf.blobs.clear();
        assert_eq!(
            check(&shelf, "app:v1").await.unwrap_err(),
            format!("pull app:v1: the registry has lost its module {lost}; push it again")
        );
        let tar =
            json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": Digest::of(b""), "size": 0 });
        shelf.put_manifest("v2", &json!({ "layers": [tar] }));
        let error = check(&shelf, "app:v2").await.unwrap_err();
        assert!(error.starts_with("pull app:v2: it is a container image with a file system"), "{error}");
    }
}
