//! One engine for all tests, guests by text or file, and an output that remembers.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tempfile::TempDir;
use wkube_wasm_runtime::oci::Digest;
use wkube_wasm_runtime::{
    Artifact, BoxError, Engine, EngineOptions, Error, Exit, GuestSpec, Limits, Output, Running, StdStream, wat_to_wasm,
};

/// A program that takes `exit|spin|sleep|alloc|lines|read …`.
pub(crate) const HELLO_MODULE: &[u8] = include_bytes!("../../testdata/hello-p1.wasm");
/// The same as a component.
pub(crate) const HELLO_COMPONENT: &[u8] = include_bytes!("../../testdata/hello-comp.wasm");
/// Answers `/`, `/stream/N`, `/spin/N`, `/trap`, `/alloc/N`.
pub(crate) const HTTP_0_2: &[u8] = include_bytes!("../../testdata/http-p2.wasm");
/// Answers `/` and `/spin/N` by WASI 0.3.
pub(crate) const HTTP_0_3: &[u8] = include_bytes!("../../testdata/http-p3.wasm");

/// More than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

struct Shared {
    engine: Engine,
    _cache: TempDir,
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let cache = tempfile::tempdir().unwrap();
    Shared { engine: small_engine(&cache, 200), _cache: cache }
});

pub(crate) fn small_engine(cache: &TempDir, slots: u32) -> Engine {
    let mut options = EngineOptions::new(cache.path());
    options.slots = slots;
    options.guest_threads = 2;
    Engine::new(options).unwrap()
}

pub(crate) fn engine() -> &'static Engine {
    &SHARED.engine
}

/// Loads a binary or a text.
pub(crate) async fn try_load(engine: &Engine, bytes: &[u8]) -> Result<Artifact, Error> {
    let wasm = Bytes::from(wat_to_wasm(bytes).unwrap().into_owned());
    let digest = Digest::of(&wasm);
    engine.load(digest.as_str(), || async move { Ok::<_, BoxError>(wasm) }).await
}

pub(crate) async fn load(bytes: &[u8]) -> Artifact {
    try_load(engine(), bytes).await.unwrap()
}

/// Starts a command with default limits.
pub(crate) async fn start(bytes: &[u8], spec: GuestSpec) -> Running {
    load(bytes).await.start(spec).unwrap()
}

pub(crate) async fn run(bytes: &[u8], spec: GuestSpec) -> Exit {
    ended(&start(bytes, spec).await).await
}

/// Waits for the end, but not for ever.
pub(crate) async fn ended(running: &Running) -> Exit {
    tokio::time::timeout(PATIENCE, running.exit()).await.expect("the guest ends")
}

pub(crate) fn args(args: &[&str]) -> GuestSpec {
    GuestSpec { args: args.iter().map(ToString::to_string).collect(), ..GuestSpec::default() }
}

pub(crate) fn memory(mebibytes: u64) -> Limits {
    Limits { memory_bytes: mebibytes << 20, ..Limits::default() }
}

/// Watches a condition until it holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let watched = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, watched).await.is_ok(), "it did not come true: {what}");
}

/// Remembers what a guest printed.
#[derive(Default)]
pub(crate) struct Printed(Mutex<Vec<(StdStream, Vec<u8>)>>);

impl Printed {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn text(&self, stream: StdStream) -> String {
        let parts = self.0.lock();
        let bytes: Vec<u8> = parts.iter().filter(|part| part.0 == stream).flat_map(|part| part.1.clone()).collect();
        String::from_utf8(bytes).unwrap()
    }
}

impl Output for Printed {
    fn write(&self, stream: StdStream, bytes: &[u8]) {
        self.0.lock().push((stream, bytes.to_vec()));
    }
}
