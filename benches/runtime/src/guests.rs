//! The guests of the runtime's own tests, loaded into an engine of this process.

use anyhow::Result;
use bytes::Bytes;
use tempfile::TempDir;
use wkube_wasm_runtime::{Artifact, BoxError, Engine, EngineOptions};

/// A program that says hello, as a preview 1 module and as a 0.2 component.
pub const MODULE: &[u8] = include_bytes!("../../../crates/wasm-runtime/testdata/hello-p1.wasm");
pub const COMPONENT: &[u8] = include_bytes!("../../../crates/wasm-runtime/testdata/hello-comp.wasm");
/// Handlers that answer `/` with one line, by WASI 0.2 and 0.3.
pub const HTTP_0_2: &[u8] = include_bytes!("../../../crates/wasm-runtime/testdata/http-p2.wasm");
pub const HTTP_0_3: &[u8] = include_bytes!("../../../crates/wasm-runtime/testdata/http-p3.wasm");

/// An engine, and its cache directory for as long as it is needed.
pub struct Host {
    pub engine: Engine,
    _cache: TempDir,
}

impl Host {
    pub fn new(slots: u32, guest_threads: usize) -> Result<Self> {
        let cache = tempfile::tempdir()?;
        let mut options = EngineOptions::new(cache.path());
        options.slots = slots;
        options.guest_threads = guest_threads;
        Ok(Self { engine: Engine::new(options)?, _cache: cache })
    }

    /// Compiles a guest, or finds it among those that were.
    pub async fn load(&self, name: &str, wasm: &'static [u8]) -> Result<Artifact> {
        let fetch = || async move { Ok::<_, BoxError>(Bytes::from_static(wasm)) };
        Ok(self.engine.load(name, fetch).await?)
    }
}
