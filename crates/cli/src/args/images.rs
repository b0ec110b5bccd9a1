//! `wkube image` and `wkube push`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Connection;

/// What is done to the images of a node.
#[derive(Debug, Args)]
pub(crate) struct ImageCommand {
    /// The node's data directory [default: that of `wkube up`, else that of `wkube node`]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) action: ImageAction,
}

/// What `wkube image` does.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageAction {
    /// List the images
    #[command(alias = "list")]
    Ls,
    /// Remove images; what runs is not disturbed
    Rm {
        /// Names, or beginnings of digests
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Take images from an OCI layout, or from what `docker save` or skopeo wrote: a tar or a folder
    Import {
        /// The tar or folder
        path: PathBuf,
        /// What images are called that have no name of their own
        #[arg(long)]
        name: Option<String>,
    },
    /// Write images to a tar, as an OCI layout
    Export {
        /// The images
        #[arg(required = true)]
        images: Vec<String>,
        /// The tar
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Push {
    /// The .wasm or .wat file
    pub(crate) file: PathBuf,
    /// [HOST/]NAME:TAG, such as hello:v1
    pub(crate) name: String,
    /// Certificates of other registries: a registries.yaml as of k3s
    #[arg(long, value_name = "FILE")]
    pub(crate) registry_config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) connection: Connection,
}
