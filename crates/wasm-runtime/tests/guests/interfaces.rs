//! `wasi:keyvalue` and `wasi:logging` as guests use them.

use wkube_wasm_runtime::{Bucket, Buckets, GuestSpec, StdStream};

use crate::support::{Printed, ended, load};

/// Adds 5 to `visits` in the bucket `default` and returns the sum; 100 and more is the error with which `open` failed.
const COUNTS: &str = r#"(component
    (import "wasi:keyvalue/store@0.2.0-draft2" (instance $store
        (export "bucket" (type $bucket (sub resource)))
        (type $e (variant (case "no-such-store") (case "access-denied") (case "other" string)))
        (export "error" (type $error (eq $e)))
        (export "open" (func (param "identifier" string) (result (result (own $bucket) (error $error)))))))
    (alias export $store "bucket" (type $bucket))
    (alias export $store "error" (type $error))
    (import "wasi:keyvalue/atomics@0.2.0-draft2" (instance $atomics
        (alias outer 1 $bucket (type $b))
        (export "bucket" (type $bucket (eq $b)))
        (alias outer 1 $error (type $e))
        (export "error" (type $error (eq $e)))
        (export "increment" (func (param "bucket" (borrow $bucket)) (param "key" string) (param "delta" s64)
            (result (result s64 (error $error)))))))
    (core module $libc
        (memory (export "mem") 1)
        (data (i32.const 1024) "defaultvisits")
        (global $next (mut i32) (i32.const 4096))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
            (global.set $next (i32.add (global.get $next) (i32.add (local.get 3) (i32.const 8))))
            (i32.and (global.get $next) (i32.const -8))))
    (core instance $libc (instantiate $libc))
    (core func $open (canon lower (func $store "open") (memory (core memory $libc "mem")) (realloc (core func $libc "realloc"))))
    (core func $increment
        (canon lower (func $atomics "increment") (memory (core memory $libc "mem")) (realloc (core func $libc "realloc"))))
    (core module $m
        (import "libc" "mem" (memory 1))
        (import "kv" "open" (func $open (param i32 i32 i32)))
        (import "kv" "increment" (func $increment (param i32 i32 i32 i64 i32)))
        (func (export "count") (result i32)
            (call $open (i32.const 1024) (i32.const 7) (i32.const 64))
            (if (i32.load8_u (i32.const 64)) (then (return (i32.add (i32.const 100) (i32.load8_u (i32.const 68))))))
            (call $increment (i32.load (i32.const 68)) (i32.const 1031) (i32.const 6) (i64.const 5) (i32.const 128))
            (if (i32.load8_u (i32.const 128)) (then unreachable))
            (i32.wrap_i64 (i64.load (i32.const 136)))))
    (core instance $i (instantiate $m (with "libc" (instance $libc))
        (with "kv" (instance (export "open" (func $open)) (export "increment" (func $increment))))))
    (func $count (result u32) (canon lift (core func $i "count")))
    (export "count" (func $count)))"#;

/// Logs one message.
const LOGS: &str = r#"(component
    (import "wasi:logging/logging@0.1.0-draft" (instance $logging
        (type $l (enum "trace" "debug" "info" "warn" "error" "critical"))
        (export "level" (type $level (eq $l)))
        (export "log" (func (param "level" $level) (param "context" string) (param "message" string)))))
    (core module $libc (memory (export "mem") 1) (data (i32.const 16) "orderstoo late"))
    (core instance $libc (instantiate $libc))
    (core func $log (canon lower (func $logging "log") (memory (core memory $libc "mem"))))
    (core module $m
        (import "host" "log" (func $log (param i32 i32 i32 i32 i32)))
        (func (export "log") (call $log (i32.const 3) (i32.const 16) (i32.const 6) (i32.const 22) (i32.const 8))))
    (core instance $i (instantiate $m (with "host" (instance (export "log" (func $log))))))
    (func $run (canon lift (core func $i "log")))
    (export "run" (func $run)))"#;

async fn call(text: &str, name: &str, spec: GuestSpec) -> i32 {
    let export = Some(name.to_owned());
    ended(&load(text.as_bytes()).await.start(GuestSpec { export, ..spec }).unwrap()).await.code
}

fn granted(name: &str, bucket: &Bucket) -> GuestSpec {
    GuestSpec { buckets: [(name.to_owned(), bucket.clone())].into(), ..GuestSpec::default() }
}

#[tokio::test]
async fn a_bucket_is_kept_from_one_instance_to_the_next() {
    let bucket = Buckets::default().memory("pod", "default");
    for sum in [5, 10, 15] {
        assert_eq!(call(COUNTS, "count", granted("default", &bucket)).await, sum);
    }
}

#[tokio::test]
async fn a_bucket_in_a_file_is_kept_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    for sum in [5, 10] {
        let bucket = Buckets::default().file(&dir.path().join("counts.redb")).unwrap();
        assert_eq!(call(COUNTS, "count", granted("default", &bucket)).await, sum);
    }
}

#[tokio::test]
async fn a_guest_opens_only_what_it_was_granted() {
    assert_eq!(call(COUNTS, "count", GuestSpec::default()).await, 101, "access denied");
    let bucket = Buckets::default().memory("pod", "other");
    assert_eq!(call(COUNTS, "count", granted("other", &bucket)).await, 100, "no such store");
}

#[tokio::test]
async fn what_a_guest_logs_is_a_line_of_its_standard_error() {
    let printed = Printed::new();
    call(LOGS, "run", GuestSpec { output: Some(printed.clone()), ..GuestSpec::default() }).await;
    assert_eq!(printed.text(StdStream::Stderr), "WARN orders: too late\n");
}
