//! `wasi:config/store@0.2.0-rc.1`: the values of a guest's configuration, which are its environment.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};

use crate::ctx::Ctx;

const INTERFACE: &str = "wasi:config/store@0.2.0-rc.1";

/// The interface's `error`. Our values are in memory, so none of its cases ever happens.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "upstream")]
    Upstream(String),
    #[component(name = "io")]
    Io(String),
}

/// Offers the interface to components.
pub(crate) fn add_to_components(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    let mut store = linker.instance(INTERFACE)?;
    store.func_wrap("get", |store: StoreContextMut<'_, Ctx>, (key,): (String,)| {
        let settings = &store.data().settings;
        let found = settings.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
        Ok((Ok::<_, Error>(found),))
    })?;
    store.func_wrap("get-all", |store: StoreContextMut<'_, Ctx>, (): ()| {
        Ok((Ok::<_, Error>(Vec::clone(&store.data().settings)),))
    })
}
