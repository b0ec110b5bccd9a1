//! The engine: one per process; compiles, keeps what is compiled, and owns the threads that guests run on.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::{self, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, info, warn};
use wasmtime::{Linker, component};

use crate::artifact::{Artifact, Code};
use crate::cache::{Cache, Digest, Entry};
use crate::compiler::Compiler;
use crate::config::{self, Allocation};
use crate::ctx::Ctx;
use crate::error::{Error, from_wasmtime};
use crate::guest::{Allowance, BoxError, Limits};
use crate::inspect::{Kind, inspect};
use crate::memory::Budget;
use crate::ticker::Ticker;
use crate::{native, worlds};

/// Threads for the guests' file operations, which wasmtime-wasi hands to the blocking pool.
const BLOCKING_THREADS_MAX: usize = 64;
/// How long such a thread stays without work.
const BLOCKING_THREAD_IDLE: Duration = Duration::from_secs(5);

/// The processor time that a module may take to compile. Ruby, the largest program known to run here, takes half a minute.
const COMPILE_CPU_MAX: Duration = Duration::from_mins(5);

/// How many tasks a guest thread polls before it looks for timers and for tasks that others woke. tokio's default of 61
/// is made for polls of microseconds; a guest that spins takes a whole slice.
const TASKS_BETWEEN_LOOKS: u32 = 2;

/// How an [`Engine`] is made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EngineOptions {
    /// Where compiled code is kept; created with mode 0700.
    pub cache_dir: PathBuf,
    /// How many instances may live at once; capped by the kernel's limit on mappings.
    pub slots: u32,
    /// How many threads run guest code.
    pub guest_threads: usize,
    /// The program that compiles, in a process of its own with limits, when it is started with
    /// [`COMPILE_WORKER`](crate::COMPILE_WORKER) as its first argument: it has to call
    /// [`run_compile_worker`](crate::run_compile_worker) then. `None`, the default, compiles in this process, without limits.
    pub compiler: Option<PathBuf>,
    /// The processor time that such a process has for one module, in whole seconds; 5 minutes by default.
    pub compile_cpu_max: Duration,
}

impl EngineOptions {
    /// Returns the defaults: 2,000 slots, and as many guest threads as there are processors.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        let guest_threads = std::thread::available_parallelism().map_or(1, usize::from);
        let (compiler, compile_cpu_max) = (None, COMPILE_CPU_MAX);
        Self { cache_dir: cache_dir.into(), slots: 2_000, guest_threads, compiler, compile_cpu_max }
    }

    /// Returns how many instances the kernel's limit on mappings (`vm.max_map_count`) has room for.
    pub fn slots_max() -> u32 {
        config::slots(u32::MAX, config::max_map_count())
    }
}

/// Loads artifacts and runs guests. Clones share everything.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    wasm: wasmtime::Engine,
    ticker: Arc<Ticker>,
    /// Taken when the engine is dropped, which may happen where blocking is not allowed.
    threads: Option<Runtime>,
    slots: Arc<Semaphore>,
    slots_total: u32,
    memory: Arc<Budget>,
    cache_dir: PathBuf,
    cache: Cache,
    compiler: Compiler,
    loaded: Mutex<HashMap<Digest, Weak<Code>>>,
    modules: OnceLock<Linker<Ctx>>,
    components: OnceLock<component::Linker<Ctx>>,
}

impl Engine {
    /// Makes an engine and starts its threads.
    ///
    /// # Errors
    /// Fails if the cache directory cannot be made or threads cannot be started.
    pub fn new(options: EngineOptions) -> Result<Self, Error> {
        let EngineOptions { cache_dir, slots, guest_threads, compiler, compile_cpu_max } = options;
        let slots = config::slots(slots, config::max_map_count());
        let wasm = wasm_engine(slots)?;
        let io = |source: std::io::Error| Error::Engine(source.into());
        let ticker = Ticker::start(wasm.weak(), guest_threads).map_err(io)?;
        let cache = Cache::open(&cache_dir, &wasm)?;
        let compiler = Compiler::new(wasm.clone(), compiler, compile_cpu_max);
        Ok(Self(Arc::new(Inner {
            wasm,
            ticker: Arc::new(ticker),
            threads: Some(guest_runtime(guest_threads.max(1)).map_err(io)?),
            slots: Arc::new(Semaphore::new(slots as usize)),
            slots_total: slots,
            memory: Arc::new(Budget::of_machine()),
            cache_dir,
            cache,
            compiler,
            loaded: Mutex::default(),
            modules: OnceLock::new(),
            components: OnceLock::new(),
        })))
    }

    /// Returns the artifact of `digest`: from memory, from the cache on disk, or compiled from what `fetch` returns.
    ///
    /// `fetch` runs only if nothing is cached. `digest` must name the bytes for ever, such as the digest of the
    /// layer; it is not verified here.
    ///
    /// # Errors
    /// [`Error::Refused`] if this host does not run such a module, and the step that failed otherwise.
    pub async fn load<F, B>(&self, digest: &str, fetch: F) -> Result<Artifact, Error>
    where
        F: FnOnce() -> B + Send,
        B: Future<Output = Result<Bytes, BoxError>> + Send,
    {
        let digest = Digest::parse(digest)?;
        if let Some(found) = self.find(&digest).await {
            return Ok(found);
        }
        // Before the turn: a slow source must not hold up others.
        let wasm = fetch().await.map_err(Error::Fetch)?;
        let turn = self.0.compiler.turn(&digest);
        let _turn = turn.lock().await;
        // Whoever had the turn before may have compiled the same.
        if let Some(found) = self.find(&digest).await {
            return Ok(found);
        }
        let whole = wasm.clone();
        let inspection = blocking(move || inspect(&whole)).await?;
        let start = tokio::time::Instant::now();
        let bytes = wasm.len();
        let code = self.0.compiler.compile(&digest, wasm).await?;
        info!(?digest, bytes, elapsed = ?start.elapsed(), "compiled");
        let engine = self.clone();
        blocking(move || {
            let entry = engine.0.cache.save(&digest, &code, &inspection)?;
            engine.open(&digest, entry)
        })
        .await
    }

    /// Returns what guests with these limits may use together of the machine.
    pub fn allowance(&self, limits: &Limits) -> Allowance {
        Allowance::below(limits, Some(Arc::clone(&self.0.memory)), None)
    }

    /// Says how much more memory all guests together may take from now on. To be said again and again: guests touch only
    /// some of what they take. Until it is said for the first time there is no such limit.
    pub fn set_memory_room(&self, bytes: u64) {
        self.0.memory.set_room(bytes);
    }

    /// Returns the memory that all guests with an [`allowance`](Self::allowance) have taken, in bytes.
    pub fn memory_used(&self) -> u64 {
        self.0.memory.used()
    }

    /// Reports whether `digest` can be loaded without its bytes.
    pub fn has_cached(&self, digest: &str) -> bool {
        Digest::parse(digest).is_ok_and(|digest| self.in_memory(&digest).is_some() || self.0.cache.has(&digest))
    }

    /// Removes compiled code from the disk, except that of `digests`; also all code of other versions of the engine.
    /// Guests that run it are not disturbed.
    ///
    /// # Errors
    /// Fails if the cache directory cannot be read.
    pub fn retain_cached(&self, digests: &BTreeSet<String>) -> Result<(), Error> {
        let kept = digests.iter().map(|digest| Digest::parse(digest)).collect::<Result<BTreeSet<_>, _>>()?;
        self.0.cache.retain(&kept)
    }

    /// Returns the threads that guests run on. What only carries traffic to and from guests may run there too, and
    /// saves a hop between threads for each request; what must go on while guests spin may not.
    pub fn guest_threads(&self) -> Handle {
        self.threads().clone()
    }

    /// Returns where compiled code is kept.
    pub fn cache_dir(&self) -> &Path {
        &self.0.cache_dir
    }

    /// Returns how many instances may live at once.
    pub fn slots(&self) -> u32 {
        self.0.slots_total
    }

    /// Returns how many instances could be started now.
    pub fn slots_free(&self) -> usize {
        self.0.slots.available_permits()
    }

    async fn find(&self, digest: &Digest) -> Option<Artifact> {
        if let Some(found) = self.in_memory(digest) {
            return Some(found);
        }
        let (engine, digest) = (self.clone(), digest.clone());
        blocking(move || engine.find_on_disk(&digest)).await
    }

    fn in_memory(&self, digest: &Digest) -> Option<Artifact> {
        self.0.loaded.lock().get(digest)?.upgrade().map(Artifact::new)
    }

    fn find_on_disk(&self, digest: &Digest) -> Option<Artifact> {
        let entry = self.0.cache.find(digest)?;
        match self.open(digest, entry) {
            Ok(artifact) => Some(artifact),
            Err(error) => {
                warn!(?digest, %error, "the cached code could not be loaded; it will be compiled again");
                self.0.cache.remove(digest);
                None
            }
        }
    }

    /// Maps compiled code and links it.
    fn open(&self, digest: &Digest, entry: Entry) -> Result<Artifact, Error> {
        let mapping = |error| Error::Compile(from_wasmtime(error));
        let linking = |error| Error::Link(from_wasmtime(error));
        let code = match entry.inspection.kind {
            Kind::Module => {
                let module = native::module(&self.0.wasm, &entry.code).map_err(mapping)?;
                let linker = cached(&self.0.modules, || worlds::modules(&self.0.wasm)).map_err(linking)?;
                Code::module(self.clone(), entry.inspection, &module, linker)
            }
            Kind::Command | Kind::HttpHandler | Kind::Functions => {
                let component = native::component(&self.0.wasm, &entry.code).map_err(mapping)?;
                let linker = cached(&self.0.components, || worlds::components(&self.0.wasm)).map_err(linking)?;
                Code::component(self.clone(), entry.inspection, &component, linker)
            }
        };
        let code = Arc::new(code.map_err(linking)?);
        let mut loaded = self.0.loaded.lock();
        loaded.retain(|_, code| code.strong_count() > 0);
        loaded.insert(digest.clone(), Arc::downgrade(&code));
        debug!(?digest, "loaded");
        Ok(Artifact::new(code))
    }

    pub(crate) fn wasm(&self) -> &wasmtime::Engine {
        &self.0.wasm
    }

    pub(crate) fn ticker(&self) -> Arc<Ticker> {
        Arc::clone(&self.0.ticker)
    }

    /// Returns the runtime whose threads run guests, and nothing but guests: they never starve their host.
    pub(crate) fn threads(&self) -> &Handle {
        self.0.threads.as_ref().expect("taken only by drop").handle()
    }

    /// Takes the slots of an instance, `weight` of them, if they are free.
    pub(crate) fn try_slot(&self, weight: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.slots).try_acquire_many_owned(weight).ok()
    }

    /// Waits for the slots of an instance.
    pub(crate) async fn slot(&self, weight: u32) -> OwnedSemaphorePermit {
        Arc::clone(&self.0.slots).acquire_many_owned(weight).await.expect("never closed")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// Makes the pooling engine, or one that maps as needed where the address space is too small for a pool.
fn wasm_engine(slots: u32) -> Result<wasmtime::Engine, Error> {
    match wasmtime::Engine::new(&config::engine(Allocation::Pooling(slots))) {
        Ok(engine) => Ok(engine),
        Err(error) => {
            warn!(%error, slots, "no pool of instances on this host; they will start more slowly");
            let on_demand = wasmtime::Engine::new(&config::engine(Allocation::OnDemand));
            on_demand.map_err(|error| Error::Engine(from_wasmtime(error)))
        }
    }
}

/// Makes the threads that guests run on.
pub(crate) fn guest_runtime(threads: usize) -> std::io::Result<Runtime> {
    let started = AtomicUsize::new(0);
    runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(BLOCKING_THREAD_IDLE)
        .global_queue_interval(TASKS_BETWEEN_LOOKS)
        .event_interval(TASKS_BETWEEN_LOOKS)
        .thread_name_fn(move || format!("guest-{}", started.fetch_add(1, Ordering::Relaxed)))
        .enable_all()
        .build()
}

/// Runs `work` on the blocking pool of whoever calls.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only when the runtime shuts down, and then nobody waits for us.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Returns what `cell` holds, made at the first use. Two may make it at once; one is kept.
fn cached<T>(cell: &OnceLock<T>, make: impl FnOnce() -> wasmtime::Result<T>) -> wasmtime::Result<&T> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = make()?;
    Ok(cell.get_or_init(|| value))
}
