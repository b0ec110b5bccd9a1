//! `Fence`: what ties a leader's writes to its term, however late they arrive.
//!
//! Lease election alone cannot: a leader that was paused does not know that its time is over. Every term begins with a
//! write of the Lease's fence, at the revision of that write; the leader's requests name it, and what they write is
//! committed only while it is still the newest.

use std::fmt;
use std::str::FromStr;

use crate::{ObjectKey, Status};

/// The header in which a leader's requests carry it: `kube-system/kube-controller-manager=1234`.
pub const HEADER: &str = "wkube-fence";

/// The reason in the [`Status`] of a write whose term is over.
pub const FENCED: &str = "Fenced";

/// A term of a Lease's holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The Lease.
    pub lease: ObjectKey,
    /// When the term began: the revision at which its holder claimed the Lease.
    pub revision: u64,
}

impl Fence {
    /// Returns the answer to a write that comes after the term.
    pub fn fenced(&self) -> Status {
        let message = format!("nothing was written: the writer's term as the holder of Lease {} is over", self.lease);
        Status::new(409, FENCED, message)
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.lease, self.revision)
    }
}

/// The text is no fence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{HEADER} is not of the form NAMESPACE/LEASE=REVISION")]
pub struct Malformed;

impl FromStr for Fence {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (lease, revision) = text.split_once('=').ok_or(Malformed)?;
        let (namespace, name) = lease.split_once('/').ok_or(Malformed)?;
        if namespace.is_empty() || name.is_empty() || name.contains('/') {
            return Err(Malformed);
        }
        Ok(Self { lease: ObjectKey::new(namespace, name), revision: revision.parse().map_err(|_| Malformed)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_survives_the_journey() {
        let fence = Fence { lease: ObjectKey::new("kube-system", "kube-controller-manager"), revision: 1234 };
        assert_eq!(fence.to_string(), "kube-system/kube-controller-manager=1234");
        assert_eq!(fence.to_string().parse(), Ok(fence));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "a", "a=1", "a/b", "a/b=", "a/b=x", "a/b=-1", "/b=1", "a/=1", "a/b/c=1", "a/b=1=2"] {
            assert_eq!(text.parse::<Fence>(), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn the_answer_is_no_conflict_that_reading_again_would_solve() {
        let status = Fence { lease: ObjectKey::new("kube-system", "x"), revision: 7 }.fenced();
        assert_eq!((status.code, status.is_conflict()), (409, false));
        assert!(status.message.contains("kube-system/x"), "{}", status.message);
    }
}
