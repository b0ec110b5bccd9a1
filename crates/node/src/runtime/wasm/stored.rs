//! The images on disk: what there is, what goes, and what is compiled before anybody asks for it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ContainerImage;
use tokio::time::Instant;
use wkube_proxy::BoxError;
use wkube_wasm_runtime::Engine;
use wkube_wasm_runtime::oci::store::{Listed, Removal};
use wkube_wasm_runtime::oci::{Reference, Store};

use super::chain;
use crate::runtime::StoredImage;

/// How many images a node names in its status (`nodeStatusMaxImages`).
const LISTED_MAX: usize = 50;
/// How many names of one image (`nodestatus/setters.go`, `MaxNamesPerImageInNodeStatus`).
const NAMES_MAX: usize = 5;

/// Reads what there is. What cannot be read is as good as not there.
pub(super) async fn list(store: Store) -> Vec<Listed> {
    let read = tokio::task::spawn_blocking(move || store.list()).await;
    match read.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
        Ok(images) => images,
        Err(error) => {
            tracing::warn!(%error, "the images on disk cannot be listed");
            Vec::new()
        }
    }
}

/// Writes them as the node's status names them, the largest first.
pub(super) fn listing(images: &[Listed]) -> Vec<ContainerImage> {
    let mut listing: Vec<ContainerImage> = images
        .iter()
        .map(|listed| {
            let digest = &listed.image.digest;
            let references = listed.names.iter().filter_map(|name| name.parse::<Reference>().ok());
            let pinned: BTreeSet<String> =
                references.map(|reference| reference.pinned(digest.clone()).to_string()).collect();
            let names = pinned.into_iter().chain(listed.names.iter().cloned()).take(NAMES_MAX).collect::<Vec<_>>();
            let names = if names.is_empty() { vec![digest.to_string()] } else { names };
            ContainerImage { names: Some(names), size_bytes: i64::try_from(listed.image.size).ok() }
        })
        .collect();
    listing.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then_with(|| a.names.cmp(&b.names)));
    listing.truncate(LISTED_MAX);
    listing
}

/// Describes an image to the collector.
pub(super) fn candidate(listed: &Listed) -> StoredImage {
    StoredImage {
        digest: listed.image.digest.to_string(),
        size_bytes: listed.image.size,
        saved_at: Timestamp::try_from(listed.saved_at).unwrap_or(Timestamp::UNIX_EPOCH),
    }
}

/// Removes images, and compiled code that no other image needs.
pub(super) async fn remove(store: Store, engine: Engine, digests: Vec<String>) {
    let work = move || {
        for digest in digests {
            let Ok(parsed) = digest.parse() else { continue };
            match store.remove(&parsed) {
                Ok(Removal::Done) => tracing::info!(digest, "removed an image"),
                Ok(Removal::Gone) => {}
                Ok(Removal::Busy) => tracing::info!(digest, "an image is not removed now: another is being pulled"),
                Err(error) => tracing::warn!(digest, %error, "an image cannot be removed"),
            }
        }
        let Ok(images) = store.list() else { return };
        let modules = images.iter().flat_map(|listed| &listed.image.modules);
        let mut kept: BTreeSet<String> = modules.map(|module| module.digest.to_string()).collect();
        kept.insert(super::tools::digest());
        if let Err(error) = engine.retain_cached(&kept) {
            tracing::warn!(error = chain(&error), "compiled code that nobody needs cannot be removed");
        }
    };
    if let Err(error) = tokio::task::spawn_blocking(work).await {
        tracing::error!(%error, "removing images failed");
    }
}

/// Compiles what came without being asked for, or was compiled by another version: one at a time, as all compilation is.
pub(super) async fn compile(store: Store, engine: Engine) {
    for listed in list(store.clone()).await {
        for module in &listed.image.modules {
            let digest = module.digest.clone();
            if engine.has_cached(digest.as_str()) {
                continue;
            }
            let (began, store) = (Instant::now(), store.clone());
            let read = move || async move {
                let read = tokio::task::spawn_blocking(move || store.read(&digest)).await;
                Ok::<_, BoxError>(read??)
            };
            let (digest, image) =
                (module.digest.as_str(), listed.names.first().map(String::as_str).unwrap_or_default());
            match engine.load(digest, read).await {
                Ok(_) => tracing::info!(image, digest, took = ?began.elapsed(), "compiled in advance"),
                // Whoever starts it will be told.
                Err(error) => tracing::debug!(image, digest, error = chain(&error), "not compiled in advance"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use wkube_wasm_runtime::oci::{Digest, Image, manifest};

    use super::*;

    fn listed(names: &[&str], size: u64) -> Listed {
        let digest = Digest::of(size.to_string().as_bytes());
        let image = Image {
            digest: digest.clone(),
            manifest: digest,
            modules: Vec::new(),
            process: manifest::Process::default(),
            root: None,
            size,
            parts: Vec::new(),
            signatures: Vec::new(),
        };
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Listed { image, names, saved_at: std::time::SystemTime::UNIX_EPOCH }
    }

    #[test]
    fn the_largest_images_are_named_first_by_digest_and_by_tag() {
        let listing = listing(&[listed(&["r.io/a:v1", "r.io/a:v2"], 1), listed(&["b:v1"], 2), listed(&[], 3)]);
        let names: Vec<Vec<String>> = listing.iter().filter_map(|image| image.names.clone()).collect();
        let digest = |size: &str| Digest::of(size.as_bytes());
        assert_eq!(
            names,
            [
                vec![digest("3").to_string()],
                vec![format!("b@{}", digest("2")), "b:v1".to_owned()],
                vec![format!("r.io/a@{}", digest("1")), "r.io/a:v1".to_owned(), "r.io/a:v2".to_owned()],
            ]
        );
        assert_eq!(listing[0].size_bytes, Some(3));
    }

    #[test]
    fn no_more_than_fifty_are_named() {
        let many: Vec<Listed> = (0..80).map(|size| listed(&["a:v1"], size)).collect();
        let listing = listing(&many);
        assert_eq!((listing.len(), listing[0].size_bytes), (LISTED_MAX, Some(79)));
    }
}
