//! The one store type: everything that a running instance has.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};
use wasmtime_wasi_tls::{WasiTlsCtx, WasiTlsCtxView, WasiTlsView};

use crate::error::{Error, from_wasmtime};
use crate::guest::{Access, Allowance, GuestSpec, Mount, Output, StdStream};
use crate::http::{Egress, Fuse};
use crate::input::GuestInput;
use crate::keyvalue::Bucket;
use crate::memory::MemoryMeter;
use crate::net::p1::Fds;
use crate::net::sockets::Sockets;
use crate::output::GuestStream;
use crate::tls;
use crate::turns::next_slice;

/// Bytes that a guest may hand over in one host call; the default of 128 MiB lets one call fill a small node.
pub(crate) const CALL_BYTES_MAX: usize = 16 << 20;
/// Random bytes that one call may ask for. The host makes them on the guest's thread, four milliseconds' worth at most;
/// the default of 64 MiB would hold it for a while.
const RANDOM_BYTES_MAX: u64 = 4 << 20;
/// Live handles of one instance: requests, bodies, files, sockets.
const HANDLES_MAX: usize = 10_000;
/// Tells a program how many of its descriptors from 3 on are listening sockets, as `systemd.socket` does.
const LISTEN_FDS: &str = "LISTEN_FDS";

/// The data of a store.
pub(crate) struct Ctx {
    /// Before the table, which holds the sending end of the answer's body: fields drop in this order.
    pub(crate) fuse: Fuse,
    pub(crate) table: ResourceTable,
    wasi: Wasi,
    http: WasiHttpCtx,
    tls: WasiTlsCtx,
    egress: Egress,
    pub(crate) memory: MemoryMeter,
    pub(crate) stop: CancellationToken,
    pub(crate) settings: Arc<Vec<(String, String)>>,
    pub(crate) buckets: Arc<BTreeMap<String, Bucket>>,
    pub(crate) output: Option<Arc<dyn Output>>,
    pub(crate) sockets: Sockets,
    /// The sockets that a preview 1 module has descriptors for.
    pub(crate) fds: Fds,
}

/// The two generations of WASI contexts; an instance uses one.
enum Wasi {
    Module(WasiP1Ctx),
    Component(WasiCtx),
}

/// Which generation a store is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abi {
    /// Preview 1.
    Module,
    /// 0.2 and 0.3.
    Component,
}

/// What all instances of one guest share.
pub(crate) struct Guest {
    pub(crate) spec: GuestSpec,
    pub(crate) allowance: Allowance,
    stdin: Option<GuestInput>,
    buckets: Arc<BTreeMap<String, Bucket>>,
    /// The directories of its mounts, open from its first instance on: later ones share the handles.
    files: OnceLock<WasiFilesystemCtx>,
    /// Fires when the guest is asked to stop.
    pub(crate) stop: CancellationToken,
}

impl Guest {
    pub(crate) fn new(mut spec: GuestSpec) -> Self {
        let allowance = spec.allowance.take().unwrap_or_else(|| Allowance::new(&spec.limits));
        let stdin = spec.stdin.take().map(GuestInput::new);
        let buckets = Arc::new(std::mem::take(&mut spec.buckets));
        Self { spec, allowance, stdin, buckets, files: OnceLock::new(), stop: CancellationToken::new() }
    }

    /// Makes a store for one instance, with every limit set. Stores are used once: after a trap or a dropped call an
    /// instance is poisoned.
    pub(crate) fn store(&self, engine: &Engine, abi: Abi) -> Result<Store<Ctx>, Error> {
        let memory = MemoryMeter::of_instance(Arc::clone(&self.allowance.budget));
        let memory = memory.map_err(|shortage| Error::OutOfMemory(shortage.to_string()))?;
        let sockets = Sockets::new(self.spec.network.clone()).within(&self.allowance.budget);
        let mut builder = self.wasi();
        let (wasi, fds) = match abi {
            Abi::Module => {
                let fds = self.listen(&sockets, &mut builder)?;
                self.open_mounts(&mut builder)?;
                (Wasi::Module(builder.build_p1()), fds)
            }
            Abi::Component => {
                let mut wasi = builder.build();
                *wasi.filesystem() = self.files()?;
                (Wasi::Component(wasi), Fds::default())
            }
        };
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let mut store = Store::new(
            engine,
            Ctx {
                fuse: Fuse::default(),
                table,
                wasi,
                http: WasiHttpCtx::new(),
                tls: tls::context(self.spec.tls.clone()),
                egress: Egress::new(self.spec.outbound.clone()),
                memory,
                stop: self.stop.clone(),
                settings: Arc::clone(&self.spec.env),
                buckets: Arc::clone(&self.buckets),
                output: self.spec.output.clone(),
                sockets,
                fds,
            },
        );
        store.limiter(|ctx| &mut ctx.memory);
        store.set_hostcall_fuel(CALL_BYTES_MAX);
        store.set_max_component_handles(HANDLES_MAX);
        // A store starts with the deadline in the past, and start functions run code: this must come before instantiation.
        store.set_epoch_deadline(1);
        // Yielding hands the thread to the next guest; whoever waits for a kill looks again when we are polled.
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::YieldCustom(1, Box::pin(next_slice()))));
        Ok(store)
    }

    /// No network, no inherited anything; standard input is closed unless it is given.
    fn wasi(&self) -> WasiCtxBuilder {
        let mut builder = WasiCtx::builder();
        let stream = |which| GuestStream::new(which, self.spec.output.clone());
        builder
            .args(&self.spec.args)
            .envs(&self.spec.env)
            .stdout(stream(StdStream::Stdout))
            .stderr(stream(StdStream::Stderr))
            .max_random_size(RANDOM_BYTES_MAX);
        if let Some(stdin) = &self.stdin {
            builder.stdin(stdin.clone());
        }
        if let Some(dir) = &self.spec.working_dir {
            builder.initial_cwd(dir);
        }
        builder
    }

    /// Opens the ports that a module listens on, tells it, and keeps their descriptors free of directories.
    fn listen(&self, sockets: &Sockets, builder: &mut WasiCtxBuilder) -> Result<Fds, Error> {
        let ports = &self.spec.listen;
        let fds = Fds::listen(sockets, ports).map_err(|(port, source)| Error::Listen { port, source })?;
        if !ports.is_empty() && !self.spec.env.iter().any(|(name, _)| name == LISTEN_FDS) {
            builder.env(LISTEN_FDS, ports.len().to_string());
        }
        // Whatever does not know of sockets sees a directory there that the guest has anyway. Without a mount there is
        // nothing that could take the numbers: a guest without directories opens no files.
        if let Some(mount) = self.spec.mounts.first() {
            for _ in ports {
                open(builder, &Mount { access: Access::ReadOnly, ..mount.clone() })?;
            }
        }
        Ok(fds)
    }

    /// Opens the mounts and closes them again, so that a bad one is found now and not by the first client, and a guest
    /// that nobody calls holds no handle.
    pub(crate) fn check_mounts(&self) -> Result<(), Error> {
        self.open_mounts(&mut WasiCtx::builder())
    }

    fn files(&self) -> Result<WasiFilesystemCtx, Error> {
        if let Some(files) = self.files.get() {
            return Ok(files.clone());
        }
        let mut builder = WasiCtx::builder();
        self.open_mounts(&mut builder)?;
        let files = builder.build().filesystem().clone();
        Ok(self.files.get_or_init(|| files).clone())
    }

    fn open_mounts(&self, builder: &mut WasiCtxBuilder) -> Result<(), Error> {
        self.spec.mounts.iter().try_for_each(|mount| open(builder, mount))
    }
}

fn open(builder: &mut WasiCtxBuilder, mount: &Mount) -> Result<(), Error> {
    let perms = match mount.access {
        Access::ReadOnly => FsPerms::ReadOnly,
        Access::ReadWrite => FsPerms::ReadWrite,
    };
    let opened = builder.preopened_dir(&mount.host, &mount.guest, perms);
    opened.map(|_| ()).map_err(|source| Error::Mount {
        host: mount.host.clone(),
        guest: mount.guest.clone(),
        source: from_wasmtime(source),
    })
}

impl Ctx {
    /// Returns the preview 1 context.
    pub(crate) fn preview_1(&mut self) -> &mut WasiP1Ctx {
        match &mut self.wasi {
            Wasi::Module(wasi) => wasi,
            Wasi::Component(_) => {
                unreachable!("only modules are linked to preview 1, and their stores are made for it")
            }
        }
    }
}

impl WasiView for Ctx {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        match &mut self.wasi {
            Wasi::Module(wasi) => wasi.ctx(),
            Wasi::Component(ctx) => WasiCtxView { ctx, table: &mut self.table },
        }
    }
}

impl WasiTlsView for Ctx {
    fn tls(&mut self) -> WasiTlsCtxView<'_> {
        WasiTlsCtxView { ctx: &mut self.tls, table: &mut self.table }
    }
}

impl WasiHttpView for Ctx {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.egress }
    }
}
