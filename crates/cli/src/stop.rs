//! When a long-running command is to stop: Ctrl-C, SIGTERM, or the end of its parent.

use anyhow::{Context as _, Result};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};

/// Whether the end of standard input means stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stdin {
    /// It does: a parent process holds the other end.
    Stops,
    /// It does not.
    Ignored,
}

/// Completes when the process has been asked to stop.
///
/// # Errors
/// If signals cannot be watched.
pub(crate) async fn requested(stdin: Stdin) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to watch for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("failed to watch for SIGTERM")?;
    tokio::select! {
        biased;
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = end_of_stdin(stdin) => {}
    }
    Ok(())
}

async fn end_of_stdin(stdin: Stdin) {
    if stdin == Stdin::Ignored {
        return std::future::pending().await;
    }
    let mut input = tokio::io::stdin();
    let mut scratch = [0; 64];
    while matches!(input.read(&mut scratch).await, Ok(read) if read > 0) {}
}
