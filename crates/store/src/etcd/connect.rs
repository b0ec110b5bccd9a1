//! Opening the store: who answers, whether it is fit, whose keys it holds. Nothing is written before all of that is known.

use std::path::PathBuf;
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

use super::client::{Client, Endpoint};
use super::failure::{Failure, Kind};
use super::layout::{Layout, SCHEMA};
use super::options::EtcdOptions;
use super::proto::{Compare, CompareTarget, Expected, PutRequest, RangeRequest, Request, StatusResponse, TxnRequest};
use super::transaction::step;
use super::{ASKERS_MAX, EtcdStore, Shared, compactor, feed, freshness};

/// The oldest etcd that this engine is tested with; 3.4 is also what Kubernetes asks for.
const OLDEST: (u64, u64) = (3, 4);
/// How often the size of the database is asked for.
const SIZE_EVERY: Duration = Duration::from_secs(30);

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
    #[error("the keys below {prefix}/ have the format {found:?}, but this wkube knows {SCHEMA:?}; use a newer wkube")]
    Schema {
        /// Where the store is.
        prefix: String,
        /// The format found.
        found: String,
    },
    /// etcd has forgotten what it had said.
    #[error(
        "etcd is at revision {newest}, but was at {seen} before: it was restored from an older backup; restart every \
         server, so that nothing is left of what etcd does not know"
    )]
    WentBack {
        /// The newest revision that this process has seen.
        seen: u64,
        /// etcd's newest.
        newest: u64,
    },
    /// etcd has forgotten what it had said, and has said other things since.
    #[error(
        "at revision {revision}, etcd has something else than before: it was restored from an older backup and written \
         since; restart every server, so that nothing is left of what etcd does not know"
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
        let layout = Layout::new(&options.prefix);
        if !layout.prefix().starts_with('/') {
            let reason = format!("the prefix {:?} does not start with a slash", options.prefix);
            return Err(ConnectError::Address { address: options.address.clone(), reason });
        }
        let client = Client::new(options.endpoints()?, options.credentials.clone());
        let status = survey(&client).await?;
        let read = |failure: Failure| refused(&layout, &failure);
        client.authenticate().await.map_err(read)?;
        claim(&client, &layout).await?;
        let history = feed::load_with_past(&client, &layout).await.map_err(read)?;
        let newest = feed::newest(&client, &layout).await.map_err(read)?;
        let shared = Arc::new(Shared {
            client,
            layout: layout.clone(),
            hub: Hub::new(history),
            retention: Mutex::new(Retention::default()),
            opened: Instant::now(),
            connected: Latest::new(false),
            stalled: Notify::new(),
            failed: OnceLock::new(),
            bytes: AtomicU64::new(status.db_size.unsigned_abs()),
        });
        let (tasks, (askers, waiting)) = (Tasks::new(), mpsc::channel(ASKERS_MAX));
        tasks.spawn("etcd-feed", feed::run(shared.clone()));
        tasks.spawn("etcd-newest", freshness::run(shared.clone(), waiting));
        tasks.spawn("etcd-compactor", compactor::run(shared.clone(), compactor::EVERY));
        tasks.spawn("etcd-size", follow_size(shared.clone()));
        let store = Self { shared, askers, tasks };
        let caught_up = store.shared.reach(newest).await;
        caught_up.map_err(|error| ConnectError::Unwell { reason: error.to_string() })?;
        Ok(store)
    }
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
async fn claim(client: &Client, layout: &Layout) -> Result<(), ConnectError> {
    let read = |failure: Failure| refused(layout, &failure);
    let schema = RangeRequest { key: layout.schema(), ..RangeRequest::default() };
    let found = client.range(schema.clone()).await.map_err(read)?.kvs;
    if let Some(found) = found.first() {
        return known(layout, &found.value);
    }
    let (key, range_end) = layout.everything();
    let anything = RangeRequest { key, range_end, limit: 1, keys_only: true, ..RangeRequest::default() };
    if let Some(stranger) = client.range(anything).await.map_err(read)?.kvs.first() {
        // Another server of ours may have come first, between the two questions.
        if let Some(found) = client.range(schema).await.map_err(read)?.kvs.first() {
            return known(layout, &found.value);
        }
        let example = String::from_utf8_lossy(&stranger.key).into_owned();
        return Err(ConnectError::Foreign { prefix: layout.prefix().to_owned(), example });
    }
    let put = PutRequest { key: layout.schema(), value: Bytes::from_static(SCHEMA.as_bytes()) };
    let absent = Compare {
        target: CompareTarget::Create.into(),
        key: layout.schema(),
        expected: Some(Expected::CreateRevision(0)),
    };
    let txn = TxnRequest { compare: vec![absent], success: vec![step(Request::Put(put))], failure: Vec::new() };
    // If it is there by now, another server of ours made it.
    client.txn(txn).await.map(drop).map_err(read)
}

fn known(layout: &Layout, found: &[u8]) -> Result<(), ConnectError> {
    if found == SCHEMA.as_bytes() {
        return Ok(());
    }
    let found = String::from_utf8_lossy(found).into_owned();
    Err(ConnectError::Schema { prefix: layout.prefix().to_owned(), found })
}

fn refused(layout: &Layout, failure: &Failure) -> ConnectError {
    let reason = failure.to_string();
    match failure.kind {
        Kind::Denied | Kind::Token => ConnectError::Denied { reason, prefix: layout.prefix().to_owned() },
        _ => ConnectError::Unwell { reason },
    }
}

/// Keeps the size for health checks and metrics, which do not wait.
async fn follow_size(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(SIZE_EVERY).await;
        for endpoint in shared.client.endpoints() {
            if let Ok(status) = shared.client.status(endpoint).await {
                shared.bytes.store(status.db_size.unsigned_abs(), Ordering::Relaxed);
                break;
            }
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
