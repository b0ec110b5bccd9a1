//! The adapter to `wkube-wasm-runtime`: images over OCI, commands and HTTP handlers as guests.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::ContainerImage;
use wkube_client::Client;
use wkube_proxy::{BoxError, Proxy};
use wkube_wasm_runtime::oci::{self, Reference, Store};
use wkube_wasm_runtime::{Artifact, Engine, Error, TlsTrust};

pub(super) use self::compiled::Compiled;
use self::outgoing::Outgoing;
use self::places::Places;
use self::programs::WithPrograms;
use super::process::Workers;
use super::{ContainerSpec, Guest, Image, Pull, PullError, Runtime, StartError, StoredImage};

mod buckets;
mod built_in;
mod compiled;
mod guests;
mod outgoing;
mod places;
mod program;
mod programs;
mod shared;
mod stored;
mod tools;

pub use self::places::ImageOptions;

/// What a node reports as its container runtime.
const VERSION: &str = "wasmtime://48.0.8";

/// What guests may be built for: worlds, and interfaces that are not part of every world.
const WORLDS: [&str; 9] = [
    "wasi-cli-0.1",
    "wasi-cli-0.2",
    "wasi-cli-0.3",
    "wasi-http-0.2",
    "wasi-http-0.3",
    "wasi-config-0.2.0-rc.1",
    "wasi-keyvalue-0.2.0-draft",
    "wasi-keyvalue-0.2.0-draft2",
    "wasi-logging-0.1.0-draft",
];

/// Runs WASI modules and components. Clones share everything.
#[derive(Clone)]
pub struct WasmRuntime(Arc<Inner>);

struct Inner {
    compiled: Compiled,
    workers: Workers,
    places: Places,
    proxy: Proxy,
}

impl WasmRuntime {
    /// Returns a runtime that keeps images under `dir`. Names without a host are looked up in the control plane's own
    /// registry through `client` first. `pod_worker` is the program of pods' own processes.
    ///
    /// # Errors
    /// If the directory cannot be used.
    pub fn new(
        engine: Engine,
        dir: &Path,
        client: &Client,
        options: ImageOptions,
        proxy: Proxy,
        pod_worker: Option<PathBuf>,
    ) -> std::io::Result<Self> {
        let store = Store::open(dir)?;
        let workers = Workers::new(pod_worker, engine.cache_dir().to_owned());
        Ok(Self(Arc::new(Inner {
            compiled: Compiled::new(engine),
            workers,
            places: Places::new(client, options, store),
            proxy,
        })))
    }

    fn found(reference: &Reference, image: &oci::Image) -> Image {
        Image { id: reference.pinned(image.digest.clone()).to_string(), size_bytes: image.size }
    }

    async fn artifact(&self, module: &oci::Module) -> Result<Artifact, StartError> {
        let (store, digest) = (self.0.places.store().clone(), module.digest.clone());
        let read = move || async move {
            let read = tokio::task::spawn_blocking(move || store.read(&digest)).await;
            Ok::<_, BoxError>(read??)
        };
        self.0.compiled.engine().load(module.digest.as_str(), read).await.map_err(|error| judge(&error))
    }

    async fn launch(&self, spec: ContainerSpec) -> Result<Arc<dyn Guest>, StartError> {
        let (module, mut spec) = self.as_the_image_wants(spec).await?;
        let artifact = self.artifact(&module).await?;
        let is_tls = |import: &String| import.starts_with("wasi:tls/") || import.starts_with("wasi:http/");
        if artifact.inspection().imports.iter().any(is_tls) {
            spec.trusts = program::trusts(&spec.env, &spec.mounts);
        }
        let namespace = spec.pod.namespace.clone();
        let trust = spec.trusts.as_ref().map(|pem| TlsTrust::of_pem(pem.as_bytes()));
        let outbound = Arc::new(Outgoing::new(self.0.proxy.clone(), namespace, spec.network.clone(), trust));
        let (image, own) = (spec.image.id.as_str().into(), spec.args.first().map_or("", String::as_str).into());
        let guest = match &spec.process {
            None => self.0.compiled.start(artifact, outbound, spec).await?,
            Some(limits) => {
                // A pod's own process can compile nothing: what it may be asked to run has to be there.
                tools::compile(self.0.compiled.engine()).await.map_err(|error| judge(&error))?;
                let mut limits = limits.clone();
                limits.readable.push(self.0.places.store().roots());
                self.0.workers.start(module.digest.as_str(), &limits, outbound, spec).await?
            }
        };
        Ok(Arc::new(WithPrograms { guest, runtime: self.clone(), image, own }))
    }

    /// Completes what the pod says with what its image says, and chooses the module to run.
    async fn as_the_image_wants(&self, mut spec: ContainerSpec) -> Result<(oci::Module, ContainerSpec), StartError> {
        let id = &spec.image.id;
        let reference: Reference = id.parse().map_err(|error| StartError::Failed(format!("{error}")))?;
        let image = self.0.places.store().find(&reference);
        let image = image.ok_or_else(|| StartError::Failed(format!("image {id} is no longer on this node")))?;
        spec.args = program::argv(&image.process, spec.command.is_some(), spec.args);
        spec.env = program::env(&image.process, spec.env);
        let module = image.module(spec.args.first().map_or("", String::as_str));
        let module = module.map_err(|problem| StartError::Unrunnable(format!("image {id}: {problem}")))?.clone();
        if let Some(root) = &image.root {
            let root = self.0.places.store().root(root);
            let modules = image.modules.iter().filter_map(|module| module.path.clone()).collect();
            let mut mounts = spec.mounts.clone();
            let showing =
                tokio::task::spawn_blocking(move || program::show_files(&root, &modules, &mut mounts).map(|()| mounts));
            let failed =
                |problem: String| StartError::Failed(format!("failed to show the files of its image: {problem}"));
            let shown = showing.await.map_err(|error| failed(error.to_string()))?;
            spec.mounts = shown.map_err(|error| failed(error.to_string()))?;
            // A path in an image says which module, not which of its functions.
            spec.command = None;
        }
        let wanted = spec.working_dir.take().unwrap_or_else(|| image.process.working_dir.clone());
        if !wanted.is_empty() {
            let entered = program::enter(&wanted, &spec.mounts);
            let dir = entered.map_err(|problem| StartError::Failed(format!("workingDir \"{wanted}\": {problem}")))?;
            // What is left of it for preview 1: Go's programs begin there, and so do the node's tools.
            if !spec.env.iter().any(|(name, _)| name == "PWD") {
                spec.env.push(("PWD".to_owned(), dir.clone()));
            }
            spec.working_dir = Some(dir);
        }
        Ok((module, spec))
    }
}

impl Runtime for WasmRuntime {
    fn find_image(&self, name: &str) -> BoxFuture<'static, Option<Image>> {
        let found = name.parse::<Reference>().ok().and_then(|reference| {
            let image = self.0.places.find(&reference)?;
            Some(Self::found(&reference, &image))
        });
        std::future::ready(found).boxed()
    }

    fn pull_image(&self, pull: Pull) -> BoxFuture<'static, Result<Image, PullError>> {
        let me = self.clone();
        let pulling = async move {
            let parsed = pull.image.parse::<Reference>();
            let reference = parsed.map_err(|error| PullError::InvalidName {
                image: pull.image.clone(),
                problem: error.reason.to_string(),
            })?;
            let image = me.0.places.fetch(&reference, &pull.keyring).await?;
            Ok(Self::found(&reference, &image))
        };
        pulling.boxed()
    }

    fn images(&self) -> BoxFuture<'static, Vec<ContainerImage>> {
        let store = self.0.places.store().clone();
        async move { stored::listing(&stored::list(store).await) }.boxed()
    }

    fn stored_images(&self) -> BoxFuture<'static, Vec<StoredImage>> {
        let store = self.0.places.store().clone();
        async move { stored::list(store).await.iter().map(stored::candidate).collect() }.boxed()
    }

    fn remove_images(&self, digests: Vec<String>) -> BoxFuture<'static, ()> {
        let (store, engine) = (self.0.places.store().clone(), self.0.compiled.engine().clone());
        stored::remove(store, engine, digests).boxed()
    }

    fn prepare_images(&self) -> BoxFuture<'static, ()> {
        let (store, engine) = (self.0.places.store().clone(), self.0.compiled.engine().clone());
        stored::compile(store, engine).boxed()
    }

    fn start(&self, spec: ContainerSpec) -> BoxFuture<'static, Result<Arc<dyn Guest>, StartError>> {
        let me = self.clone();
        async move { me.launch(spec).await }.boxed()
    }

    fn worlds(&self) -> Vec<String> {
        WORLDS.map(str::to_owned).into()
    }

    fn set_memory_room(&self, bytes: u64) {
        self.0.compiled.engine().set_memory_room(bytes);
    }

    fn version(&self) -> String {
        VERSION.to_owned()
    }
}

/// What the module is never changes; everything else may be better next time.
fn judge(error: &Error) -> StartError {
    match error {
        Error::CompileBudget { .. }
        | Error::CompileMemory { .. }
        | Error::CompileTime { .. }
        | Error::Refused(_)
        | Error::Text(_)
        | Error::Compile(_)
        | Error::Link(_)
        | Error::MemoryLimit { .. }
        | Error::NoEntry(_)
        | Error::NoExport { .. } => StartError::Unrunnable(chain(error)),
        _ => StartError::Failed(chain(error)),
    }
}

/// Writes why something failed, without the host's view of where.
fn cause(error: &dyn StdError) -> String {
    error.source().map_or_else(|| error.to_string(), chain)
}

/// Writes an error with its sources.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let message = source.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
#[path = "wasm_tests.rs"]
mod tests;
