//! When a long-running command is to stop: Ctrl-C, SIGTERM, or a word from its parent; and at once, if asked twice.

use std::future::Future;

use anyhow::{Context as _, Result};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};
use wkube_base::Tasks;

/// What a parent writes to the standard input of a part of `up --split` that shall stop.
pub(crate) const STOP_WORD: &[u8] = b"stop\n";

/// Whether standard input has a say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stdin {
    /// A parent process holds the other end.
    FromParent,
    /// It has none.
    Ignored,
}

/// Returns what completes when the process has been asked to stop, counted from this call on, not from the first poll:
/// a signal during the start must not be lost. A process whose parent has vanished ends here and now: somebody may be
/// starting the cluster again, and everything that was acknowledged is on disk.
///
/// # Errors
/// If signals cannot be watched.
pub(crate) fn requested(stdin: Stdin) -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to watch for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("failed to watch for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = word_of_parent(stdin) => {}
        }
        Tasks::new().spawn("second-signal", async move {
            tokio::select! {
                biased;
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            // Whoever asks twice does not want to wait. Everything that was acknowledged is on disk.
            std::process::exit(1);
        });
    })
}

async fn word_of_parent(stdin: Stdin) {
    if stdin == Stdin::Ignored {
        return std::future::pending().await;
    }
    let mut word = [0; STOP_WORD.len()];
    if tokio::io::stdin().read_exact(&mut word).await.is_err() || word != STOP_WORD {
        std::process::exit(1);
    }
}
