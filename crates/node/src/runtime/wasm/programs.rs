//! What a command beside a container may be besides the container's own program, and where it is looked for: among the tools
//! of the node, then among the modules of the container's image, then in the image that whoever asks offers.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use wkube_api::stats::Usage;
use wkube_proxy::Backend;
use wkube_wasm_runtime::oci::{self, Reference};

use super::{WasmRuntime, program, tools};
use crate::runtime::{Amounts, Exec, Exit, Guest, Image, Program, StartError};

/// A container whose commands may be other programs than its own.
pub(super) struct WithPrograms {
    pub(super) guest: Arc<dyn Guest>,
    pub(super) runtime: WasmRuntime,
    /// The pinned name of the container's image.
    pub(super) image: Box<str>,
    /// What its own program was called when it started.
    pub(super) own: Box<str>,
}

impl Guest for WithPrograms {
    fn ended(&self) -> BoxFuture<'static, Exit> {
        self.guest.ended()
    }

    fn stop(&self, grace: Duration) -> BoxFuture<'static, ()> {
        self.guest.stop(grace)
    }

    fn backend(&self) -> Option<Arc<dyn Backend>> {
        self.guest.backend()
    }

    fn usage(&self) -> Usage {
        self.guest.usage()
    }

    fn resize(&self, to: &Amounts) {
        self.guest.resize(to);
    }

    fn exec(&self, mut exec: Exec) -> BoxFuture<'static, Result<Arc<dyn Guest>, StartError>> {
        let (guest, runtime, image) = (Arc::clone(&self.guest), self.runtime.clone(), self.image.clone());
        let is_own = exec.args.first().is_some_and(|word| **word == *self.own);
        let running = async move {
            if !is_own {
                exec.program = runtime.program(&image, &mut exec).await?;
            }
            guest.exec(exec).await
        };
        running.boxed()
    }
}

impl WasmRuntime {
    /// Returns the program that a command line names, compiled; `None` if the container itself knows what it means.
    async fn program(&self, image: &str, exec: &mut Exec) -> Result<Option<Program>, StartError> {
        let word = exec.args.first().map_or("", String::as_str);
        if tools::is_tool(word) {
            return Ok(None);
        }
        // What was removed from the node meanwhile still runs, and offers no more than that.
        if let Some(module) = self.stored(image).and_then(|image| image.named(word).cloned()) {
            self.artifact(&module).await?;
            return Ok(Some(Program { module: module.digest.to_string(), env: Vec::new(), mounts: Vec::new() }));
        }
        let Some(other) = exec.image.take() else { return Ok(None) };
        let Image { id, .. } = other.await?;
        let gone = || StartError::Failed(format!("image {id} is no longer on this node"));
        let image = self.stored(&id).ok_or_else(gone)?;
        let module = image.module(word).map_err(|problem| StartError::Unrunnable(format!("image {id}: {problem}")))?;
        self.artifact(module).await?;
        let env = program::env(&image.process, Vec::new());
        let root = image.root.as_ref().map(|root| self.0.places.store().root(root));
        let mounts = match root {
            Some(root) => tokio::task::spawn_blocking(move || program::folders(&root)).await.map_err(into_failed)?,
            None => Ok(Vec::new()),
        };
        let mounts = mounts.map_err(into_failed)?;
        Ok(Some(Program { module: module.digest.to_string(), env, mounts }))
    }

    fn stored(&self, pinned: &str) -> Option<oci::Image> {
        self.0.places.store().find(&pinned.parse::<Reference>().ok()?)
    }
}

fn into_failed(error: impl std::fmt::Display) -> StartError {
    StartError::Failed(format!("failed to show the files of an image: {error}"))
}
