//! Forgetting etcd's past: by one server at a time, five minutes behind the present.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::{debug, warn};

use crate::Revision;
use crate::retention::{KEPT_FOR, KEPT_REVISIONS};

use super::Shared;
use super::failure::{Failure, Kind};
use super::layout::Layout;
use super::proto::{
    Compare, CompareTarget, Expected, PutRequest, RangeRequest, Request, Response, TxnRequest, TxnResponse,
};
use super::transaction::step;

/// What this server knows about turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Turn {
    /// How often the compaction key has been written: whoever writes it next has the turn.
    number: i64,
    /// etcd's revision at the turn before, an interval ago.
    revision: Revision,
}

/// Takes turns with all other servers (`staging/src/k8s.io/apiserver/pkg/storage/etcd3/compact.go`): each tries to write
/// the same key once per interval; the one that succeeds compacts to where etcd was an interval ago.
pub(super) async fn run(shared: Arc<Shared>, every: Duration) {
    let mut turn = Turn::default();
    loop {
        tokio::time::sleep(every).await;
        match take_turn(&shared, turn).await {
            Ok(next) => turn = next,
            Err(failure) => warn!(%failure, "compacting etcd failed; it is tried again in a while"),
        }
    }
}

/// How far apart turns are.
pub(super) const EVERY: Duration = KEPT_FOR;

async fn take_turn(shared: &Shared, turn: Turn) -> Result<Turn, Failure> {
    let response = shared.client.txn(bid(shared, turn)).await?;
    let (won, next) = outcome(&shared.layout, turn, &response);
    let Some(target) = won.then(|| target(turn, next.revision)).flatten() else { return Ok(next) };
    match shared.client.compact(shared.layout.wire(target)).await {
        Ok(()) => debug!(revision = target.0, "compacted etcd"),
        // Somebody compacted further, by hand or by etcd's own --auto-compaction.
        Err(Failure { kind: Kind::Compacted, .. }) => {}
        Err(failure) => return Err(failure),
    }
    Ok(next)
}

fn bid(shared: &Shared, turn: Turn) -> TxnRequest {
    let key = shared.layout.compacted();
    let value = Bytes::from(turn.revision.0.to_string());
    TxnRequest {
        compare: vec![Compare {
            target: CompareTarget::Version.into(),
            key: key.clone(),
            expected: Some(Expected::Version(turn.number)),
        }],
        success: vec![step(Request::Put(PutRequest { key: key.clone(), value }))],
        failure: vec![step(Request::Range(RangeRequest { key, ..RangeRequest::default() }))],
    }
}

/// Returns whether the turn was ours, and what is known for the next.
fn outcome(layout: &Layout, turn: Turn, response: &TxnResponse) -> (bool, Turn) {
    let revision = layout.revision_in(response.header.as_ref());
    if response.succeeded {
        return (true, Turn { number: turn.number + 1, revision });
    }
    let number = match response.responses.first().and_then(|step| step.response.as_ref()) {
        Some(Response::Range(range)) => range.kvs.first().map_or(0, |kv| kv.version),
        _ => 0,
    };
    (false, Turn { number, revision })
}

/// Returns up to where the past may go.
fn target(turn: Turn, newest: Revision) -> Option<Revision> {
    let target = turn.revision.0.min(newest.0.saturating_sub(KEPT_REVISIONS));
    (target > 0).then_some(Revision(target))
}

#[cfg(test)]
mod tests {
    use super::super::proto::{KeyValue, RangeResponse, ResponseHeader, ResponseOp};
    use super::*;

    fn turn(number: i64, revision: u64) -> Turn {
        Turn { number, revision: Revision(revision) }
    }

    fn response(succeeded: bool, version: i64) -> TxnResponse {
        let kv = KeyValue { version, ..KeyValue::default() };
        let range = Response::Range(RangeResponse { kvs: vec![kv], ..RangeResponse::default() });
        let header = Some(ResponseHeader { revision: 9_000, ..ResponseHeader::default() });
        TxnResponse { header, succeeded, responses: vec![ResponseOp { response: Some(range) }] }
    }

    #[test]
    fn whoever_wins_counts_on_and_whoever_loses_learns_the_count() {
        let layout = Layout::new("/wkube");
        assert_eq!(outcome(&layout, turn(4, 5), &response(true, 0)), (true, turn(5, 9_000)));
        assert_eq!(outcome(&layout, turn(0, 0), &response(false, 7)), (false, turn(7, 9_000)));
    }

    #[test]
    fn the_first_turn_only_notes_where_etcd_is() {
        assert_eq!(target(turn(0, 0), Revision(9_000)), None);
    }

    #[test]
    fn an_interval_and_a_thousand_revisions_stay() {
        assert_eq!(target(turn(1, 5_000), Revision(9_000)), Some(Revision(5_000)));
        assert_eq!(target(turn(1, 8_900), Revision(9_000)), Some(Revision(8_000)));
        assert_eq!(target(turn(1, 300), Revision(900)), None);
    }
}
