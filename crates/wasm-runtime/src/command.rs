//! Command guests: one instance, one task on the guest threads, one exit.
//!
//! ```text
//!  start --> running --- returns, exits, traps ----------------> Exit
//!               |                                                 ^
//!               +-- stop: told, if it asked to be, then grace --> |  143 at once, 137 after the grace
//!               +-- kill ---------------------------------------> |  137
//! ```

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wasmtime::{InstancePre, Store};
use wasmtime_wasi::{I32Exit, p2, p3};

use crate::cpu::Metered;
use crate::ctx::{Abi, Ctx, Guest};
use crate::engine::Engine;
use crate::error::Error;
use crate::exit;
use crate::export::Export;
use crate::guest::{Allowance, Exit, GuestSpec};
use crate::order::{KILLED, Order, Orders, STOPPED};

/// Linked code with the entry point of a command.
#[derive(Clone)]
pub(crate) enum Program {
    /// `_start` of a core module.
    Module(InstancePre<Ctx>),
    /// `wasi:cli/run@0.2`.
    V0_2(p2::bindings::CommandPre<Ctx>),
    /// `wasi:cli/run@0.3`.
    V0_3(p3::bindings::CommandPre<Ctx>),
    /// A function that the binary exports.
    Export(Export),
}

/// A running command. Clones share it; when the last is dropped the guest is killed.
#[derive(Clone)]
pub struct Running(Arc<Shared>);

struct Shared {
    /// Keeps the threads alive that the guest runs on.
    _engine: Engine,
    exit: watch::Receiver<Option<Exit>>,
    orders: Orders,
    /// Fires the guest's stop notification, if it imports it.
    stop: Option<CancellationToken>,
    allowance: Allowance,
}

impl Running {
    pub(crate) fn start(
        engine: &Engine,
        weight: u32,
        program: Program,
        spec: GuestSpec,
        wants_stop: bool,
    ) -> Result<Self, Error> {
        let slot = engine.try_slot(weight).ok_or(Error::Full { slots: engine.slots() })?;
        let guest = Guest::new(spec);
        let store = guest.store(engine.wasm(), program.abi())?;
        let orders = Orders::new();
        let due = orders.due();
        let (exits, exit) = watch::channel(None);
        let call = AssertUnwindSafe(program.run(store)).catch_unwind();
        let call = Metered::new(call, Arc::clone(&guest.allowance.cpu), engine.ticker());
        let supervised = async move {
            let exit = tokio::select! {
                biased;
                code = due => Exit::stopped(code),
                exit = call => exit.unwrap_or_else(|_| Exit::host_failure("the host panicked on the guest's behalf".to_owned())),
            };
            // The instance is gone by now: whoever hears of the exit finds the slot free.
            drop(slot);
            exits.send_replace(Some(exit));
        };
        engine.threads().spawn(supervised);
        let stop = wants_stop.then_some(guest.stop);
        Ok(Self(Arc::new(Shared { _engine: engine.clone(), exit, orders, stop, allowance: guest.allowance })))
    }

    /// Completes when the guest has ended.
    pub fn exit(&self) -> impl Future<Output = Exit> + Send + 'static + use<> {
        let mut exit = self.0.exit.clone();
        async move {
            let ended = exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
            // The task went without a word only if its engine was shut down under it.
            ended.unwrap_or_else(|| Exit::stopped(KILLED))
        }
    }

    /// Asks the guest to stop: one that imports `wkube:lifecycle/stop` is told and has `grace` to end by itself, any
    /// other ends at once with code 143. A later call can only shorten the grace.
    pub fn stop(&self, grace: Duration) {
        match &self.0.stop {
            Some(stop) => {
                stop.cancel();
                self.0.orders.give(Order::after(grace));
            }
            None => self.0.orders.give(Order::now(STOPPED)),
        }
    }

    /// Ends the guest now, with code 137.
    pub fn kill(&self) {
        self.0.orders.give(Order::now(KILLED));
    }

    /// Returns the most memory that the guest has had, in bytes.
    pub fn memory_peak(&self) -> u64 {
        self.0.allowance.budget.peak()
    }

    /// Returns the memory that the guest has now, in bytes.
    pub fn memory_used(&self) -> u64 {
        self.0.allowance.budget.used()
    }

    /// Returns how long the guest has been on a thread.
    pub fn cpu_time(&self) -> Duration {
        self.0.allowance.cpu.used()
    }

    /// Returns what the guest may still use, for others that run inside its limits.
    pub fn allowance(&self) -> Allowance {
        self.0.allowance.clone()
    }
}

impl Program {
    fn abi(&self) -> Abi {
        match self {
            Self::Module(_) => Abi::Module,
            Self::V0_2(_) | Self::V0_3(_) => Abi::Component,
            Self::Export(export) => export.abi(),
        }
    }

    async fn run(self, mut store: Store<Ctx>) -> Exit {
        let result = self.call(&mut store).await;
        exit::classify(result, store.data().memory.refused())
    }

    async fn call(self, store: &mut Store<Ctx>) -> wasmtime::Result<()> {
        let returned = match self {
            Self::Export(export) => return export.call(store).await,
            Self::Module(pre) => {
                let instance = pre.instantiate_async(&mut *store).await?;
                let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
                start.call_async(&mut *store, ()).await?;
                Ok(())
            }
            Self::V0_2(pre) => pre.instantiate_async(&mut *store).await?.wasi_cli_run().call_run(&mut *store).await?,
            Self::V0_3(pre) => {
                let command = pre.instantiate_async(&mut *store).await?;
                store.run_concurrent(async |accessor| command.wasi_cli_run().call_run(accessor).await).await??
            }
        };
        // `run` says only that it failed; a shell shows that as 1.
        returned.map_err(|()| I32Exit(1).into())
    }
}
