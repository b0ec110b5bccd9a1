//! A registry in memory for tests, which may lie, fail and stop in the middle.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::artifact;
use super::digest::Digest;
use super::image::Image;
use super::policy::Policy;
use super::puller::pull;
use super::registry::{Registry, RegistryError, Transfer};
use super::store::Store;

/// Manifests by tag or digest, blobs by digest.
#[derive(Default)]
pub(super) struct Shelf {
    pub(super) manifests: BTreeMap<String, Bytes>,
    pub(super) blobs: BTreeMap<Digest, Bytes>,
    pub(super) referrers: BTreeMap<Digest, Bytes>,
    /// After how many bytes each transfer breaks, if it does.
    pub(super) breaks_after: Option<usize>,
    /// Whether a transfer may begin in the middle.
    pub(super) knows_ranges: bool,
    /// How often it still says that it is unavailable.
    pub(super) failures: Mutex<u32>,
    /// What was asked for.
    pub(super) asked: Mutex<Vec<String>>,
}

impl Shelf {
    pub(super) fn put_manifest(&mut self, tag: &str, manifest: &Value) -> Digest {
        let bytes = Bytes::from(manifest.to_string());
        let digest = Digest::of(&bytes);
        self.manifests.insert(tag.to_owned(), bytes.clone());
        self.manifests.insert(digest.to_string(), bytes);
        digest
    }

    /// Keeps a blob and describes it.
    pub(super) fn put(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        self.blobs.insert(digest.clone(), Bytes::copy_from_slice(bytes));
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    pub(super) fn put_wasm(&mut self, wasm: &[u8]) -> Value {
        self.put(artifact::WASM_LAYER, wasm)
    }

    fn ask(&self, what: String) -> Result<(), RegistryError> {
        self.asked.lock().push(what);
        let mut failures = self.failures.lock();
        if *failures == 0 {
            return Ok(());
        }
        *failures -= 1;
        Err(RegistryError::Unavailable("HTTP 503".into()))
    }
}

impl Registry for Shelf {
    fn manifest<'a>(&'a self, _: &'a str, version: &'a str) -> BoxFuture<'a, Result<Bytes, RegistryError>> {
        Box::pin(async move {
            self.ask(format!("manifest {version}"))?;
            self.manifests.get(version).cloned().ok_or(RegistryError::NotFound)
        })
    }

    fn blob<'a>(&'a self, _: &'a str, digest: &'a Digest, from: u64) -> BoxFuture<'a, Result<Transfer, RegistryError>> {
        Box::pin(async move {
            self.ask(format!("blob from {from}"))?;
            let bytes = self.blobs.get(digest).cloned().ok_or(RegistryError::NotFound)?;
            let from = if self.knows_ranges { from } else { 0 };
            let rest = bytes.slice(usize::try_from(from).unwrap().min(bytes.len())..);
            let middle = self.breaks_after.unwrap_or(rest.len() / 2).min(rest.len());
            let (head, tail) = (rest.slice(..middle), rest.slice(middle..));
            let is_broken = self.breaks_after.is_some() && !tail.is_empty();
            let end = if is_broken { Err(std::io::Error::other("connection reset")) } else { Ok(tail) };
            Ok(Transfer { from, bytes: futures::stream::iter([Ok(head), end]).boxed() })
        })
    }

    fn referrers<'a>(&'a self, _: &'a str, digest: &'a Digest) -> BoxFuture<'a, Result<Bytes, RegistryError>> {
        Box::pin(async move { self.referrers.get(digest).cloned().ok_or(RegistryError::NotFound) })
    }
}

/// A store with a shelf beside it.
pub(super) struct World {
    pub(super) shelf: Shelf,
    pub(super) store: Store,
    pub(super) policy: Policy,
    pub(super) dir: tempfile::TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("images")).unwrap();
        Self { shelf: Shelf::default(), store, policy: Policy::default(), dir }
    }

    pub(super) async fn pull(&self, image: &str) -> Result<Image, String> {
        let reference = image.parse().unwrap();
        pull(&self.shelf, "app", &reference, &self.store, &self.policy).await.map_err(|error| {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            format!("{error}{}", source.unwrap_or_default())
        })
    }
}
