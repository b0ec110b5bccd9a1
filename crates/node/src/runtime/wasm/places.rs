//! Where an image is looked for: the cluster's own registry, mirrors, registries; one after the other until one has it.

use wkube_client::Client;
use wkube_wasm_runtime::oci::{self, Keyring, Policy, Reference, Registries, RegistryError, Remote, Store};

use super::built_in::BuiltIn;
use super::chain;
use crate::runtime::PullError;

/// What a node was told about registries.
#[derive(Debug, Clone, Default)]
pub struct ImageOptions {
    /// The registry for names without a host that the built-in registry does not have.
    pub registry_default: Option<String>,
    /// Mirrors, certificates and credentials.
    pub registries: Registries,
    /// Which images must be signed, and by whom.
    pub policy: Policy,
}

/// Everything that has images, and the store that they are brought to.
pub(super) struct Places {
    built_in: Client,
    options: ImageOptions,
    store: Store,
}

impl Places {
    pub(super) fn new(built_in: &Client, options: ImageOptions, store: Store) -> Self {
        Self { built_in: built_in.clone(), options, store }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Returns what is on disk under a name, if the policies of today admit it.
    pub(super) fn find(&self, reference: &Reference) -> Option<oci::Image> {
        let image = self.store.find(reference)?;
        let verdict = self.options.policy.judge(reference, &[&image.digest, &image.manifest], &image.signatures);
        (!matches!(verdict, oci::policy::Verdict::Rejected(_))).then_some(image)
    }

    /// Brings an image to the store.
    pub(super) async fn fetch(&self, reference: &Reference, keyring: &Keyring) -> Result<oci::Image, PullError> {
        if let Some(host) = reference.host() {
            return self.pull_from(host, reference, reference, keyring).await.map_err(|error| judge(&error));
        }
        let built_in = BuiltIn(self.built_in.clone());
        let cause = match self.pull(&built_in, reference.name(), reference).await {
            Err(oci::PullError::Registry { source: RegistryError::NotFound, .. }) => {
                format!("{reference} is not in the built-in registry")
            }
            pulled => return pulled.map_err(|error| judge(&error)),
        };
        let Some(host) = &self.options.registry_default else {
            let next = "push it with `wkube push FILE NAME:TAG`, or name a registry host";
            return Err(PullError::Failed(format!("{cause}, and no default registry is configured; {next}")));
        };
        let there = reference.at(host);
        let pulled = self.pull_from(host, &there, reference, keyring).await;
        pulled.map_err(|error| match judge(&error) {
            PullError::Failed(reason) => PullError::Failed(format!("{cause}; {reason}")),
            other => other,
        })
    }

    /// Pulls from the registry `host` or one of its mirrors. The image is kept under the name that the pod used.
    async fn pull_from(
        &self,
        host: &str,
        there: &Reference,
        reference: &Reference,
        keyring: &Keyring,
    ) -> Result<oci::Image, oci::PullError> {
        let mut latest = None;
        for source in self.options.registries.sources(host, there) {
            let credentials = keyring.find(&source.endpoint.host, &source.name);
            // A mirror is trusted with what is meant for the registry that it stands for by whoever configured it.
            let credentials = if credentials.is_empty() { keyring.find(host, there.name()) } else { credentials };
            let remote = Remote::new(source.endpoint, credentials);
            let remote = remote.map_err(|error| oci::PullError::Registry {
                image: there.to_string(),
                what: "connection",
                source: error,
            });
            let pulled = match remote {
                Ok(remote) => self.pull(&remote, &source.name, there).await,
                Err(error) => Err(error),
            };
            match pulled {
                Err(error) if error.is_of_the_place() => {
                    tracing::debug!(image = %there, %error, "not here; asking the next");
                    latest = Some(error);
                }
                Ok(image) => {
                    if there != reference {
                        let saved = self.store.save(reference, &image);
                        saved.map_err(|source| oci::PullError::Disk { image: reference.to_string(), source })?;
                    }
                    return Ok(image);
                }
                other => return other,
            }
        }
        Err(latest.expect("the registry itself is always among the sources"))
    }

    async fn pull(
        &self,
        registry: &dyn oci::Registry,
        name: &str,
        reference: &Reference,
    ) -> Result<oci::Image, oci::PullError> {
        oci::pull(registry, name, reference, &self.store, &self.options.policy).await
    }
}

/// Tells apart what kubelet has words for (`kubelet/images/image_manager.go`, `evalCRIPullErr`).
fn judge(error: &oci::PullError) -> PullError {
    match error {
        oci::PullError::Unsigned { reason, .. } => PullError::Unsigned(reason.clone()),
        error if error.is_unavailable() => PullError::Unavailable(chain(error)),
        error => PullError::Failed(chain(error)),
    }
}
