//! `wkube:lifecycle/stop`: tells a guest that asks for it when it should end. See `wit/lifecycle`.

use tokio_util::sync::CancellationToken;
use wasmtime::component::{self, Resource, ResourceTable};
use wasmtime::{Caller, Linker, StoreContextMut};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use crate::ctx::Ctx;

/// The interface by the name that components import.
const INTERFACE: &str = "wkube:lifecycle/stop@0.1.0";
/// The import module by the name that core modules use.
const MODULE: &str = "wkube:lifecycle/stop";

/// Offers the interface to components.
pub(crate) fn add_to_components(linker: &mut component::Linker<Ctx>) -> wasmtime::Result<()> {
    let mut stop = linker.instance(INTERFACE)?;
    stop.func_wrap("requested", |store: StoreContextMut<'_, Ctx>, (): ()| Ok((store.data().stop.is_cancelled(),)))?;
    stop.func_wrap_async("wait", |store: StoreContextMut<'_, Ctx>, (): ()| {
        let stop = store.data().stop.clone();
        Box::new(async move {
            stop.cancelled().await;
            Ok(())
        })
    })?;
    stop.func_wrap("subscribe", |mut store: StoreContextMut<'_, Ctx>, (): ()| {
        let stop = store.data().stop.clone();
        Ok((pollable(&mut store.data_mut().table, stop)?,))
    })
}

/// Offers the functions to core modules.
pub(crate) fn add_to_modules(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "requested", |caller: Caller<'_, Ctx>| i32::from(caller.data().stop.is_cancelled()))?;
    linker.func_wrap_async(MODULE, "wait", |caller: Caller<'_, Ctx>, (): ()| {
        let stop = caller.data().stop.clone();
        Box::new(async move { stop.cancelled().await })
    })?;
    Ok(())
}

struct Requested(CancellationToken);

#[wasmtime_wasi::async_trait]
impl Pollable for Requested {
    async fn ready(&mut self) {
        self.0.cancelled().await;
    }
}

fn pollable(table: &mut ResourceTable, stop: CancellationToken) -> wasmtime::Result<Resource<DynPollable>> {
    let requested = table.push(Requested(stop))?;
    subscribe(table, requested)
}
