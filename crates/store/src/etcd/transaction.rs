//! Commits in etcd's words: a pure translation there and back.

use std::io;
use std::sync::Arc;

use crate::{Error, Key, Op, Precondition, Revision, TXN_MAX, Txn};

use super::layout::Layout;
use super::proto::{
    Compare, CompareTarget, DeleteRangeRequest, Expected, PutRequest, RangeRequest, Request, RequestOp, Response,
    TxnRequest, TxnResponse,
};

/// Returns the request that carries out `txn`, or else reads the keys of its conditions.
pub(super) fn request(layout: &Layout, txn: &Txn) -> Result<TxnRequest, Error> {
    if txn.ops.len().max(txn.preconditions.len()) > TXN_MAX {
        let message = format!("a commit to etcd has at most {TXN_MAX} operations and {TXN_MAX} conditions");
        return Err(Error::Engine(Arc::new(io::Error::new(io::ErrorKind::InvalidInput, message))));
    }
    let mut ops: Vec<&Op> = txn.ops.iter().collect();
    // Key order, as in the other engines: it is the order of the events.
    ops.sort_by(|a, b| a.key().cmp(b.key()));
    Ok(TxnRequest {
        compare: txn.preconditions.iter().map(|condition| compare(layout, condition)).collect(),
        success: ops.into_iter().map(|op| step(write(layout, op))).collect(),
        failure: txn.preconditions.iter().map(|condition| step(read(layout, condition.key()))).collect(),
    })
}

fn compare(layout: &Layout, condition: &Precondition) -> Compare {
    let (target, expected) = match condition {
        // A key that does not exist has creation revision zero.
        Precondition::Absent(_) => (CompareTarget::Create, Expected::CreateRevision(0)),
        Precondition::Modified(_, revision) => (CompareTarget::Mod, Expected::ModRevision(layout.wire(*revision))),
    };
    Compare { target: target.into(), key: layout.etcd_key(condition.key()), expected: Some(expected) }
}

fn write(layout: &Layout, op: &Op) -> Request {
    match op {
        Op::Put(key, value) => Request::Put(PutRequest { key: layout.etcd_key(key), value: value.clone() }),
        Op::Delete(key) => {
            Request::DeleteRange(DeleteRangeRequest { key: layout.etcd_key(key), range_end: Vec::new() })
        }
    }
}

fn read(layout: &Layout, key: &Key) -> Request {
    Request::Range(RangeRequest { key: layout.etcd_key(key), ..RangeRequest::default() })
}

pub(super) fn step(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

/// What came of a commit.
#[derive(Debug)]
pub(super) struct Outcome {
    /// etcd's revision after it.
    pub(super) revision: Revision,
    /// Whether that revision is this commit's, so that an event will come.
    pub(super) wrote: bool,
    /// The failed condition, if one failed.
    pub(super) conflict: Option<Error>,
}

/// Reads the answer to [`request`].
pub(super) fn outcome(layout: &Layout, txn: &Txn, response: TxnResponse) -> Outcome {
    let revision = layout.revision_in(response.header.as_ref());
    if response.succeeded {
        let wrote = response.responses.iter().any(|step| match &step.response {
            Some(Response::Put(_)) => true,
            Some(Response::DeleteRange(deletion)) => deletion.deleted > 0,
            Some(Response::Range(_)) | None => false,
        });
        return Outcome { revision, wrote, conflict: None };
    }
    let states = response.responses.into_iter().map(|step| match step.response {
        Some(Response::Range(range)) => range.kvs.into_iter().next(),
        _ => None,
    });
    let conflict = txn.preconditions.iter().zip(states).find_map(|(condition, kv)| {
        let key = condition.key();
        let current = kv.map(|kv| layout.entry(key, kv));
        let holds = condition.holds(current.as_ref());
        (!holds).then(|| Error::Conflict { key: key.clone(), current: current.map(Box::new) })
    });
    Outcome { revision, wrote: false, conflict }
}

#[cfg(test)]
mod tests {
    use super::super::proto::{DeleteRangeResponse, KeyValue, PutResponse, RangeResponse, ResponseHeader, ResponseOp};
    use super::*;

    fn layout() -> Layout {
        Layout::new("/wkube")
    }

    fn found(modified: i64) -> ResponseOp {
        let kv = KeyValue { key: b"/wkube/dataa".to_vec(), mod_revision: modified, ..KeyValue::default() };
        answer(Response::Range(RangeResponse { kvs: vec![kv], ..RangeResponse::default() }))
    }

    fn answer(response: Response) -> ResponseOp {
        ResponseOp { response: Some(response) }
    }

    fn response(succeeded: bool, responses: Vec<ResponseOp>) -> TxnResponse {
        TxnResponse { header: Some(ResponseHeader { revision: 9, ..ResponseHeader::default() }), succeeded, responses }
    }

    #[test]
    fn absence_is_creation_revision_zero() {
        let request = request(&layout(), &Txn::create("a".into(), "1")).expect("small");
        let [compare] = &request.compare[..] else { panic!("one condition") };
        assert_eq!((compare.target(), compare.expected), (CompareTarget::Create, Some(Expected::CreateRevision(0))));
        assert_eq!(compare.key, b"/wkube/dataa");
    }

    #[test]
    fn a_key_that_does_not_exist_was_not_modified_at_revision_zero() {
        let request = request(&layout(), &Txn::replace("a".into(), Revision(0), "1")).expect("small");
        // Nothing was: zero is what etcd says of a key that does not exist.
        assert_eq!(request.compare[0].expected, Some(Expected::ModRevision(-1)));
    }

    #[test]
    fn writes_go_in_key_order() {
        let request = request(&layout(), &Txn::put("b".into(), "1").and(Txn::put("a".into(), "2"))).expect("small");
        let keys: Vec<_> = request.success.iter().map(|op| op.request.clone()).collect();
        assert!(matches!(&keys[..], [Some(Request::Put(a)), Some(Request::Put(b))] if a.key < b.key));
    }

    #[test]
    fn the_first_condition_that_failed_is_named_with_the_state_it_saw() {
        let txn = Txn::replace("a".into(), Revision(3), "x").and(Txn::replace("b".into(), Revision(4), "x"));
        let outcome = outcome(&layout(), &txn, response(false, vec![found(3), found(5)]));
        let Some(Error::Conflict { key, current: Some(current) }) = outcome.conflict else { panic!("{outcome:?}") };
        assert_eq!((&*key, current.modified), ("b", Revision(5)));
    }

    #[test]
    fn only_what_changed_something_has_an_event() {
        let nothing = DeleteRangeResponse { deleted: 0 };
        let txn = Txn::default();
        let deleted_nothing =
            outcome(&layout(), &txn, response(true, vec![answer(Response::DeleteRange(nothing.clone()))]));
        assert!(!deleted_nothing.wrote);
        let put = answer(Response::Put(PutResponse {}));
        let mixed = outcome(&layout(), &txn, response(true, vec![answer(Response::DeleteRange(nothing)), put]));
        assert_eq!((mixed.wrote, mixed.revision), (true, Revision(9)));
    }

    #[test]
    fn a_commit_that_etcd_would_refuse_is_refused_here() {
        let many = (0..=TXN_MAX).fold(Txn::default(), |txn, n| txn.and(Txn::put(format!("k{n}").into(), "1")));
        assert!(matches!(request(&layout(), &many), Err(Error::Engine(_))));
    }
}
