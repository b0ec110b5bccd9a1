//! `wkube`: the command line. Wiring and printing; what is decided is decided in the crates below.

mod args;
mod connect;
mod data_dir;
mod logging;
mod manifest;
mod node;
mod print;
mod ready;
mod served;
mod server;
mod split;
mod stop;
mod store;
mod target;
mod up;
mod verbs;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, Parser as _};
use wkube_wasm_runtime::{COMPILE_WORKER, run_compile_worker};

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    // What a node starts for a pod of the `RuntimeClass` `wasm-process`. Before anything that may start a thread.
    if std::env::args_os().nth(1).is_some_and(|word| word == "pod-worker") {
        return pod_worker();
    }
    // What a node starts to have a module compiled.
    if std::env::args_os().nth(1).is_some_and(|word| word == COMPILE_WORKER) {
        return compile_worker();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    logging::start(cli.log.as_deref());
    let command = match cli.into_command() {
        Ok(command) => command,
        Err(error) => return usage(&error),
    };
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print::error(&error);
            ExitCode::from(verbs::store::exit_code(&error))
        }
    }
}

fn pod_worker() -> ExitCode {
    logging::start(None);
    match wkube_node::runtime::process::run_worker() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print::error(&anyhow::Error::new(error).context("this is started by a node, for a pod"));
            ExitCode::FAILURE
        }
    }
}

fn compile_worker() -> ExitCode {
    match run_compile_worker(std::env::args_os().skip(2)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print::note(format!("{:#}", anyhow::Error::from_boxed(error)));
            ExitCode::FAILURE
        }
    }
}

/// Prints help on standard output, a mistake on standard error. Mistakes end with kubectl's 1, not with clap's 2.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn run(command: Command) -> Result<()> {
    if let Command::Completion { shell } = command {
        clap_complete::generate(shell, &mut Cli::command(), "wkube", &mut std::io::stdout());
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the threads of the runtime")?;
    let result = runtime.block_on(dispatch(command));
    // Blocking work that is still under way, such as a compilation, must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn dispatch(command: Command) -> Result<()> {
    match command {
        Command::Up(args) if args.split => split::run(*args).await,
        // A whole node is in these futures.
        Command::Up(args) => Box::pin(up::run(*args)).await,
        Command::Server(args) => server::run(args).await,
        Command::Node(args) => Box::pin(node::run(*args)).await,
        Command::Store(args) => verbs::store::run(args).await,
        Command::Token(args) => verbs::token::run(args).await,
        Command::Apply(args) => verbs::apply::run(args).await,
        Command::Get(args) => verbs::get::run(args).await,
        Command::Describe(args) => verbs::describe::run(args).await,
        Command::Logs(args) => verbs::logs::run(args).await,
        Command::Delete(args) => verbs::delete::run(args).await,
        Command::Scale(args) => verbs::scale::run(args).await,
        Command::Run(args) => verbs::run::run(args).await,
        Command::Push(args) => verbs::push::run(args).await,
        Command::Image(args) => verbs::image::run(args).await,
        Command::Version(connection) => verbs::version::run(connection).await,
        Command::Completion { .. } => Ok(()),
    }
}
