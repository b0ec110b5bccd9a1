//! `wkube up`: a whole cluster in this process, and manifests applied to it.

use std::net::SocketAddr;

use anyhow::Result;
use wkube_api::{Object, ObjectKey};
use wkube_base::Tasks;
use wkube_client::api::Conflicts;
use wkube_client::{Api, Client};

use crate::args::Up;
use crate::manifest;
use crate::node::{self, GUESTS_STOP_DEADLINE, InProcess, Plan};
use crate::print;
use crate::print::steps::Steps;
use crate::server::Plane;
use crate::stop::{self, Stdin};
use crate::target;
use crate::verbs::apply::{self, Applied};

pub(crate) async fn run(args: Up) -> Result<()> {
    // Mistakes in manifests are found before anything is started.
    let documents = manifest::read(&args.filenames)?;
    let dir = crate::data_dir::prepare(args.control.data_dir.as_deref(), "server")?;
    let stop_requested = stop::requested(Stdin::Ignored)?;
    let tasks = Tasks::new();
    let steps = Steps::new();
    let plane = Plane::start(&args.control, &dir, &tasks, steps).await?;
    let end = plane.until(stop_requested);
    tokio::pin!(end);
    let name = node::name(&args.node);
    let plan = Plan {
        client: plane.control.node(&name),
        reverse: InProcess::new(plane.control.server().clone(), &name),
        name,
        dir: node::dir_in(&dir),
        flags: &args.node,
    };
    let running = match plan.start(&tasks, steps).await {
        Ok(running) => running,
        Err(error) => {
            plane.stop(&tasks).await;
            return Err(error);
        }
    };
    let admin = plane.control.admin();
    let applying = apply_and_report(&admin, documents, running.gateway.address(), steps);
    let applied = tokio::select! {
        biased;
        ended = &mut end => Ok(Some(ended)),
        applied = applying => applied.map(|()| None),
    };
    // A manifest that the server refuses leaves the cluster running: the user can fix it and apply again.
    let ended = match applied {
        Ok(ended) => ended,
        Err(error) => {
            print::error(&error);
            None
        }
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        print::line("running; Ctrl-C stops it, and the next `wkube up` goes on where it was");
        end.await
    };
    let step = steps.begin("stopping");
    plane.control.server().drain().await;
    plane.control.stop_components();
    running.node.stop(GUESTS_STOP_DEADLINE).await;
    plane.stop(&tasks).await;
    step.done("stopped");
    ended
}

/// Applies what was given on the command line, waits for it, and prints the URLs of its services.
pub(crate) async fn apply_and_report(
    client: &Client,
    documents: Vec<manifest::Document>,
    gateway: SocketAddr,
    steps: Steps,
) -> Result<()> {
    // What the manifest says holds, also where somebody has changed it by hand since.
    let applied = apply::apply(client, documents, "default", Conflicts::Force, |applied| {
        print::line(format!("✓ {}", applied.line()));
    })
    .await?;
    apply::wait_until_ready(client, &applied, steps).await?;
    for url in urls(client, &applied, gateway).await? {
        print::line(format!("\n  {url}\n"));
    }
    Ok(())
}

/// Returns the URLs of the services that were applied.
async fn urls(client: &Client, applied: &[Applied], gateway: SocketAddr) -> Result<Vec<String>> {
    let services = Api::<Object>::dynamic(client, &*target::find("services")?);
    let mut urls = Vec::new();
    for one in applied.iter().filter(|one| one.resource.kind == "Service" && one.resource.group.is_empty()) {
        let service = services.get(&one.key).await?;
        if service.at(&["spec", "ports"]).is_some() && service.str_at(&["spec", "type"]) != "ExternalName" {
            urls.push(url_of(&one.key, gateway));
        }
    }
    Ok(urls)
}

fn url_of(service: &ObjectKey, gateway: SocketAddr) -> String {
    let host = wkube_proxy::name::for_gateway(service);
    if gateway.port() == 80 { format!("http://{host}") } else { format!("http://{host}:{}", gateway.port()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_a_url_under_localhost() {
        let key = ObjectKey::new("default", "hello-http");
        let url = url_of(&key, "127.0.0.1:8080".parse().expect("an address"));
        assert_eq!(url, "http://hello-http.default.localhost:8080");
    }
}
