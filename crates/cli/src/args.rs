//! The command line: every command, flag and default in one place.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use wkube_control::keyring;

use crate::print::template::Template;

/// The environment variable for `--token` of a server; `WKUBE_TOKEN` is what a node joins with.
pub(crate) const SERVER_TOKEN: &str = "WKUBE_SERVER_TOKEN";

/// Kubernetes for WebAssembly, in one binary.
#[derive(Debug, Parser)]
#[command(name = "wkube", version, about, propagate_version = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    before: Before,
    /// Log more: `info`, `debug`, or a filter such as `wkube_node=debug` (also `$WKUBE_LOG`)
    #[arg(long, global = true, env = "WKUBE_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// Flags that kubectl also takes before the verb.
#[derive(Debug, Args)]
struct Before {
    #[arg(id = "kubeconfig_before", long = "kubeconfig", value_name = "FILE", hide = true)]
    kubeconfig: Option<PathBuf>,
    #[arg(id = "namespace_before", short = 'n', long = "namespace", hide = true)]
    namespace: Option<String>,
}

impl Cli {
    /// Returns the command, with what stood before the verb where the verb has a place for it.
    ///
    /// # Errors
    /// If the verb has none.
    pub(crate) fn into_command(self) -> Result<Command, clap::Error> {
        let mut command = self.command;
        let misplaced = |flag: &str| {
            Cli::command().error(clap::error::ErrorKind::UnknownArgument, format!("this command has no {flag}"))
        };
        if let Some(file) = self.before.kubeconfig {
            let connection = command.connection_mut().ok_or_else(|| misplaced("--kubeconfig"))?;
            connection.kubeconfig.get_or_insert(file);
        }
        if let Some(name) = self.before.namespace {
            let namespace = command.namespace_mut().ok_or_else(|| misplaced("--namespace"))?;
            if namespace.namespace.is_empty() {
                namespace.namespace = name;
            }
        }
        Ok(command)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a whole cluster in this process and apply manifests
    Up(Up),
    /// Start a control plane
    Server(Server),
    /// Start a node that joins a control plane
    Node(Node),
    /// Look after the file in which a control plane keeps its objects
    Store(StoreCommand),
    /// Manage the tokens with which nodes join
    #[command(subcommand)]
    Token(Token),
    /// Create or change what manifests describe
    Apply(Apply),
    /// List objects
    Get(Get),
    /// Show one object with its events
    Describe(Describe),
    /// Print the logs of a container
    Logs(Logs),
    /// Delete objects
    Delete(Delete),
    /// Change how many replicas a workload has
    Scale(Scale),
    /// Run an image in a pod
    Run(Run),
    /// Store a .wasm or .wat file in the built-in registry, or in another
    Push(Push),
    /// Look after the images of a node, whether it runs or not
    Image(ImageCommand),
    /// Print the versions of this program and of the server
    Version(Connection),
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

impl Command {
    fn connection_mut(&mut self) -> Option<&mut Connection> {
        match self {
            Self::Token(Token::Create { connection, .. }) | Self::Version(connection) => Some(connection),
            Self::Apply(args) => Some(&mut args.connection),
            Self::Get(args) => Some(&mut args.connection),
            Self::Describe(args) => Some(&mut args.connection),
            Self::Logs(args) => Some(&mut args.connection),
            Self::Delete(args) => Some(&mut args.connection),
            Self::Scale(args) => Some(&mut args.connection),
            Self::Run(args) => Some(&mut args.connection),
            Self::Push(args) => Some(&mut args.connection),
            Self::Up(_)
            | Self::Server(_)
            | Self::Node(_)
            | Self::Store(_)
            | Self::Image(_)
            | Self::Completion { .. } => None,
        }
    }

    fn namespace_mut(&mut self) -> Option<&mut Namespace> {
        match self {
            Self::Apply(args) => Some(&mut args.namespace),
            Self::Get(args) => Some(&mut args.namespace),
            Self::Describe(args) => Some(&mut args.namespace),
            Self::Logs(args) => Some(&mut args.namespace),
            Self::Delete(args) => Some(&mut args.namespace),
            Self::Scale(args) => Some(&mut args.namespace),
            Self::Run(args) => Some(&mut args.namespace),
            Self::Up(_)
            | Self::Server(_)
            | Self::Node(_)
            | Self::Store(_)
            | Self::Token(_)
            | Self::Push(_)
            | Self::Image(_)
            | Self::Version(_)
            | Self::Completion { .. } => None,
        }
    }
}

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

/// Where a client command finds the cluster.
#[derive(Debug, Clone, Args)]
pub(crate) struct Connection {
    /// The kubeconfig; default: $KUBECONFIG, then the one in ~/.wkube
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// The namespace of a client command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Namespace {
    /// The namespace [default: the kubeconfig's, or `default`]
    #[arg(short, long, default_value = "", hide_default_value = true)]
    pub(crate) namespace: String,
}

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

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Token {
    /// Create a token and print it
    Create {
        #[command(flatten)]
        connection: Connection,
        /// How long it can be used, such as 30m or 24h
        #[arg(long, default_value = "24h", value_parser = parse_duration)]
        ttl: std::time::Duration,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Apply {
    /// A file, a folder, or - for standard input; repeatable
    #[arg(short, long = "filename", value_name = "PATH", required = true)]
    pub(crate) filenames: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    /// Return at once; without it, on a terminal, waits until everything is ready
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Take over fields that somebody else has set
    #[arg(long)]
    pub(crate) force_conflicts: bool,
}

/// The output formats of `get`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// A table with more columns.
    Wide,
    /// The whole object as JSON.
    Json,
    /// The whole object as YAML.
    Yaml,
    /// Only kind and name.
    Name,
    /// What a template picks.
    JsonPath(Template),
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "wide" => Ok(Self::Wide),
            "json" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            "name" => Ok(Self::Name),
            _ => match text.strip_prefix("jsonpath=") {
                Some(template) => Ok(Self::JsonPath(template.parse()?)),
                None => Err("the formats are wide, json, yaml, name and jsonpath=TEMPLATE".to_owned()),
            },
        }
    }
}

#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line are booleans")]
pub(crate) struct Get {
    /// What to list: `pods`, `deploy,svc`, `pod web-1`, `deploy/web`, `all`
    #[arg(required = true)]
    pub(crate) resources: Vec<String>,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    /// List in all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Only objects with these labels, such as app=web
    #[arg(short = 'l', long, default_value = "", hide_default_value = true)]
    pub(crate) selector: String,
    /// Only objects with these fields, such as status.phase=Running
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) field_selector: String,
    /// How to print: wide, json, yaml, name or jsonpath=TEMPLATE
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<Output>,
    /// Go on printing a row for each change
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Add a column with all labels
    #[arg(long)]
    pub(crate) show_labels: bool,
    /// Add a column for each of these labels
    #[arg(short = 'L', long = "label-columns", value_name = "LABEL", value_delimiter = ',')]
    pub(crate) label_columns: Vec<String>,
    /// Do not complain about objects that do not exist
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
    /// Leave out the headings
    #[arg(long)]
    pub(crate) no_headers: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Describe {
    /// `pod web-1`, `deploy/web`
    #[arg(required = true)]
    pub(crate) resources: Vec<String>,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    /// Describe all objects with these labels
    #[arg(short = 'l', long, default_value = "", hide_default_value = true)]
    pub(crate) selector: String,
}

#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line are booleans")]
pub(crate) struct Logs {
    /// A pod, or a workload such as deploy/web (its first pod)
    #[arg(required_unless_present = "selector", conflicts_with = "selector")]
    pub(crate) target: Option<String>,
    /// The container [default: the first]
    #[arg(value_name = "CONTAINER", conflicts_with = "container")]
    pub(crate) container_word: Option<String>,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    /// All pods with these labels, such as app=web
    #[arg(short = 'l', long, default_value = "", hide_default_value = true)]
    pub(crate) selector: String,
    /// The same as the second word
    #[arg(short, long)]
    pub(crate) container: Option<String>,
    /// All containers of the pod, one after the other
    #[arg(long, conflicts_with_all = ["container", "container_word"])]
    pub(crate) all_containers: bool,
    /// Begin each line with its pod and container
    #[arg(long)]
    pub(crate) prefix: bool,
    /// Go on printing as the container writes
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// The run of the container before this one
    #[arg(short, long)]
    pub(crate) previous: bool,
    /// Begin each line with its time
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Only the last lines; -1 for all
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) tail: Option<i64>,
    /// Only lines younger than this, such as 5m
    #[arg(long, value_parser = parse_duration)]
    pub(crate) since: Option<std::time::Duration>,
}

#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line are booleans")]
pub(crate) struct Delete {
    /// `pod web-1`, `deploy/web`
    pub(crate) resources: Vec<String>,
    /// Delete what these manifests describe
    #[arg(short, long = "filename", value_name = "PATH")]
    pub(crate) filenames: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    /// Delete all objects with these labels
    #[arg(short = 'l', long, default_value = "", hide_default_value = true)]
    pub(crate) selector: String,
    /// Delete all objects of the kind in the namespace
    #[arg(long, conflicts_with = "selector")]
    pub(crate) all: bool,
    /// How many seconds the objects may take to end
    #[arg(long)]
    pub(crate) grace_period: Option<u32>,
    /// Do not complain about objects that do not exist
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
    /// Return at once; without it, waits until the objects are gone
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Scale {
    /// `deploy web`, `deploy/web`
    #[arg(required = true)]
    pub(crate) resources: Vec<String>,
    /// How many
    #[arg(long)]
    pub(crate) replicas: u32,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) namespace: Namespace,
}

/// When a container is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum Restart {
    /// Whenever it ends.
    Always,
    /// When it fails.
    OnFailure,
    /// Never.
    Never,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Run {
    /// The pod's name
    pub(crate) name: String,
    /// The image: a name in a registry, or ./file.wasm, which is pushed first
    #[arg(long)]
    pub(crate) image: String,
    /// When to start it again
    #[arg(long, value_enum, default_value = "Always")]
    pub(crate) restart: Restart,
    /// An environment variable, such as NAME=value; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// The port that it serves
    #[arg(long)]
    pub(crate) port: Option<u16>,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    /// Arguments for the guest
    #[arg(last = true)]
    pub(crate) args: Vec<String>,
}

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

/// Parses `90s`, `30m`, `24h`, `2d` or bare seconds.
fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is not a duration such as 30m or 24h"))?;
    let seconds = match &text[digits.len()..] {
        "" | "s" => number,
        "m" => number.saturating_mul(60),
        "h" => number.saturating_mul(3600),
        "d" => number.saturating_mul(86400),
        unit => return Err(format!("{unit:?} is not a unit of time; use s, m, h or d")),
    };
    Ok(std::time::Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn namespace_and_kubeconfig_may_stand_before_the_verb() {
        let read = |words: &[&str]| Cli::try_parse_from(words).expect("a command").into_command();
        let Ok(Command::Get(get)) = read(&["wkube", "-n", "a", "--kubeconfig", "k", "get", "po"]) else {
            panic!("not get")
        };
        assert_eq!((get.namespace.namespace.as_str(), get.connection.kubeconfig), ("a", Some(PathBuf::from("k"))));
        let Ok(Command::Get(get)) = read(&["wkube", "-n", "a", "get", "po", "-n", "b"]) else { panic!("not get") };
        assert_eq!(get.namespace.namespace, "b");
        assert!(read(&["wkube", "-n", "a", "up"]).is_err());
    }

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

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("30m").map(|d| d.as_secs()), Ok(1800));
        assert_eq!(parse_duration("5").map(|d| d.as_secs()), Ok(5));
        assert!(parse_duration("5y").is_err() && parse_duration("m").is_err());
    }

    #[test]
    fn up_has_the_defaults_of_the_readme() {
        let cli = Cli::parse_from(["wkube", "up", "-f", "a.yaml", "-f", "b"]);
        let Command::Up(up) = cli.command else { panic!("not up") };
        assert_eq!(up.filenames.len(), 2);
        assert_eq!(up.control.api.to_string(), "127.0.0.1:6443");
        assert_eq!(up.node.gateway.to_string(), "127.0.0.1:8080");
        assert_eq!(up.control.registry.to_string(), "127.0.0.1:5050");
    }
}
