//! Commands: how they end, what they may use, what they see.

use std::fs;
use std::time::Duration;

use tokio::time::Instant;
use wkube_wasm_runtime::{Access, Error, Exit, ExitReason, GuestSpec, Kind, Limits, Mount, StdStream};

use crate::support::{
    HELLO_COMPONENT, HELLO_MODULE, HTTP_0_2, PATIENCE, Printed, args, ended, engine, eventually, load, memory, run,
    small_engine, start, try_load,
};

/// Loops for ever.
const SPIN: &[u8] = br#"(module (func (export "_start") (loop $l (br $l))))"#;

fn outcome(exit: &Exit) -> (i32, ExitReason) {
    (exit.code, exit.reason)
}

/// Runs a module whose `_start` has this body.
async fn check(body: &str) -> Exit {
    run(format!(r#"(module (memory 1) (func $main (export "_start") {body}))"#).as_bytes(), GuestSpec::default()).await
}

#[tokio::test]
async fn a_command_that_returns_ends_with_zero() {
    assert_eq!(check("").await, Exit { code: 0, reason: ExitReason::Exited, message: String::new() });
}

#[tokio::test]
async fn every_exit_code_is_kept() {
    for code in [0, 1, 7, 125, 126, 137, 255] {
        let text = format!(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const {code}))))"#
        );
        assert_eq!(outcome(&run(text.as_bytes(), GuestSpec::default()).await), (code, ExitReason::Exited));
    }
    assert_eq!(outcome(&run(HELLO_COMPONENT, args(&["hello", "exit", "1"])).await), (1, ExitReason::Exited));
}

#[tokio::test]
async fn traps_end_with_the_code_of_a_signal_and_a_backtrace() {
    let trapped = |code| (code, ExitReason::Trapped);
    let exit = check("unreachable").await;
    assert_eq!(outcome(&exit), trapped(134));
    assert!(exit.message.contains("!main"), "the backtrace names the function: {}", exit.message);
    assert!(exit.message.contains("unreachable"), "{}", exit.message);
    assert_eq!(outcome(&check("(drop (i32.load (i32.const -1)))").await), trapped(139));
    assert_eq!(outcome(&check("(call $main)").await), trapped(139));
    assert_eq!(outcome(&check("(drop (i32.div_s (i32.const 1) (i32.const 0)))").await), trapped(136));
    assert_eq!(outcome(&run(HELLO_MODULE, args(&["hello", "panic"])).await), trapped(134));
    assert_eq!(outcome(&run(HELLO_COMPONENT, args(&["hello", "abort"])).await), trapped(134));
}

#[tokio::test]
async fn a_guest_that_dies_of_refused_memory_is_out_of_memory() {
    let spec = || GuestSpec { limits: memory(32), ..args(&["hello", "alloc", "64"]) };
    for guest in [HELLO_MODULE, HELLO_COMPONENT] {
        let exit = run(guest, spec()).await;
        assert_eq!(outcome(&exit), (137, ExitReason::OutOfMemory), "{}", exit.message);
        assert!(exit.message.starts_with("the guest wanted more memory than its limit of 33554432 bytes"));
    }
    let fits = GuestSpec { limits: memory(128), ..spec() };
    assert_eq!(outcome(&run(HELLO_MODULE, fits).await), (0, ExitReason::Exited));
}

#[tokio::test]
async fn the_first_memory_counts_too_and_so_do_several_together() {
    let limited = || GuestSpec { limits: memory(1), ..GuestSpec::default() };
    let large = br#"(module (memory 17) (func (export "_start")))"#;
    assert_eq!(outcome(&run(large, limited()).await), (137, ExitReason::OutOfMemory));
    let two = br#"(module (memory 10) (memory 10) (func (export "_start")))"#;
    assert_eq!(outcome(&run(two, limited()).await), (137, ExitReason::OutOfMemory));
    let small = br#"(module (memory 15) (func (export "_start")))"#;
    assert_eq!(outcome(&run(small, limited()).await), (0, ExitReason::Exited));
}

#[tokio::test]
async fn a_guest_that_copes_with_refused_memory_lives_on() {
    let text = br#"(module (memory 1) (func (export "_start")
        (if (i32.ne (memory.grow (i32.const 1000)) (i32.const -1)) (then unreachable))))"#;
    let running = start(text, GuestSpec { limits: memory(4), ..GuestSpec::default() }).await;
    assert_eq!(outcome(&ended(&running).await), (0, ExitReason::Exited));
    assert_eq!(running.memory_peak(), 128 << 10, "a page, and what every instance costs");
    assert_eq!(running.memory_used(), 0, "an ended guest holds nothing");
}

#[tokio::test]
async fn a_spinning_guest_is_killed_soon() {
    let running = start(SPIN, GuestSpec::default()).await;
    eventually("the guest runs", || running.cpu_time() > Duration::from_millis(10)).await;
    let killed = Instant::now();
    running.kill();
    assert_eq!(outcome(&ended(&running).await), (137, ExitReason::Stopped));
    // About 6 ms alone on the machine; the bound leaves room for the tests beside us.
    assert!(killed.elapsed() < Duration::from_secs(2), "{:?}", killed.elapsed());
}

#[tokio::test]
async fn spinning_guests_leave_room_for_others() {
    let artifact = load(SPIN).await;
    let spinning: Vec<_> = (0..8).map(|_| artifact.start(GuestSpec::default()).unwrap()).collect();
    assert_eq!(run(HELLO_MODULE, args(&["hello"])).await.code, 0);
    for running in &spinning {
        running.kill();
        assert_eq!(ended(running).await.reason, ExitReason::Stopped);
    }
}

#[tokio::test]
async fn a_blocked_guest_is_killed_at_once() {
    for guest in [HELLO_MODULE, HELLO_COMPONENT] {
        let running = start(guest, args(&["hello", "sleep", "3600000"])).await;
        eventually("the guest runs", || running.memory_used() > 64 << 10).await;
        running.kill();
        assert_eq!(outcome(&ended(&running).await), (137, ExitReason::Stopped));
    }
}

#[tokio::test]
async fn a_guest_without_an_owner_is_killed() {
    let running = start(SPIN, GuestSpec::default()).await;
    let exit = running.exit();
    drop(running);
    let exit = tokio::time::timeout(PATIENCE, exit).await.expect("the guest ends");
    assert_eq!(outcome(&exit), (137, ExitReason::Stopped));
}

#[tokio::test]
async fn a_guest_that_does_not_ask_is_stopped_at_once() {
    let running = start(HELLO_MODULE, args(&["hello", "sleep", "3600000"])).await;
    running.stop(Duration::from_hours(1));
    assert_eq!(outcome(&ended(&running).await), (143, ExitReason::Stopped));
}

#[tokio::test]
async fn a_guest_that_asks_is_told_and_ends_by_itself() {
    let text = br#"(module (import "wkube:lifecycle/stop" "wait" (func $wait))
        (import "wkube:lifecycle/stop" "requested" (func $requested (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (if (call $requested) (then unreachable))
            (drop (memory.grow (i32.const 16)))
            (call $wait)
            (call $exit (i32.add (i32.const 40) (call $requested)))))"#;
    assert!(load(text).await.wants_stop());
    let running = start(text, GuestSpec::default()).await;
    eventually("the guest has asked for the first time", || running.memory_used() > 16 << 16).await;
    running.stop(Duration::from_hours(1));
    assert_eq!(outcome(&ended(&running).await), (41, ExitReason::Exited));
}

#[tokio::test]
async fn a_component_that_asks_is_told_too() {
    let text = br#"(component
        (import "wkube:lifecycle/stop@0.1.0" (instance $stop
            (export "wait" (func)) (export "requested" (func (result bool)))))
        (core func $wait (canon lower (func $stop "wait")))
        (core func $requested (canon lower (func $stop "requested")))
        (core module $m
            (import "stop" "wait" (func $wait)) (import "stop" "requested" (func $requested (result i32)))
            (memory 1)
            (func (export "run") (result i32)
                (if (call $requested) (then unreachable))
                (drop (memory.grow (i32.const 16)))
                (call $wait)
                (i32.eqz (call $requested))))
        (core instance $i (instantiate $m (with "stop" (instance
            (export "wait" (func $wait)) (export "requested" (func $requested))))))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $command (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $command)))"#;
    let running = start(text, GuestSpec::default()).await;
    eventually("the guest has asked for the first time", || running.memory_used() > 16 << 16).await;
    running.stop(Duration::from_hours(1));
    assert_eq!(outcome(&ended(&running).await), (0, ExitReason::Exited));
}

#[tokio::test]
async fn a_guest_over_its_share_of_the_processor_waits_and_can_still_be_killed() {
    let limits = Limits { cpu_millis: Some(10), ..Limits::default() };
    let running = start(SPIN, GuestSpec { limits, ..GuestSpec::default() }).await;
    let started = Instant::now();
    eventually("the guest runs", || running.cpu_time() > Duration::from_millis(1)).await;
    // One slice of 2 ms is a fifth of a second's worth; the bound leaves room for a ticker that is late on a busy machine.
    eventually("half a second passes", || started.elapsed() > Duration::from_millis(500)).await;
    assert!(running.cpu_time() < Duration::from_millis(250), "{:?}", running.cpu_time());
    running.kill();
    assert_eq!(outcome(&ended(&running).await), (137, ExitReason::Stopped));
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_guest_that_asks_but_does_not_end_is_killed_after_its_grace() {
    let text = br#"(module (import "wkube:lifecycle/stop" "wait" (func $wait))
        (func (export "_start") (loop $l (br $l))))"#;
    let running = start(text, GuestSpec::default()).await;
    running.stop(Duration::from_hours(1));
    running.stop(Duration::from_millis(1));
    assert_eq!(outcome(&ended(&running).await), (137, ExitReason::Stopped));
}

#[tokio::test]
async fn output_arrives_as_it_was_written() {
    let printed = Printed::new();
    let spec = GuestSpec { output: Some(printed.clone()), ..args(&["hello", "lines", "3"]) };
    assert_eq!(run(HELLO_MODULE, spec).await.code, 0);
    assert_eq!(printed.text(StdStream::Stdout), "line 0\nline 1\nline 2\n");

    let printed = Printed::new();
    let spec = GuestSpec { output: Some(printed.clone()), ..args(&["hello", "panic"]) };
    assert_eq!(run(HELLO_COMPONENT, spec).await.code, 134);
    assert!(printed.text(StdStream::Stderr).contains("boom"), "{}", printed.text(StdStream::Stderr));
    assert_eq!(printed.text(StdStream::Stdout), "");
}

#[tokio::test]
async fn an_unfinished_line_is_not_held_back() {
    let text = br#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\10\00\00\00\02\00\00\00") (data (i32.const 16) "ab")
        (func (export "_start")
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (loop $l (br $l))))"#;
    let printed = Printed::new();
    let running = start(text, GuestSpec { output: Some(printed.clone()), ..GuestSpec::default() }).await;
    eventually("the bytes arrive while the guest runs", || printed.text(StdStream::Stdout) == "ab").await;
    running.kill();
}

#[tokio::test]
async fn a_guest_sees_its_arguments_and_environment_and_no_other() {
    for guest in [HELLO_MODULE, HELLO_COMPONENT] {
        let printed = Printed::new();
        let env = vec![("FOO".to_owned(), "bar".to_owned())];
        run(guest, GuestSpec { env: env.into(), output: Some(printed.clone()), ..args(&["hello", "x y"]) }).await;
        let expected = r#"hello from rust wasi, args=["hello", "x y"] env=Ok("bar")"#;
        assert_eq!(printed.text(StdStream::Stdout).trim_end(), expected);
    }
}

#[tokio::test]
async fn mounts_are_all_that_a_guest_sees_of_the_disk() {
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("f"), b"12345").unwrap();
    for guest in [HELLO_MODULE, HELLO_COMPONENT] {
        let read = async |mounts: Vec<Mount>| {
            let printed = Printed::new();
            run(guest, GuestSpec { mounts, output: Some(printed.clone()), ..args(&["hello", "read"]) }).await;
            printed.text(StdStream::Stdout)
        };
        let mount = |access| vec![Mount { host: host.path().to_owned(), guest: "/data".to_owned(), access }];
        assert!(read(Vec::new()).await.starts_with("Err("));
        let output = read(mount(Access::ReadOnly)).await;
        assert!(output.starts_with("Ok(5)\nErr("), "{output}");
        assert!(!host.path().join("g").exists());
        assert_eq!(read(mount(Access::ReadWrite)).await, "Ok(5)\nOk(())\n");
        fs::remove_file(host.path().join("g")).unwrap();
    }
}

#[tokio::test]
async fn a_mount_that_is_not_there_is_named() {
    let mount = Mount { host: "/nowhere/at/all".into(), guest: "/data".to_owned(), access: Access::ReadOnly };
    let started = load(HELLO_MODULE).await.start(GuestSpec { mounts: vec![mount], ..args(&["hello"]) });
    let Err(error) = started else { panic!("it starts without its mount") };
    assert_eq!(error.to_string(), "mount /nowhere/at/all at /data");
}

#[tokio::test]
async fn a_full_engine_says_so_and_has_room_again_after_an_end() {
    let cache = tempfile::tempdir().unwrap();
    let engine = small_engine(&cache, 1);
    let artifact = try_load(&engine, SPIN).await.unwrap();
    let first = artifact.start(GuestSpec::default()).unwrap();
    let Err(error) = artifact.start(GuestSpec::default()) else { panic!("two guests in one slot") };
    assert!(matches!(error, Error::Full { slots: 1 }) && error.is_transient());
    first.kill();
    ended(&first).await;
    let second = artifact.start(GuestSpec::default()).unwrap();
    second.kill();
    assert_eq!(ended(&second).await.reason, ExitReason::Stopped);
}

#[tokio::test]
async fn a_guest_of_many_parts_takes_many_slots() {
    let cache = tempfile::tempdir().unwrap();
    let engine = small_engine(&cache, 5);
    let part = r#"(core module $m (memory 1) (func (export "f") (loop (br 0))))"#;
    let parts = "(core instance $a (instantiate $m))".to_owned() + &"(core instance (instantiate $m))".repeat(3);
    let run = r#"(func (export "spin") (canon lift (core func $a "f")))"#;
    let component = format!("(component {part} {parts} {run})");
    let artifact = try_load(&engine, component.as_bytes()).await.unwrap();
    let spec = || GuestSpec { export: Some("spin".into()), ..GuestSpec::default() };
    let first = artifact.start(spec()).unwrap();
    assert_eq!(engine.slots_free(), 1, "it has four memories");
    assert!(matches!(artifact.start(spec()), Err(Error::Full { slots: 5 })));
    let small = try_load(&engine, SPIN).await.unwrap().start(GuestSpec::default()).unwrap();
    for running in [&first, &small] {
        running.kill();
        ended(running).await;
    }
    assert_eq!(engine.slots_free(), 5);
}

#[tokio::test]
async fn a_handler_is_not_a_command_and_a_command_is_no_handler() {
    let handler = load(HTTP_0_2).await;
    assert_eq!(handler.kind(), Kind::HttpHandler);
    let Err(error) = handler.start(GuestSpec::default()) else { panic!("a handler started") };
    assert_eq!(error.to_string(), "use the guest as a command: it is an HTTP handler (wasi:http)");
    let Err(error) = load(HELLO_MODULE).await.serve(GuestSpec::default()) else { panic!("a command serves") };
    assert_eq!(error.to_string(), "use the guest as an HTTP handler: it is a command (WASI preview 1 module)");
    assert_eq!(load(HELLO_COMPONENT).await.kind(), Kind::Command);
    assert!(engine().slots() >= 1);
}
