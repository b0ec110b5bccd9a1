//! `wasi:config/store@0.2.0-rc.1`: the values of a guest's configuration.

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
        Ok((Ok::<_, Error>(store.data().settings.get(&key).cloned()),))
    })?;
    store.func_wrap("get-all", |store: StoreContextMut<'_, Ctx>, (): ()| {
        let pairs: Vec<(String, String)> =
            store.data().settings.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok((Ok::<_, Error>(pairs),))
    })
}
