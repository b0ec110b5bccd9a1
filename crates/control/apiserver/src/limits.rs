//! Every limit of the API server, with its reason.

use std::time::Duration;

/// The largest request body; `MaxRequestBodyBytes` in `apiserver/pkg/server/config.go`.
pub(crate) const BODY_MAX: usize = 3 * 1024 * 1024;
/// Bodies above this are compressed if the client accepts it; `defaultGzipThresholdBytes` in `responsewriters/writers.go`.
pub(crate) const GZIP_MIN: usize = 128 * 1024;
/// How often a patch is tried again against fresh state; `maxRetryWhenPatchConflicts` in `handlers/patch.go`.
pub(crate) const CONFLICT_RETRIES: usize = 5;
/// How many objects of a collection are deleted at once: their commits share a sync. Kubernetes has one
/// (`--delete-collection-workers`), and an answer in time for a few hundred objects.
pub(crate) const DELETIONS_AT_ONCE: usize = 64;
/// How often a taken generated name is drawn again; `maxNameGenerationCreateAttempts` in `registry/store.go`.
pub(crate) const GENERATE_NAME_RETRIES: usize = 8;
/// Generated names keep this much of their prefix, so that five more characters fit a DNS label.
pub(crate) const GENERATE_NAME_PREFIX_MAX: usize = 58;
/// How long a read waits for a resourceVersion that has not happened yet; `blockTimeout` in `cacher/watch_cache.go`.
pub(crate) const FUTURE_VERSION_WAIT: Duration = Duration::from_secs(3);
/// Watches without `timeoutSeconds` end after this to twice this, so that load spreads; `minRequestTimeout`.
pub(crate) const WATCH_TIMEOUT_MIN: Duration = Duration::from_mins(30);
/// How often an idle watch that allows bookmarks gets one; `defaultBookmarkFrequency` in `cacher/cacher.go`.
pub(crate) const BOOKMARK_EVERY: Duration = Duration::from_mins(1);
/// The last bookmark before a watch's end comes this long before it.
pub(crate) const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// Recent changes, shared by all watchers of a kind. Watchers that lag further decode and write them out once more.
pub(crate) const RECENT_CHANGES: usize = 1024;
/// Fewer if they are large.
pub(crate) const RECENT_BYTES: usize = 8 << 20;
/// Requests on one HTTP/2 connection at once. client-go opens one connection per client and a watch per informer on it.
pub(crate) const HTTP2_STREAMS: u32 = 1000;
/// When to try again if the store's servers have no majority; etcd elects a leader within a second or two.
pub(crate) const STORE_RETRY_SECONDS: i32 = 1;
/// A mutation that takes longer than this is answered with a timeout; `requestTimeoutUpperBound` in `handlers/rest.go`.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(34);
/// A TLS handshake that takes longer than this is dropped, so that idle connections cannot pile up.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Open requests get this long to finish when the server stops.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);
/// A field manager's name; `FieldManagerMaxLength` in `meta/v1/validation`.
pub(crate) const FIELD_MANAGER_MAX: usize = 128;
/// One warning header's text; longer ones are cut (`filters/warning.go`).
pub(crate) const WARNING_MAX: usize = 256;
/// All warnings of one response together.
pub(crate) const WARNINGS_MAX: usize = 4 * 1024;
/// How long the listener waits after it could not accept a connection.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often a quiet HTTP/2 connection is asked whether it is still there, and how long it may take to say so.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Events are deleted this long after their last change; `--event-ttl`.
pub(crate) const EVENT_TTL: Duration = Duration::from_hours(1);
/// Expired events are collected for this long, so that they go in few commits.
pub(crate) const EXPIRY_LOOK_MIN: Duration = Duration::from_secs(10);
/// How late an expiry is noticed after the machine slept.
pub(crate) const EXPIRY_LOOK_MAX: Duration = Duration::from_mins(10);
/// Deletions in one commit; more would keep other writers waiting.
pub(crate) const EXPIRY_BATCH: usize = wkube_store::TXN_MAX;
/// Seats of all priority levels together; `--max-requests-inflight` and `--max-mutating-requests-inflight`.
pub(crate) const SEATS: u32 = 600;
/// A large answer that has not been read by then is given up; `--request-timeout`.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// A connection whose other end takes nothing for so long is closed: nobody is there, or nobody reads.
pub(crate) const WRITE_STALL: Duration = Duration::from_mins(1);
/// All headers of an HTTP/1.1 request must be there within this; `ReadHeaderTimeout` in `server/secure_serving.go`.
pub(crate) const HEADERS_TIMEOUT: Duration = Duration::from_secs(32);
/// A body must arrive within this; `--request-timeout`.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_mins(1);
/// All headers of one HTTP/2 request together; Go's `DefaultMaxHeaderBytes`.
pub(crate) const HEADERS_MAX: u32 = 1 << 20;
/// A watch cache that is so many revisions behind the store makes the server unready.
pub(crate) const CACHE_LAG: u64 = 5000;
