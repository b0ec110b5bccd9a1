//! Loading: compiled once, found again, refused with a reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use wkube_wasm_runtime::oci::Digest;
use wkube_wasm_runtime::{BoxError, Engine, Error, GuestSpec, Kind};

use crate::support::{HELLO_COMPONENT, HELLO_MODULE, HTTP_0_2, ended, engine, small_engine, try_load};

/// Loads what must be cached: asking for the bytes fails the test.
async fn load_cached(engine: &Engine, wasm: &[u8]) -> Result<wkube_wasm_runtime::Artifact, Error> {
    let digest = Digest::of(wasm);
    engine.load(digest.as_str(), || async { Err(BoxError::from("asked for the bytes")) }).await
}

fn compiled_files(dir: &Path) -> Vec<PathBuf> {
    let generations = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let files = generations.flat_map(|generation| fs::read_dir(generation).unwrap());
    files.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "cwasm")).collect()
}

#[tokio::test]
async fn a_restarted_engine_needs_neither_bytes_nor_compiler() {
    let cache = tempfile::tempdir().unwrap();
    let guests = [(HELLO_MODULE, Kind::Module), (HELLO_COMPONENT, Kind::Command), (HTTP_0_2, Kind::HttpHandler)];
    for (wasm, _) in guests {
        try_load(&small_engine(&cache, 4), wasm).await.unwrap();
    }
    let engine = small_engine(&cache, 4);
    for (wasm, kind) in guests {
        assert!(engine.has_cached(Digest::of(wasm).as_str()));
        let artifact = load_cached(&engine, wasm).await.unwrap();
        assert_eq!(artifact.kind(), kind);
        assert!(!artifact.imports().is_empty(), "what was found by inspection is kept");
    }
    let hello = load_cached(&engine, HELLO_MODULE).await.unwrap().start(GuestSpec::default()).unwrap();
    assert_eq!(ended(&hello).await.code, 0);
}

#[tokio::test]
async fn compiled_code_is_for_nobody_else() {
    use std::os::unix::fs::PermissionsExt as _;
    let cache = tempfile::tempdir().unwrap();
    try_load(&small_engine(&cache, 4), HELLO_MODULE).await.unwrap();
    let generation = compiled_files(cache.path())[0].parent().unwrap().to_owned();
    assert_eq!(fs::metadata(generation).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_damaged_entry_is_compiled_again() {
    let cache = tempfile::tempdir().unwrap();
    try_load(&small_engine(&cache, 4), HELLO_MODULE).await.unwrap();
    let file = compiled_files(cache.path()).pop().unwrap();
    fs::write(&file, b"not an ELF file").unwrap();
    let engine = small_engine(&cache, 4);
    assert!(matches!(load_cached(&engine, HELLO_MODULE).await, Err(Error::Fetch(_))));
    let hello = try_load(&engine, HELLO_MODULE).await.unwrap().start(GuestSpec::default()).unwrap();
    assert_eq!(ended(&hello).await.code, 0);
}

#[tokio::test]
async fn the_cache_keeps_what_it_is_told_to_and_no_leftovers_of_other_versions() {
    let cache = tempfile::tempdir().unwrap();
    let engine = small_engine(&cache, 4);
    let hello = try_load(&engine, HELLO_MODULE).await.unwrap();
    try_load(&engine, HELLO_COMPONENT).await.unwrap();
    let old = cache.path().join("0123456789abcdef");
    fs::create_dir(&old).unwrap();
    fs::write(cache.path().join("notes.txt"), b"not ours").unwrap();
    engine.retain_cached(&BTreeSet::from([Digest::of(HELLO_COMPONENT).to_string()])).unwrap();
    assert_eq!(compiled_files(cache.path()).len(), 1);
    assert!(!old.exists() && cache.path().join("notes.txt").exists());
    assert!(matches!(load_cached(&small_engine(&cache, 4), HELLO_MODULE).await, Err(Error::Fetch(_))));
    let running = hello.start(GuestSpec::default()).unwrap();
    assert_eq!(ended(&running).await.code, 0, "code in use stays mapped");
}

#[tokio::test]
async fn many_who_ask_at_once_share_one_compilation() {
    let cache = tempfile::tempdir().unwrap();
    let engine = small_engine(&cache, 4);
    let loads = (0..8).map(|_| try_load(&engine, HELLO_COMPONENT));
    let loaded = futures::future::try_join_all(loads).await.unwrap();
    assert_eq!(loaded.len(), 8);
    assert_eq!(compiled_files(cache.path()).len(), 1);
}

#[tokio::test]
async fn what_this_host_does_not_run_is_refused_before_it_is_compiled() {
    let text = br#"(module (import "acme:db/query" "run" (func)) (func (export "_start")))"#;
    let Err(error) = try_load(engine(), text).await else { panic!("it loads") };
    let Error::Refused(refusal) = &error else { panic!("{error:?}") };
    assert!(refusal.to_string().starts_with("it imports `acme:db/query.run`, which this host does not offer"));
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_function_of_the_wrong_type_is_named() {
    let text = br#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i64))) (func (export "_start")))"#;
    let Err(error) = try_load(engine(), text).await else { panic!("it loads") };
    let Error::Link(source) = &error else { panic!("{error:?}") };
    assert!(format!("{source:?}").contains("proc_exit"), "{source:?}");
}

#[tokio::test]
async fn a_module_that_does_not_validate_is_not_compiled() {
    let mut wasm = b"\0asm\x01\0\0\0".to_vec();
    // One function of a type that does not exist, exported as `_start`.
    wasm.extend_from_slice(b"\x03\x02\x01\x05\x07\x0a\x01\x06_start\0\0\x0a\x04\x01\x02\0\x0b");
    let Err(error) = try_load(engine(), &wasm).await else { panic!("it loads") };
    assert!(matches!(error, Error::Compile(_)), "{error:?}");
}
