//! What one call costs, by kind of guest: `calls [ROUNDS]`. In process, without any network.

use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use runtime_bench::guests::{COMPONENT, HTTP_0_2, HTTP_0_3, Host, MODULE};
use runtime_bench::report::{Times, processor_time, shown, table};
use wkube_wasm_runtime::{Artifact, GuestSpec, HttpGuest};

const WARM_UP: usize = 200;

#[tokio::main]
async fn main() -> Result<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(5_000), |text| text.parse())?;
    let host = Host::new(200, 2)?;
    let mut rows = Vec::new();
    for (name, wasm) in [("preview 1 command", MODULE), ("0.2 command", COMPONENT)] {
        let artifact = host.load(&name.replace(' ', "-"), wasm).await?;
        rows.push(commands(name, &artifact, rounds).await?);
    }
    for (name, wasm) in [("0.2 HTTP, fresh", HTTP_0_2), ("0.3 HTTP, reused", HTTP_0_3)] {
        let artifact = host.load(if wasm == HTTP_0_2 { "http-0-2" } else { "http-0-3" }, wasm).await?;
        rows.push(requests(name, &artifact.serve(GuestSpec::default())?, rounds).await?);
    }
    table(&["one call, in turn", "start to end", "processor each"], &rows);
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
        let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
        let request = Request::get("/").header("host", "bench").body(body)?;
        let begin = measured.begin(round);
        let answer = guest.handle(request).await?;
        answer.into_body().collect().await.map_err(anyhow::Error::from_boxed)?;
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
