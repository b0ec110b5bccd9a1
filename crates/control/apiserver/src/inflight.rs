//! How many requests of the network are answered at once (`apiserver/pkg/server/filters/maxinflight.go`), so that a
//! crowd of clients costs the others their turn at most, not the server's memory.

use http::{Method, Uri};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use wkube_api::Status;

use crate::limits;
use crate::router::{self, Query, Target, Verb};

/// Subresources whose answers last as long as the client likes.
const LONG_SUBRESOURCES: [&str; 6] = ["log", "proxy", "exec", "attach", "portforward", "reverse"];

/// The turns of the requests.
pub(crate) struct Inflight {
    reads: Semaphore,
    writes: Semaphore,
}

impl Default for Inflight {
    fn default() -> Self {
        Self { reads: Semaphore::new(limits::READS_AT_ONCE), writes: Semaphore::new(limits::WRITES_AT_ONCE) }
    }
}

/// What a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// A turn among the reads.
    Read,
    /// A turn among the writes.
    Write,
    /// Nothing: watches, logs and image layers last long and cost little.
    Long,
}

impl Inflight {
    /// Waits for the turn of a request of this class; it lasts until the permit is dropped.
    ///
    /// # Errors
    /// 429 if the turn does not come in time.
    pub(crate) async fn turn(&self, class: Class) -> Result<Option<SemaphorePermit<'_>>, Status> {
        let turns = match class {
            Class::Long => return Ok(None),
            Class::Read => &self.reads,
            Class::Write => &self.writes,
        };
        match timeout(limits::TURN_WAIT, turns.acquire()).await {
            Ok(Ok(turn)) => Ok(Some(turn)),
            // Nobody closes the semaphores.
            Ok(Err(_)) | Err(_) => Err(Status::too_many_requests("too many requests, please try again later", 1)),
        }
    }
}

/// Returns what a request takes.
pub(crate) fn class(method: &Method, uri: &Uri) -> Class {
    let (path, query) = (uri.path(), uri.query());
    let Target::Resource(resource) = router::target(path) else {
        // Layers of images may take minutes; so may nothing else that is no resource.
        return if path.starts_with("/v2/") { Class::Long } else { Class::Read };
    };
    if LONG_SUBRESOURCES.contains(&resource.subresource.as_str()) {
        return Class::Long;
    }
    match router::verb(method, &resource, &Query::parse(query)) {
        Some(Verb::Watch) => Class::Long,
        None | Some(Verb::Get | Verb::List) => Class::Read,
        Some(Verb::Create | Verb::Update | Verb::Patch | Verb::Delete | Verb::DeleteCollection) => Class::Write,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_takes_no_turn() {
        for (method, uri, expected) in [
            (Method::GET, "/api/v1/pods", Class::Read),
            (Method::GET, "/api/v1/pods?watch=true", Class::Long),
            (Method::GET, "/api/v1/namespaces/d/pods/p/log?follow=true", Class::Long),
            (Method::POST, "/api/v1/namespaces/d/pods/p/eviction", Class::Write),
            (Method::PATCH, "/api/v1/namespaces/d/pods/p/status", Class::Write),
            (Method::GET, "/readyz", Class::Read),
            (Method::PATCH, "/v2/a/blobs/uploads/1", Class::Long),
        ] {
            assert_eq!(class(&method, &uri.parse().expect("a URI")), expected, "{method} {uri}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_a_turn_is_told_to_come_back_and_reads_do_not_wait_for_writes() {
        let inflight = Inflight { reads: Semaphore::new(1), writes: Semaphore::new(1) };
        let turn = inflight.turn(Class::Write).await.expect("the first");
        let refused = inflight.turn(Class::Write).await.expect_err("the second");
        assert_eq!((refused.code, refused.details.and_then(|details| details.retry_after_seconds)), (429, Some(1)));
        assert!(inflight.turn(Class::Read).await.is_ok());
        drop(turn);
        assert!(inflight.turn(Class::Write).await.is_ok());
    }
}
