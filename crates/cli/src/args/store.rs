//! `wkube store`: looking after a control plane's objects.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use wkube_control::keyring;

use super::cluster::{SERVER_TOKEN, StoreFlags};

/// What is done to a store.
#[derive(Debug, Args)]
#[command(
    after_help = "The exit code is 0 if all is well, 2 if what is in a file or an etcd is refused (damaged, cut off, from a \
                        newer wkube, not wkube's, or a migration that was not finished), 3 while a server uses the store, \
                        and 1 for everything else."
)]
pub(crate) struct StoreCommand {
    /// The data directory of the server [default: ~/.wkube]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How the result is printed
    #[arg(short, long, global = true, value_enum, default_value_t = StoreOutput::Text)]
    pub(crate) output: StoreOutput,
    #[command(subcommand)]
    pub(crate) action: StoreAction,
}

/// How `wkube store` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreOutput {
    /// A sentence.
    Text,
    /// A JSON object.
    Json,
}

/// What `wkube store` does.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreAction {
    /// Print revision, keys and sizes
    Status,
    /// Verify every page and every record; nothing is changed
    Check,
    /// Write everything that exists into a new file, also while a server uses the store
    Backup {
        /// The file; it must not exist
        file: PathBuf,
    },
    /// Make a store of a backup, in a data directory that has none; all clients list again
    Restore {
        /// The backup
        file: PathBuf,
    },
    /// Make the file as small as it can be
    Compact,
    /// Copy everything to another place, keys of the cluster included, while no server runs; all clients list again
    Migrate(Migrate),
}

/// From where to where a store moves. A place is a data directory, or etcd://HOST:2379,HOST:2379.
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// Where everything is; nothing is changed there
    #[arg(long, value_name = "PLACE")]
    pub(crate) from: String,
    /// Where it goes; nothing may be there
    #[arg(long, value_name = "PLACE")]
    pub(crate) to: String,
    /// Delete first what a migration that was not finished left in the target
    #[arg(long)]
    pub(crate) restart: bool,
    /// Below which all keys in etcd are
    #[arg(long, value_name = "PREFIX", default_value = "/wkube")]
    etcd_prefix: String,
    /// The CA that signed etcd's certificate; without it, connections are not encrypted
    #[arg(long, value_name = "FILE")]
    etcd_cafile: Option<PathBuf>,
    /// The certificate to show to etcd
    #[arg(long, value_name = "FILE", requires = "etcd_keyfile", requires = "etcd_cafile")]
    etcd_certfile: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, value_name = "FILE", requires = "etcd_certfile")]
    etcd_keyfile: Option<PathBuf>,
    /// What seals the cluster's keys in etcd [default: the file `token` in the data directory; to an etcd, if there is none,
    /// a new one, which is kept there]
    #[arg(long, value_name = "TOKEN", env = SERVER_TOKEN, hide_env_values = true)]
    token: Option<keyring::Token>,
    /// A file that holds it
    #[arg(long, value_name = "FILE", env = "WKUBE_SERVER_TOKEN_FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
}

impl Migrate {
    /// Returns what a server's flags would be that uses the etcd at one end.
    pub(crate) fn store_flags(&self) -> StoreFlags {
        StoreFlags {
            store: None,
            etcd_prefix: self.etcd_prefix.clone(),
            etcd_cafile: self.etcd_cafile.clone(),
            etcd_certfile: self.etcd_certfile.clone(),
            etcd_keyfile: self.etcd_keyfile.clone(),
            token: self.token.clone(),
            token_file: self.token_file.clone(),
            new_token_file: None,
        }
    }
}
