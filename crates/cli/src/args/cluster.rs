//! What runs a cluster: `up`, `server`, `node`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use wkube_control::keyring;

use super::kubelet::KubeletFlags;
use super::parse_duration;

/// The environment variable for `--token` of a server; `WKUBE_TOKEN` is what a node joins with.
pub(crate) const SERVER_TOKEN: &str = "WKUBE_SERVER_TOKEN";

/// Where a control plane keeps its state and listens.
#[derive(Debug, Clone, Args)]
pub(crate) struct ControlFlags {
    /// Where everything is kept [default: ~/.wkube]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where the Kubernetes API listens
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:6443")]
    pub(crate) api: SocketAddr,
    /// Where the built-in registry listens
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:5050")]
    pub(crate) registry: SocketAddr,
    #[command(flatten)]
    pub(crate) store: StoreFlags,
    #[command(flatten)]
    pub(crate) operations: OperationFlags,
}

/// Where objects are kept.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Store")]
pub(crate) struct StoreFlags {
    /// An etcd that several servers share: etcd://HOST:2379,HOST:2379 [default: a file in the data directory]
    #[arg(long, value_name = "ADDRESS", env = "WKUBE_STORE")]
    pub(crate) store: Option<String>,
    /// Below which all keys in etcd are
    #[arg(long, value_name = "PREFIX", default_value = "/wkube")]
    pub(crate) etcd_prefix: String,
    /// The CA that signed etcd's certificate; without it, connections are not encrypted
    #[arg(long, value_name = "FILE", requires = "store")]
    pub(crate) etcd_cafile: Option<PathBuf>,
    /// The certificate to show to etcd
    #[arg(long, value_name = "FILE", requires = "etcd_keyfile", requires = "etcd_cafile")]
    pub(crate) etcd_certfile: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, value_name = "FILE", requires = "etcd_certfile")]
    pub(crate) etcd_keyfile: Option<PathBuf>,
    /// What servers that share an etcd have in common; it opens the cluster's keys [default: the file `token` in the data
    /// directory, made by the first server]
    #[arg(long, value_name = "TOKEN", env = SERVER_TOKEN, hide_env_values = true)]
    pub(crate) token: Option<keyring::Token>,
    /// A file that holds it
    #[arg(long, value_name = "FILE", env = "WKUBE_SERVER_TOKEN_FILE", conflicts_with = "token")]
    pub(crate) token_file: Option<PathBuf>,
    /// Change it to the one in this file
    #[arg(long, value_name = "FILE", requires = "store")]
    pub(crate) new_token_file: Option<PathBuf>,
}

impl StoreFlags {
    /// Returns the same flags as words of a command line.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = vec!["--etcd-prefix".to_owned(), self.etcd_prefix.clone()];
        let files =
            [&self.etcd_cafile, &self.etcd_certfile, &self.etcd_keyfile, &self.token_file, &self.new_token_file];
        let files = files.map(|file| file.as_ref().map(|file| file.display().to_string()));
        let names =
            ["--store", "--etcd-cafile", "--etcd-certfile", "--etcd-keyfile", "--token-file", "--new-token-file"];
        for (name, value) in names.into_iter().zip([self.store.clone()].into_iter().chain(files)) {
            words.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
        }
        words
    }
}

/// What kube-apiserver has, too; names and meanings are the same.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Operations")]
pub(crate) struct OperationFlags {
    /// A file of static tokens: lines of token,user,uid,"group1,group2"
    #[arg(long, value_name = "FILE")]
    pub(crate) token_auth_file: Option<PathBuf>,
    /// What to log about requests: a Policy of audit.k8s.io/v1 [default: nothing]
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_policy_file: Option<PathBuf>,
    /// Where to log it; - is standard output
    #[arg(long, value_name = "FILE", default_value = "-", requires = "audit_policy_file")]
    pub(crate) audit_log_path: PathBuf,
    /// Days that rotated audit logs are kept; 0 for ever
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    pub(crate) audit_log_maxage: u32,
    /// Rotated audit logs that are kept; 0 for all
    #[arg(long, value_name = "FILES", default_value_t = 0)]
    pub(crate) audit_log_maxbackup: u32,
    /// Megabytes after which the audit log is rotated
    #[arg(long, value_name = "MB", default_value_t = 100)]
    pub(crate) audit_log_maxsize: u32,
    /// How long requests are still taken after /readyz has said that the server stops
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub(crate) shutdown_delay_duration: std::time::Duration,
}

impl OperationFlags {
    /// Returns the same flags as words of a command line.
    pub(crate) fn words(&self) -> Vec<String> {
        let path = |path: &std::path::Path| path.display().to_string();
        let mut words =
            vec!["--shutdown-delay-duration".to_owned(), format!("{}s", self.shutdown_delay_duration.as_secs())];
        if let Some(file) = &self.token_auth_file {
            words.extend(["--token-auth-file".to_owned(), path(file)]);
        }
        if let Some(file) = &self.audit_policy_file {
            words.extend(["--audit-policy-file".to_owned(), path(file)]);
            words.extend(["--audit-log-path".to_owned(), path(&self.audit_log_path)]);
            for (flag, number) in [
                ("--audit-log-maxage", self.audit_log_maxage),
                ("--audit-log-maxbackup", self.audit_log_maxbackup),
                ("--audit-log-maxsize", self.audit_log_maxsize),
            ] {
                words.extend([flag.to_owned(), number.to_string()]);
            }
        }
        words
    }
}

/// What a node offers.
#[derive(Debug, Clone, Args)]
pub(crate) struct NodeFlags {
    /// Where HTTP requests for services come in
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) gateway: SocketAddr,
    /// The node's name [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// The registry for image names without a host that the built-in registry does not have [default: none]
    #[arg(long, value_name = "HOST")]
    pub(crate) default_registry: Option<String>,
    /// Mirrors, certificates and credentials of registries: a registries.yaml as of k3s [default: none]
    #[arg(long, value_name = "FILE")]
    pub(crate) registry_config: Option<PathBuf>,
    /// Which images must be signed, and by whom: an `ImagePolicy` of wkube.dev/v1 [default: none]
    #[arg(long, value_name = "FILE")]
    pub(crate) image_policy: Option<PathBuf>,
    /// A directory of this machine that pods may see as `hostPath`, with what is below; repeatable [default: none]
    #[arg(long, value_name = "DIR")]
    pub(crate) allow_host_path: Vec<PathBuf>,
    /// A directory whose manifests describe static pods, which run whether or not there is a server [default: none]
    #[arg(long, value_name = "DIR")]
    pub(crate) pod_manifest_path: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) kubelet: Box<KubeletFlags>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Up {
    /// A manifest to apply: a file, a folder, or - for standard input; repeatable
    #[arg(short, long = "filename", value_name = "PATH")]
    pub(crate) filenames: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) control: ControlFlags,
    #[command(flatten)]
    pub(crate) node: NodeFlags,
    /// Run the control plane and the node as two processes
    #[arg(long)]
    pub(crate) split: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Server {
    #[command(flatten)]
    pub(crate) control: ControlFlags,
    /// Obey the parent process: stop at its word on standard input, end when it vanishes
    #[arg(long, hide = true)]
    pub(crate) obey_stdin: bool,
}

#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_field_names, reason = "one field is the part that `up` has too")]
pub(crate) struct Node {
    /// The control plane's URL, such as `https://127.0.0.1:6443`
    #[arg(long, value_name = "URL")]
    pub(crate) server: String,
    /// The token that `wkube token create` printed; needed only the first time
    #[arg(long, env = "WKUBE_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Where the node keeps its state [default: ~/.wkube-node]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) node: NodeFlags,
    /// Obey the parent process: stop at its word on standard input, end when it vanishes
    #[arg(long, hide = true)]
    pub(crate) obey_stdin: bool,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    #[test]
    fn the_flags_of_a_store_survive_being_handed_on() {
        let read = |words: &[String]| {
            let words = ["wkube", "server"].into_iter().map(str::to_owned).chain(words.iter().cloned());
            let Command::Server(server) = Cli::parse_from(words).command else { panic!("not server") };
            server.control.store
        };
        let given = "--store etcd://a,b --etcd-cafile ca --etcd-certfile cert --etcd-keyfile key --etcd-prefix /x";
        let flags = read(&given.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!((flags.store.as_deref(), flags.etcd_prefix.as_str()), (Some("etcd://a,b"), "/x"));
        assert_eq!(format!("{:?}", read(&flags.words())), format!("{flags:?}"));
        assert_eq!(read(&StoreFlags::words(&read(&[]))).etcd_prefix, "/wkube");
    }

    #[test]
    fn the_flags_of_a_server_survive_being_handed_on() {
        let given = [
            "--token-auth-file",
            "t.csv",
            "--audit-policy-file",
            "p.yaml",
            "--audit-log-path",
            "a.log",
            "--audit-log-maxsize",
            "7",
        ];
        let read = |words: &[String]| {
            let words = ["wkube", "server"].into_iter().map(str::to_owned).chain(words.iter().cloned());
            let Command::Server(server) = Cli::parse_from(words).command else { panic!("not server") };
            server.control.operations
        };
        let flags = read(&given.map(str::to_owned));
        assert_eq!((flags.audit_log_maxsize, flags.audit_log_path.as_path()), (7, std::path::Path::new("a.log")));
        assert_eq!(format!("{:?}", read(&flags.words())), format!("{flags:?}"));
    }
}
