//! Exported functions that are called by name.

use wkube_wasm_runtime::{Error, Exit, ExitReason, GuestSpec, Kind, StdStream};

use crate::support::{HELLO_MODULE, Printed, ended, load};

const LIBRARY: &str = r#"(module
    (global $ready (mut i32) (i32.const 0))
    (func (export "_initialize") (global.set $ready (i32.const 7)))
    (func (export "migrate"))
    (func (export "code") (result i32) (global.get $ready))
    (func (export "add") (param i32 i32) (result i32) (local.get 0))
    (func (export "fail") unreachable))"#;

const COMPONENT: &str = r#"(component
    (core module $m
        (memory (export "mem") 1)
        (data (i32.const 16) "\01\00\00\00\40\00\00\00\05\00\00\00")
        (data (i32.const 64) "no db")
        (func (export "ok") (result i32) (i32.const 0))
        (func (export "code") (result i32) (i32.const 42))
        (func (export "told") (result i32) (i32.const 16))
        (func (export "none")))
    (core instance $i (instantiate $m))
    (func $ok (result (result)) (canon lift (core func $i "ok")))
    (func $none (canon lift (core func $i "none")))
    (func $code (result u32) (canon lift (core func $i "code")))
    (func $told (result (result (error string))) (canon lift (core func $i "told") (memory (core memory $i "mem"))))
    (func $takes (param "x" u32) (result u32) (canon lift (core func $i "code2")))
    (export "check" (func $ok))
    (export "none" (func $none))
    (export "code" (func $code))
    (export "told" (func $told))
    (instance $jobs (export "sweep" (func $code)))
    (export "acme:tools/jobs@1.0.0" (instance $jobs)))"#;

/// Calls what `command` names.
async fn call(text: &str, command: &str, spec: GuestSpec) -> Exit {
    let artifact = load(text.as_bytes()).await;
    let export = artifact.function(command).unwrap();
    assert!(export.is_some(), "{command} names a function");
    ended(&artifact.start(GuestSpec { export, ..spec }).unwrap()).await
}

fn component() -> String {
    // A function that takes something, which a core function of two types is needed for.
    COMPONENT
        .replace(
            r#"(func (export "none")))"#,
            r#"(func (export "none")) (func (export "code2") (param i32) (result i32) (local.get 0)))"#,
        )
        .replace(r#"(export "check""#, r#"(export "takes" (func $takes)) (export "check""#)
}

#[tokio::test]
async fn a_function_of_a_module_is_called_after_its_initialization_and_its_number_is_the_exit_code() {
    assert_eq!(call(LIBRARY, "migrate", GuestSpec::default()).await.code, 0);
    let exit = call(LIBRARY, "code", GuestSpec::default()).await;
    assert_eq!((exit.code, exit.reason), (7, ExitReason::Exited));
    assert_eq!(call(LIBRARY, "app.wasm#code", GuestSpec::default()).await.code, 7);
}

#[tokio::test]
async fn a_trap_in_a_function_has_its_backtrace() {
    let exit = call(LIBRARY, "fail", GuestSpec::default()).await;
    assert_eq!((exit.code, exit.reason), (134, ExitReason::Trapped));
    assert!(exit.message.contains("wasm backtrace") && exit.message.contains("unreachable"), "{}", exit.message);
}

#[tokio::test]
async fn an_unknown_function_of_a_library_is_refused_with_a_list_of_what_there_is() {
    let artifact = load(LIBRARY.as_bytes()).await;
    for wrong in ["nothing", "add", "_initialize", "#nothing"] {
        let error = artifact.function(wrong).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "start the guest: no function `{wrong}` can be called (functions: migrate, code, fail; exports: \
                 _initialize, migrate, code, add, fail)"
            )
        );
    }
    let error = artifact.start(GuestSpec::default()).err().unwrap();
    assert!(matches!(&error, Error::NoEntry(functions) if functions == "migrate, code, fail"), "{error}");
    assert!(!artifact.has_command());
}

#[tokio::test]
async fn a_program_may_have_any_name_unless_it_names_a_function() {
    let text = r#"(module (func (export "_start") unreachable) (func (export "job")))"#;
    let artifact = load(text.as_bytes()).await;
    assert_eq!(artifact.function("/bin/app").unwrap(), None);
    assert_eq!(artifact.function("job").unwrap().as_deref(), Some("job"));
    assert!(matches!(artifact.function("#typo"), Err(Error::NoExport { .. })), "a # is always a function's");
    assert_eq!(call(text, "job", GuestSpec::default()).await.code, 0);
    assert_eq!(load(HELLO_MODULE).await.function("hello").unwrap(), None);
}

#[tokio::test]
async fn functions_of_components_return_nothing_a_number_or_a_result() {
    let text = component();
    assert_eq!(load(text.as_bytes()).await.kind(), Kind::Functions);
    for (command, code) in [("check", 0), ("none", 0), ("code", 42), ("acme:tools/jobs@1.0.0#sweep", 42)] {
        let exit = call(&text, command, GuestSpec::default()).await;
        assert_eq!((exit.code, exit.reason), (code, ExitReason::Exited), "{command}: {}", exit.message);
    }
    let error = load(text.as_bytes()).await.function("takes").unwrap_err();
    assert!(error.to_string().contains("functions: check, none, code, told, acme:tools/jobs@1.0.0#sweep"), "{error}");
}

#[tokio::test]
async fn the_error_of_a_function_is_logged_and_is_exit_code_1() {
    let printed = Printed::new();
    let exit = call(&component(), "told", GuestSpec { output: Some(printed.clone()), ..GuestSpec::default() }).await;
    assert_eq!((exit.code, exit.reason), (1, ExitReason::Exited));
    assert_eq!(printed.text(StdStream::Stderr), "told returned an error: no db\n");
}
