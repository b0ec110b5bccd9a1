//! `metrics.k8s.io`: what nodes and pods use now, for `kubectl top` and autoscalers, in the place of metrics-server.
//!
//! ```text
//! GET nodes|pods ─> ask the nodes (/stats) ─> compare with what they said before ─> NodeMetrics, PodMetrics
//! ```
//! Nothing runs while nobody asks. Processor use is a rate, so the first to ask waits a moment for a second look.

mod documents;
mod samples;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures::future::join_all;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use wkube_api::selector::LabelSelector;
use wkube_api::stats::{self, Summary};
use wkube_api::{Object, Status};

use crate::Api;
use crate::respond::{self, Body};
use crate::router::{Query, ResourcePath, Verb};
use samples::{Rates, Sample};

pub(crate) use documents::{GROUP, VERSION, resource_list, rights};

/// Two looks at least this far apart make a rate.
const WINDOW_MIN: Duration = Duration::from_secs(1);
/// A look older than this tells nothing about now.
const WINDOW_MAX: Duration = Duration::from_mins(5);
/// How long a node may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// More than a node full of pods has to say.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the nodes said when somebody asked before.
#[derive(Default)]
pub(crate) struct MetricsApi(Mutex<BTreeMap<String, Arc<Sample>>>);

/// Answers a request that has been authorized.
pub(crate) async fn answer(
    api: &Api,
    verb: Verb,
    path: &ResourcePath,
    query: &Query,
) -> Result<Response<Body>, Status> {
    if path.version != VERSION || !path.subresource.is_empty() {
        return Err(Status::unknown_path());
    }
    let is_nodes = match path.resource.as_str() {
        "nodes" if path.namespace.is_empty() => true,
        "pods" if path.name.is_empty() || !path.namespace.is_empty() => false,
        _ => return Err(Status::unknown_path()),
    };
    if !matches!(verb, Verb::Get | Verb::List) {
        let what = format!("{verb} is not supported on resources of kind \"{}.{GROUP}\"", path.resource);
        return Err(Status::new(405, "MethodNotAllowed", what));
    }
    let selector =
        LabelSelector::parse(query.get("labelSelector")).map_err(|error| Status::bad_request(error.to_string()))?;
    let wanted =
        |object: &Object| (path.name.is_empty() || object.name() == path.name) && selector.matches(&object.labels());
    let rates = api.usage.rates(api).await;
    let items: Vec<Value> = if is_nodes {
        let nodes = objects(api, "nodes", "").await?;
        let wanted = nodes.iter().filter(|node| wanted(node));
        wanted.filter_map(|node| Some(documents::node(node, rates.get(node.name())?))).collect()
    } else {
        let pods = objects(api, "pods", &path.namespace).await?;
        let rates = |pod: &Object| rates.get(pod.str_at(&["spec", "nodeName"]));
        pods.iter().filter(|pod| wanted(pod)).filter_map(|pod| documents::pod(pod, rates(pod)?)).collect()
    };
    if path.name.is_empty() {
        return Ok(respond::json(200, &documents::list(is_nodes, &items)));
    }
    let found = items.into_iter().next().ok_or_else(|| documents::not_found(is_nodes, &path.namespace, &path.name))?;
    Ok(respond::json(200, &found))
}

async fn objects(api: &Api, plural: &str, namespace: &str) -> Result<Vec<Arc<Object>>, Status> {
    let row = api.registry.catalog.core(plural).ok_or_else(Status::unknown_path)?;
    Ok(api.registry.objects(row, namespace).await)
}

impl MetricsApi {
    /// Returns how fast each node that answers uses what it has.
    async fn rates(&self, api: &Api) -> BTreeMap<String, Rates> {
        let mut now = look(api).await;
        if now.keys().any(|node| self.before(node, Instant::now()).is_none()) {
            self.keep(&now);
            sleep(WINDOW_MIN).await;
            now = look(api).await;
        }
        let read = Instant::now();
        let rates = now
            .iter()
            .filter_map(|(node, sample)| Some((node.clone(), samples::rates(&*self.before(node, read)?, sample))));
        let rates = rates.collect();
        self.keep(&now);
        rates
    }

    /// Returns what a node said long enough ago.
    fn before(&self, node: &str, now: Instant) -> Option<Arc<Sample>> {
        let samples = self.0.lock();
        let age = |sample: &Sample| now.saturating_duration_since(sample.at);
        samples.get(node).filter(|sample| (WINDOW_MIN..WINDOW_MAX).contains(&age(sample))).cloned()
    }

    /// Keeps what was said, unless what is kept is so young that it serves the next one better.
    fn keep(&self, now: &BTreeMap<String, Arc<Sample>>) {
        let mut samples = self.0.lock();
        samples.retain(|node, _| now.contains_key(node));
        for (node, sample) in now {
            let kept = samples.entry(node.clone()).or_insert_with(|| sample.clone());
            if sample.at.saturating_duration_since(kept.at) >= WINDOW_MIN {
                *kept = sample.clone();
            }
        }
    }
}

/// Asks all connected nodes at once. One that does not answer is left out.
async fn look(api: &Api) -> BTreeMap<String, Arc<Sample>> {
    let asked = api.nodes.connected().into_iter().map(|node| async move {
        let summary = timeout(TIMEOUT, ask(api, &node)).await.ok()??;
        let at = (Instant::now(), api.registry.clock.now());
        Some((node, Arc::new(Sample { at: at.0, time: at.1, summary })))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

async fn ask(api: &Api, node: &str) -> Option<Summary> {
    let request = Request::get(stats::PATH).body(axum::body::Body::empty()).ok()?;
    let response = api.nodes.request(node, request).await.ok().filter(|response| response.status().is_success())?;
    let (mut body, mut read) = (response.into_body(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        if read.len() + data.len() > ANSWER_BYTES_MAX {
            return None;
        }
        read.extend_from_slice(&data);
    }
    serde_json::from_slice(&read).ok()
}
