//! `wkube apply`: server-side apply of manifests; files named as images are pushed first.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::time::Instant;
use wkube_api::{Object, ObjectKey, Resource};
use wkube_client::api::Conflicts;
use wkube_client::{Api, Client, Patch, Scope};

use crate::args::Apply;
use crate::connect::connect;
use crate::manifest::{self, Document};
use crate::print;
use crate::print::steps::Steps;
use crate::ready::{self, Readiness};
use crate::target;
use crate::verbs::push::Pusher;

/// Who owns the fields that we apply.
const FIELD_MANAGER: &str = "wkube";
/// How often to look at an object that is not ready; short at first, because a warm start takes milliseconds.
const POLL_FIRST: Duration = Duration::from_millis(10);
const POLL_MAX: Duration = Duration::from_millis(250);
/// How long `apply` waits for everything together; a large component may take tens of seconds to compile.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// An object that has been applied.
#[derive(Debug, Clone)]
pub(crate) struct Applied {
    /// Its kind.
    pub(crate) resource: Arc<Resource>,
    /// Its place.
    pub(crate) key: ObjectKey,
    /// `created`, `configured` or `unchanged`.
    pub(crate) verb: &'static str,
}

impl Applied {
    /// Returns `deployment.apps/web created`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", target::title(&self.resource, &self.key.name), self.verb)
    }
}

pub(crate) async fn run(args: Apply) -> Result<()> {
    let client = connect(&args.connection).await?;
    let documents = manifest::read(&args.filenames)?;
    let conflicts = if args.force_conflicts { Conflicts::Force } else { Conflicts::Fail };
    let applied = apply(&client, documents, &args.namespace.namespace, conflicts, |applied| {
        print::line(applied.line());
    })
    .await?;
    if args.no_wait || !std::io::stdout().is_terminal() {
        return Ok(());
    }
    wait_until_ready(&client, &applied, Steps::new()).await
}

/// Applies documents in order and calls `tell` after each one.
///
/// # Errors
/// At the first document that the server refuses; those before it stay applied.
pub(crate) async fn apply(
    client: &Client,
    documents: Vec<Document>,
    namespace: &str,
    conflicts: Conflicts,
    mut tell: impl FnMut(&Applied),
) -> Result<Vec<Applied>> {
    // Every kind is looked up before anything is written: a typing mistake must not leave half a manifest behind.
    let resources = documents.iter().map(|document| {
        target::of_object(&document.object).with_context(|| format!("failed to apply {}", document.title()))
    });
    let resources: Vec<Arc<Resource>> = resources.collect::<Result<_>>()?;
    let documents = push_images(client, documents).await?;
    let mut applied = Vec::new();
    for (document, resource) in documents.into_iter().zip(resources) {
        let done = apply_one(client, &document, resource, namespace, conflicts).await;
        let done = done.with_context(|| format!("failed to apply {}", document.title()))?;
        tell(&done);
        applied.push(done);
    }
    Ok(applied)
}

/// Pushes the files that images name and puts their digests in; each file once.
async fn push_images(client: &Client, mut documents: Vec<Document>) -> Result<Vec<Document>> {
    let mut pusher = None;
    let mut pushed: BTreeMap<PathBuf, String> = BTreeMap::new();
    for document in &mut documents {
        let folder = document.folder().to_owned();
        let title = document.title();
        for image in manifest::local_images(&mut document.object) {
            let file = folder.join(&*image);
            if let Some(pinned) = pushed.get(&file) {
                image.clone_from(pinned);
                continue;
            }
            if pusher.is_none() {
                pusher = Some(Pusher::find(client).await?);
            }
            let pinned = match &pusher {
                Some(pusher) => pusher.push_file(&file).await,
                None => unreachable!("found above"),
            };
            let pinned = pinned.with_context(|| format!("failed to push the image {image} of {title}"))?;
            image.clone_from(&pinned);
            pushed.insert(file, pinned);
        }
    }
    Ok(documents)
}

async fn apply_one(
    client: &Client,
    document: &Document,
    resource: Arc<Resource>,
    namespace: &str,
    conflicts: Conflicts,
) -> Result<Applied> {
    let mut object = document.object.clone();
    let own = object.namespace().to_owned();
    let namespace = target::namespace_for(&resource, if own.is_empty() { namespace } else { &own });
    if !namespace.is_empty() {
        object.set(&["metadata", "namespace"], namespace);
    }
    let key = ObjectKey::new(namespace, object.name());
    let api = Api::dynamic(client, &resource);
    let before = api.find(&key).await?;
    let patch = Patch::Apply { object: Value::Object(object.0), manager: FIELD_MANAGER.into(), conflicts };
    let after = api.patch(&key, &patch).await?;
    let verb = match before {
        None => "created",
        Some(before) if before.resource_version() == after.resource_version() => "unchanged",
        Some(_) => "configured",
    };
    Ok(Applied { resource, key, verb })
}

/// Waits until everything that was applied is ready, one step each.
///
/// # Errors
/// Says what is not ready and why.
pub(crate) async fn wait_until_ready(client: &Client, applied: &[Applied], steps: Steps) -> Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    for one in applied {
        let title = target::title(&one.resource, &one.key.name);
        let step = steps.begin(&format!("waiting for {title}"));
        let api = Api::dynamic(client, &one.resource);
        let mut pause = POLL_FIRST;
        loop {
            let object = api.get(&one.key).await?;
            let reason = match ready::of(&object) {
                Readiness::Ready => break,
                Readiness::Waiting(reason) => reason,
                Readiness::Failed(reason) => {
                    let trouble = trouble(client, &object).await.unwrap_or(reason);
                    step.failed(&format!("{title} failed: {trouble}"));
                    bail!("{title} failed: {trouble}");
                }
            };
            if Instant::now() > deadline {
                let trouble = trouble(client, &object).await.unwrap_or(reason);
                step.failed(&format!("{title} is not ready: {trouble}"));
                bail!("{title} is not ready after {} s: {trouble}", READY_WITHIN.as_secs());
            }
            step.tell(&format!("waiting for {title}: {reason}"));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL_MAX);
        }
        if matches!(one.resource.kind.as_ref(), "Deployment" | "ReplicaSet" | "Pod" | "Job") {
            step.done(&format!("{title} ready"));
        }
    }
    Ok(())
}

/// Returns what holds up the pods of a workload.
async fn trouble(client: &Client, object: &Object) -> Option<String> {
    let labels = object.at(&["spec", "selector", "matchLabels"])?.as_object()?;
    let selector: Vec<String> =
        labels.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
    let scope = Scope::namespace(object.namespace()).labels(selector.join(","));
    let pods = Api::dynamic(client, &*target::find("pods").ok()?).list(&scope).await.ok()?;
    pods.items.iter().find_map(|pod| Some(format!("pod {}: {}", pod.name(), ready::pod_trouble(pod)?)))
}
