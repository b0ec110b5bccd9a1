//! Running what is compiled: in the node's own process, and in the workers of pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use wkube_wasm_runtime::{Artifact, Bucket, Buckets, Engine, Outbound};

use super::guests::Sandbox;
use super::shared::Shared;
use super::{buckets, cause, judge};
use crate::grants::Keep;
use crate::runtime::{ContainerSpec, Guest, StartError};

/// An engine, and what its containers share. Clones share everything.
#[derive(Clone)]
pub(in crate::runtime) struct Compiled {
    engine: Engine,
    buckets: Arc<Buckets>,
    /// What the containers of each pod share.
    shared: Shared,
}

impl Compiled {
    /// Returns what runs containers on `engine`.
    pub(in crate::runtime) fn new(engine: Engine) -> Self {
        Self { engine, buckets: Arc::default(), shared: Shared::default() }
    }

    /// Returns the engine.
    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the code that was compiled for the module of this digest.
    ///
    /// # Errors
    /// If there is none.
    pub(in crate::runtime) async fn find(&self, module: &str) -> Result<Artifact, StartError> {
        load_compiled(&self.engine, module).await
    }

    /// Starts a container.
    pub(in crate::runtime) async fn start(
        &self,
        artifact: Artifact,
        outbound: Arc<dyn Outbound>,
        spec: ContainerSpec,
    ) -> Result<Arc<dyn Guest>, StartError> {
        let buckets = self.open_buckets(&spec).await?;
        let held = self.shared.hold(&self.engine, &spec);
        Sandbox::start(self.engine.clone(), artifact, outbound, buckets, held, spec)
    }

    /// Opens the `wasi:keyvalue` buckets that the pod grants the container.
    async fn open_buckets(&self, spec: &ContainerSpec) -> Result<BTreeMap<String, Bucket>, StartError> {
        let mut opened = BTreeMap::new();
        for (name, keep) in &spec.grants.buckets {
            let failed = |problem: String| StartError::Failed(format!("keyvalue bucket {name:?}: {problem}"));
            let bucket = match keep {
                Keep::Memory => self.buckets.memory(&spec.pod.uid, name),
                Keep::File(path) => {
                    let (me, file) = (self.clone(), buckets::file(&spec.mounts, path).map_err(failed)?);
                    let opening = tokio::task::spawn_blocking(move || me.buckets.file(&file)).await;
                    let opened = opening.map_err(|error| failed(error.to_string()))?;
                    opened.map_err(|error| failed(format!("{path} in the container: {}", cause(&error))))?
                }
            };
            opened.insert(name.clone(), bucket);
        }
        Ok(opened)
    }
}

/// Returns the code that was compiled for the module of this digest, and compiles nothing.
pub(super) async fn load_compiled(engine: &Engine, module: &str) -> Result<Artifact, StartError> {
    let nothing = || async { Err("it has not been compiled on this node".into()) };
    engine.load(module, nothing).await.map_err(|error| judge(&error))
}
