//! `wkube up --split`: the control plane and the node as two processes of this binary, watched by this one.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::Instant;
use wkube_client::{Client, config};

use crate::args::{ControlFlags, NodeFlags, SERVER_TOKEN, Up};
use crate::node;
use crate::print;
use crate::print::steps::Steps;
use crate::stop::{self, STOP_WORD, Stdin};
use crate::{data_dir, manifest, up, verbs};

/// How long a part may take to start.
const START_WITHIN: Duration = Duration::from_mins(1);
/// How long a part may take to stop before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(14);
/// How long the parts of a killed predecessor may take to notice.
const PREDECESSOR_GONE_WITHIN: Duration = Duration::from_secs(2);
/// How often to look whether a part has come up.
const POLL: Duration = Duration::from_millis(20);
/// How long the token of the node is good for; it is used at once.
const TOKEN_TTL: Duration = Duration::from_mins(5);

pub(crate) async fn run(args: Up) -> Result<()> {
    let documents = manifest::read(&args.filenames)?;
    let dir = data_dir::prepare(args.control.data_dir.as_deref(), "server")?;
    let stop_requested = stop::requested(Stdin::Ignored)?;
    tokio::pin!(stop_requested);
    let kubeconfig = dir.join("kubeconfig");
    let control = ControlFlags { data_dir: Some(dir.clone()), ..args.control.clone() };
    free_of_predecessor(&[args.control.api, args.control.registry, args.node.gateway]).await;
    let secret = control.store.token.as_ref().map(|token| (SERVER_TOKEN, token.secret()));
    let mut server = spawn(&server_arguments(&control), secret)?;
    let client = api_ready(&kubeconfig, &mut server).await?;
    let ca = verbs::read_text(&client, "/cacerts").await.context("failed to read the cluster's CA certificate")?;
    let token = verbs::token::create(&client, &ca, TOKEN_TTL).await?;
    let name = node::name(&args.node);
    let node_dir = node::dir_in(&dir);
    let mut arguments = node_arguments(&args.node, &format!("https://{}", args.control.api), &name);
    arguments.extend(["--data-dir".to_owned(), node_dir.display().to_string(), "--token".to_owned(), token]);
    let mut node = spawn(&arguments, None)?;
    let working = async {
        node_ready(&client, &name).await?;
        up::apply_and_report(&client, documents, args.node.gateway, Steps::new()).await
    };
    let result = tokio::select! {
        biased;
        () = &mut stop_requested => Ok(true),
        ended = either_ends(&mut server, &mut node) => ended.map(|()| true),
        worked = working => worked.map(|()| false).or_else(|error| { print::error(&error); Ok(false) }),
    };
    let result = match result {
        Ok(false) => {
            print::line("running as two processes; Ctrl-C stops both");
            tokio::select! {
                biased;
                () = &mut stop_requested => Ok(()),
                ended = either_ends(&mut server, &mut node) => ended,
            }
        }
        Ok(true) => Ok(()),
        Err(error) => Err(error),
    };
    // The node first, so that its last status reaches the control plane.
    end(&mut node).await;
    end(&mut server).await;
    result
}

/// Waits a moment for addresses that the parts of a killed predecessor are about to give up. If they stay taken, the
/// part that needs them says so.
async fn free_of_predecessor(addresses: &[SocketAddr]) {
    let deadline = Instant::now() + PREDECESSOR_GONE_WITHIN;
    for address in addresses {
        while TcpListener::bind(address).await.is_err() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
    }
}

fn server_arguments(flags: &ControlFlags) -> Vec<String> {
    let dir = flags.data_dir.as_deref().map(|dir| dir.display().to_string()).unwrap_or_default();
    let (api, registry) = (flags.api.to_string(), flags.registry.to_string());
    let mut arguments = ["server", "--obey-stdin", "--data-dir", &dir, "--api", &api, "--registry", &registry]
        .map(str::to_owned)
        .to_vec();
    arguments.extend(flags.store.words());
    arguments.extend(flags.operations.words());
    arguments
}

fn node_arguments(flags: &NodeFlags, server: &str, name: &str) -> Vec<String> {
    let gateway = flags.gateway.to_string();
    let mut arguments = ["node", "--obey-stdin", "--server", server, "--gateway", &gateway, "--node-name", name]
        .map(str::to_owned)
        .to_vec();
    arguments.extend(flags.default_registry.iter().flat_map(|host| ["--default-registry".to_owned(), host.clone()]));
    let files = [
        ("--registry-config", &flags.registry_config),
        ("--image-policy", &flags.image_policy),
        ("--pod-manifest-path", &flags.pod_manifest_path),
    ];
    for (flag, file) in files {
        arguments.extend(file.iter().flat_map(|file| [flag.to_owned(), file.display().to_string()]));
    }
    for path in &flags.allow_host_path {
        arguments.extend(["--allow-host-path".to_owned(), path.display().to_string()]);
    }
    arguments.extend(flags.kubelet.words());
    arguments
}

/// One of the two processes. It ends when our end of its standard input closes, even if we are killed; `Child::wait`
/// closes that end by itself, so it is kept apart.
struct Part {
    child: Child,
    stdin: Option<ChildStdin>,
}

/// Starts this binary again. A secret goes into its environment: its arguments can be seen by everybody.
fn spawn(arguments: &[String], secret: Option<(&str, &str)>) -> Result<Part> {
    let binary = std::env::current_exe().context("failed to find this program's file")?;
    let mut command = Command::new(binary);
    command.args(arguments).envs(secret).stdin(Stdio::piped()).kill_on_drop(true);
    // Ctrl-C reaches the whole process group of a terminal; the children stop when we say so, in order.
    command.process_group(0);
    let mut child = command.spawn().with_context(|| format!("failed to start `wkube {}`", arguments[0]))?;
    let stdin = child.stdin.take();
    Ok(Part { child, stdin })
}

async fn api_ready(kubeconfig: &std::path::Path, server: &mut Part) -> Result<Client> {
    let deadline = Instant::now() + START_WITHIN;
    loop {
        if let Some(status) = server.child.try_wait().context("failed to watch the control plane")? {
            bail!("the control plane ended ({status})");
        }
        if kubeconfig.exists()
            && let Ok(loaded) = config::load(&[kubeconfig.to_owned()], None).await
            && verbs::read_text(&loaded.client, "/readyz").await.is_ok()
        {
            return Ok(loaded.client);
        }
        if Instant::now() > deadline {
            bail!("the control plane was not ready after {} s", START_WITHIN.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn node_ready(client: &Client, name: &str) -> Result<()> {
    let path = format!("/api/v1/nodes/{name}");
    let deadline = Instant::now() + START_WITHIN;
    while Instant::now() < deadline {
        if let Ok(node) = verbs::read(client, &path, "application/json").await {
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            if conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True") {
                return Ok(());
            }
        }
        tokio::time::sleep(POLL).await;
    }
    bail!("node \"{name}\" was not ready after {} s", START_WITHIN.as_secs())
}

async fn either_ends(server: &mut Part, node: &mut Part) -> Result<()> {
    tokio::select! {
        biased;
        status = server.child.wait() => bail!("the control plane ended ({})", status.context("failed to watch it")?),
        status = node.child.wait() => bail!("the node ended ({})", status.context("failed to watch it")?),
    }
}

/// Asks a part to stop and waits for it; kills it if that takes too long.
async fn end(part: &mut Part) {
    if let Some(mut stdin) = part.stdin.take() {
        // If it has ended already, there is nobody to tell.
        let _ = stdin.write_all(STOP_WORD).await;
    }
    if tokio::time::timeout(STOP_WITHIN, part.child.wait()).await.is_err() {
        let _ = part.child.start_kill();
    }
}
