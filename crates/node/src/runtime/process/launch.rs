//! What a worker runs: code that its node has compiled.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use wkube_wasm_runtime::{Engine, EngineOptions};

use super::wire::{Setup, Start};
use super::worker::{Launch, Ways};
use crate::runtime::wasm::Compiled;
use crate::runtime::{ContainerSpec, Guest, Image, StartError};
use crate::stdio::QueueWriter;

/// Instances of one pod that live at once. Each reserves a few mebibytes, which count against the process's limit.
const SLOTS: u32 = 64;

/// Runs what lies compiled in the node's cache.
pub(super) struct FromCache(Compiled);

impl FromCache {
    pub(super) fn new(setup: &Setup) -> io::Result<Self> {
        let mut options = EngineOptions::new(&setup.compiled);
        options.slots = SLOTS;
        let engine = Engine::new(options).map_err(io::Error::other)?;
        Ok(Self(Compiled::new(engine)))
    }
}

impl Launch for FromCache {
    fn start(
        &self,
        start: Start,
        stdin: Option<mpsc::Receiver<Bytes>>,
        output: QueueWriter,
        ways: Ways,
    ) -> BoxFuture<'static, Result<Arc<dyn Guest>, StartError>> {
        let compiled = self.0.clone();
        let Start {
            module,
            pod,
            name,
            args,
            command,
            grants,
            env,
            mounts,
            working_dir,
            trusts,
            memory_bytes,
            cpu_millis,
            share,
            ports,
            has_network,
            has_stdin: _,
        } = start;
        let spec = ContainerSpec {
            image: Image { id: module.clone(), size_bytes: 0 },
            pod,
            name,
            args,
            command,
            grants,
            env,
            mounts,
            working_dir,
            trusts,
            memory_bytes,
            cpu_millis,
            share,
            process: None,
            network: has_network.then_some(ways.network),
            ports,
            stdin,
            output: Arc::new(output),
        };
        async move { compiled.start(compiled.find(&module).await?, ways.outbound, spec).await }.boxed()
    }
}
