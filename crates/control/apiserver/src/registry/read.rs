//! Get and list.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use wkube_api::{Object, ObjectKey, Status};
use wkube_store::{Error, Range, Revision};

use super::list_options::{self, Freshness, ListOptions};
use super::page::Page;
use super::selection::Selection;
use super::{Outcome, Registry, failed, keys, view};
use crate::call::Call;
use crate::conversion::Of;
use crate::limits;
use crate::watch_cache::Item;

/// A collection, or one page of it.
pub(crate) struct Listing {
    /// The objects in key order.
    pub(crate) items: Vec<Arc<Item>>,
    /// The revision at which it is exact.
    pub(crate) revision: Revision,
    /// The next page's token, empty on the last one.
    pub(crate) next: String,
    /// How many objects follow; `None` if selectors make that unknown.
    pub(crate) remaining: Option<usize>,
}

/// Entries read from the store at once when a page of an old revision has to be filtered.
const CHUNK: usize = 500;

/// Answers GET of one object.
pub(crate) async fn get(registry: &Registry, call: &Call) -> Result<Outcome, Status> {
    match list_options::version(&call.query)? {
        Some(version) => wait_for(registry, Revision(version)).await?,
        None => drop(registry.store.newest().await),
    }
    let key = ObjectKey::new(&call.namespace, &call.name);
    let item = Arc::new(Item::new(registry.entry(&call.resource, &key)?));
    let item = view::one(&registry.converter, &call.resource, item).await?;
    Ok(Outcome::Object { code: 200, item })
}

/// Answers GET of a collection.
pub(crate) async fn list(registry: &Registry, call: &Call) -> Result<Outcome, Status> {
    let options = list_options::list(&call.query)?;
    let selection = Selection::parse(&call.resource, &call.query, &call.name)?;
    match select(registry, call, &options, &selection).await {
        Err(status) if status.reason == "Expired" && options.page.is_some() => Ok(go_on(&status, &options)),
        listed => listed.map(Outcome::List),
    }
}

/// A page of forgotten history is refused with a token that goes on with the newest state (`handleCompactedErrorForPaging`).
fn go_on(status: &Status, options: &ListOptions) -> Outcome {
    let mut document = Object(status.to_json().as_object().cloned().unwrap_or_default());
    if let Some(page) = &options.page {
        document.set(&["metadata", "continue"], Page { revision: -1, after: page.after.clone() }.token());
    }
    Outcome::Document { code: status.code, object: document }
}

/// Lists what `options` and `selection` ask for.
pub(crate) async fn select(
    registry: &Registry,
    call: &Call,
    options: &ListOptions,
    selection: &Selection,
) -> Result<Listing, Status> {
    let prefix = keys::collection(&call.resource, &call.namespace);
    if let Some(page) = &options.page {
        let at = u64::try_from(page.revision).ok().map(Revision);
        return exact(registry, call, options, selection, Source { prefix, after: page.after.clone(), at }).await;
    }
    if let Freshness::Exactly(version) = options.freshness {
        wait_for(registry, Revision(version)).await?;
        let at = Some(Revision(version));
        return exact(registry, call, options, selection, Source { prefix, after: String::new(), at }).await;
    }
    let (items, revision) = snapshot(registry, call, options.freshness, selection).await?;
    Ok(first_page(items, revision, &prefix, options.limit, call, selection))
}

/// Returns what may be selected of the collection from the cache, as fresh as asked for.
pub(crate) async fn snapshot(
    registry: &Registry,
    call: &Call,
    freshness: Freshness,
    selection: &Selection,
) -> Result<(Vec<Arc<Item>>, Revision), Status> {
    let cache = registry.cache(&call.resource);
    match freshness {
        Freshness::Any => {}
        Freshness::Latest => cache.reach(registry.store.newest().await).await,
        Freshness::AtLeast(version) | Freshness::Exactly(version) => {
            wait_for(registry, Revision(version)).await?;
            cache.reach(Revision(version)).await;
        }
    }
    let (items, revision) = cache.list(&selection.prefix(&call.resource, &call.namespace));
    Ok((view::items(&registry.converter, &call.resource, items, Of::List).await?, revision))
}

/// Waits a little for a revision that has not happened yet.
pub(crate) async fn wait_for(registry: &Registry, revision: Revision) -> Result<(), Status> {
    let happened = async {
        while registry.store.newest().await < revision {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = timeout(limits::FUTURE_VERSION_WAIT, happened).await;
    waited.map_err(|_| Status::too_large_resource_version(revision.0, registry.store.revision().0))
}

/// Cuts the first page out of the newest state.
fn first_page(
    items: Vec<Arc<Item>>,
    revision: Revision,
    prefix: &str,
    limit: usize,
    call: &Call,
    selection: &Selection,
) -> Listing {
    let everything = selection.is_everything();
    let mut matching = items.into_iter().filter(|item| selection.matches_item(&call.resource, item));
    if limit == 0 {
        return Listing { items: matching.collect(), revision, next: String::new(), remaining: None };
    }
    let items: Vec<_> = matching.by_ref().take(limit).collect();
    let rest = matching.count();
    let next = match items.last() {
        Some(last) if rest > 0 => token(revision, prefix, &last.entry.key),
        _ => String::new(),
    };
    Listing { items, revision, next, remaining: (everything && rest > 0).then_some(rest) }
}

/// Where a page of the store's history starts.
struct Source {
    prefix: String,
    /// Relative to the prefix.
    after: String,
    /// `None` is the newest state ("inconsistent continue").
    at: Option<Revision>,
}

/// Reads one page as of a revision from the store's history.
async fn exact(
    registry: &Registry,
    call: &Call,
    options: &ListOptions,
    selection: &Selection,
    source: Source,
) -> Result<Listing, Status> {
    let Source { prefix, after, at } = source;
    let wanted = if options.limit == 0 { usize::MAX } else { options.limit };
    let mut range = Range { prefix: prefix.clone(), after: None, limit: 0, at };
    if !after.is_empty() {
        range.after = Some(format!("{prefix}{after}").into());
    }
    let mut items = Vec::new();
    loop {
        range.limit = if options.limit == 0 { 0 } else { (options.limit - items.len()).max(CHUNK) };
        let listed = registry.store.list(&range).map_err(|error| expired(&error, &after))?;
        let (revision, mut left) = (range.at.unwrap_or(listed.revision), listed.remaining);
        let listed = listed.entries.into_iter().map(|entry| Arc::new(Item::new(entry))).collect();
        let mut shown = view::items(&registry.converter, &call.resource, listed, Of::List).await?.into_iter();
        while items.len() < wanted
            && let Some(item) = shown.next()
        {
            range.after = Some(item.entry.key.clone());
            if selection.matches_item(&call.resource, &item) {
                items.push(item);
            }
        }
        left += shown.len();
        if left == 0 || items.len() == wanted {
            let next = match &range.after {
                Some(last) if left > 0 => token(revision, &prefix, last),
                _ => String::new(),
            };
            let remaining = (selection.is_everything() && left > 0).then_some(left);
            return Ok(Listing { items, revision, next, remaining });
        }
        // Further chunks are of the same revision, also if the first one was of the newest.
        range.at = Some(revision);
    }
}

fn token(revision: Revision, prefix: &str, last: &str) -> String {
    let revision = i64::try_from(revision.0).unwrap_or(i64::MAX);
    Page { revision, after: last.strip_prefix(prefix).unwrap_or(last).to_owned() }.token()
}

fn expired(error: &Error, after: &str) -> Status {
    if !matches!(error, Error::Compacted { .. }) {
        return failed(error);
    }
    if after.is_empty() {
        return Status::expired("The resourceVersion for the provided list is too old.");
    }
    Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without \
         the continue parameter, or use the continue token in this response to retrieve the remainder of the results. \
         Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
         deleted between the time the first chunk was returned and now may show up in the list.",
    )
}
