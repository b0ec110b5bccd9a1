//! What can go wrong with a request, sorted by what the caller can do about it.

use std::time::Duration;

use rustls::CertificateError;
use tower::BoxError;
use wkube_api::Status;

/// Why a request did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered with a failure.
    #[error("{0}")]
    Api(Box<Status>),
    /// No answer arrived. The server may have done what was asked.
    #[error("reach the API server")]
    Transport(#[source] BoxError),
    /// No answer arrived in time. The server may have done what was asked.
    #[error("get an answer from the API server within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The request could not be put together.
    #[error("build the request")]
    Request(#[source] BoxError),
    /// The answer is not what this request promises.
    #[error("decode the API server's answer")]
    Decode(#[source] serde_json::Error),
    /// The kubeconfig or its credentials cannot be used.
    #[error("use the kubeconfig: {problem}")]
    Config {
        /// What is wrong with it.
        problem: String,
        /// Why.
        #[source]
        source: Option<BoxError>,
    },
    /// Something outside the API failed during a reconciliation.
    #[error("{0}")]
    Other(BoxError),
}

impl Error {
    /// Returns the server's `Status`, if it gave one.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Api(status) => Some(status),
            Self::Transport(_)
            | Self::Timeout(_)
            | Self::Request(_)
            | Self::Decode(_)
            | Self::Config { .. }
            | Self::Other(_) => None,
        }
    }

    /// Whether the object (or the kind) does not exist.
    pub fn is_not_found(&self) -> bool {
        self.has_reason("NotFound", 404)
    }

    /// Whether an object of this name exists already.
    pub fn is_already_exists(&self) -> bool {
        self.status().is_some_and(|status| status.reason == "AlreadyExists")
    }

    /// Whether a precondition failed because somebody else wrote first. `AlreadyExists` is not a conflict.
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(|status| status.reason == "Conflict")
    }

    /// Whether the revision asked for has left the history window, so that only a fresh list helps.
    pub fn is_expired(&self) -> bool {
        self.has_reason("Expired", 410) || self.has_reason("Gone", 410)
    }

    /// Whether we may not do that.
    pub fn is_forbidden(&self) -> bool {
        self.has_reason("Forbidden", 403)
    }

    /// Whether the server refuses what was sent, so that sending it again cannot help.
    pub fn is_rejected(&self) -> bool {
        self.status().is_some_and(|status| matches!(status.code, 400 | 401 | 403 | 405 | 413 | 415 | 422))
    }

    /// Whether the same request may succeed later without any change.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Api(status) => matches!(status.code, 429 | 500 | 502 | 503 | 504),
            Self::Transport(_) | Self::Timeout(_) => true,
            Self::Request(_) | Self::Decode(_) | Self::Config { .. } | Self::Other(_) => false,
        }
    }

    /// Whether the server's certificate is not valid at our time: mostly one of the two clocks is wrong.
    pub fn is_clock_skew(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(rustls::Error::InvalidCertificate(problem)) = error.downcast_ref() {
                return matches!(
                    problem,
                    CertificateError::Expired
                        | CertificateError::ExpiredContext { .. }
                        | CertificateError::NotValidYet
                        | CertificateError::NotValidYetContext { .. }
                );
            }
            // An I/O error keeps its cause out of `source`, and TLS errors come wrapped in several of them.
            cause = match error.downcast_ref::<std::io::Error>() {
                Some(io) => io.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static)),
                None => error.source(),
            };
        }
        false
    }

    /// Returns how long the server asked us to wait (`details.retryAfterSeconds`).
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.status()?.details.as_ref()?.retry_after_seconds?;
        Some(Duration::from_secs(u64::try_from(seconds).ok()?))
    }

    /// Wraps any other failure of a reconciliation.
    pub fn other(source: impl Into<BoxError>) -> Self {
        Self::Other(source.into())
    }

    fn has_reason(&self, reason: &str, code: u16) -> bool {
        self.status().is_some_and(|status| status.reason == reason || status.code == code)
    }
}

impl From<kube_client::Error> for Error {
    fn from(error: kube_client::Error) -> Self {
        Self::Transport(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport(problem: CertificateError) -> Error {
        let tls = std::io::Error::other(rustls::Error::InvalidCertificate(problem));
        Error::Transport(Box::new(std::io::Error::other(tls)))
    }

    #[test]
    fn a_certificate_of_another_time_points_at_the_clocks() {
        assert!(transport(CertificateError::NotValidYet).is_clock_skew());
        assert!(transport(CertificateError::Expired).is_clock_skew());
        assert!(!transport(CertificateError::UnknownIssuer).is_clock_skew());
        assert!(!Error::Transport("refused".into()).is_clock_skew());
    }
}
