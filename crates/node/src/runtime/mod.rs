//! The port to whatever runs containers. `wasm` is the adapter to `wkube-wasm-runtime`; tests bring a fake.

pub mod process;
pub mod wasm;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ContainerImage;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use wkube_api::stats::Usage;
use wkube_proxy::Backend;
use wkube_wasm_runtime::Network;
use wkube_wasm_runtime::oci::Keyring;

use crate::grants::Grants;
use crate::logs::entry::Stream;
use crate::pod::phase::ContainerEvent;

/// A port: fetches images and runs containers.
pub trait Runtime: Send + Sync + 'static {
    /// Returns the image if it can run without asking a registry.
    fn find_image(&self, name: &str) -> BoxFuture<'static, Option<Image>>;

    /// Fetches an image from its registry and makes it ready to run.
    fn pull_image(&self, pull: Pull) -> BoxFuture<'static, Result<Image, PullError>>;

    /// Starts a container.
    fn start(&self, spec: ContainerSpec) -> BoxFuture<'static, Result<Arc<dyn Guest>, StartError>>;

    /// Returns the WASI worlds that guests may target, such as `wasi:http@0.2`.
    fn worlds(&self) -> Vec<String> {
        Vec::new()
    }

    /// Says how much more memory all containers together may take from now on.
    fn set_memory_room(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Returns the images on this node.
    fn images(&self) -> BoxFuture<'static, Vec<ContainerImage>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    /// Returns the same images as the collector of unused ones sees them.
    fn stored_images(&self) -> BoxFuture<'static, Vec<StoredImage>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    /// Removes images of these digests, and the code compiled from them. What runs is not disturbed.
    fn remove_images(&self, digests: Vec<String>) -> BoxFuture<'static, ()> {
        drop(digests);
        Box::pin(std::future::ready(()))
    }

    /// Compiles what is on disk and is not compiled for this version, one after the other.
    fn prepare_images(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Returns name and version, such as `wasmtime://48.0.8`.
    fn version(&self) -> String;
}

/// What to pull.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pull {
    /// The name in the pod's spec.
    pub image: String,
    /// The pod's credentials.
    pub keyring: Keyring,
}

/// An image that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The pinned name, `name@sha256:...`.
    pub id: String,
    /// How many bytes were fetched.
    pub size_bytes: u64,
}

/// An image on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// The digest that pins it.
    pub digest: String,
    /// How many bytes it has.
    pub size_bytes: u64,
    /// When it came.
    pub saved_at: Timestamp,
}

/// Why there is no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    /// The name is none.
    #[error("couldn't parse image name \"{image}\": {problem}")]
    InvalidName {
        /// The name.
        image: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The registry did not give it, or it cannot run here.
    #[error("{0}")]
    Failed(String),
    /// No registry that could have it is there.
    #[error("RegistryUnavailable: {0}")]
    Unavailable(String),
    /// A policy of the node wants a signature that it does not have.
    #[error("SignatureValidationFailed: {0}")]
    Unsigned(String),
}

/// A container to start.
pub struct ContainerSpec {
    /// The image, as `find_image` or `pull_image` returned it.
    pub image: Image,
    /// Namespace, name and uid of the pod, for messages and for routing of outgoing requests.
    pub pod: PodRef,
    /// The container's name.
    pub name: String,
    /// `argv`, the program's name first.
    pub args: Vec<String>,
    /// The first word of the spec's `command`, if it has one: it may name an exported function.
    pub command: Option<String>,
    /// What the pod's annotations say.
    pub grants: Grants,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// Directories.
    pub mounts: Vec<Mount>,
    /// `workingDir`; `None` is the image's.
    pub working_dir: Option<String>,
    /// The certificates, as PEM, of those whom it trusts as a client of TLS, if not whom the machine trusts; the runtime
    /// finds them.
    pub trusts: Option<String>,
    /// `resources.limits.memory`, in bytes.
    pub memory_bytes: Option<u64>,
    /// `resources.limits.cpu`, in thousandths of a processor.
    pub cpu_millis: Option<u32>,
    /// What it may use beside other containers.
    pub share: Share,
    /// The network that its sockets are on, the same for all containers of the pod; `None` is none.
    pub network: Option<Arc<dyn Network>>,
    /// The TCP ports that it declares.
    pub ports: Vec<u16>,
    /// What the pod's own process may have; `None` runs it in the node's.
    pub process: Option<process::Limits>,
    /// What it reads, until the sender is dropped; `None` is nothing.
    pub stdin: Option<mpsc::Receiver<Bytes>>,
    /// Where its output goes; dropped when it has ended.
    pub output: Arc<dyn Output>,
}

/// What a container may use beside others: those of its pod, and those of the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Its weight where several want the same processor (`cpu.shares`).
    pub cpu_shares: u32,
    /// `resources.requests.memory`, in bytes: over that, it is refused first when the node runs short.
    pub memory_promised: u64,
    /// What all containers of the pod may have together, in bytes; `None` is no limit.
    pub pod_memory_bytes: Option<u64>,
    /// What all containers of the pod may have together, in thousandths of a processor; `None` is no limit.
    pub pod_cpu_millis: Option<u32>,
}

/// What a container may use, as its spec says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    /// `resources.limits.memory`, in bytes.
    pub memory_bytes: Option<u64>,
    /// `resources.limits.cpu`, in thousandths of a processor.
    pub cpu_millis: Option<u32>,
    /// What it may use beside others.
    pub share: Share,
}

/// A command to run beside a container: with its files, environment and network, and within its limits.
pub struct Exec {
    /// `argv`; the first names the program, which is the container's own unless there is another by this name: one that
    /// the runtime offers, or another module of the image.
    pub args: Vec<String>,
    /// Where else to look for what is none of these; asked for only then.
    pub image: Option<BoxFuture<'static, Result<Image, StartError>>>,
    /// The other program, once the runtime has found it.
    pub program: Option<Program>,
    /// What it reads, until the sender is dropped; `None` is nothing.
    pub stdin: Option<mpsc::Receiver<Bytes>>,
    /// Where its output goes; dropped when it has ended.
    pub output: Arc<dyn Output>,
}

impl Exec {
    /// Returns a command that hears nothing.
    pub fn new(args: Vec<String>, output: Arc<dyn Output>) -> Self {
        Self { args, image: None, program: None, stdin: None, output }
    }
}

/// A program that is not the one of the container in which it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The digest of its module, by which compiled code is kept.
    pub module: String,
    /// What its image adds to the environment, where the container does not say otherwise.
    pub env: Vec<(String, String)>,
    /// Folders of its image, where the container has none.
    pub mounts: Vec<Mount>,
}

/// A port: takes what a guest prints.
pub trait Output: Send + Sync {
    /// Takes some bytes, not necessarily a whole line. Must not block for long.
    fn write(&self, stream: Stream, bytes: &[u8]);

    /// Returns what the guest has to wait for before it writes more; `None` if there is room.
    fn room(&self) -> Option<BoxFuture<'static, ()>> {
        None
    }
}

/// Which pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// One directory of the host inside the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The directory on the host.
    pub host: PathBuf,
    /// The path that the guest sees.
    pub guest: String,
    /// Whether the guest may write.
    pub is_read_only: bool,
}

/// Why a container did not start although its image is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// What is in the image can never run: not wasm, an import that the host does not offer, no entry point.
    #[error("{0}")]
    Unrunnable(String),
    /// Something that may be better next time.
    #[error("{0}")]
    Failed(String),
}

/// A running container.
pub trait Guest: Send + Sync {
    /// Completes when it has ended. May be awaited once or more.
    fn ended(&self) -> BoxFuture<'static, Exit>;

    /// Asks it to end within `grace`: no new requests, open ones are finished; then it is killed. Completes when done.
    /// A second call with less grace hurries the first.
    fn stop(&self, grace: Duration) -> BoxFuture<'static, ()>;

    /// What answers its HTTP requests, if it does.
    fn backend(&self) -> Option<Arc<dyn Backend>>;

    /// Returns what it has used and uses now.
    fn usage(&self) -> Usage {
        Usage::default()
    }

    /// Takes other amounts than those that it was started with, as far as the runtime can.
    fn resize(&self, to: &Amounts) {
        let _ = to;
    }

    /// Runs a command beside it. Dropping what is returned kills the command.
    fn exec(&self, exec: Exec) -> BoxFuture<'static, Result<Arc<dyn Guest>, StartError>> {
        drop(exec);
        let refusal = StartError::Unrunnable("this runtime does not run commands in its containers".to_owned());
        Box::pin(std::future::ready(Err(refusal)))
    }
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code as a shell shows it.
    pub code: i32,
    /// Why it ended.
    pub cause: Cause,
    /// What a person should read; may be empty.
    pub message: String,
}

/// Why a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// It returned, or was told to.
    Exited,
    /// It did what no guest can do: `unreachable`, memory out of bounds, a division by zero.
    Trapped,
    /// It wanted more memory than it may have.
    OutOfMemory,
}

impl Exit {
    /// The end of a container that says no more than its code.
    pub fn of(code: i32) -> Self {
        Self { code, cause: Cause::Exited, message: String::new() }
    }

    /// Returns what the API calls it (`containerStatuses.state.terminated.reason`). `Trap` is ours: native programs have
    /// signals there, which are all `Error`.
    pub fn reason(&self) -> &'static str {
        match (self.cause, self.code) {
            (Cause::OutOfMemory, _) => "OOMKilled",
            (Cause::Trapped, _) => "Trap",
            (Cause::Exited, 0) => "Completed",
            (Cause::Exited, _) => "Error",
        }
    }
}

/// Where a container's events go.
pub type Events = mpsc::Sender<ContainerEvent>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_called_what_a_person_understands() {
        for (code, cause, reason) in [
            (0, Cause::Exited, "Completed"),
            (1, Cause::Exited, "Error"),
            (143, Cause::Exited, "Error"),
            (134, Cause::Trapped, "Trap"),
            (137, Cause::OutOfMemory, "OOMKilled"),
        ] {
            assert_eq!(Exit { cause, ..Exit::of(code) }.reason(), reason, "{code}");
        }
    }
}
