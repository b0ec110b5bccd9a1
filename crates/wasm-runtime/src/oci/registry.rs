//! The port to whatever has images: a registry on the network, the cluster's own, a layout on disk.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::digest::Digest;
use super::remote::Stray;
use crate::guest::BoxError;

/// A manifest lists a few blobs; registries cap it at 4 MiB too (distribution specification, "Pushing Manifests").
pub const MANIFEST_BYTES_MAX: usize = 4 << 20;

/// The bytes of a blob as they come.
pub type ByteStream = BoxStream<'static, Result<Bytes, std::io::Error>>;

/// A blob on its way.
pub struct Transfer {
    /// At which byte it begins: where it was asked to, or at the first one.
    pub from: u64,
    /// The bytes from there on.
    pub bytes: ByteStream,
}

/// A port: a place that has images.
pub trait Registry: Send + Sync {
    /// Returns the manifest or index that `version`, a tag or a digest, stands for.
    fn manifest<'a>(&'a self, name: &'a str, version: &'a str) -> BoxFuture<'a, Result<Bytes, RegistryError>>;

    /// Returns the bytes of a blob, from byte `from` on if the place can do that.
    fn blob<'a>(
        &'a self,
        name: &'a str,
        digest: &'a Digest,
        from: u64,
    ) -> BoxFuture<'a, Result<Transfer, RegistryError>>;

    /// Returns an index of what refers to a manifest, such as its signatures. Places without the API for it keep the
    /// index under a tag (distribution specification, "Referrers Tag Schema").
    fn referrers<'a>(&'a self, name: &'a str, digest: &'a Digest) -> BoxFuture<'a, Result<Bytes, RegistryError>> {
        Box::pin(async move { self.manifest(name, &digest.to_string().replace(':', "-")).await })
    }
}

/// What a registry says when it does not deliver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// It does not have it.
    #[error("not found")]
    NotFound,
    /// It wants to know who we are.
    #[error("not authorized: the registry asks for credentials")]
    Unauthorized,
    /// It knows who we are, or does not believe it.
    #[error("not authorized: the registry refused the credentials of {user:?}")]
    Refused {
        /// The last of those tried.
        user: String,
    },
    /// It could not be reached, or failed.
    #[error("registry unavailable")]
    Unavailable(#[source] BoxError),
    /// It hangs.
    #[error("the registry was silent for {} s", .0.as_secs())]
    Silent(Duration),
    /// Its certificate is not one that we trust.
    #[error("the registry's certificate is not trusted; name its CA in the node's registry configuration")]
    Untrusted(#[source] BoxError),
    /// It leads where we do not go.
    #[error(transparent)]
    Stray(Stray),
    /// It sends more than anybody needs.
    #[error("the registry's answer has more than {0} bytes")]
    TooLarge(u64),
    /// Anything else.
    #[error("the registry says: {0}")]
    Said(String),
    /// We are not set up for it.
    #[error("the connection cannot be configured")]
    Configuration(#[source] BoxError),
}

impl RegistryError {
    /// Reports whether the next moment may be better.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// Reports whether nobody was there to say anything.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Silent(_))
    }
}
