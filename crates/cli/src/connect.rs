//! Finds the cluster that a client command means.

use std::path::PathBuf;

use anyhow::Result;
use wkube_client::Client;
use wkube_client::config::{self, Loaded};

use crate::args::{Connection, Namespace};
use crate::data_dir;

/// Returns a client for the kubeconfig of the flag, of `$KUBECONFIG`, or of the default data directory.
///
/// # Errors
/// If there is no usable kubeconfig.
pub(crate) async fn connect(connection: &Connection) -> Result<Client> {
    Ok(load(connection).await?.client)
}

/// Returns a client as [`connect`] does; a namespace that the user left out becomes the context's.
///
/// # Errors
/// If there is no usable kubeconfig.
pub(crate) async fn connect_in(connection: &Connection, namespace: &mut Namespace) -> Result<Client> {
    let loaded = load(connection).await?;
    if namespace.namespace.is_empty() {
        namespace.namespace = loaded.namespace;
    }
    Ok(loaded.client)
}

async fn load(connection: &Connection) -> Result<Loaded> {
    let default =
        data_dir::default_for("server").map_or_else(|_| PathBuf::from("kubeconfig"), |dir| dir.join("kubeconfig"));
    let env = std::env::var_os("KUBECONFIG");
    let files = config::locate(connection.kubeconfig.as_deref(), env.as_deref(), &default);
    Ok(config::load(&files, None).await?)
}
