//! Opening the store: who answers, whether it is fit, whose keys it holds. Nothing is written before all of that is known.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use wkube_base::{Latest, Tasks};

use crate::hub::Hub;
use crate::retention::Retention;
use crate::{Error, Revision};

use super::client::{Client, Endpoint};
use super::failure::{Failure, Kind};
use super::layout::{Layout, SCHEMA, SCHEMA_WITH_OFFSET, UNFINISHED};
use super::mark::{self, Mark};
use super::options::EtcdOptions;
use super::proto::{Compare, CompareTarget, Expected, PutRequest, RangeRequest, Request, StatusResponse, TxnRequest};
use super::transaction::step;
use super::{ASKERS_MAX, EtcdStore, Shared, compactor, feed, freshness};

/// The oldest etcd that this engine is tested with; 3.4 is also what Kubernetes asks for.
const OLDEST: (u64, u64) = (3, 4);
/// How often etcd is asked how it is.
const STATUS_EVERY: Duration = Duration::from_secs(30);
/// The same while it is full: somebody is waiting for it.
const STATUS_EVERY_WHEN_FULL: Duration = Duration::from_secs(1);

/// What is to be done with an etcd that went back. The file is the one of [`EtcdOptions::mark_file`].
const GO_ON: &str = "stop every server, then restore it with `etcdutl snapshot restore --bump-revision 1000000000 \
                     --mark-compacted`, so that no revision is used twice; or, to go on with what etcd has, restart all its \
                     clients, too, and remove the file `etcd.seen` from the data directory of every server first";

/// Why etcd cannot be the store. Each message says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address makes no sense.
    #[error("{address} is no address of etcd: {reason}; write etcd://HOST:2379,HOST:2379")]
    Address {
        /// As given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate or key could not be read.
    #[error("could not read {}; check --etcd-cafile, --etcd-certfile and --etcd-keyfile", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The certificates do not fit together.
    #[error(
        "the certificates for etcd are of no use: {reason}; check --etcd-cafile, --etcd-certfile and --etcd-keyfile"
    )]
    Certificates {
        /// What is wrong with them.
        reason: String,
        /// What the TLS library says.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// No endpoint answered.
    #[error(
        "no endpoint of etcd answers ({reasons}); check the addresses, that etcd runs, and that --etcd-cafile, \
         --etcd-certfile and --etcd-keyfile are given exactly if etcd wants TLS, and match its CA"
    )]
    Unreachable {
        /// Each endpoint's reason.
        reasons: String,
    },
    /// etcd is there but does not work, say because it has no majority.
    #[error("{reason}; check `etcdctl endpoint health --cluster`")]
    Unwell {
        /// What etcd said, and where.
        reason: String,
    },
    /// Wrong user, wrong password, too few rights.
    #[error(
        "{reason}; check WKUBE_ETCD_USER and WKUBE_ETCD_PASSWORD, and that the user may read and write keys below {prefix}/"
    )]
    Denied {
        /// What etcd said, and where.
        reason: String,
        /// Where the store wants to be.
        prefix: String,
    },
    /// An etcd from before everything that is needed.
    #[error("etcd at {endpoint} has version {version}; wkube needs {}.{} or newer, so upgrade it", OLDEST.0, OLDEST.1)]
    TooOld {
        /// Which one.
        endpoint: String,
        /// What it runs.
        version: String,
    },
    /// The endpoints belong to different clusters.
    #[error("{first} and {second} are members of different etcd clusters; give the endpoints of one")]
    TwoClusters {
        /// An endpoint.
        first: String,
        /// One that has a different cluster ID.
        second: String,
    },
    /// Somebody else's keys are where the store wants to be.
    #[error(
        "etcd holds keys below {prefix}/ that wkube did not write, such as {example}; choose another --etcd-prefix"
    )]
    Foreign {
        /// Where the store wants to be.
        prefix: String,
        /// One of the keys.
        example: String,
    },
    /// Another version of wkube wrote the keys.
    #[error(
        "the keys below {prefix}/ have the format {found:?}, but this wkube knows {SCHEMA:?} and {SCHEMA_WITH_OFFSET:?}; use a newer wkube"
    )]
    Schema {
        /// Where the store is.
        prefix: String,
        /// The format found.
        found: String,
    },
    /// A migration to this place was cut off.
    #[error(
        "a migration to {prefix}/ in etcd was not finished, and what is there is not whole; run the same `wkube store migrate` \
         again with --restart, which deletes that first, or choose another --etcd-prefix"
    )]
    Unfinished {
        /// Where the store was to be.
        prefix: String,
    },
    /// A store that does not say how its revisions are counted.
    #[error(
        "{prefix}/meta/offset in etcd, which says how revisions are counted, is missing or no number; restore etcd"
    )]
    Offset {
        /// Where the store is.
        prefix: String,
    },
    /// How far etcd was seen is not known.
    #[error("could not read {}, which says how far etcd was seen", .path.display())]
    Mark {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// There is no store to read.
    #[error("etcd holds no store of wkube below {prefix}/; check --etcd-prefix")]
    Nothing {
        /// Where it should be.
        prefix: String,
    },
    /// There is a store already where one was to be made.
    #[error(
        "etcd holds a store of wkube below {prefix}/ already; choose another --etcd-prefix, or delete that one with \
         `etcdctl del --prefix {prefix}/`"
    )]
    Occupied {
        /// Where it is.
        prefix: String,
    },
    /// Somebody wrote while nobody should.
    #[error("a server writes to the store below {prefix}/ in etcd; stop every server of the cluster first")]
    InUse {
        /// Where the store is.
        prefix: String,
    },
    /// A migration was overtaken by another one.
    #[error("another migration to {prefix}/ in etcd has begun meanwhile; nothing more was written by this one")]
    Overtaken {
        /// Where the store was to be.
        prefix: String,
    },
    /// etcd has forgotten what it had said.
    #[error("etcd is at revision {newest}, but was at {seen} before: it was restored from an older backup; {GO_ON}")]
    WentBack {
        /// The newest revision that this process has seen.
        seen: u64,
        /// etcd's newest.
        newest: u64,
    },
    /// etcd has forgotten what it had said, and has said other things since.
    #[error(
        "at revision {revision}, etcd has something else than before: it was restored from an older backup and written \
         since; {GO_ON}"
    )]
    Rewritten {
        /// A revision that was used twice.
        revision: u64,
    },
}

impl EtcdStore {
    /// Connects to etcd, checks it, and loads what it holds.
    ///
    /// # Errors
    /// If etcd does not answer, does not let us in, is too old, or holds somebody else's keys.
    pub async fn connect(options: &EtcdOptions) -> Result<Self, ConnectError> {
        let (client, layout, status) = dial(options).await?;
        let layout = claim(&client, layout).await?;
        let read = |failure: Failure| refused(&layout, &failure);
        let history = feed::load_with_past(&client, &layout).await.map_err(read)?;
        let newest = feed::newest(&client, &layout).await.map_err(read)?;
        let marked = went_on(&client, &layout, options.mark_file.as_deref(), newest).await?;
        let shared = Arc::new(Shared {
            client,
            layout: layout.clone(),
            hub: Hub::new(history),
            retention: Mutex::new(Retention::default()),
            opened: Instant::now(),
            connected: Latest::new(false),
            stalled: Notify::new(),
            failed: OnceLock::new(),
            full: Mutex::new(alarm(&status)),
            witness: Mutex::new(marked.as_ref().and_then(|mark| mark.witness.clone())),
            marked: tokio::sync::Mutex::new(marked),
            mark_file: options.mark_file.clone(),
            bytes: AtomicU64::new(status.db_size.unsigned_abs()),
        });
        let (tasks, (askers, waiting)) = (Tasks::new(), mpsc::channel(ASKERS_MAX));
        tasks.spawn("etcd-feed", feed::run(shared.clone()));
        tasks.spawn("etcd-newest", freshness::run(shared.clone(), waiting));
        tasks.spawn("etcd-compactor", compactor::run(shared.clone(), compactor::EVERY));
        tasks.spawn("etcd-status", follow_status(shared.clone()));
        let store = Self { shared, askers, tasks };
        let caught_up = store.shared.reach(newest).await;
        caught_up.map_err(|error| ConnectError::Unwell { reason: error.to_string() })?;
        if let Some(path) = options.mark_file.clone() {
            store.tasks.spawn("etcd-mark", mark::run(store.shared.clone(), path));
        }
        Ok(store)
    }
}

/// Connects to an etcd that is fit and lets us in; whose keys it holds is not known yet.
pub(super) async fn dial(options: &EtcdOptions) -> Result<(Arc<Client>, Layout, StatusResponse), ConnectError> {
    let layout = Layout::new(&options.prefix);
    if !layout.prefix().starts_with('/') {
        let reason = format!("the prefix {:?} does not start with a slash", options.prefix);
        return Err(ConnectError::Address { address: options.address.clone(), reason });
    }
    let client = Client::new(options.endpoints()?, options.credentials.clone());
    let status = survey(&client).await?;
    client.authenticate().await.map_err(|failure| refused(&layout, &failure))?;
    Ok((client, layout, status))
}

/// Makes sure that etcd has all that this server saw in it before it was stopped; returns what that was.
async fn went_on(
    client: &Client,
    layout: &Layout,
    mark_file: Option<&Path>,
    newest: Revision,
) -> Result<Option<Mark>, ConnectError> {
    let Some(path) = mark_file else { return Ok(None) };
    let unreadable = |source| ConnectError::Mark { path: path.to_owned(), source };
    let Some(mark) = Mark::read(path, layout.prefix()).map_err(unreadable)? else { return Ok(None) };
    if newest < mark.revision {
        return Err(ConnectError::WentBack { seen: mark.revision.0, newest: newest.0 });
    }
    if let Some(witness) = &mark.witness {
        let contradicted =
            witness.is_contradicted(client, layout).await.map_err(|failure| refused(layout, &failure))?;
        if contradicted {
            return Err(ConnectError::Rewritten { revision: witness.at.0 });
        }
    }
    Ok(Some(mark))
}

/// Asks every endpoint how it is. One that does not answer may come back; one that does must be fit.
async fn survey(client: &Client) -> Result<StatusResponse, ConnectError> {
    let asked = client.endpoints().iter().map(async |endpoint| (endpoint, client.status(endpoint).await));
    let mut found: Option<(&Endpoint, StatusResponse)> = None;
    let mut reasons = Vec::new();
    for (endpoint, answer) in futures::future::join_all(asked).await {
        match answer {
            Ok(status) => {
                fit(endpoint, &status, found.as_ref())?;
                found.get_or_insert((endpoint, status));
            }
            Err(failure) => reasons.push(failure.to_string()),
        }
    }
    found.map(|(_, status)| status).ok_or_else(|| ConnectError::Unreachable { reasons: reasons.join("; ") })
}

fn fit(
    endpoint: &Endpoint,
    status: &StatusResponse,
    other: Option<&(&Endpoint, StatusResponse)>,
) -> Result<(), ConnectError> {
    if is_too_old(&status.version) {
        return Err(ConnectError::TooOld { endpoint: endpoint.name.clone(), version: status.version.clone() });
    }
    let cluster = |status: &StatusResponse| status.header.as_ref().map(|header| header.cluster_id);
    match other {
        Some((first, known)) if cluster(known) != cluster(status) => {
            Err(ConnectError::TwoClusters { first: first.name.clone(), second: endpoint.name.clone() })
        }
        _ => Ok(()),
    }
}

/// Judges `3.4.23`. What cannot be read is not refused: it is newer than this code.
fn is_too_old(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < OLDEST,
        _ => false,
    }
}

/// Makes sure that the keys below the prefix are ours, or that there are none.
async fn claim(client: &Client, layout: Layout) -> Result<Layout, ConnectError> {
    if let Some(found) = owned(client, &layout).await? {
        return Ok(found);
    }
    let put = PutRequest { key: layout.schema(), value: Bytes::from_static(SCHEMA.as_bytes()) };
    let txn = TxnRequest {
        compare: vec![absent(layout.schema())],
        success: vec![step(Request::Put(put))],
        failure: Vec::new(),
    };
    client.txn(txn).await.map_err(|failure| refused(&layout, &failure))?;
    // If it was there by then, somebody else was faster: another server of ours, or a migration.
    Ok(owned(client, &layout).await?.unwrap_or(layout))
}

/// Returns how revisions are counted in the store below the prefix; `None` if nothing is there.
///
/// # Errors
/// If there is something that a server must leave alone.
pub(super) async fn owned(client: &Client, layout: &Layout) -> Result<Option<Layout>, ConnectError> {
    let read = |failure: Failure| refused(layout, &failure);
    let schema = RangeRequest { key: layout.schema(), ..RangeRequest::default() };
    let found = client.range(schema.clone()).await.map_err(read)?.kvs;
    if let Some(found) = found.first() {
        return known(client, layout, &found.value).await.map(Some);
    }
    let (key, range_end) = layout.everything();
    let anything = RangeRequest { key, range_end, limit: 1, keys_only: true, ..RangeRequest::default() };
    if let Some(stranger) = client.range(anything).await.map_err(read)?.kvs.first() {
        // Another server of ours may have come first, between the two questions.
        if let Some(found) = client.range(schema).await.map_err(read)?.kvs.first() {
            return known(client, layout, &found.value).await.map(Some);
        }
        let example = String::from_utf8_lossy(&stranger.key).into_owned();
        return Err(ConnectError::Foreign { prefix: layout.prefix().to_owned(), example });
    }
    Ok(None)
}

/// Returns the condition that nobody has written a key.
pub(super) fn absent(key: Vec<u8>) -> Compare {
    Compare { target: CompareTarget::Create.into(), key, expected: Some(Expected::CreateRevision(0)) }
}

async fn known(client: &Client, layout: &Layout, found: &[u8]) -> Result<Layout, ConnectError> {
    let found = String::from_utf8_lossy(found).into_owned();
    let prefix = || layout.prefix().to_owned();
    match &*found {
        SCHEMA => Ok(layout.clone()),
        SCHEMA_WITH_OFFSET => {
            let request = RangeRequest { key: layout.offset(), ..RangeRequest::default() };
            let answer = client.range(request).await.map_err(|failure| refused(layout, &failure))?;
            let text = answer.kvs.first().and_then(|kv| std::str::from_utf8(&kv.value).ok());
            let offset = text.and_then(|text| text.parse().ok());
            offset
                .map(|offset| layout.clone().ahead_by(offset))
                .ok_or_else(|| ConnectError::Offset { prefix: prefix() })
        }
        UNFINISHED => Err(ConnectError::Unfinished { prefix: prefix() }),
        _ => Err(ConnectError::Schema { prefix: prefix(), found }),
    }
}

pub(super) fn refused(layout: &Layout, failure: &Failure) -> ConnectError {
    let reason = failure.to_string();
    match failure.kind {
        Kind::Denied | Kind::Token => ConnectError::Denied { reason, prefix: layout.prefix().to_owned() },
        _ => ConnectError::Unwell { reason },
    }
}

/// Keeps for health checks and metrics, which do not wait, how large etcd is and whether it takes writes.
async fn follow_status(shared: Arc<Shared>) {
    loop {
        let is_full = shared.full.lock().is_some();
        tokio::time::sleep(if is_full { STATUS_EVERY_WHEN_FULL } else { STATUS_EVERY }).await;
        for endpoint in shared.client.endpoints() {
            if let Ok(status) = shared.client.status(endpoint).await {
                shared.bytes.store(status.db_size.unsigned_abs(), Ordering::Relaxed);
                shared.heed(&status);
                break;
            }
        }
    }
}

/// Reads whether the alarm is raised that makes etcd refuse to grow; each member knows.
fn alarm(status: &StatusResponse) -> Option<Error> {
    let raised = status.errors.iter().find(|error| error.contains("NOSPACE"));
    raised.map(|alarm| super::full(&format!("etcd has no space: {}", alarm.trim())))
}

impl Shared {
    fn heed(&self, status: &StatusResponse) {
        match alarm(status) {
            Some(why) => self.ran_full(why),
            None => self.has_space(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    #[test]
    fn versions_before_3_4_are_too_old() {
        for (version, old) in [("3.3.25", true), ("2.9.0", true), ("3.4.0", false), ("3.6.1", false), ("4.0", false)] {
            assert_eq!(is_too_old(version), old, "{version}");
        }
        assert!(!is_too_old("next"));
    }

    #[tokio::test]
    async fn nobody_listening_is_said_with_every_endpoint() {
        // Port 1 of the loopback device: nobody listens there.
        let options = EtcdOptions::new("etcd://127.0.0.1:1,[::1]:1");
        let error = EtcdStore::connect(&options).await.expect_err("nobody there").to_string();
        assert!(error.contains("127.0.0.1:1") && error.contains("[::1]:1"), "{error}");
    }

    #[tokio::test]
    async fn an_old_etcd_is_named_and_asked_for_nothing_more() {
        let fake = Fake::start("3.3.25", 1).await;
        let error = EtcdStore::connect(&EtcdOptions::new(format!("etcd://{}", fake.name))).await;
        let error = error.expect_err("too old").to_string();
        assert!(error.contains(&fake.name) && error.contains("3.3.25") && error.contains("upgrade it"), "{error}");
        assert_eq!(*fake.asked.lock(), ["/etcdserverpb.Maintenance/Status"]);
    }

    #[tokio::test]
    async fn members_of_two_clusters_are_named() {
        let (one, other) = (Fake::start("3.5.17", 1).await, Fake::start("3.5.17", 2).await);
        let options = EtcdOptions::new(format!("etcd://{},{}", one.name, other.name));
        let error = EtcdStore::connect(&options).await.expect_err("two clusters").to_string();
        assert!(error.contains(&one.name) && error.contains(&other.name), "{error}");
    }

    #[tokio::test]
    async fn something_that_is_no_etcd_is_refused() {
        let fake = Fake::start("3.5.17", 1).await;
        let error = EtcdStore::connect(&EtcdOptions::new(format!("etcd://{}", fake.name))).await;
        let error = error.expect_err("it knows no keys").to_string();
        assert!(error.contains(&fake.name), "{error}");
    }

    #[tokio::test]
    async fn a_prefix_without_a_slash_is_refused() {
        let options = EtcdOptions { prefix: "wkube".to_owned(), ..EtcdOptions::new("etcd://127.0.0.1:1") };
        let error = EtcdStore::connect(&options).await.expect_err("no slash").to_string();
        assert!(error.contains("does not start with a slash"), "{error}");
    }
}
