//! What guests can import: the two linkers, made once per engine.

use wasmtime::{Engine, Linker, component};
use wasmtime_wasi::I32Exit;

use crate::ctx::Ctx;
use crate::{lifecycle, settings};

/// Links core modules: WASI preview 1 and the stop notification.
pub(crate) fn modules(engine: &Engine) -> wasmtime::Result<Linker<Ctx>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p1::add_to_linker_async(&mut linker, Ctx::preview_1)?;
    lifecycle::add_to_modules(&mut linker)?;
    // wasmtime-wasi turns codes from 126 up into an error without the code; a shell shows all of them.
    linker.allow_shadowing(true);
    linker.func_wrap("wasi_snapshot_preview1", "proc_exit", |code: i32| -> wasmtime::Result<()> {
        Err(I32Exit(code).into())
    })?;
    linker.allow_shadowing(false);
    Ok(linker)
}

/// Links components: WASI 0.2 and 0.3 with `wasi:http`, `wasi:config`, and the stop notification.
pub(crate) fn components(engine: &Engine) -> wasmtime::Result<component::Linker<Ctx>> {
    let mut linker = component::Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    settings::add_to_components(&mut linker)?;
    lifecycle::add_to_components(&mut linker)?;
    Ok(linker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Allocation};
    use crate::inspect::{INTERFACES, wat_to_wasm};

    /// A version that each listed prefix stands for.
    fn version(prefix: &str) -> String {
        if prefix.ends_with('.') { format!("{prefix}0") } else { prefix.to_owned() }
    }

    #[test]
    fn every_interface_that_inspection_lets_through_is_linked() {
        let engine = Engine::new(&config::engine(Allocation::OnDemand)).unwrap();
        let linker = components(&engine).unwrap();
        for (package, prefix, interfaces) in INTERFACES {
            for interface in *interfaces {
                let import = format!("{package}/{interface}@{}", version(prefix));
                let text = format!(r#"(component (import "{import}" (instance)))"#);
                let component = component::Component::new(&engine, wat_to_wasm(text.as_bytes()).unwrap()).unwrap();
                if let Err(error) = linker.instantiate_pre(&component) {
                    panic!("{import}: {error:#}");
                }
            }
        }
    }

    #[test]
    fn the_functions_of_our_own_interfaces_have_their_types() {
        let engine = Engine::new(&config::engine(Allocation::OnDemand)).unwrap();
        let text = r#"(component
            (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
            (alias export $poll "pollable" (type $pollable))
            (import "wkube:lifecycle/stop@0.1.0" (instance
                (export "requested" (func (result bool)))
                (export "wait" (func))
                (alias outer 1 $pollable (type $p))
                (export "pollable" (type $q (eq $p)))
                (export "subscribe" (func (result (own $q))))))
            (import "wasi:config/store@0.2.0-rc.1" (instance
                (type $e (variant (case "upstream" string) (case "io" string)))
                (export "error" (type $error (eq $e)))
                (export "get" (func (param "key" string) (result (result (option string) (error $error)))))
                (export "get-all" (func (result (result (list (tuple string string)) (error $error))))))))"#;
        let component = component::Component::new(&engine, wat_to_wasm(text.as_bytes()).unwrap()).unwrap();
        if let Err(error) = components(&engine).unwrap().instantiate_pre(&component) {
            panic!("{error:#}");
        }
    }
}
