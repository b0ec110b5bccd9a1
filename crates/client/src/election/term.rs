//! `Term`: from when a candidate was elected until it is not any more, and what ties its writes to that time.

use http::{HeaderMap, HeaderValue};
use tokio::sync::watch;
use wkube_api::{Fence, ObjectKey, Status, fence};

/// One term of a leader. Clones are of the same term.
#[derive(Debug, Clone)]
pub struct Term {
    fence: HeaderValue,
    /// Whether a write came too late.
    over: watch::Sender<bool>,
}

impl Term {
    /// Returns the term of whoever claimed `lease` at `revision`.
    pub(super) fn new(lease: &ObjectKey, revision: u64) -> Self {
        let fence = Fence { lease: lease.clone(), revision };
        let fence = HeaderValue::try_from(fence.to_string()).expect("names of objects are visible ASCII");
        Self { fence, over: watch::Sender::new(false) }
    }

    /// Ties a request to this term.
    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        headers.insert(fence::HEADER, self.fence.clone());
    }

    /// Notes how the server answered a request of this term.
    pub(crate) fn note(&self, answer: &Status) {
        if answer.reason == fence::FENCED {
            self.over.send_replace(true);
        }
    }

    /// Completes once the server has refused a write because the term is over.
    pub(super) async fn over(&self) {
        // The sender is ours: it cannot be gone.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn only_a_fenced_write_ends_the_term() {
        let term = Term::new(&ObjectKey::new("kube-system", "x"), 7);
        term.note(&Status::new(409, "Conflict", "somebody else wrote first"));
        assert!(term.over().now_or_never().is_none());
        let fence = Fence { lease: ObjectKey::new("kube-system", "x"), revision: 7 };
        term.clone().note(&fence.fenced());
        assert!(term.over().now_or_never().is_some());
    }

    #[test]
    fn requests_name_the_lease_and_when_it_was_claimed() {
        let mut headers = HeaderMap::new();
        Term::new(&ObjectKey::new("kube-system", "x"), 7).mark(&mut headers);
        assert_eq!(headers[fence::HEADER], "kube-system/x=7");
    }
}
