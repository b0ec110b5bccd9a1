//! Finds the cluster that a client command means.

use std::path::PathBuf;

use anyhow::Result;
use wkube_client::{Client, config};

use crate::args::Connection;
use crate::data_dir;

/// Returns a client for the kubeconfig of the flag, of `$KUBECONFIG`, or of the default data directory.
///
/// # Errors
/// If there is no usable kubeconfig.
pub(crate) async fn connect(connection: &Connection) -> Result<Client> {
    let default = data_dir::default_for("server").map_or_else(|_| PathBuf::from("kubeconfig"), |dir| dir.join("kubeconfig"));
    let env = std::env::var_os("KUBECONFIG");
    let files = config::locate(connection.kubeconfig.as_deref(), env.as_deref(), &default);
    Ok(config::load(&files, None).await?.client)
}
