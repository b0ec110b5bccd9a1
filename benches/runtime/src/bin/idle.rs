//! What a guest costs that does nothing: `idle [HANDLERS] [SLEEPERS]`. The agent's own objects are not in it.

use std::time::Duration;

use anyhow::{Result, ensure};
use runtime_bench::guests::{HTTP_0_2, HTTP_0_3, Host, MODULE};
use runtime_bench::report::{resident, table};
use wkube_wasm_runtime::{GuestSpec, Limits};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let handlers: usize = arguments.next().map_or(Ok(10_000), |text| text.parse())?;
    let sleepers: usize = arguments.next().map_or(Ok(1_000), |text| text.parse())?;
    let host = Host::new(u32::try_from(sleepers)? + 100, 2)?;
    let mut rows = Vec::new();
    for (name, digest, wasm) in [("0.2 HTTP handler", "http-0-2", HTTP_0_2), ("0.3 HTTP handler", "http-0-3", HTTP_0_3)]
    {
        let artifact = host.load(digest, wasm).await?;
        drop(artifact.serve(GuestSpec::default())?);
        let before = resident();
        let guests = (0..handlers).map(|_| artifact.serve(GuestSpec::default())).collect::<Result<Vec<_>, _>>()?;
        rows.push(row(name, guests.len(), before));
        ensure!(guests.iter().all(|guest| guest.instances() == 0), "an idle handler has no instance");
    }
    let artifact = host.load("sleeper", MODULE).await?;
    let before = resident();
    let mut running = Vec::new();
    for _ in 0..sleepers {
        let args = ["hello", "sleep", "600000"].map(str::to_owned).into();
        let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
        running.push(artifact.start(GuestSpec { args, limits, ..GuestSpec::default() })?);
    }
    // They are asleep once nobody uses the processor any more.
    let mut used = Duration::MAX;
    loop {
        let now = running.iter().map(|guest| guest.cpu_time()).sum();
        if now == used {
            break;
        }
        used = now;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    rows.push(row("preview 1 command, asleep", running.len(), before));
    table(&["idle guest", "how many", "resident each"], &rows);
    Ok(())
}

fn row(name: &str, count: usize, before: u64) -> Vec<String> {
    let each = resident().saturating_sub(before) as f64 / count.max(1) as f64;
    vec![name.to_owned(), count.to_string(), format!("{:.1} KiB", each / 1024.0)]
}
