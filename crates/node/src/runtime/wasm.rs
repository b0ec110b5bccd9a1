//! The adapter to `wkube-wasm-runtime`: images over OCI, commands and HTTP handlers as guests.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use wkube_client::Client;
use wkube_proxy::{BoxError, Proxy};
use wkube_wasm_runtime::oci::{self, Credentials, Digest, Reference, Registry, Remote, Store};
use wkube_wasm_runtime::{Artifact, Bucket, Buckets, Engine, Error};

use self::guests::Sandbox;
use self::shared::Shared;
use super::{ContainerSpec, Credential, Guest, Image, Pull, PullError, Runtime, StartError};
use crate::grants::Keep;

mod buckets;
mod guests;
mod shared;
mod tools;

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
    engine: Engine,
    store: Store,
    built_in: Client,
    registry_default: Option<String>,
    proxy: Proxy,
    shared: Shared,
    buckets: Buckets,
}

impl WasmRuntime {
    /// Returns a runtime that keeps images under `dir`. Names without a host are looked up in the control plane's own
    /// registry through `client`, then in `registry_default`.
    ///
    /// # Errors
    /// If the directory cannot be used.
    pub fn new(
        engine: Engine,
        dir: &Path,
        client: &Client,
        registry_default: Option<String>,
        proxy: Proxy,
    ) -> std::io::Result<Self> {
        let store = Store::open(dir)?;
        Ok(Self(Arc::new(Inner {
            engine,
            store,
            built_in: client.clone(),
            registry_default,
            proxy,
            shared: Shared::default(),
            buckets: Buckets::default(),
        })))
    }

    fn found(reference: &Reference, image: &oci::store::Image) -> Image {
        Image { id: reference.pinned(image.digest.clone()).to_string(), size_bytes: image.size }
    }

    async fn fetch(&self, reference: &Reference, credentials: &[Credential]) -> Result<oci::Pulled, String> {
        let login = |host: &str| {
            let found = credentials.iter().find(|credential| credential.host == host);
            found.map_or(Credentials::Anonymous, |found| Credentials::Basic {
                user: found.user.clone(),
                password: found.password.clone(),
            })
        };
        if let Some(host) = reference.host() {
            let remote = Remote::new(host, login(host));
            return oci::pull(&remote, reference).await.map_err(|error| chain(&error));
        }
        let cause = match oci::pull(&BuiltIn(self.0.built_in.clone()), reference).await {
            Ok(pulled) => return Ok(pulled),
            Err(oci::PullError::Registry { source: oci::puller::RegistryError::NotFound, .. }) => {
                format!("{reference} is not in the built-in registry")
            }
            Err(error) => return Err(chain(&error)),
        };
        let Some(host) = &self.0.registry_default else {
            let next = "push it with `wkube push FILE NAME:TAG`, or name a registry host";
            return Err(format!("{cause}, and no default registry is configured; {next}"));
        };
        let remote = Remote::new(host, login(host));
        oci::pull(&remote, &reference.at(host)).await.map_err(|error| format!("{cause}; {}", chain(&error)))
    }

    async fn artifact(&self, image: &Image) -> Result<Artifact, StartError> {
        let reference: Reference = image.id.parse().map_err(|error| StartError::Failed(format!("{error}")))?;
        let found = self.0.store.find(&reference);
        let found = found.ok_or_else(|| StartError::Failed(format!("image {} is no longer on this node", image.id)))?;
        let (me, module) = (self.clone(), found.module.clone());
        let read = move || async move {
            let read = tokio::task::spawn_blocking(move || me.0.store.read(&module)).await;
            Ok::<_, BoxError>(read??)
        };
        self.0.engine.load(found.module.as_str(), read).await.map_err(|error| judge(&error))
    }

    async fn launch(&self, spec: ContainerSpec) -> Result<Arc<dyn Guest>, StartError> {
        let artifact = self.artifact(&spec.image).await?;
        let buckets = self.open_buckets(&spec).await?;
        let held = self.0.shared.hold(&self.0.engine, &spec);
        Sandbox::start(self.0.engine.clone(), artifact, self.0.proxy.clone(), buckets, held, spec)
    }

    /// Opens the `wasi:keyvalue` buckets that the pod grants the container.
    async fn open_buckets(&self, spec: &ContainerSpec) -> Result<BTreeMap<String, Bucket>, StartError> {
        let mut opened = BTreeMap::new();
        for (name, keep) in &spec.grants.buckets {
            let failed = |problem: String| StartError::Failed(format!("keyvalue bucket {name:?}: {problem}"));
            let bucket = match keep {
                Keep::Memory => self.0.buckets.memory(&spec.pod.uid, name),
                Keep::File(path) => {
                    let (me, file) = (self.clone(), buckets::file(&spec.mounts, path).map_err(failed)?);
                    let opening = tokio::task::spawn_blocking(move || me.0.buckets.file(&file)).await;
                    let opened = opening.map_err(|error| failed(error.to_string()))?;
                    opened.map_err(|error| failed(format!("{path} in the container: {}", cause(&error))))?
                }
            };
            opened.insert(name.clone(), bucket);
        }
        Ok(opened)
    }
}

impl Runtime for WasmRuntime {
    fn find_image(&self, name: &str) -> BoxFuture<'static, Option<Image>> {
        let found = name.parse::<Reference>().ok().and_then(|reference| {
            let image = self.0.store.find(&reference)?;
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
            let pulled = me.fetch(&reference, &pull.credentials).await.map_err(PullError::Failed)?;
            let saving = {
                let (me, reference) = (me.clone(), reference.clone());
                tokio::task::spawn_blocking(move || me.0.store.save(&reference, &pulled)).await
            };
            let saved = saving.map_err(|error| PullError::Failed(error.to_string()))?;
            let image = saved.map_err(|error| PullError::Failed(format!("failed to keep it on disk: {error}")))?;
            Ok(Self::found(&reference, &image))
        };
        pulling.boxed()
    }

    fn start(&self, spec: ContainerSpec) -> BoxFuture<'static, Result<Arc<dyn Guest>, StartError>> {
        let me = self.clone();
        async move { me.launch(spec).await }.boxed()
    }

    fn worlds(&self) -> Vec<String> {
        WORLDS.map(str::to_owned).into()
    }

    fn set_memory_room(&self, bytes: u64) {
        self.0.engine.set_memory_room(bytes);
    }

    fn version(&self) -> String {
        VERSION.to_owned()
    }
}

/// What the module is never changes; everything else may be better next time.
fn judge(error: &Error) -> StartError {
    match error {
        Error::Refused(_)
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

/// The control plane's own registry, over the same connection as everything else.
struct BuiltIn(Client);

impl BuiltIn {
    async fn get(
        &self,
        path: String,
        accept: &'static str,
    ) -> Result<Response<wkube_client::client::ResponseBody>, oci::puller::RegistryError> {
        use oci::puller::RegistryError::{NotFound, Unauthorized, Unavailable};
        let request = Request::get(path).header(header::ACCEPT, accept).body(Bytes::new());
        let response = self.0.send(request.map_err(|error| Unavailable(error.into()))?).await;
        let response = response.map_err(|error| Unavailable(error.into()))?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::NOT_FOUND => Err(NotFound),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Unauthorized),
            status => Err(Unavailable(format!("the built-in registry answered {status}").into())),
        }
    }
}

const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

impl Registry for BuiltIn {
    fn manifest<'a>(
        &'a self,
        name: &'a str,
        version: &'a str,
    ) -> BoxFuture<'a, Result<Bytes, oci::puller::RegistryError>> {
        let getting = async move {
            let response = self.get(format!("/v2/{name}/manifests/{version}"), MANIFEST_TYPES).await?;
            let body = response.into_body().collect().await;
            Ok(body.map_err(oci::puller::RegistryError::Unavailable)?.to_bytes())
        };
        getting.boxed()
    }

    fn blob<'a>(
        &'a self,
        name: &'a str,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<oci::puller::ByteStream, oci::puller::RegistryError>> {
        use futures::{StreamExt as _, TryStreamExt as _};
        let getting = async move {
            let response = self.get(format!("/v2/{name}/blobs/{}", digest.as_str()), "*/*").await?;
            let chunks = response.into_body().into_data_stream().map_err(std::io::Error::other);
            // The body is not `Sync`, the stream needs not be.
            Ok(chunks.boxed())
        };
        getting.boxed()
    }
}

#[cfg(test)]
#[path = "wasm_tests.rs"]
mod tests;
