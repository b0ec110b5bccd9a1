//! `wkube logs`: what a container printed.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;
use wkube_api::{Object, ObjectKey};
use wkube_client::{Api, Client, Scope};

use crate::args::Logs;
use crate::connect::connect;
use crate::print;
use crate::target;

pub(crate) async fn run(args: Logs) -> Result<()> {
    let client = connect(&args.connection).await?;
    let pod = pod_of(&client, &args.target, &args.namespace.namespace).await?;
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/log?{}", args.namespace.namespace, query(&args));
    let request = Request::get(path).body(Bytes::new()).context("failed to build a request")?;
    let mut body = client.stream(request).await?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| anyhow::anyhow!("the log stream of pod \"{pod}\" broke off: {error}"))?;
        // A closed pipe (`| head`) ends the command quietly.
        if let Some(bytes) = frame.data_ref()
            && print::raw(bytes).is_err()
        {
            break;
        }
    }
    Ok(())
}

fn query(args: &Logs) -> String {
    let mut query = Vec::new();
    if let Some(container) = &args.container {
        query.push(format!("container={}", target::escape(container)));
    }
    let flags = [("follow", args.follow), ("previous", args.previous), ("timestamps", args.timestamps)];
    query.extend(flags.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| format!("{name}=true")));
    query.extend(args.tail.map(|lines| format!("tailLines={lines}")));
    query.extend(args.since.map(|since| format!("sinceSeconds={}", since.as_secs().max(1))));
    query.join("&")
}

/// Returns the pod that a target means: itself, or the first of a workload's pods by name.
async fn pod_of(client: &Client, word: &str, namespace: &str) -> Result<String> {
    let Some((kind, name)) = word.split_once('/') else { return Ok(word.to_owned()) };
    let resource = target::find(kind)?;
    if resource.plural == "pods" {
        return Ok(name.to_owned());
    }
    let owner = Api::dynamic(client, &resource).get(&ObjectKey::new(namespace, name)).await?;
    let Some(selector) = selector_of(&owner) else {
        bail!("{} has no pods of its own; name a pod or a workload", target::title(&resource, name));
    };
    let pods = Api::dynamic(client, &*target::find("pods")?);
    let pods = pods.list(&Scope::namespace(namespace).labels(selector)).await?;
    match pods.items.first() {
        Some(pod) => Ok(pod.name().to_owned()),
        None => bail!("{} has no pods at the moment", target::title(&resource, name)),
    }
}

/// Returns a workload's selector as `a=b,c=d`.
fn selector_of(owner: &Object) -> Option<String> {
    let labels = owner.at(&["spec", "selector", "matchLabels"]).or_else(|| owner.at(&["spec", "selector"]))?;
    let pairs = labels.as_object()?.iter().filter_map(|(key, value): (&String, &Value)| Some(format!("{key}={}", value.as_str()?)));
    Some(pairs.collect::<Vec<_>>().join(",")).filter(|selector| !selector.is_empty())
}
