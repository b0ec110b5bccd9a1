//! Whether the fences hold: `fences [kill|share|host|bulk]`, all of them without an argument.
//!
//! - kill: how long a guest takes to be gone, from every kind of loop, alone and among 64 that spin;
//! - share: what guests get of the processor, beside what they were to get;
//! - host: how late the host's own tasks run behind 64 guests that spin, which is what heartbeats and probes feel;
//! - bulk: what it costs that long bulk instructions can be interrupted: those with a constant length up to one piece
//!   are compiled as they are, those with a length that is computed are cut.

use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use futures::future::join_all;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use runtime_bench::guests::{HTTP_0_2, HTTP_0_3, Host};
use runtime_bench::report::{Times, shown, table};
use wkube_wasm_runtime::{Artifact, GuestSpec, HttpGuest, Limits, Running, wat_to_wasm};

/// As many guests as the issue names.
const SPINNING: usize = 64;
/// How long a share is measured.
const WINDOW: Duration = Duration::from_secs(5);

const SPIN: &str = r#"(module (func (export "_start") (loop $l (br $l))))"#;

/// Every way to keep a thread busy, by name.
const LOOPS: [(&str, &str); 10] = [
    ("an empty loop", SPIN),
    (
        "calls without end",
        r#"(module (func $f (param i32) (result i32) (local.get 0))
        (func (export "_start") (loop $l (drop (call $f (i32.const 1))) (br $l))))"#,
    ),
    (
        "memory.fill of 128 MiB",
        r#"(module (memory 2048) (func (export "_start")
        (loop $l (memory.fill (i32.const 0) (i32.const 7) (i32.const 134217728)) (br $l))))"#,
    ),
    (
        "memory.copy of 64 MiB",
        r#"(module (memory 2048) (func (export "_start")
        (loop $l (memory.copy (i32.const 0) (i32.const 67108864) (i32.const 67108864)) (br $l))))"#,
    ),
    (
        "memory.init of 1 MiB",
        r#"(module (memory 16) (data "MEBIBYTE") (func (export "_start")
        (loop $l (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 1048576)) (br $l))))"#,
    ),
    (
        "table.copy of 99,999",
        r#"(module (table 100000 funcref) (func (export "_start")
        (loop $l (table.copy (i32.const 1) (i32.const 0) (i32.const 99999)) (br $l))))"#,
    ),
    (
        "table.fill of 100,000",
        r#"(module (table 100000 funcref) (func $f (export "_start")
        (loop $l (table.fill (i32.const 0) (ref.func $f) (i32.const 100000)) (br $l))))"#,
    ),
    (
        "memory.grow refused",
        r#"(module (memory 1) (func (export "_start")
        (loop $l (drop (memory.grow (i32.const 60000))) (br $l))))"#,
    ),
    (
        "random_get of 4 MiB",
        r#"(module (import "wasi_snapshot_preview1" "random_get" (func $r (param i32 i32) (result i32)))
        (memory (export "memory") 100) (func (export "_start")
        (loop $l (drop (call $r (i32.const 0) (i32.const 4194304))) (br $l))))"#,
    ),
    (
        "asleep in poll_oneoff",
        r#"(module (import "wasi_snapshot_preview1" "poll_oneoff"
        (func $poll (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (func (export "_start")
        (i32.store (i32.const 16) (i32.const 1))
        (i64.store (i32.const 24) (i64.const 3600000000000))
        (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 200)))))"#,
    ),
];

#[tokio::main]
async fn main() -> Result<()> {
    let wanted = std::env::args().nth(1);
    let is_wanted = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    let host = Host::new(400, 2)?;
    let spin = host.load("spin", leak(SPIN)?).await?;
    if is_wanted("kill") {
        kill(&host, &spin).await?;
    }
    if is_wanted("share") {
        share(&host, &spin).await?;
    }
    if is_wanted("host") {
        responsiveness(&spin).await?;
    }
    if is_wanted("bulk") {
        bulk(&host).await?;
    }
    Ok(())
}

/// What the engine keeps compiled code by.
fn slug(name: &str) -> String {
    name.replace([' ', '.', ','], "-")
}

fn leak(text: &str) -> Result<&'static [u8]> {
    let text = text.replace("MEBIBYTE", &"x".repeat(1 << 20));
    Ok(Vec::leak(wat_to_wasm(text.as_bytes())?.into_owned()))
}

fn limited(millis: Option<u32>, shares: u32) -> GuestSpec {
    let limits = Limits { cpu_millis: millis, cpu_shares: shares, ..Limits::default() };
    GuestSpec { limits, ..GuestSpec::default() }
}

async fn kill(host: &Host, spin: &Artifact) -> Result<()> {
    let mut rows = Vec::new();
    for (name, text) in LOOPS {
        let artifact = host.load(&slug(name), leak(text)?).await?;
        let alone = killed(&artifact, 200).await?;
        let crowd: Vec<Running> = (0..SPINNING).map(|_| spin.start(GuestSpec::default())).collect::<Result<_, _>>()?;
        let among = killed(&artifact, 100).await?;
        end(&crowd).await;
        rows.push(vec![name.to_owned(), alone.summary(), among.summary()]);
    }
    table(&["kill of a guest in", "alone", "among 64 that spin"], &rows);
    Ok(())
}

async fn killed(artifact: &Artifact, rounds: usize) -> Result<Times> {
    let mut times = Times::default();
    for _ in 0..rounds {
        let guest = artifact.start(GuestSpec::default())?;
        // Long enough to be in the midst of it.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let begin = Instant::now();
        guest.kill();
        guest.exit().await;
        times.add(begin.elapsed());
    }
    Ok(times)
}

async fn end(guests: &[Running]) {
    guests.iter().for_each(Running::kill);
    join_all(guests.iter().map(Running::exit)).await;
}

async fn share(host: &Host, spin: &Artifact) -> Result<()> {
    let mut rows = Vec::new();
    for millis in [50, 100, 250, 500, 900] {
        rows.push(row(
            &format!("limit {millis}m, spinning"),
            millis,
            spun(&[limited(Some(millis), 1024)], spin).await?[0],
        ));
    }
    let together = spun(&[100, 250, 500].map(|millis| limited(Some(millis), 1024)), spin).await?;
    for (millis, got) in [100, 250, 500].into_iter().zip(together) {
        rows.push(row(&format!("limit {millis}m, beside the others"), millis, got));
    }
    for (name, wasm) in [("HTTP 0.2", HTTP_0_2), ("HTTP 0.3", HTTP_0_3)] {
        let guest = host.load(&slug(name), wasm).await?.serve(limited(Some(250), 1024))?;
        rows.push(row(&format!("limit 250m, {name}, 16 clients"), 250, asked(&guest).await));
    }
    let pod = host.engine.allowance(&Limits { memory_bytes: 1 << 30, cpu_millis: Some(300), ..Limits::default() });
    let of_pod = |millis| {
        let spec = limited(Some(millis), 1024);
        GuestSpec { allowance: Some(pod.part(&spec.limits)), ..spec }
    };
    let both = spun(&[of_pod(1000), of_pod(1000)], spin).await?;
    rows.push(row("a pod's limit 300m, two containers", 300, both.iter().sum()));
    // Two threads: eight guests, so that every one could have more than it gets.
    let weights: Vec<GuestSpec> = (0..8).map(|guest| limited(None, if guest < 4 { 256 } else { 768 })).collect();
    let got = spun(&weights, spin).await?;
    let (small, large): (f64, f64) = (got[..4].iter().sum(), got[4..].iter().sum());
    rows.push(vec!["weights 1:3, four guests each".to_owned(), "3.00".to_owned(), format!("{:.2}", large / small)]);
    table(&["share", "to get", "got"], &rows);
    Ok(())
}

fn row(name: &str, millis: u32, got: f64) -> Vec<String> {
    let off = (got - f64::from(millis)) / f64::from(millis) * 100.0;
    vec![name.to_owned(), format!("{millis}m"), format!("{got:.0}m ({off:+.1} %)")]
}

/// Returns what each guest got, in thousandths of a processor.
async fn spun(specs: &[GuestSpec], spin: &Artifact) -> Result<Vec<f64>> {
    let start = |spec: &GuestSpec| {
        let GuestSpec { limits, allowance, .. } = spec;
        spin.start(GuestSpec { limits: *limits, allowance: allowance.clone(), ..GuestSpec::default() })
    };
    let guests: Vec<Running> = specs.iter().map(start).collect::<Result<_, _>>()?;
    let begin = Instant::now();
    tokio::time::sleep(WINDOW).await;
    let (took, used): (Duration, Vec<Duration>) = (begin.elapsed(), guests.iter().map(Running::cpu_time).collect());
    end(&guests).await;
    Ok(used.into_iter().map(|used| used.as_secs_f64() / took.as_secs_f64() * 1000.0).collect())
}

/// Keeps a guest busy from sixteen clients; returns what it got, in thousandths of a processor.
async fn asked(guest: &HttpGuest) -> f64 {
    let begin = Instant::now();
    let client = |_| async {
        while begin.elapsed() < WINDOW {
            let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
            let request = Request::get("/").header("host", "bench").body(body).expect("a request");
            if let Ok(answer) = guest.handle(request).await {
                let _ = answer.into_body().collect().await;
            }
        }
    };
    join_all((0..16).map(client)).await;
    guest.cpu_time().as_secs_f64() / begin.elapsed().as_secs_f64() * 1000.0
}

/// How late the tasks of a host run beside its guests: timers, as heartbeats and probes are, and hops between tasks, as
/// every request is.
async fn responsiveness(spin: &Artifact) -> Result<()> {
    let mut rows = vec![host_times("no guests").await];
    let crowd: Vec<Running> = (0..SPINNING).map(|_| spin.start(GuestSpec::default())).collect::<Result<_, _>>()?;
    rows.push(host_times("64 guests spin").await);
    end(&crowd).await;
    table(&["the host, while", "timers late by", "hop to a task and back"], &rows);
    Ok(())
}

async fn host_times(name: &str) -> Vec<String> {
    let (mut timers, mut hops) = (Times::default(), Times::default());
    for _ in 0..1_000 {
        let begin = Instant::now();
        tokio::time::sleep(Duration::from_millis(5)).await;
        timers.add(begin.elapsed().saturating_sub(Duration::from_millis(5)));
        let begin = Instant::now();
        let _ = tokio::spawn(async {}).await;
        hops.add(begin.elapsed());
    }
    let late = |times: &Times| format!("{}, max {}", times.summary(), shown(times.percentile(1.0)));
    vec![name.to_owned(), late(&timers), late(&hops)]
}

async fn bulk(host: &Host) -> Result<()> {
    const SIZES: [(u64, &str); 6] = [
        (200, "200 B"),
        (1 << 10, "1 KiB"),
        (16 << 10, "16 KiB"),
        (256 << 10, "256 KiB"),
        (2 << 20, "2 MiB"),
        (64 << 20, "64 MiB"),
    ];
    let mut rows = Vec::new();
    for (name, operands) in
        [("memory.fill", "(i32.const 64) (i32.const 7)"), ("memory.copy", "(i32.const 64) (i32.const 67108928)")]
    {
        for (bytes, size) in SIZES {
            let rounds = ((4 << 30) / bytes).min(4_000_000);
            let mut row = vec![format!("{name} of {size}")];
            for length in [format!("(i32.const {bytes})"), "(local.get 0)".to_owned()] {
                let text = format!(
                    r#"(module (memory 2050) (func (export "_start") (local i32 i32) (local.set 0 (i32.const {bytes}))
                    (loop $l ({name} {operands} {length})
                    (local.set 1 (i32.add (local.get 1) (i32.const 1)))
                    (br_if $l (i32.lt_u (local.get 1) (i32.const {rounds}))))))"#
                );
                let guest = host.load(&slug(&format!("{name}-{bytes}-{}", length.len())), leak(&text)?).await?;
                let guest = guest.start(GuestSpec::default())?;
                guest.exit().await;
                row.push(format!("{:.1} ns", guest.cpu_time().as_secs_f64() * 1e9 / rounds as f64));
            }
            rows.push(row);
        }
    }
    table(&["one", "length is constant", "length is computed"], &rows);
    Ok(())
}
