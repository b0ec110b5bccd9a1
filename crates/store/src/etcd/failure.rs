//! What an error of etcd's means for whoever called: a pure reading of codes and messages (`rpctypes/error.go`).

use std::error::Error as StdError;

use tonic::{Code, ConnectError, Status};

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nobody is there who could do it; nothing happened.
    Unavailable,
    /// The answer got lost; it may or may not have happened.
    Uncertain,
    /// A revision before etcd's oldest.
    Compacted,
    /// A revision after etcd's newest.
    Future,
    /// The token has expired or the rights have changed since it was issued; nothing happened.
    Token,
    /// Wrong user, wrong password, or too few rights.
    Denied,
    /// The database has reached its quota; nothing happened.
    Full,
    /// etcd does not do such a thing; nothing happened.
    Refused,
}

/// A failed call.
#[derive(Debug, Clone, thiserror::Error)]
#[error("etcd at {endpoint}: {message}")]
pub(super) struct Failure {
    pub(super) kind: Kind,
    pub(super) endpoint: String,
    pub(super) message: String,
}

impl Failure {
    /// Reads a status that `endpoint` answered, or that stands for a connection that could not be made.
    pub(super) fn of(endpoint: &str, status: &Status) -> Self {
        let cause = causes(status);
        let connected = !cause.iter().any(|cause| cause.is::<ConnectError>());
        let message = match cause.last() {
            Some(root) if !status.message().contains(&root.to_string()) => format!("{}: {root}", status.message()),
            _ => status.message().to_owned(),
        };
        let kind = if connected { kind(status.code(), status.message()) } else { Kind::Unavailable };
        Self { kind, endpoint: endpoint.to_owned(), message }
    }

    /// Returns the failure of a call that was given up.
    pub(super) fn silent(endpoint: &str) -> Self {
        let message = "no answer in time; is it overloaded, or cut off?".to_owned();
        Self { kind: Kind::Uncertain, endpoint: endpoint.to_owned(), message }
    }

    /// Tells if another member might answer a call that changes nothing, or that was certainly not carried out.
    pub(super) fn elsewhere(&self, idempotent: bool) -> bool {
        match self.kind {
            Kind::Unavailable => true,
            Kind::Uncertain => idempotent,
            _ => false,
        }
    }
}

fn causes(status: &Status) -> Vec<&(dyn StdError + 'static)> {
    std::iter::successors(status.source(), |cause: &&(dyn StdError + 'static)| (*cause).source()).collect()
}

fn kind(code: Code, message: &str) -> Kind {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    match code {
        Code::OutOfRange if says(&["has been compacted"]) => Kind::Compacted,
        Code::OutOfRange if says(&["future revision"]) => Kind::Future,
        // Says so before it proposes anything.
        Code::Unavailable if says(&["no leader"]) => Kind::Unavailable,
        Code::ResourceExhausted if says(&["space exceeded"]) => Kind::Full,
        Code::ResourceExhausted if says(&["too many requests"]) => Kind::Unavailable,
        Code::Unauthenticated => Kind::Token,
        Code::InvalidArgument if says(&["auth store is old"]) => Kind::Token,
        Code::PermissionDenied => Kind::Denied,
        Code::InvalidArgument if says(&["authentication failed", "user name"]) => Kind::Denied,
        Code::FailedPrecondition if says(&["authentication is not enabled"]) => Kind::Denied,
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::ResourceExhausted
        | Code::Unimplemented => Kind::Refused,
        _ => Kind::Uncertain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcds_words_are_understood() {
        let table = [
            (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted", Kind::Compacted),
            (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision", Kind::Future),
            (Code::Unavailable, "etcdserver: no leader", Kind::Unavailable),
            (Code::Unavailable, "etcdserver: request timed out", Kind::Uncertain),
            (Code::Unavailable, "etcdserver: leader changed", Kind::Uncertain),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", Kind::Full),
            (Code::ResourceExhausted, "etcdserver: too many requests", Kind::Unavailable),
            (Code::Unauthenticated, "etcdserver: invalid auth token", Kind::Token),
            (Code::InvalidArgument, "etcdserver: revision of auth store is old", Kind::Token),
            (Code::InvalidArgument, "etcdserver: authentication failed, invalid user ID or password", Kind::Denied),
            (Code::InvalidArgument, "etcdserver: user name is empty", Kind::Denied),
            (Code::FailedPrecondition, "etcdserver: authentication is not enabled", Kind::Denied),
            (Code::PermissionDenied, "etcdserver: permission denied", Kind::Denied),
            (Code::InvalidArgument, "etcdserver: too many operations in txn request", Kind::Refused),
            (Code::InvalidArgument, "etcdserver: request is too large", Kind::Refused),
            (Code::Unknown, "h2 protocol error: error reading a body from connection", Kind::Uncertain),
            (Code::DeadlineExceeded, "context deadline exceeded", Kind::Uncertain),
        ];
        for (code, message, expected) in table {
            assert_eq!(Failure::of("x", &Status::new(code, message)).kind, expected, "{message}");
        }
    }

    #[test]
    fn a_connection_that_could_not_be_made_carried_out_nothing() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let status = Status::from_error(Box::new(ConnectError(Box::new(refused))));
        let failure = Failure::of("10.0.0.1:2379", &status);
        assert_eq!(failure.kind, Kind::Unavailable);
        assert!(failure.to_string().contains("10.0.0.1:2379") && failure.to_string().contains("refused"), "{failure}");
    }

    #[test]
    fn a_write_whose_answer_got_lost_is_not_sent_again() {
        let lost = Failure::of("x", &Status::unavailable("etcdserver: request timed out"));
        assert!(lost.elsewhere(true) && !lost.elsewhere(false));
        let no_leader = Failure::of("x", &Status::unavailable("etcdserver: no leader"));
        assert!(no_leader.elsewhere(true) && no_leader.elsewhere(false));
        let denied = Failure::of("x", &Status::permission_denied("etcdserver: permission denied"));
        assert!(!denied.elsewhere(true) && !denied.elsewhere(false));
    }
}
