//! What one call costs, by kind of guest: `calls [ROUNDS]`. In process, without any network.

use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use runtime_bench::guests::{COMPONENT, HTTP_0_2, HTTP_0_3, Host, MODULE};
use runtime_bench::report::{Times, processor_time, shown, table};
use wkube_wasm_runtime::{Artifact, GuestSpec, HttpGuest, Limits, Reuse, ReuseMode};

const WARM_UP: usize = 200;
const CLIENTS: usize = 32;
/// Name, digest, code, and whether instances are reused.
const HANDLERS: [(&str, &str, &[u8], ReuseMode); 4] = [
    ("0.2 HTTP, fresh", "http-0-2", HTTP_0_2, ReuseMode::Never),
    ("0.2 HTTP, reused", "http-0-2", HTTP_0_2, ReuseMode::Always),
    ("0.3 HTTP, fresh", "http-0-3", HTTP_0_3, ReuseMode::Never),
    ("0.3 HTTP, reused", "http-0-3", HTTP_0_3, ReuseMode::Always),
];

#[tokio::main]
async fn main() -> Result<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(5_000), |text| text.parse())?;
    let host = Host::new(200, 2)?;
    let mut rows = Vec::new();
    for (name, digest, wasm) in [("preview 1 command", "command-p1", MODULE), ("0.2 command", "command-0-2", COMPONENT)]
    {
        rows.push(commands(name, &host.load(digest, wasm).await?, rounds).await?);
    }
    let mut many = Vec::new();
    for (name, digest, wasm, mode) in HANDLERS {
        let guest = host.load(digest, wasm).await?.serve(served(mode))?;
        rows.push(requests(name, &guest, rounds).await?);
        many.push(at_once(name, &guest, rounds * 4).await?);
    }
    table(&["one call, in turn", "start to end", "processor each"], &rows);
    println!();
    table(&["32 requests at once", "rate", "processor each"], &many);
    Ok(())
}

fn served(mode: ReuseMode) -> GuestSpec {
    let limits = Limits { reuse: Reuse { mode, ..Reuse::default() }, ..Limits::default() };
    GuestSpec { limits, ..GuestSpec::default() }
}

/// Sends as many requests as there are, 32 at a time.
async fn at_once(name: &str, guest: &HttpGuest, requests: usize) -> Result<Vec<String>> {
    let (begin, before) = (Instant::now(), processor_time());
    let clients = (0..CLIENTS).map(|_| async {
        for _ in 0..requests / CLIENTS {
            ask(guest).await?;
        }
        Ok::<_, anyhow::Error>(())
    });
    futures::future::try_join_all(clients).await?;
    let (took, used) = (begin.elapsed(), processor_time() - before);
    let rate = (requests / CLIENTS * CLIENTS) as f64 / took.as_secs_f64();
    Ok(vec![name.to_owned(), format!("{rate:.0}/s"), shown(used / u32::try_from(requests)?)])
}

async fn ask(guest: &HttpGuest) -> Result<()> {
    let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    let answer = guest.handle(Request::get("/").header("host", "bench").body(body)?).await?;
    answer.into_body().collect().await.map_err(anyhow::Error::from_boxed)?;
    Ok(())
}

/// Starts a command and waits for its end, over and over.
async fn commands(name: &str, artifact: &Artifact, rounds: usize) -> Result<Vec<String>> {
    let mut measured = Measured::new(name);
    for round in 0..WARM_UP + rounds {
        let begin = measured.begin(round);
        artifact.start(GuestSpec::default())?.exit().await;
        measured.end(begin);
    }
    Ok(measured.row())
}

/// Sends a request and reads the whole answer, over and over.
async fn requests(name: &str, guest: &HttpGuest, rounds: usize) -> Result<Vec<String>> {
    let mut measured = Measured::new(name);
    for round in 0..WARM_UP + rounds {
        let begin = measured.begin(round);
        ask(guest).await?;
        measured.end(begin);
    }
    Ok(measured.row())
}

struct Measured {
    name: String,
    times: Times,
    calls: u32,
    processor: Duration,
}

impl Measured {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), times: Times::default(), calls: 0, processor: Duration::ZERO }
    }

    /// What comes before the end of the warm-up is not counted.
    fn begin(&mut self, round: usize) -> Instant {
        if round == WARM_UP {
            (self.times, self.calls, self.processor) = (Times::default(), 0, processor_time());
        }
        Instant::now()
    }

    fn end(&mut self, begin: Instant) {
        self.times.add(begin.elapsed());
        self.calls += 1;
    }

    fn row(self) -> Vec<String> {
        let each = (processor_time() - self.processor) / self.calls.max(1);
        vec![self.name, self.times.summary(), shown(each)]
    }
}
