//! Compiles in processes of their own: the compiler has no limits, and a module of ten kilobytes can keep it busy for
//! minutes (nested loops) or have it fill the machine's memory (components that instantiate each other twice).
//!
//! ```text
//!  node                                          worker: the same program, started with COMPILE_WORKER
//!   limits as arguments        ------------->     sets them for itself, and gives way to everybody else
//!   length, module  -- stdin   ------------->     compiles
//!   (stays open)               ------------->     ends when it closes: nobody wants the code any more
//!   code            <------------- stdout --
//!   what is wrong   <------------- stderr --
//! ```

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, ExitStatus, Stdio};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, Signal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::{Mutex as Turn, Semaphore};

use crate::cache::Digest;
use crate::compile_budget::{self, Bounds};
use crate::config::{self, Allocation};
use crate::error::{Error, from_wasmtime};
use crate::guest::BoxError;
use crate::{bulk, engine};

/// The first argument of a program that is to call [`run_compile_worker`] with the others.
pub const COMPILE_WORKER: &str = "compile-worker";

/// A worker that waits for others gets its processor time in the end; one that hangs does not.
const WALL_TIMES_CPU: u32 = 12;
/// How much of a worker's complaint is kept.
const COMPLAINT_BYTES_MAX: u64 = 16 << 10;
/// How far a worker steps back behind guests and agent, of 19.
const NICENESS: i32 = 10;
/// How many modules are remembered that took too much. They are few, or somebody makes them on purpose.
const EXCESSES_MAX: usize = 1_024;

/// Compiles for an engine.
#[derive(Debug)]
pub(crate) struct Compiler {
    wasm: wasmtime::Engine,
    program: Option<PathBuf>,
    cpu_max: Duration,
    /// In MiB: what all compilations may take together.
    memory: Semaphore,
    memory_total: u64,
    turns: Mutex<HashMap<Digest, Weak<Turn<()>>>>,
    /// What took too much takes too much the next time, too.
    excesses: Mutex<HashMap<Digest, Excess>>,
}

/// Which bound a compilation ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Excess {
    /// In MiB.
    Memory(u64),
    Time(Duration),
}

impl From<Excess> for Error {
    fn from(excess: Excess) -> Self {
        match excess {
            Excess::Memory(mebibytes) => Self::CompileMemory { mebibytes },
            Excess::Time(time) => Self::CompileTime { seconds: time.as_secs() },
        }
    }
}

impl Compiler {
    /// Compiles for `wasm`: by `program`, or in this process without bounds if there is none.
    pub(crate) fn new(wasm: wasmtime::Engine, program: Option<PathBuf>, cpu_max: Duration) -> Self {
        let memory_total = compile_budget::of_machine() >> 20;
        let permits = usize::try_from(memory_total).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let (turns, excesses) = Default::default();
        Self { wasm, program, cpu_max, memory: Semaphore::new(permits), memory_total, turns, excesses }
    }

    /// Returns whose turn it is to compile `digest`: many may ask for it at once.
    pub(crate) fn turn(&self, digest: &Digest) -> Arc<Turn<()>> {
        let mut turns = self.turns.lock();
        if let Some(turn) = turns.get(digest).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(digest.clone(), Arc::downgrade(&turn));
        turn
    }

    /// Compiles `wasm`, side by side with others as long as there is memory for all.
    pub(crate) async fn compile(&self, digest: &Digest, wasm: Bytes) -> Result<Vec<u8>, Error> {
        if let Some(excess) = self.excesses.lock().get(digest) {
            return Err((*excess).into());
        }
        let budget = self.memory_total;
        let bounds = compile_budget::bounds(compile_budget::estimate(&wasm), budget << 20)
            .map_err(|needed| Error::CompileBudget { needed: needed >> 20, budget })?;
        let share = u32::try_from(bounds.memory >> 20).unwrap_or(u32::MAX);
        let _memory = self.memory.acquire_many(share).await.expect("never closed");
        let Some(program) = &self.program else {
            let engine = self.wasm.clone();
            return engine::blocking(move || compile(&engine, &wasm)).await;
        };
        let made = by_worker(program, &wasm, bounds, self.cpu_max).await?;
        made.map_err(|excess| {
            let mut excesses = self.excesses.lock();
            if excesses.len() >= EXCESSES_MAX {
                excesses.clear();
            }
            excesses.insert(digest.clone(), excess);
            excess.into()
        })
    }
}

/// Has a worker compile. It is killed if nobody waits for it any more.
async fn by_worker(
    program: &Path,
    wasm: &[u8],
    bounds: Bounds,
    cpu_max: Duration,
) -> Result<Result<Vec<u8>, Excess>, Error> {
    let failed = |source: io::Error| Error::CompileWorker { program: program.to_owned(), source };
    let mut worker = Command::new(program)
        .arg(COMPILE_WORKER)
        .args([bounds.memory.to_string(), cpu_max.as_secs().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let pipes = (worker.stdin.take(), worker.stdout.take(), worker.stderr.take());
    let (Some(mut input), Some(mut output), Some(errors)) = pipes else { unreachable!("all three were asked for") };
    let (mut code, mut complaint) = (Vec::new(), Vec::new());
    let feed = async {
        // It hangs up early if it ends early; its status says why.
        let _ = input.write_all(&(wasm.len() as u64).to_le_bytes()).await;
        let _ = input.write_all(wasm).await;
        input // open until the worker has ended
    };
    let mut errors = errors.take(COMPLAINT_BYTES_MAX);
    let all =
        async { tokio::join!(feed, output.read_to_end(&mut code), errors.read_to_end(&mut complaint), worker.wait()) };
    let Ok((_input, read, _, status)) = tokio::time::timeout(cpu_max * WALL_TIMES_CPU, all).await else {
        return Ok(Err(Excess::Time(cpu_max * WALL_TIMES_CPU)));
    };
    let status = status.map_err(failed)?;
    if let Some(excess) = excess(status, bounds, cpu_max) {
        return Ok(Err(excess));
    }
    if status.signal() == Some(Signal::KILL.as_raw()) {
        // The machine ran out of memory, or somebody did it by hand: no fault of the module.
        return Err(failed(io::Error::other(status.to_string())));
    }
    if !status.success() {
        let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
        return Err(Error::Compile(if complaint.is_empty() { status.to_string() } else { complaint }.into()));
    }
    read.map_err(failed)?;
    Ok(Ok(code))
}

/// Reads from how a worker ended which of its limits ended it.
fn excess(status: ExitStatus, bounds: Bounds, cpu_max: Duration) -> Option<Excess> {
    match Signal::from_named_raw(status.signal()?)? {
        Signal::XCPU => Some(Excess::Time(cpu_max)),
        // What Rust does when there is no more memory.
        Signal::ABORT => Some(Excess::Memory(bounds.memory >> 20)),
        _ => None,
    }
}

/// Is a worker: compiles what comes on standard input. `words` are the arguments behind [`COMPILE_WORKER`].
///
/// # Errors
/// If the module does not compile, or if this was not started by a node; to be written to standard error as it is.
pub fn run_compile_worker(words: impl Iterator<Item = OsString>) -> Result<(), BoxError> {
    let numbers: Vec<u64> = words.filter_map(|word| word.to_str()?.parse().ok()).collect();
    let [memory, seconds] = numbers[..] else {
        return Err("this is started by a node: its arguments are bytes of memory, and seconds".into());
    };
    confine(memory, seconds)?;
    let wasm = read_module()?;
    let engine = wasmtime::Engine::new(&config::engine(Allocation::OnDemand)).map_err(from_wasmtime)?;
    let code = compile(&engine, &wasm).map_err(|error| match error {
        Error::Compile(source) => source, // the node knows what it wanted
        other => other.into(),
    })?;
    Ok(io::stdout().write_all(&code)?)
}

fn confine(memory: u64, seconds: u64) -> io::Result<()> {
    for (resource, most) in [(Resource::Data, memory), (Resource::Cpu, seconds), (Resource::Core, 0)] {
        let maximum = rustix::process::getrlimit(resource).maximum;
        let most = maximum.map_or(most, |maximum| maximum.min(most));
        rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum })?;
    }
    rustix::process::nice(NICENESS)?;
    Ok(())
}

fn read_module() -> io::Result<Vec<u8>> {
    let mut input = io::stdin().lock();
    let mut length = [0; 8];
    input.read_exact(&mut length)?;
    let (length, mut wasm) = (u64::from_le_bytes(length), Vec::new());
    if input.by_ref().take(length).read_to_end(&mut wasm)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    drop(input);
    thread::Builder::new().name("node".to_owned()).spawn(|| {
        // Whatever this returns, there is no node that waits for the code.
        let _ = io::stdin().read(&mut [0]);
        process::exit(1)
    })?;
    Ok(wasm)
}

fn compile(engine: &wasmtime::Engine, wasm: &[u8]) -> Result<Vec<u8>, Error> {
    let cut = bulk::cut(wasm).map_err(|error| Error::Compile(error.into()))?;
    let code = match wasm.get(6..8) {
        Some([0, 0]) => engine.precompile_module(&cut),
        _ => engine.precompile_component(&cut),
    };
    code.map_err(|error| Error::Compile(from_wasmtime(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_worker_says_which_limit_it_ran_into() {
        let bounds = Bounds { memory: 300 << 20 };
        let cpu = Duration::from_mins(5);
        let by_signal = |signal: Signal| excess(ExitStatus::from_raw(signal.as_raw()), bounds, cpu);
        assert_eq!(by_signal(Signal::XCPU), Some(Excess::Time(cpu)));
        assert_eq!(by_signal(Signal::ABORT), Some(Excess::Memory(300)));
        assert_eq!(by_signal(Signal::TERM), None);
        assert_eq!(excess(ExitStatus::from_raw(1 << 8), bounds, cpu), None, "it says itself what is wrong");
    }
}
