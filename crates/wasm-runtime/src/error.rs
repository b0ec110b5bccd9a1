//! What can go wrong between an image's bytes and a running guest.

use std::path::PathBuf;

use crate::guest::BoxError;
use crate::inspect::Refusal;
use crate::net::NetError;

/// The step that failed, and what it was working on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine could not be made.
    #[error("make the wasm engine")]
    Engine(#[source] BoxError),
    /// A directory or file of the cache could not be used.
    #[error("use {path}")]
    Cache {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The digest has characters that no digest has.
    #[error("load {0:?}: not a digest")]
    Digest(String),
    /// The bytes of the module could not be had.
    #[error("fetch the module")]
    Fetch(#[source] BoxError),
    /// This host does not run such a module.
    #[error("accept the module")]
    Refused(#[from] Refusal),
    /// The text form could not be translated.
    #[error("translate the module's text: {0}")]
    Text(String),
    /// The module could not be compiled.
    #[error("compile the module")]
    Compile(#[source] BoxError),
    /// Compiling the module would take too much of the machine.
    #[error(
        "compile the module: that would take about {needed} MiB of memory, more than this node's compile budget of {budget} \
         MiB (a quarter of its memory); build it smaller, or run it on a larger node"
    )]
    CompileBudget {
        /// What it would take, in MiB.
        needed: u64,
        /// What there is for it, in MiB.
        budget: u64,
    },
    /// Compiling the module took more memory than anybody would expect of it.
    #[error(
        "compile the module: it took more than the {mebibytes} MiB of memory that a module of its size may take; its \
         functions or its nested components are too intricate: build it otherwise"
    )]
    CompileMemory {
        /// What it was given, in MiB.
        mebibytes: u64,
    },
    /// Compiling the module took too long.
    #[error(
        "compile the module: it was not done after {seconds} s of processor time; one of its functions is too intricate: \
         build it with smaller functions or less inlining"
    )]
    CompileTime {
        /// What it was given, in seconds.
        seconds: u64,
    },
    /// The process that compiles failed, through no fault of the module.
    #[error("compile the module by {program}")]
    CompileWorker {
        /// The program that was to do it.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The module's imports could not be satisfied.
    #[error("link the module")]
    Link(#[source] BoxError),
    /// A directory could not be given to the guest.
    #[error("mount {host} at {guest}")]
    Mount {
        /// The directory on the host.
        host: PathBuf,
        /// Where the guest was to see it.
        guest: String,
        /// Why not.
        #[source]
        source: BoxError,
    },
    /// A port could not be opened for the guest to listen on.
    #[error("listen on port {port} for the guest")]
    Listen {
        /// The port of [`GuestSpec::listen`](crate::GuestSpec::listen).
        port: u16,
        /// What the network said.
        #[source]
        source: NetError,
    },
    /// Already the first memory of the guest is larger than its limit.
    #[error("start the guest: its initial memory of {needed} bytes is over its limit of {limit} bytes")]
    MemoryLimit {
        /// The bytes that the guest starts with.
        needed: u64,
        /// The bytes it may have.
        limit: u64,
    },
    /// There is no memory left for an instance.
    #[error("start the guest: it needs more memory than {0}")]
    OutOfMemory(String),
    /// No instance slot is free on this host.
    #[error("start the guest: all {slots} instance slots of this node are in use")]
    Full {
        /// How many slots there are.
        slots: u32,
    },
    /// The binary has functions, but no entry point of its own.
    #[error(
        "start the guest: the binary has no entry point of its own; name one of its functions as the container's \
         command (functions: {0})"
    )]
    NoEntry(String),
    /// The command names a function that the binary does not export.
    #[error("start the guest: no function `{wanted}` can be called (functions: {functions}; exports: {exports})")]
    NoExport {
        /// The name.
        wanted: String,
        /// What can be called.
        functions: String,
        /// Everything that the binary exports.
        exports: String,
    },
    /// A command was asked to serve, or a handler to run.
    #[error("use the guest as {wanted}: it is {found}")]
    Kind {
        /// What the caller wanted.
        wanted: &'static str,
        /// What the binary is.
        found: &'static str,
    },
}

impl Error {
    /// Reports whether trying again without a change can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Fetch(_) | Self::Cache { .. } | Self::CompileWorker { .. })
    }
}

/// Turns an error of the engine, which carries its causes as context, into one that others can hold.
pub(crate) fn from_wasmtime(error: wasmtime::Error) -> BoxError {
    error.into_boxed_dyn_error()
}
