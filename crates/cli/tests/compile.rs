//! The program compiles modules in processes of its own: the code is that of the engine, and no module takes more than it may.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use wkube_wasm_runtime::{BoxError, Engine, EngineOptions, Error, GuestSpec, wat_to_wasm};

const HELLO: &[u8] = include_bytes!("../../wasm-runtime/testdata/hello-p1.wasm");
const HELLO_COMPONENT: &[u8] = include_bytes!("../../wasm-runtime/testdata/hello-comp.wasm");

fn engine(cache: &TempDir, cpu_max: Duration) -> Engine {
    let mut options = EngineOptions::new(cache.path());
    options.slots = 4;
    options.compiler = Some(env!("CARGO_BIN_EXE_wkube").into());
    options.compile_cpu_max = cpu_max;
    Engine::new(options).expect("an engine")
}

/// Loads as `digest`, and says how that failed or how the guest ended.
async fn outcome(engine: &Engine, digest: &str, wasm: &[u8]) -> Result<i32, Error> {
    let wasm = Bytes::from(wat_to_wasm(wasm).expect("a text that can be read").into_owned());
    let artifact = engine.load(digest, || async move { Ok::<_, BoxError>(wasm) }).await?;
    let args = ["hello", "exit", "7"].map(str::to_owned).into();
    Ok(artifact.start(GuestSpec { args, ..GuestSpec::default() })?.exit().await.code)
}

/// Some kilobytes whose compilation takes minutes: every loop may change every variable.
fn intricate() -> String {
    let variables = 1_000;
    let mut text = format!("(module (func (export \"_start\") (local {})", "i32 ".repeat(variables));
    text += &"(loop ".repeat(400);
    for variable in 0..variables {
        let _ = write!(text, "(local.set {variable} (i32.add (local.get {variable}) (i32.const 1)))");
    }
    text + &"(br_if 0 (local.get 0)))".repeat(400) + "))"
}

/// A component of components, each of which makes the one before it twice.
fn doubling(depth: usize) -> String {
    let innermost = "(component $c0 (core module $m) (core instance (instantiate $m)))".to_owned();
    (1..=depth).fold(innermost, |inner, level| {
        let twice = format!("(instance (instantiate $c{})) ", level - 1).repeat(2);
        format!("(component $c{level} {inner} {twice} (export \"wasi:cli/run@0.2.0\" (instance 0)))")
    })
}

#[tokio::test]
async fn what_another_process_compiled_runs_in_this_one() {
    let cache = tempfile::tempdir().unwrap();
    let engine = engine(&cache, Duration::from_mins(5));
    assert_eq!(outcome(&engine, "sha256:module", HELLO).await.unwrap(), 7);
    let code = outcome(&engine, "sha256:component", HELLO_COMPONENT).await.unwrap();
    assert_eq!(code, 1, "the adapter of this component knows failure, not its number");
}

#[tokio::test]
async fn a_module_that_does_not_compile_is_told_in_the_compilers_words() {
    let cache = tempfile::tempdir().unwrap();
    // One function of a type that does not exist, exported as `_start`.
    let wasm = b"\0asm\x01\0\0\0\x03\x02\x01\x05\x07\x0a\x01\x06_start\0\0\x0a\x04\x01\x02\0\x0b";
    let error = outcome(&engine(&cache, Duration::from_mins(5)), "sha256:bad", wasm).await.unwrap_err();
    let Error::Compile(source) = &error else { panic!("{error:?}") };
    assert!(source.to_string().contains("unknown type 5"), "{source}");
}

#[tokio::test]
async fn a_module_that_keeps_the_compiler_busy_is_given_up_and_holds_up_nobody() {
    let cache = tempfile::tempdir().unwrap();
    let engine = engine(&cache, Duration::from_secs(1));
    let intricate = intricate();
    let busy = outcome(&engine, "sha256:intricate", intricate.as_bytes());
    let neighbour = outcome(&engine, "sha256:small", b"(module (func (export \"_start\")))");
    let (busy, neighbour) = tokio::join!(busy, neighbour);
    assert!(matches!(busy, Err(Error::CompileTime { seconds: 1 })), "{busy:?}");
    assert_eq!(neighbour.unwrap(), 0);
    let again = outcome(&engine, "sha256:intricate", intricate.as_bytes()).await;
    assert!(matches!(again, Err(Error::CompileTime { .. })), "{again:?}");
}

#[tokio::test]
async fn a_component_that_doubles_and_doubles_ends_the_compiler_and_not_the_node() {
    let cache = tempfile::tempdir().unwrap();
    let engine = engine(&cache, Duration::from_mins(5));
    let error = outcome(&engine, "sha256:doubling", doubling(30).as_bytes()).await.unwrap_err();
    assert!(matches!(error, Error::CompileMemory { .. } | Error::CompileTime { .. }), "{error:?}");
    assert_eq!(outcome(&engine, "sha256:module", HELLO).await.unwrap(), 7);
}
