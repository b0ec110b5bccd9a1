//! `wkube server`: a control plane, and how `up` starts one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use wkube_base::{Clock, Rng, Tasks};
use wkube_control::keyring::Sharing;
use wkube_control::{Control, Flags, Options, audit};
use wkube_store::Store;

use crate::args::{ControlFlags, OperationFlags, Server};
use crate::print::steps::Steps;
use crate::stop::Stdin;
use crate::{data_dir, print, stop, store};

/// How long the tasks of the control plane may take to stop. All of `up` stops within 10 s of guests' time and this.
pub(crate) const STOP_DEADLINE: Duration = Duration::from_secs(6);

pub(crate) async fn run(args: Server) -> Result<()> {
    let dir = data_dir::prepare(args.control.data_dir.as_deref(), "server")?;
    let stop_requested = stop::requested(if args.obey_stdin { Stdin::FromParent } else { Stdin::Ignored })?;
    let tasks = Tasks::new();
    let plane = Plane::start(&args.control, &dir, &tasks, Steps::new()).await?;
    let ended = plane.until(stop_requested).await;
    plane.stop(&tasks).await;
    ended
}

fn flags(flags: &OperationFlags, sharing: Option<Sharing>) -> Flags {
    let audit = flags.audit_policy_file.clone().map(|policy| audit::Options {
        policy,
        path: flags.audit_log_path.clone(),
        max_age: flags.audit_log_maxage,
        max_backups: flags.audit_log_maxbackup,
        max_size: flags.audit_log_maxsize,
    });
    let token_auth_file = flags.token_auth_file.clone();
    Flags { token_auth_file, audit, shutdown_delay: flags.shutdown_delay_duration, sharing }
}

/// Returns a name for this process that no other has, as kube-controller-manager makes one.
fn identity() -> String {
    let host = crate::node::host_name();
    format!("{host}_{}", Rng::from_entropy().name_suffix(10))
}

/// A running control plane and its store.
pub(crate) struct Plane {
    /// The control plane.
    pub(crate) control: Control,
    store: Arc<dyn Store>,
}

impl Plane {
    /// Opens the store and starts the control plane; prints the step.
    ///
    /// # Errors
    /// If another process uses the data directory, the store is of no use, or an address is taken.
    pub(crate) async fn start(flags: &ControlFlags, dir: &Path, tasks: &Tasks, steps: Steps) -> Result<Self> {
        let step = steps.begin("starting the control plane");
        let store = store::open(&flags.store, dir).await?;
        let options = Options {
            store: Arc::clone(&store),
            data_dir: dir.to_owned(),
            listen: flags.api,
            registry_listen: Some(flags.registry),
            clock: Clock::system(),
            rng: Rng::from_entropy(),
            names: Vec::new(),
            flags: self::flags(&flags.operations, store::sharing(&flags.store)?),
        };
        let started = match &flags.store.store {
            // Others may share the store.
            Some(_) => Control::start_elected(options, identity(), tasks).await,
            None => Control::start(options, tasks).await,
        };
        let control = started.context("failed to start the control plane")?;
        step.done(&format!("control plane ready  https://{}", control.server().address()));
        Ok(Self { control, store })
    }

    /// Completes when somebody asks to stop, or with the reason why the store cannot go on: a disk that failed is read again
    /// by the next start, and nothing is gained by waiting.
    pub(crate) fn until<F: Future<Output = ()>>(&self, stop_requested: F) -> impl Future<Output = Result<()>> + use<F> {
        let broken = self.store.broken();
        async move {
            tokio::select! {
                biased;
                () = stop_requested => Ok(()),
                error = broken => Err(error).context("the store cannot go on; start again to recover from its file"),
            }
        }
    }

    /// Stops everything and closes the store. Whoever asks `/readyz` learns it first.
    pub(crate) async fn stop(self, tasks: &Tasks) {
        self.control.server().drain().await;
        tasks.stop(STOP_DEADLINE).await;
        if let Err(error) = self.store.close().await {
            print::note(format!("warning: the store did not close cleanly: {error}"));
        }
    }
}
