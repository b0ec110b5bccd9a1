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
use crate::connect::connect_in;
use crate::manifest::{self, Document};
use crate::print;
use crate::print::steps::{Step, Steps};
use crate::ready::{self, Readiness};
use crate::target;
use crate::verbs::preflight;
use crate::verbs::push::Pusher;

/// Who owns the fields that we apply.
pub(crate) const FIELD_MANAGER: &str = "wkube";
/// How often to look at an object that is not ready; short at first, because a warm start takes milliseconds.
const POLL_FIRST: Duration = Duration::from_millis(10);
const POLL_MAX: Duration = Duration::from_millis(250);
/// How long `apply` waits for everything together; a large component may take tens of seconds to compile.
const READY_WITHIN: Duration = Duration::from_mins(3);
/// How often to ask the pods what holds them up, which a quick start never needs.
const LOOK_CLOSER_EVERY: Duration = Duration::from_secs(1);

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

pub(crate) async fn run(mut args: Apply) -> Result<()> {
    let documents = manifest::read(&args.filenames)?;
    let client = connect_in(&args.connection, &mut args.namespace).await?;
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
/// Before anything is written, if the server would refuse a document. If one fails all the same, because the cluster
/// changed meanwhile, those before it stay applied.
pub(crate) async fn apply(
    client: &Client,
    documents: Vec<Document>,
    namespace: &str,
    conflicts: Conflicts,
    mut tell: impl FnMut(&Applied),
) -> Result<Vec<Applied>> {
    // Every kind is looked up before anything is written: a typing mistake must not leave half a manifest behind.
    let mut resources = Vec::with_capacity(documents.len());
    for document in &documents {
        let found = target::look_up(client, &document.object).await;
        resources.push(found.with_context(|| format!("failed to apply {}", document.title()))?);
    }
    preflight::check(client, &documents, &resources, namespace, conflicts).await?;
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
    let mut registry = None;
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
            let destination = match &registry {
                Some(found) => found,
                None => registry.insert(Pusher::find(client).await?),
            };
            // Shown on a terminal while it lasts: interpreters compiled to wasm take a moment.
            let step = Steps::new().begin(&format!("pushing {}", file.display()));
            let pinned = destination.push_file(&file).await;
            drop(step);
            let pinned = pinned.with_context(|| format!("failed to push the image {image} of {title}"))?;
            image.clone_from(&pinned);
            pushed.insert(file, pinned);
        }
    }
    Ok(documents)
}

/// Returns where a document's object belongs, and the object with its namespace.
pub(crate) fn placed(document: &Document, resource: &Resource, namespace: &str) -> (ObjectKey, Object) {
    let mut object = document.object.clone();
    let own = object.namespace().to_owned();
    let namespace = target::namespace_for(resource, if own.is_empty() { namespace } else { &own });
    if !namespace.is_empty() {
        object.set(&["metadata", "namespace"], namespace);
    }
    (ObjectKey::new(namespace, object.name()), object)
}

async fn apply_one(
    client: &Client,
    document: &Document,
    resource: Arc<Resource>,
    namespace: &str,
    conflicts: Conflicts,
) -> Result<Applied> {
    let (key, object) = placed(document, &resource, namespace);
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

/// Waits until everything that was applied is ready, one step each; times count from the beginning of the wait.
///
/// # Errors
/// Says what is not ready and why.
pub(crate) async fn wait_until_ready(client: &Client, applied: &[Applied], steps: Steps) -> Result<()> {
    let began = Instant::now();
    for one in applied {
        let title = target::title(&one.resource, &one.key.name);
        let step = steps.begin_at(&format!("waiting for {title}"), began);
        match settle(client, one, &step, began + READY_WITHIN).await? {
            Ok(()) if has_readiness(&one.resource) => step.done(&format!("{title} ready")),
            Ok(()) => {}
            Err(trouble) => {
                step.failed(&format!("{title} {trouble}"));
                bail!("{title} is not ready; look closer with `wkube describe {title}`");
            }
        }
    }
    Ok(())
}

/// Waits for one object. The inner error says what is wrong with it, the outer one that the server does not answer.
async fn settle(client: &Client, one: &Applied, step: &Step, deadline: Instant) -> Result<Result<(), String>> {
    let title = target::title(&one.resource, &one.key.name);
    let api = Api::<Object>::dynamic(client, &one.resource);
    let mut pause = POLL_FIRST;
    let mut look_closer_at = Instant::now() + LOOK_CLOSER_EVERY;
    loop {
        let object = api.get(&one.key).await?;
        let reason = match ready::of(&object) {
            Readiness::Ready => return Ok(Ok(())),
            Readiness::Waiting(reason) => reason,
            Readiness::Failed(reason) => {
                return Ok(Err(format!("failed: {}", trouble(client, &object).await.unwrap_or(reason))));
            }
        };
        let now = Instant::now();
        if now > deadline {
            let trouble = trouble(client, &object).await.unwrap_or(reason);
            return Ok(Err(format!("is not ready after {} s: {trouble}", READY_WITHIN.as_secs())));
        }
        if now > look_closer_at {
            look_closer_at = now + LOOK_CLOSER_EVERY;
            match trouble(client, &object).await {
                Some(trouble) => step.warn(&format!("{title}: {trouble}")),
                None => step.tell(&format!("waiting for {title}: {reason}")),
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(POLL_MAX);
    }
}

/// Whether objects of a kind become ready some time after they are written.
fn has_readiness(resource: &Resource) -> bool {
    matches!(resource.kind.as_ref(), "Deployment" | "ReplicaSet" | "Pod" | "Job")
}

/// Returns what holds up a pod or the pods of a workload.
async fn trouble(client: &Client, object: &Object) -> Option<String> {
    if object.kind() == "Pod" {
        return ready::pod_trouble(object);
    }
    let labels = object.at(&["spec", "selector", "matchLabels"])?.as_object()?;
    let selector: Vec<String> =
        labels.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
    let scope = Scope::namespace(object.namespace()).labels(selector.join(","));
    let pods = Api::dynamic(client, &*target::find("pods").ok()?).list(&scope).await.ok()?;
    pods.items.iter().find_map(|pod| Some(format!("pod {}: {}", pod.name(), ready::pod_trouble(pod)?)))
}
