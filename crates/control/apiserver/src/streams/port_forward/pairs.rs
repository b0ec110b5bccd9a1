//! Which streams belong together: each forwarded connection has one for data and one for its error
//! (`kubelet/pkg/cri/streaming/portforward/httpstream.go`). Pure.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::streams::limits;
use crate::streams::spdy::Headers;

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The connection's bytes.
    Data,
    /// Why the connection failed.
    Error,
}

/// What a stream's headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Purpose {
    /// What for.
    pub(super) kind: Kind,
    /// Which port of the pod.
    pub(super) port: u16,
    /// Names the connection.
    pub(super) request: String,
}

impl Purpose {
    /// Reads a stream's headers; `None` if they are not those of a forwarded connection.
    pub(super) fn of(headers: &Headers, stream: u32) -> Option<Self> {
        let kind = match headers.get("streamtype") {
            "data" => Kind::Data,
            "error" => Kind::Error,
            _ => return None,
        };
        let port = headers.get("port").parse().ok().filter(|port| *port > 0)?;
        let request = match (headers.get("requestid"), kind) {
            // Clients before request ids made the two streams one after the other, the one for errors first.
            ("", Kind::Error) => stream.to_string(),
            ("", Kind::Data) => stream.checked_sub(2)?.to_string(),
            (request, _) => request.to_owned(),
        };
        Some(Self { kind, port, request })
    }
}

/// Both streams of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pair<S> {
    /// Which port of the pod; the data stream's word counts.
    pub(super) port: u16,
    /// The connection's bytes.
    pub(super) data: S,
    /// Why the connection failed.
    pub(super) error: S,
}

/// A stream whose other half has not come yet.
struct Half<S> {
    purpose: Purpose,
    stream: S,
    since: Instant,
}

/// The streams that wait for their other half.
pub(super) struct Pairs<S>(BTreeMap<String, Half<S>>);

impl<S> Default for Pairs<S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<S> Pairs<S> {
    /// Takes in a stream and returns the pair that it completes.
    ///
    /// # Errors
    /// Gives a stream back whose kind its connection already has.
    pub(super) fn add(&mut self, purpose: Purpose, stream: S, now: Instant) -> Result<Option<Pair<S>>, S> {
        if self.0.get(&purpose.request).is_some_and(|half| half.purpose.kind == purpose.kind) {
            return Err(stream);
        }
        let Some(half) = self.0.remove(&purpose.request) else {
            self.0.insert(purpose.request.clone(), Half { purpose, stream, since: now });
            return Ok(None);
        };
        Ok(Some(match purpose.kind {
            Kind::Data => Pair { port: purpose.port, data: stream, error: half.stream },
            Kind::Error => Pair { port: half.purpose.port, data: half.stream, error: stream },
        }))
    }

    /// Returns when the oldest half has waited long enough; `None` if none waits.
    pub(super) fn expiry(&self) -> Option<Instant> {
        self.0.values().map(|half| half.since + limits::STREAM_CREATION).min()
    }

    /// Removes and returns the halves that have waited long enough.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<(Purpose, S)> {
        let old = self.0.extract_if(.., |_, half| half.since + limits::STREAM_CREATION <= now);
        old.map(|(_, half)| (half.purpose, half.stream)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn purpose(kind: &str, port: &str, request: &str, stream: u32) -> Option<Purpose> {
        let headers = [("streamType", kind), ("port", port), ("requestID", request)];
        let given: Vec<_> = headers.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        Purpose::of(&Headers::of(&given), stream)
    }

    fn known(kind: &str, request: &str) -> Purpose {
        purpose(kind, "80", request, 1).expect("a purpose")
    }

    #[test]
    fn the_headers_of_a_stream_say_what_it_is_for() {
        assert_eq!(
            purpose("data", "8080", "7", 1),
            Some(Purpose { kind: Kind::Data, port: 8080, request: "7".into() })
        );
        for (kind, port) in [("other", "80"), ("", "80"), ("data", "0"), ("data", "65536"), ("data", "x"), ("data", "")]
        {
            assert_eq!(purpose(kind, port, "7", 1), None, "{kind} {port}");
        }
    }

    #[test]
    fn streams_without_a_request_follow_one_another() {
        let request = |kind, stream| purpose(kind, "80", "", stream).map(|purpose| purpose.request);
        assert_eq!((request("error", 5), request("data", 7)), (Some("5".into()), Some("5".into())));
        assert_eq!(request("data", 1), None);
    }

    #[test]
    fn two_streams_of_one_request_are_a_pair_in_either_order() {
        let now = Instant::now();
        let mut pairs = Pairs::default();
        assert_eq!(pairs.add(known("error", "1"), 'a', now), Ok(None));
        assert_eq!(pairs.add(known("data", "2"), 'b', now), Ok(None));
        assert_eq!(pairs.add(known("data", "1"), 'c', now), Ok(Some(Pair { port: 80, data: 'c', error: 'a' })));
        assert_eq!(pairs.add(known("error", "2"), 'd', now), Ok(Some(Pair { port: 80, data: 'b', error: 'd' })));
        assert_eq!(pairs.expiry(), None);
    }

    #[test]
    fn a_request_has_one_stream_of_each_kind() {
        let now = Instant::now();
        let mut pairs = Pairs::default();
        assert_eq!(pairs.add(known("data", "1"), 'a', now), Ok(None));
        assert_eq!(pairs.add(known("data", "1"), 'b', now), Err('b'));
        assert_eq!(pairs.add(known("error", "1"), 'c', now), Ok(Some(Pair { port: 80, data: 'a', error: 'c' })));
    }

    #[test]
    fn a_half_waits_only_so_long() {
        let start = Instant::now();
        let later = start + Duration::from_secs(10);
        let mut pairs = Pairs::default();
        pairs.add(known("data", "old"), 'a', start).expect("taken in");
        pairs.add(known("data", "new"), 'b', later).expect("taken in");
        let expiry = pairs.expiry().expect("some wait");
        assert_eq!(expiry, start + limits::STREAM_CREATION);
        assert_eq!(pairs.expired(expiry - Duration::from_millis(1)), []);
        assert_eq!(pairs.expired(expiry), [(known("data", "old"), 'a')]);
        assert_eq!(pairs.expiry(), Some(later + limits::STREAM_CREATION));
    }
}
