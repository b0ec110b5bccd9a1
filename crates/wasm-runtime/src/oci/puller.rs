//! Pulls an image into the store: manifest, config, layers; every digest is verified and every size is capped.
//!
//! Nothing is unpacked or compiled before its digest is verified, and nothing is fetched that is here already: of an image
//! that has not changed, only the manifest.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use super::artifact::{self, Plan, Problem};
use super::digest::Digest;
use super::image::{Image, Module};
use super::manifest::{self, Config, Descriptor, Document};
use super::policy::{Policy, Verdict};
use super::reference::Reference;
use super::registry::{MANIFEST_BYTES_MAX, Registry, RegistryError};
use super::rootfs::{self, Failure};
use super::signature::{self, Signature};
use super::store::Store;
use super::unpack::Layer;
use crate::inspect::MODULE_BYTES_MAX;

/// Configs list the steps of a build.
const CONFIG_BYTES_MAX: u64 = 8 << 20;
/// All layers of an image, compressed.
const IMAGE_BYTES_MAX: u64 = 2 << 30;
/// How often something is asked for when the registry fails in passing.
const ATTEMPTS_MAX: u32 = 4;
/// The first pause between attempts; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(250);
/// Whoever sends less than this in the long run does not send; the first minute is free.
const BYTES_PER_SECOND_MIN: u64 = 16 << 10;
const TRANSFER_GRACE: Duration = Duration::from_mins(1);

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
    #[error("pull {image}: the registry has lost its {what} {digest}; push it again")]
    Lost {
        /// The image.
        image: String,
        /// Which blob.
        what: &'static str,
        /// Its digest.
        digest: Digest,
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
    /// A policy wants a signature that is not there.
    #[error("pull {image}: {reason}")]
    Unsigned {
        /// The image.
        image: String,
        /// Which policy wants what, and what there is.
        reason: String,
    },
    /// It could not be kept.
    #[error("pull {image}: failed to keep it on disk")]
    Disk {
        /// The image.
        image: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl PullError {
    /// Reports whether nobody was there to ask.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Registry { source, .. } if source.is_unavailable())
    }

    /// Reports whether another place may have what this one does not.
    pub fn is_of_the_place(&self) -> bool {
        matches!(self, Self::Registry { .. } | Self::Digest { .. } | Self::Lost { .. })
    }
}

/// Pulls the image that `reference` names from `registry`, where it is called `name`.
///
/// # Errors
/// The [`PullError`] names the image, the step and the cause.
pub async fn pull(
    registry: &dyn Registry,
    name: &str,
    reference: &Reference,
    store: &Store,
    policy: &Policy,
) -> Result<Image, PullError> {
    Pull { registry, name, reference, store, policy }.run().await
}

struct Pull<'a> {
    registry: &'a dyn Registry,
    name: &'a str,
    reference: &'a Reference,
    store: &'a Store,
    policy: &'a Policy,
}

/// The documents of an image, from the outside to the inside.
struct Documents {
    digest: Digest,
    manifest_digest: Digest,
    manifest: Document,
    parts: Vec<Digest>,
    size: u64,
    /// What to say if the chosen image turns out to be for a machine.
    others: Option<Problem>,
}

impl Pull<'_> {
    async fn run(&self) -> Result<Image, PullError> {
        let _adding = self.store.adding().map_err(|source| self.disk(source))?;
        let mut documents = self.documents().await?;
        let signatures = self.verify_signatures(&documents).await?;
        if let Some(image) = self.unchanged(&documents, &signatures) {
            self.store.save(self.reference, &image).map_err(|source| self.disk(source))?;
            return Ok(image);
        }
        let config = self.config(&mut documents).await?;
        let manifest = documents.manifest.clone();
        let (modules, root) = match artifact::plan(&manifest).map_err(|problem| self.unusable(problem))? {
            Plan::Modules(layers) => (self.modules(&layers, &mut documents).await?, None),
            Plan::Rootfs(layers) => {
                let modules = self.rootfs(&layers, &config, &mut documents).await?;
                (modules, Some(documents.manifest_digest.clone()))
            }
        };
        let image = Image {
            digest: documents.digest,
            manifest: documents.manifest_digest,
            modules,
            process: config.process,
            root,
            size: documents.size,
            parts: documents.parts,
            signatures,
        };
        self.store.save(self.reference, &image).map_err(|source| self.disk(source))?;
        Ok(image)
    }

    /// Returns the image if it is here with all that it needs.
    fn unchanged(&self, documents: &Documents, signatures: &[Signature]) -> Option<Image> {
        let mut image = self.store.find(&self.reference.pinned(documents.digest.clone()))?;
        if !signatures.is_empty() {
            image.signatures = signatures.to_vec();
        }
        Some(image)
    }

    async fn documents(&self) -> Result<Documents, PullError> {
        let bytes = self.manifest(self.reference.version(), self.reference.digest()).await?;
        let digest = self.keep(&bytes)?;
        let outer = self.parse(&bytes)?;
        let size = bytes.len() as u64;
        let Some(manifests) = &outer.manifests else {
            let (parts, manifest_digest) = (vec![digest.clone()], digest.clone());
            return Ok(Documents { digest, manifest_digest, manifest: outer, parts, size, others: None });
        };
        let choice = artifact::choose_manifest(manifests).map_err(|problem| self.unusable(problem))?;
        let wanted = &choice.manifest.digest;
        let bytes = self.manifest(wanted.as_str(), Some(wanted)).await?;
        let inner = self.parse(&bytes)?;
        if inner.manifests.is_some() {
            return Err(self.unusable(Problem::Nested));
        }
        let manifest_digest = self.keep(&bytes)?;
        Ok(Documents {
            parts: vec![digest.clone(), manifest_digest.clone()],
            digest,
            manifest_digest,
            manifest: inner,
            size: size + bytes.len() as u64,
            others: (!choice.is_for_wasi && manifests.len() > 1).then(|| artifact::no_platform(manifests)),
        })
    }

    /// Fetches what signatures there are, if a policy wants any, and asks the policy. A signature that was good once is
    /// good without asking anybody.
    async fn verify_signatures(&self, documents: &Documents) -> Result<Vec<Signature>, PullError> {
        if !self.policy.applies_to(self.reference) {
            return Ok(Vec::new());
        }
        let digests = [&documents.digest, &documents.manifest_digest];
        let known = self.store.find(&self.reference.pinned(documents.digest.clone())).map(|image| image.signatures);
        let known = known.unwrap_or_default();
        if matches!(self.policy.judge(self.reference, &digests, &known), Verdict::Admitted) {
            return Ok(known);
        }
        let mut found = Vec::new();
        for digest in digests.into_iter().take(if digests[0] == digests[1] { 1 } else { 2 }) {
            let signatures = signature::discover(self.registry, self.name, digest).await;
            found.extend(signatures.map_err(|source| self.failed("signatures", source))?);
        }
        match self.policy.judge(self.reference, &digests, &found) {
            Verdict::Admitted => Ok(found),
            Verdict::Warned(reason) => {
                tracing::warn!(image = %self.reference, reason, "the image is not signed as a policy asks");
                Ok(found)
            }
            Verdict::Rejected(reason) => Err(PullError::Unsigned { image: self.reference.to_string(), reason }),
        }
    }

    /// Fetches the config and reads it, if it is one of a container image. The others are kept for those to whom the
    /// image is exported; what is run does not depend on them.
    async fn config(&self, documents: &mut Documents) -> Result<Config, PullError> {
        let Some(described) = documents.manifest.config.clone() else { return Ok(Config::default()) };
        let is_read = artifact::has_config(&documents.manifest).is_some();
        match self.blob("config", &described, CONFIG_BYTES_MAX).await {
            Ok(()) => documents.add(&described),
            Err(PullError::Lost { .. }) if !is_read => return Ok(Config::default()),
            Err(error) => return Err(error),
        }
        if !is_read {
            return Ok(Config::default());
        }
        let bytes = self.store.read(&described.digest).map_err(|source| self.disk(source))?;
        Config::parse(&bytes).map_err(|problem| self.unusable(problem))
    }

    async fn modules(&self, layers: &[&Descriptor], documents: &mut Documents) -> Result<Vec<Module>, PullError> {
        let mut modules = Vec::new();
        for layer in layers {
            self.blob("module", layer, MODULE_BYTES_MAX as u64).await?;
            documents.add(layer);
            let path = layer.title().map(str::to_owned);
            modules.push(Module { path, digest: layer.digest.clone(), size: layer.size });
        }
        Ok(modules)
    }

    async fn rootfs(
        &self,
        layers: &[&Descriptor],
        config: &Config,
        documents: &mut Documents,
    ) -> Result<Vec<Module>, PullError> {
        let total: u64 = layers.iter().fold(0, |total, layer| total.saturating_add(layer.size));
        if total > IMAGE_BYTES_MAX {
            return Err(self.too_large("image", IMAGE_BYTES_MAX));
        }
        for layer in layers {
            self.blob("layer", layer, IMAGE_BYTES_MAX).await?;
            documents.add(layer);
        }
        let files = layers.iter().enumerate().map(|(number, layer)| Layer {
            file: self.store.blob(&layer.digest),
            diff_id: config.rootfs.diff_ids.get(number).cloned(),
        });
        let (files, store, digest) = (files.collect::<Vec<_>>(), self.store.clone(), documents.manifest_digest.clone());
        let laid_out = tokio::task::spawn_blocking(move || rootfs::lay_out(&store, &files, &digest)).await;
        let modules = match laid_out.unwrap_or_else(|error| Err(Failure::Disk(io::Error::other(error)))) {
            Ok(modules) => modules,
            Err(Failure::Layer(number, reason)) => {
                return Err(self.unusable(Problem::Layer { layer: layers[number].digest.clone(), reason }));
            }
            Err(Failure::Disk(source)) => return Err(self.disk(source)),
        };
        if modules.is_empty() {
            return Err(self.unusable(documents.others.take().unwrap_or_else(|| not_wasm(config))));
        }
        if let [only] = &modules[..]
            && only.path.as_deref() == Some("/plugin.wasm")
            && config.process.entrypoint.is_empty()
            && config.process.cmd.is_empty()
        {
            return Err(self.unusable(Problem::ProxyWasm));
        }
        Ok(modules)
    }

    async fn manifest(&self, version: &str, wanted: Option<&Digest>) -> Result<Bytes, PullError> {
        let what = "manifest";
        let mut failures = 0;
        let bytes = loop {
            match self.registry.manifest(self.name, version).await {
                Ok(bytes) => break bytes,
                Err(RegistryError::TooLarge(limit)) => return Err(self.too_large(what, limit)),
                Err(error) => self.pause(what, error, &mut failures).await?,
            }
        };
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(self.too_large(what, MANIFEST_BYTES_MAX as u64));
        }
        match wanted {
            Some(wanted) if !wanted.matches(&bytes) => Err(self.lie(what, wanted, Digest::of(&bytes))),
            _ => Ok(bytes),
        }
    }

    /// Brings a blob into the store, unless it is there. A transfer that breaks goes on where it was.
    async fn blob(&self, what: &'static str, blob: &Descriptor, limit: u64) -> Result<(), PullError> {
        if blob.size > limit {
            return Err(self.too_large(what, limit));
        }
        if self.store.has(&blob.digest, blob.size) {
            return Ok(());
        }
        let path = self.store.temporary();
        let slowest = TRANSFER_GRACE + Duration::from_secs(blob.size / BYTES_PER_SECOND_MIN);
        let fetching = self.fetch(what, blob, &path);
        let fetched = tokio::time::timeout(slowest, fetching).await.unwrap_or_else(|_| {
            Err(self.failed(what, RegistryError::Unavailable("the registry is too slow to be waited for".into())))
        });
        let kept = match fetched {
            Ok(()) => tokio::fs::rename(&path, self.store.blob(&blob.digest)).await.map_err(|source| self.disk(source)),
            Err(error) => Err(error),
        };
        if kept.is_err() {
            let _ = tokio::fs::remove_file(&path).await;
        }
        kept
    }

    async fn fetch(&self, what: &'static str, blob: &Descriptor, path: &std::path::Path) -> Result<(), PullError> {
        let mut file = tokio::fs::File::create(path).await.map_err(|source| self.disk(source))?;
        let (mut hasher, mut have, mut failures) = (Sha256::new(), 0_u64, 0);
        while have < blob.size {
            let before = have;
            let Err(error) = self.receive(what, blob, &mut file, &mut hasher, &mut have).await? else { break };
            if have > before {
                failures = 0;
            }
            self.pause(what, error, &mut failures).await?;
        }
        let found = Digest::finish(hasher);
        if found != blob.digest {
            return Err(self.lie(what, &blob.digest, found));
        }
        let synced = async { file.flush().await.and(file.sync_all().await) }.await;
        synced.map_err(|source| self.disk(source))
    }

    /// Takes what one transfer brings. The inner error is the registry's, and may pass.
    async fn receive(
        &self,
        what: &'static str,
        blob: &Descriptor,
        file: &mut tokio::fs::File,
        hasher: &mut Sha256,
        have: &mut u64,
    ) -> Result<Result<(), RegistryError>, PullError> {
        let mut transfer = match self.registry.blob(self.name, &blob.digest, *have).await {
            Ok(transfer) => transfer,
            Err(RegistryError::NotFound) => {
                let (image, digest) = (self.reference.to_string(), blob.digest.clone());
                return Err(PullError::Lost { image, what, digest });
            }
            Err(error) => return Ok(Err(error)),
        };
        // What is here already is skipped if the registry begins anew.
        let mut skip = have.saturating_sub(transfer.from);
        while let Some(chunk) = transfer.bytes.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => return Ok(Err(RegistryError::Unavailable(error.into()))),
            };
            let known = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= known as u64;
            let new = &chunk[known..];
            if *have + new.len() as u64 > blob.size {
                return Err(self.too_large(what, blob.size));
            }
            file.write_all(new).await.map_err(|source| self.disk(source))?;
            hasher.update(new);
            *have += new.len() as u64;
        }
        if *have == blob.size {
            return Ok(Ok(()));
        }
        let (have, size) = (*have, blob.size);
        Ok(Err(RegistryError::Unavailable(format!("the transfer ended after {have} of {size} bytes").into())))
    }

    /// Waits before the next attempt, or gives up.
    async fn pause(&self, what: &'static str, error: RegistryError, failures: &mut u32) -> Result<(), PullError> {
        *failures += 1;
        if !error.is_transient() || *failures >= ATTEMPTS_MAX {
            return Err(self.failed(what, error));
        }
        tracing::debug!(image = %self.reference, what, %error, "the registry failed; trying again");
        tokio::time::sleep(PAUSE * 2_u32.pow(*failures - 1)).await;
        Ok(())
    }

    fn keep(&self, bytes: &[u8]) -> Result<Digest, PullError> {
        self.store.put(bytes).map_err(|source| self.disk(source))
    }

    fn parse(&self, bytes: &[u8]) -> Result<Document, PullError> {
        manifest::parse(bytes).map_err(|problem| self.unusable(problem))
    }

    fn failed(&self, what: &'static str, source: RegistryError) -> PullError {
        PullError::Registry { image: self.reference.to_string(), what, source }
    }

    fn lie(&self, what: &'static str, wanted: &Digest, found: Digest) -> PullError {
        PullError::Digest { image: self.reference.to_string(), what, wanted: wanted.clone(), found }
    }

    fn too_large(&self, what: &'static str, limit: u64) -> PullError {
        PullError::TooLarge { image: self.reference.to_string(), what, limit }
    }

    fn unusable(&self, problem: Problem) -> PullError {
        PullError::Unusable { image: self.reference.to_string(), problem }
    }

    fn disk(&self, source: io::Error) -> PullError {
        PullError::Disk { image: self.reference.to_string(), source }
    }
}

impl Documents {
    fn add(&mut self, part: &Descriptor) {
        if !self.parts.contains(&part.digest) {
            self.parts.push(part.digest.clone());
            self.size += part.size;
        }
    }
}

fn not_wasm(config: &Config) -> Problem {
    let process = &config.process;
    let entrypoint = process.entrypoint.first().or(process.cmd.first()).cloned().unwrap_or_default();
    let named = |text: &str| if text.is_empty() { "an unknown platform".to_owned() } else { text.to_owned() };
    let platform = if config.os.is_empty() { named("") } else { format!("{}/{}", config.os, config.architecture) };
    Problem::Container { platform, entrypoint }
}

#[cfg(test)]
#[path = "puller_tests.rs"]
mod tests;
