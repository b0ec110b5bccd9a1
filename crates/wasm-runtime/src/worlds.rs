//! What guests can import: the two linkers, made once per engine.

use wasmtime::{Engine, Linker, component};
use wasmtime_wasi::I32Exit;

use crate::ctx::Ctx;
use crate::{keyvalue, lifecycle, logging, net, settings, tls};

/// Links core modules: WASI preview 1 and the stop notification.
pub(crate) fn modules(engine: &Engine) -> wasmtime::Result<Linker<Ctx>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p1::add_to_linker_async(&mut linker, Ctx::preview_1)?;
    net::p1::add_to_linker(&mut linker)?;
    lifecycle::add_to_modules(&mut linker)?;
    // wasmtime-wasi turns codes from 126 up into an error without the code; a shell shows all of them.
    linker.allow_shadowing(true);
    linker.func_wrap("wasi_snapshot_preview1", "proc_exit", |code: i32| -> wasmtime::Result<()> {
        Err(I32Exit(code).into())
    })?;
    linker.allow_shadowing(false);
    Ok(linker)
}

/// Links components: WASI 0.2 and 0.3 with `wasi:http`, `wasi:config`, `wasi:keyvalue`, `wasi:logging`,
/// `wasi:tls`, and the stop notification.
pub(crate) fn components(engine: &Engine) -> wasmtime::Result<component::Linker<Ctx>> {
    let mut linker = component::Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    net::p2::add_to_linker(&mut linker)?;
    net::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    settings::add_to_components(&mut linker)?;
    keyvalue::add_to_components(&mut linker)?;
    logging::add_to_components(&mut linker)?;
    tls::add_to_components(&mut linker)?;
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
                (export "get-all" (func (result (result (list (tuple string string)) (error $error)))))))
            (import "wasi:logging/logging@0.1.0-draft" (instance
                (type $l (enum "trace" "debug" "info" "warn" "error" "critical"))
                (export "level" (type $level (eq $l)))
                (export "log" (func (param "level" $level) (param "context" string) (param "message" string))))))"#;
        check(&engine, text);
    }

    /// `wasi:keyvalue` in one draft: the type of cursors, of increments, and of what `get-many` finds.
    fn keyvalue(draft: &str, cursor: &str, number: &str, found: &str, cas: &str) -> String {
        format!(
            r#"(component
            (import "wasi:keyvalue/store@{draft}" (instance $store
                (export "bucket" (type $bucket (sub resource)))
                (type $e (variant (case "no-such-store") (case "access-denied") (case "other" string)))
                (export "error" (type $error (eq $e)))
                (type $k (record (field "keys" (list string)) (field "cursor" (option {cursor}))))
                (export "key-response" (type $keys (eq $k)))
                (export "open" (func (param "identifier" string) (result (result (own $bucket) (error $error)))))
                (export "[method]bucket.get" (func (param "self" (borrow $bucket)) (param "key" string)
                    (result (result (option (list u8)) (error $error)))))
                (export "[method]bucket.set" (func (param "self" (borrow $bucket)) (param "key" string)
                    (param "value" (list u8)) (result (result (error $error)))))
                (export "[method]bucket.delete" (func (param "self" (borrow $bucket)) (param "key" string)
                    (result (result (error $error)))))
                (export "[method]bucket.exists" (func (param "self" (borrow $bucket)) (param "key" string)
                    (result (result bool (error $error)))))
                (export "[method]bucket.list-keys" (func (param "self" (borrow $bucket))
                    (param "cursor" (option {cursor})) (result (result $keys (error $error)))))))
            (alias export $store "bucket" (type $bucket))
            (alias export $store "error" (type $error))
            (import "wasi:keyvalue/atomics@{draft}" (instance
                (alias outer 1 $bucket (type $b))
                (export "bucket" (type $bucket (eq $b)))
                (alias outer 1 $error (type $e))
                (export "error" (type $error (eq $e)))
                {cas}
                (export "increment" (func (param "bucket" (borrow $bucket)) (param "key" string)
                    (param "delta" {number}) (result (result {number} (error $error)))))))
            (import "wasi:keyvalue/batch@{draft}" (instance
                (alias outer 1 $bucket (type $b))
                (export "bucket" (type $bucket (eq $b)))
                (alias outer 1 $error (type $e))
                (export "error" (type $error (eq $e)))
                (export "get-many" (func (param "bucket" (borrow $bucket)) (param "keys" (list string))
                    (result (result (list {found}) (error $error)))))
                (export "set-many" (func (param "bucket" (borrow $bucket))
                    (param "key-values" (list (tuple string (list u8)))) (result (result (error $error)))))
                (export "delete-many" (func (param "bucket" (borrow $bucket)) (param "keys" (list string))
                    (result (result (error $error))))))))"#
        )
    }

    #[test]
    fn both_drafts_of_keyvalue_have_their_types() {
        let engine = Engine::new(&config::engine(Allocation::OnDemand)).unwrap();
        check(&engine, &keyvalue("0.2.0-draft", "u64", "u64", "(option (tuple string (list u8)))", ""));
        let cas = r#"(export "cas" (type $cas (sub resource)))
            (type $ce (variant (case "store-error" $error) (case "cas-failed" (own $cas))))
            (export "cas-error" (type $cas-error (eq $ce)))
            (export "[static]cas.new" (func (param "bucket" (borrow $bucket)) (param "key" string)
                (result (result (own $cas) (error $error)))))
            (export "[method]cas.current" (func (param "self" (borrow $cas))
                (result (result (option (list u8)) (error $error)))))
            (export "swap" (func (param "cas" (own $cas)) (param "value" (list u8))
                (result (result (error $cas-error)))))"#;
        check(&engine, &keyvalue("0.2.0-draft2", "string", "s64", "(tuple string (option (list u8)))", cas));
    }

    fn check(engine: &Engine, text: &str) {
        let component = component::Component::new(engine, wat_to_wasm(text.as_bytes()).unwrap()).unwrap();
        if let Err(error) = components(engine).unwrap().instantiate_pre(&component) {
            panic!("{error:#}");
        }
    }
}
