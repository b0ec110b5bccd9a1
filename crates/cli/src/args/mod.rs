//! The command line: every command, flag and default in one place.

mod cluster;
mod images;
mod kubelet;
mod objects;
mod store;

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

pub(crate) use self::cluster::{ControlFlags, Node, NodeFlags, OperationFlags, SERVER_TOKEN, Server, StoreFlags, Up};
pub(crate) use self::images::{ImageAction, ImageCommand, Push};
pub(crate) use self::objects::{Apply, Delete, Describe, Get, Logs, Output, Restart, Run, Scale};
pub(crate) use self::store::{Migrate, StoreAction, StoreCommand, StoreOutput};

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
    Up(Box<Up>),
    /// Start a control plane
    Server(Server),
    /// Start a node that joins a control plane
    Node(Box<Node>),
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
