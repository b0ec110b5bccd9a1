//! Watches one kind, whichever it is, and keeps its part of the graph.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use http_body_util::BodyStream;
use serde::Deserialize;
use tracing::debug;
use wkube_base::{Backoff, Rng};
use wkube_client::{Client, Error, Scope};

use super::Shared;
use super::graph::Meta;
use crate::common::request;
use crate::common::served::ServedKind;

/// How long the server is asked to keep one watch open, in seconds.
const WATCH_SECONDS: u32 = 290;
/// How much longer than that we wait before we hang up ourselves.
const WATCH_MAX: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 5);
/// The longest event; the store takes objects of up to 1.5 MiB.
const LINE_BYTES_MAX: usize = 16 << 20;

/// One line of a watch.
#[derive(Debug, Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    object: Subject,
}

#[derive(Debug, Deserialize)]
struct Subject {
    #[serde(default)]
    metadata: Meta,
    /// Of an error: its status code.
    #[serde(default)]
    code: Option<u16>,
}

/// Feeds the graph until the kind is no longer served.
pub(super) async fn run(client: Client, kind: Arc<ServedKind>, shared: Arc<Shared>, rng: Rng) {
    let mut failures: u32 = 0;
    loop {
        match list_and_watch(&client, &kind, &shared).await {
            Ok(()) => failures = 0,
            Err(error) if error.is_not_found() => {
                debug!(%kind, "no longer served");
                shared.change(|graph| graph.forget(&kind));
                return;
            }
            Err(error) => {
                debug!(%kind, error = &error as &dyn std::error::Error, "watch ended, listing again");
                failures = failures.saturating_add(1);
            }
        }
        let wait = Backoff::RECONNECT.after(failures.max(1));
        tokio::time::sleep(wait.mul_f64(0.5 + rng.unit() / 2.0)).await;
    }
}

/// Lists, then follows one watch after another, until one fails.
async fn list_and_watch(client: &Client, kind: &Arc<ServedKind>, shared: &Shared) -> Result<(), Error> {
    let list = kind.api(client).list(&Scope::all()).await?;
    let metas: Vec<Meta> = list
        .items
        .iter()
        .filter_map(|object| object.0.get("metadata").and_then(|metadata| Meta::deserialize(metadata).ok()))
        .collect();
    shared.change(|graph| graph.replace(kind, metas));

    let mut revision = list.revision.to_string();
    loop {
        let path = format!(
            "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={revision}",
            kind.path()
        );
        match tokio::time::timeout(WATCH_MAX, watch(client, kind, shared, &path, &mut revision)).await {
            Ok(ended) => ended?,
            Err(_late) => {}
        }
        // A server that closes every watch at once is not hammered.
        tokio::time::sleep(Backoff::RECONNECT.first).await;
    }
}

async fn watch(
    client: &Client,
    kind: &Arc<ServedKind>,
    shared: &Shared,
    path: &str,
    revision: &mut String,
) -> Result<(), Error> {
    let body = client.stream(request::get_request(path)?).await?;
    let mut frames = BodyStream::new(body);
    let mut buffer = BytesMut::new();
    while let Some(frame) = frames.try_next().await.map_err(Error::other)? {
        let Ok(data) = frame.into_data() else { continue };
        buffer.extend_from_slice(&data);
        while let Some(line) = cut_line(&mut buffer) {
            take_in(kind, shared, &line, revision)?;
        }
        if buffer.len() > LINE_BYTES_MAX {
            return Err(Error::other(format!("an event of more than {LINE_BYTES_MAX} bytes")));
        }
    }
    Ok(())
}

fn cut_line(buffer: &mut BytesMut) -> Option<Bytes> {
    let end = buffer.iter().position(|byte| *byte == b'\n')?;
    Some(buffer.split_to(end + 1).freeze())
}

fn take_in(kind: &Arc<ServedKind>, shared: &Shared, line: &[u8], revision: &mut String) -> Result<(), Error> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let event: Event = serde_json::from_slice(line).map_err(Error::other)?;
    let meta = event.object.metadata;
    if kind.kind == "CustomResourceDefinition" && event.kind != "BOOKMARK" {
        shared.kinds.notify_one();
    }
    if event.kind != "ERROR" && !meta.resource_version.is_empty() {
        revision.clone_from(&meta.resource_version);
    }
    match event.kind.as_str() {
        "ADDED" | "MODIFIED" => shared.change(|graph| graph.apply(kind, meta)),
        "DELETED" => shared.change(|graph| graph.remove(&meta.uid)),
        "ERROR" => {
            let code = event.object.code.unwrap_or_default();
            return Err(Error::other(format!("the watch ended with status {code}")));
        }
        _ => {}
    }
    Ok(())
}
