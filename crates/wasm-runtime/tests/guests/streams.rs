//! Standard input, slow readers, and guests that run inside the limits of another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use wkube_wasm_runtime::{Access, ExitReason, GuestSpec, Mount, Output, StdStream};

use crate::support::{
    HELLO_COMPONENT, HELLO_MODULE, HTTP_0_2, Printed, ended, engine, eventually, load, memory, run, start, try_load,
};

/// Copies its input to its output and ends with it.
const CAT: &[u8] = br#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (loop $again
            (i32.store (i32.const 0) (i32.const 64))
            (i32.store (i32.const 4) (i32.const 4096))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
            (if (i32.load (i32.const 8)) (then
                (i32.store (i32.const 4) (i32.load (i32.const 8)))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                (br $again))))))"#;

/// Writes its memory for ever, 4 KiB at a time.
const YES: &[u8] = br#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 64))
        (i32.store (i32.const 4) (i32.const 4096))
        (loop $again (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br $again))))"#;

/// Fills 100 MiB of its memory with one letter and hands it to its standard error at once, and again what was not taken.
const FLOOD: &[u8] = br#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1601)
    (func (export "_start") (local $left i32)
        (local.set $left (i32.const 104857600))
        (memory.fill (i32.const 65536) (i32.const 120) (local.get $left))
        (loop $again
            (i32.store (i32.const 0) (i32.const 65536))
            (i32.store (i32.const 4) (local.get $left))
            (if (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
            (local.set $left (i32.sub (local.get $left) (i32.load (i32.const 8))))
            (br_if $again (local.get $left)))))"#;

/// Writes a file of 20 MiB, with what is left in each call, and reads it back in the same way.
const LONG_FILE: &[u8] = br#"(module
    (type $transfer (func (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (type $transfer)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (type $transfer)))
    (memory (export "memory") 322)
    (data (i32.const 32) "long")
    (table funcref (elem $write $read))
    (func $all (param $how i32)
        (local $fd i32) (local $done i32)
        ;; beneath the first folder that the host opened; made if it is not there
        (if (call $open (i32.const 3) (i32.const 0) (i32.const 32) (i32.const 4) (i32.const 1)
                (i64.const 0x42) (i64.const 0) (i32.const 0) (i32.const 16)) (then unreachable))
        (local.set $fd (i32.load (i32.const 16)))
        (loop $again
            (i32.store (i32.const 0) (i32.add (i32.const 65536) (local.get $done)))
            (i32.store (i32.const 4) (i32.sub (i32.const 20971520) (local.get $done)))
            (if (call_indirect (type $transfer)
                    (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8) (local.get $how)) (then unreachable))
            ;; the list of buffers is as it was
            (if (i32.ne (i32.load (i32.const 4)) (i32.sub (i32.const 20971520) (local.get $done))) (then unreachable))
            (if (i32.eqz (i32.load (i32.const 8))) (then unreachable))
            (local.set $done (i32.add (local.get $done) (i32.load (i32.const 8))))
            (br_if $again (i32.lt_u (local.get $done) (i32.const 20971520)))))
    (func (export "_start")
        (memory.fill (i32.const 65536) (i32.const 120) (i32.const 20971520))
        (call $all (i32.const 0))
        (memory.fill (i32.const 65536) (i32.const 0) (i32.const 20971520))
        (call $all (i32.const 1))
        (if (i32.ne (i32.load8_u (i32.const 20971520)) (i32.const 120)) (then unreachable))
        (if (i32.ne (i32.load8_u (i32.const 21037055)) (i32.const 120)) (then unreachable))))"#;

fn piece(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test]
async fn a_guest_reads_what_comes_and_ends_with_its_input() {
    let (stdin, pieces) = mpsc::channel(4);
    let printed = Printed::new();
    let running =
        start(CAT, GuestSpec { stdin: Some(pieces), output: Some(printed.clone()), ..GuestSpec::default() }).await;
    for text in ["one", " two"] {
        stdin.send(piece(text)).await.unwrap();
    }
    eventually("it echoes while its input is open", || printed.text(StdStream::Stdout) == "one two").await;
    assert!(running.exit().now_or_never().is_none(), "it waits for more");
    drop(stdin);
    assert_eq!(ended(&running).await.code, 0);
}

#[tokio::test]
async fn without_an_input_a_guest_reads_its_end_at_once() {
    assert_eq!(ended(&start(CAT, GuestSpec::default()).await).await.code, 0);
}

/// Takes no more once it holds 64 KiB, until it is told to.
struct Slow {
    held: AtomicUsize,
    goes_on: watch::Sender<bool>,
}

impl Output for Slow {
    fn write(&self, _: StdStream, bytes: &[u8]) {
        assert!(self.room().is_none(), "nothing is written without room");
        self.held.fetch_add(bytes.len(), Ordering::Relaxed);
    }

    fn room(&self) -> Option<BoxFuture<'static, ()>> {
        let mut goes_on = self.goes_on.subscribe();
        let is_full = self.held.load(Ordering::Relaxed) >= 64 << 10 && !*goes_on.borrow();
        is_full.then(|| async move { drop(goes_on.wait_for(|goes_on| *goes_on).await) }.boxed())
    }
}

#[tokio::test]
async fn a_slow_reader_slows_the_guest_down_and_can_be_killed() {
    let slow = Arc::new(Slow { held: AtomicUsize::new(0), goes_on: watch::Sender::new(false) });
    let running = start(YES, GuestSpec { output: Some(slow.clone()), ..GuestSpec::default() }).await;
    let held = || slow.held.load(Ordering::Relaxed);
    eventually("the reader is full", || held() >= 64 << 10).await;
    assert!(running.exit().now_or_never().is_none(), "it waits for room");
    slow.goes_on.send_replace(true);
    eventually("it goes on", || held() > 128 << 10).await;
    running.kill();
    assert_eq!(ended(&running).await.code, 137);
}

/// Counts what comes, and how much of it at once.
#[derive(Default)]
struct Counting {
    bytes: AtomicUsize,
    largest: AtomicUsize,
}

impl Output for Counting {
    fn write(&self, stream: StdStream, bytes: &[u8]) {
        assert_eq!(stream, StdStream::Stderr);
        self.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        self.largest.fetch_max(bytes.len(), Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_hundred_mebibytes_of_errors_without_a_newline_come_in_pieces() {
    let counting = Arc::new(Counting::default());
    let spec = GuestSpec { output: Some(counting.clone()), limits: memory(128), ..GuestSpec::default() };
    assert_eq!(run(FLOOD, spec).await.code, 0);
    assert_eq!(counting.bytes.load(Ordering::Relaxed), 100 << 20, "nothing is lost");
    let largest = counting.largest.load(Ordering::Relaxed);
    assert!(largest <= 64 << 10, "the host holds {largest} bytes of it at once");
}

#[tokio::test]
async fn what_is_too_long_for_one_call_takes_several() {
    let host = tempfile::tempdir().unwrap();
    let mount = Mount { host: host.path().to_owned(), guest: "/data".to_owned(), access: Access::ReadWrite };
    let exit = run(LONG_FILE, GuestSpec { mounts: vec![mount], limits: memory(32), ..GuestSpec::default() }).await;
    assert_eq!(exit.code, 0, "{}", exit.message);
    let file = std::fs::read(host.path().join("long")).unwrap();
    assert!(file.len() == 20 << 20 && file.iter().all(|byte| *byte == b'x'));
}

#[tokio::test]
async fn a_guest_inside_the_limits_of_another_shares_its_memory() {
    let holder = br#"(module (memory 32) (func (export "_start") (loop (br 0))))"#;
    let running = start(holder, GuestSpec { limits: memory(4), ..GuestSpec::default() }).await;
    let held = (2 << 20) + (64 << 10);
    eventually("it holds 2 MiB, and what every instance costs", || running.memory_used() == held).await;
    let beside = |pages: u32| {
        let allowance = Some(running.allowance());
        let text = format!(r#"(module (memory {pages}) (func (export "_start")))"#);
        async move { ended(&start(text.as_bytes(), GuestSpec { allowance, ..GuestSpec::default() }).await).await }
    };
    assert_eq!(beside(30).await.code, 0, "that many pages are left, less what an instance costs");
    assert_eq!(beside(31).await.reason, ExitReason::OutOfMemory);
    assert_eq!(running.memory_used(), held, "what has ended holds nothing");
    running.kill();
}

#[tokio::test]
async fn an_http_handler_has_a_command_only_if_it_exports_one() {
    let handler = load(HTTP_0_2).await;
    assert!(!handler.has_command());
    assert!(handler.start(GuestSpec::default()).is_err());
    assert!(load(HELLO_MODULE).await.has_command());
    assert!(try_load(engine(), HELLO_COMPONENT).await.unwrap().has_command());
}
