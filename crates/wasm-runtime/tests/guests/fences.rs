//! Guests that take what they can get: each stays within its limits, and its neighbours notice nothing.

use std::error::Error as _;
use std::time::Duration;

use futures::future::join_all;
use http::Request;
use wkube_wasm_runtime::{Allowance, Body, Engine, ExitReason, GuestSpec, HandleError, Limits, Running, StdStream};

use crate::support::{
    HELLO_MODULE, HTTP_0_2, Printed, args, ended, engine, eventually, load, memory, run, small_engine, start, try_load,
};

/// Runs something else, to see that it can.
async fn neighbour_is_well() {
    assert_eq!(run(HELLO_MODULE, args(&["hello"])).await.code, 0);
}

async fn kill(running: &Running) {
    running.kill();
    assert_eq!(ended(running).await.reason, ExitReason::Stopped);
}

fn within(allowance: &Allowance, limits: Limits) -> GuestSpec {
    GuestSpec { limits, allowance: Some(allowance.part(&limits)), ..GuestSpec::default() }
}

#[tokio::test]
async fn a_loop_of_growing_memory_ends_at_the_limit() {
    let text = br#"(module (memory 1)
        (func (export "_start") (loop $l (drop (memory.grow (i32.const 1))) (br $l))))"#;
    let running = start(text, GuestSpec { limits: memory(4), ..GuestSpec::default() }).await;
    eventually("it has all it may", || running.memory_peak() == 4 << 20).await;
    neighbour_is_well().await;
    assert_eq!(running.memory_used(), 4 << 20);
    kill(&running).await;
    assert_eq!(running.memory_used(), 0);
}

#[tokio::test]
async fn a_table_counts_as_memory() {
    let text = br#"(module (table 1 funcref) (func (export "_start")
        (loop $l (br_if $l (i32.ne (table.grow (ref.null func) (i32.const 1000)) (i32.const -1)))) unreachable))"#;
    let limits = Limits { memory_bytes: 512 << 10, ..Limits::default() };
    let running = start(text, GuestSpec { limits, ..GuestSpec::default() }).await;
    let exit = ended(&running).await;
    assert_eq!(exit.reason, ExitReason::OutOfMemory, "{}", exit.message);
    assert!(running.memory_peak() > 480 << 10, "{}", running.memory_peak());
}

#[tokio::test]
async fn a_table_larger_than_the_host_offers_does_not_grow_and_is_not_charged() {
    let text = br#"(module (table 1 funcref) (func (export "_start")
        (if (i32.ne (table.grow (ref.null func) (i32.const 1000000)) (i32.const -1)) (then unreachable))))"#;
    let running = start(text, GuestSpec::default()).await;
    assert_eq!(ended(&running).await.code, 0);
    assert!(running.memory_peak() < 10 << 20, "{}", running.memory_peak());
}

#[tokio::test]
async fn guests_that_belong_together_share_one_limit() {
    let pod = engine().allowance(&memory(40));
    let artifact = load(HELLO_MODULE).await;
    let mut first = within(&pod, memory(32));
    first.args = ["hello", "sleep", "3600000"].map(str::to_owned).into();
    let asleep = artifact.start(first).unwrap();
    eventually("the first one runs", || asleep.memory_used() > 1 << 20).await;
    let mut second = within(&pod, memory(64));
    second.args = ["hello", "alloc", "48"].map(str::to_owned).into();
    let exit = ended(&artifact.start(second).unwrap()).await;
    assert_eq!(exit.reason, ExitReason::OutOfMemory);
    let sentence = "the guest wanted more memory than is left of the 41943040 bytes that it shares with others";
    assert!(exit.message.starts_with(sentence), "{}", exit.message);
    kill(&asleep).await;
    assert_eq!(pod.memory_used(), 0);
    assert!(pod.cpu_time() >= asleep.cpu_time());
}

#[tokio::test]
async fn a_machine_without_room_refuses_guests_before_it_fails_itself() {
    let cache = tempfile::tempdir().unwrap();
    let engine: Engine = small_engine(&cache, 10);
    let text = br#"(module (memory 1) (func (export "_start")
        (if (i32.eq (memory.grow (i32.const 160)) (i32.const -1)) (then unreachable))))"#;
    let artifact = try_load(&engine, text).await.unwrap();
    let promised = Limits { memory_promised: 64 << 20, ..Limits::default() };
    let outcome = async |limits: Limits| {
        let running = artifact.start(within(&engine.allowance(&limits), limits)).unwrap();
        ended(&running).await.reason
    };
    engine.set_memory_room(70 << 20);
    assert_eq!(outcome(Limits::default()).await, ExitReason::OutOfMemory);
    assert_eq!(outcome(promised).await, ExitReason::Exited, "what is left is for those who were promised it");
    engine.set_memory_room(5 << 20);
    assert_eq!(outcome(promised).await, ExitReason::OutOfMemory);
    engine.set_memory_room(1 << 30);
    assert_eq!(outcome(Limits::default()).await, ExitReason::Exited);
    assert_eq!(engine.memory_used(), 0);
}

#[tokio::test]
async fn limits_can_be_changed_while_a_guest_runs() {
    let text = br#"(module (memory 1)
        (func (export "_start") (loop $l (drop (memory.grow (i32.const 1))) (br $l))))"#;
    let running = start(text, GuestSpec { limits: memory(2), ..GuestSpec::default() }).await;
    eventually("it has all it may", || running.memory_used() == 2 << 20).await;
    running.allowance().resize(&memory(3));
    eventually("it has more", || running.memory_used() == 3 << 20).await;
    running.allowance().resize(&memory(1));
    assert_eq!(running.memory_used(), 3 << 20, "what it has, it keeps");
    kill(&running).await;
}

#[tokio::test]
async fn a_flood_of_requests_stays_within_the_guests_memory() {
    let limits = Limits { concurrency: 200, ..memory(8) };
    let guest = load(HTTP_0_2).await.serve(GuestSpec { limits, ..GuestSpec::default() }).unwrap();
    let request = || Request::get("http://guest/spin/100").body(Body::default()).unwrap();
    let answers = join_all((0..100).map(|_| guest.handle(request()))).await;
    let mut answered = 0;
    for answer in answers {
        match answer {
            Ok(_) => answered += 1,
            Err(HandleError::Trapped(exit)) => assert!(exit.message.contains("more memory than"), "{}", exit.message),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(answered > 0, "some are answered");
    assert!(guest.memory_peak() <= 8 << 20);
    eventually("everything is given back", || guest.memory_used() == 0).await;
    assert!(guest.handle(request()).await.is_ok(), "the flood leaves nothing behind");
}

#[tokio::test]
async fn a_loop_of_long_fills_can_be_stopped() {
    // 128 MiB at once, over and over, which takes a slice in many pieces.
    let text = br#"(module (memory 2048) (func (export "_start")
        (loop $l (memory.fill (i32.const 0) (i32.const 7) (i32.const 134217728)) (br $l))))"#;
    let filling: Vec<Running> = join_all((0..2).map(|_| start(text, GuestSpec::default()))).await;
    eventually("both run", || filling.iter().all(|guest| guest.cpu_time() > Duration::from_millis(5))).await;
    neighbour_is_well().await;
    for guest in &filling {
        kill(guest).await;
    }
}

#[tokio::test]
async fn a_guest_cannot_make_the_host_roll_dice_for_long() {
    let text = br#"(module (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (memory (export "memory") 300) (func (export "_start")
        (if (call $random (i32.const 0) (i32.const 16777216)) (then unreachable))))"#;
    let exit = run(text, GuestSpec::default()).await;
    assert_ne!(exit.code, 0, "16 MiB in one call are refused");
    let small = String::from_utf8_lossy(text).replace("16777216", "65536");
    assert_eq!(run(small.as_bytes(), GuestSpec::default()).await.code, 0);
}

#[tokio::test]
async fn a_guest_on_its_own_share_waits_for_others_with_more_but_is_not_forgotten() {
    let spin = br#"(module (func (export "_start") (loop $l (br $l))))"#;
    let heavy = Limits { cpu_shares: 1024, ..Limits::default() };
    let artifact = load(spin).await;
    let spinning: Vec<_> =
        (0..4).map(|_| artifact.start(GuestSpec { limits: heavy, ..GuestSpec::default() }).unwrap()).collect();
    let limits = Limits { cpu_shares: 102, ..Limits::default() };
    let printed = Printed::new();
    let spec = GuestSpec { limits, output: Some(printed.clone()), ..args(&["hello"]) };
    assert_eq!(run(HELLO_MODULE, spec).await.code, 0);
    assert!(!printed.text(StdStream::Stdout).is_empty());
    for running in &spinning {
        kill(running).await;
    }
}

#[tokio::test]
async fn a_bad_module_says_what_is_wrong_with_it() {
    let large = br#"(module (memory 65536) (table 10000000 funcref) (func (export "_start")))"#;
    let error = match try_load(engine(), large).await {
        Ok(artifact) => artifact.start(GuestSpec::default()).map(|_| ()).unwrap_err(),
        Err(error) => error,
    };
    let mut chain = vec![error.to_string()];
    let mut next = error.source();
    while let Some(source) = next {
        chain.push(source.to_string());
        next = source.source();
    }
    assert!(chain.join(": ").contains("table"), "{chain:?}");
}
