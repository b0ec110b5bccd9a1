//! The verbs for objects, with kubectl's words and flags.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::{Connection, Namespace, parse_duration};
use crate::print::template::Template;

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
