//! `wkube logs`: what containers printed.

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use futures::future::try_join_all;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;
use wkube_api::{Object, ObjectKey};
use wkube_client::{Api, Client, Scope};

use crate::args::Logs;
use crate::connect::connect_in;
use crate::print;
use crate::target;

/// How many lines of each pod a selector shows if nobody says, as kubectl does.
const TAIL_OF_MANY: i64 = 10;
/// How many logs are followed at the same time; each is a connection to a node.
const STREAMS_MAX: usize = 50;

/// One container whose log is printed.
#[derive(Debug)]
struct Source {
    pod: String,
    /// `None` means the pod's only or first one; the server decides.
    container: Option<String>,
}

pub(crate) async fn run(mut args: Logs) -> Result<()> {
    let client = connect_in(&args.connection, &mut args.namespace).await?;
    if !args.selector.is_empty() && args.tail.is_none() {
        args.tail = Some(TAIL_OF_MANY);
    }
    let sources = sources(&client, &args).await?;
    if !args.follow || sources.len() == 1 {
        for source in &sources {
            stream(&client, &args, source).await?;
        }
        return Ok(());
    }
    if sources.len() > STREAMS_MAX {
        bail!("{} logs are too many to follow at the same time; the most is {STREAMS_MAX}", sources.len());
    }
    try_join_all(sources.iter().map(|source| stream(&client, &args, source))).await?;
    Ok(())
}

async fn sources(client: &Client, args: &Logs) -> Result<Vec<Source>> {
    let pods = pods_of(client, args).await?;
    let chosen = args.container.as_ref().or(args.container_word.as_ref());
    let mut sources = Vec::new();
    for pod in pods {
        if chosen.is_some() || !(args.all_containers || args.prefix) {
            sources.push(Source { pod, container: chosen.cloned() });
            continue;
        }
        let key = ObjectKey::new(&args.namespace.namespace, &pod);
        let object = Api::<Object>::dynamic(client, &*target::find("pods")?).get(&key).await?;
        let lists: &[&str] = if args.all_containers { &["initContainers", "containers"] } else { &["containers"] };
        let wanted = if args.all_containers { usize::MAX } else { 1 };
        for container in containers_of(&object, lists).into_iter().take(wanted) {
            sources.push(Source { pod: pod.clone(), container: Some(container) });
        }
    }
    Ok(sources)
}

fn containers_of(pod: &Object, lists: &[&str]) -> Vec<String> {
    let containers = lists.iter().filter_map(|list| pod.at(&["spec", list])?.as_array()).flatten();
    containers.filter_map(|container| Some(container["name"].as_str()?.to_owned())).collect()
}

/// Prints one log, whole lines at a time: several may be followed at once.
async fn stream(client: &Client, args: &Logs, source: &Source) -> Result<()> {
    let Source { pod, container } = source;
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/log?{}", args.namespace.namespace, query(args, source));
    let request = Request::get(path).body(Bytes::new()).context("failed to build a request")?;
    let mut body = client.stream(request).await?;
    let prefix = match (args.prefix, container) {
        (false, _) => String::new(),
        (true, None) => format!("[pod/{pod}] "),
        (true, Some(container)) => format!("[pod/{pod}/{container}] "),
    };
    let mut lines = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| anyhow!("the log stream of pod \"{pod}\" broke off: {error}"))?;
        lines.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        let end = lines.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        // A closed pipe (`| head`) ends the command quietly.
        if print::raw(&prefixed(&lines[..end], &prefix)).is_err() {
            return Ok(());
        }
        lines.drain(..end);
    }
    let _ = print::raw(&prefixed(&lines, &prefix));
    Ok(())
}

fn prefixed(lines: &[u8], prefix: &str) -> Vec<u8> {
    if prefix.is_empty() {
        return lines.to_vec();
    }
    lines.split_inclusive(|&byte| byte == b'\n').flat_map(|line| [prefix.as_bytes(), line].concat()).collect()
}

fn query(args: &Logs, source: &Source) -> String {
    let mut query = Vec::new();
    if let Some(container) = &source.container {
        query.push(format!("container={}", target::escape(container)));
    }
    let flags = [("follow", args.follow), ("previous", args.previous), ("timestamps", args.timestamps)];
    query.extend(flags.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| format!("{name}=true")));
    query.extend(args.tail.filter(|&lines| lines >= 0).map(|lines| format!("tailLines={lines}")));
    query.extend(args.since.map(|since| format!("sinceSeconds={}", since.as_secs().max(1))));
    query.join("&")
}

/// Returns the pods that are meant: one by name, the first of a workload's by name, or all that a selector finds.
async fn pods_of(client: &Client, args: &Logs) -> Result<Vec<String>> {
    let namespace = args.namespace.namespace.as_str();
    let Some(word) = &args.target else {
        let pods = pods_with(client, namespace, &args.selector).await?;
        if pods.is_empty() {
            print::note(format!("No resources found in {namespace} namespace."));
        }
        return Ok(pods);
    };
    let Some((kind, name)) = word.split_once('/') else { return Ok(vec![word.clone()]) };
    let resource = target::find(kind)?;
    if resource.plural == "pods" {
        return Ok(vec![name.to_owned()]);
    }
    let owner = Api::dynamic(client, &resource).get(&ObjectKey::new(namespace, name)).await?;
    let Some(selector) = selector_of(&owner) else {
        bail!("{} has no pods of its own; name a pod or a workload", target::title(&resource, name));
    };
    let mut pods = pods_with(client, namespace, &selector).await?;
    match pods.first() {
        None => bail!("{} has no pods at the moment", target::title(&resource, name)),
        Some(first) if pods.len() > 1 => print::note(format!("Found {} pods, using pod/{first}", pods.len())),
        Some(_) => {}
    }
    pods.truncate(1);
    Ok(pods)
}

async fn pods_with(client: &Client, namespace: &str, selector: &str) -> Result<Vec<String>> {
    let pods = Api::<Object>::dynamic(client, &*target::find("pods")?);
    let pods = pods.list(&Scope::namespace(namespace).labels(selector)).await?;
    Ok(pods.items.iter().map(|pod| pod.name().to_owned()).collect())
}

/// Returns a workload's selector as `a=b,c=d`.
fn selector_of(owner: &Object) -> Option<String> {
    let labels = owner.at(&["spec", "selector", "matchLabels"]).or_else(|| owner.at(&["spec", "selector"]))?;
    let pair = |(key, value): (&String, &Value)| Some(format!("{key}={}", value.as_str()?));
    let pairs = labels.as_object()?.iter().filter_map(pair);
    Some(pairs.collect::<Vec<_>>().join(",")).filter(|selector| !selector.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_carries_the_prefix() {
        assert_eq!(prefixed(b"a\nb\n", "[pod/x] "), b"[pod/x] a\n[pod/x] b\n");
        assert_eq!(prefixed(b"half", "> "), b"> half");
        assert_eq!(prefixed(b"a\n", ""), b"a\n");
    }

    #[test]
    fn workloads_and_services_select_pods() {
        let of = |text: &str| selector_of(&Object(serde_json::from_str(text).expect("JSON")));
        assert_eq!(of(r#"{"spec": {"selector": {"matchLabels": {"a": "b"}}}}"#).as_deref(), Some("a=b"));
        assert_eq!(of(r#"{"spec": {"selector": {"a": "b", "c": "d"}}}"#).as_deref(), Some("a=b,c=d"));
        assert_eq!(of(r#"{"spec": {}}"#), None);
    }

    #[test]
    fn init_containers_come_first() {
        let pod = r#"{"spec": {"containers": [{"name": "b"}], "initContainers": [{"name": "a"}]}}"#;
        let pod = Object(serde_json::from_str(pod).expect("JSON"));
        assert_eq!(containers_of(&pod, &["initContainers", "containers"]), ["a", "b"]);
    }
}
