//! What clients see when the disk fails, or changes arrive late.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::json;
use tower::ServiceExt as _;
use wkube_apiserver::ApiServer;
use wkube_apiserver::auth::User;
use wkube_base::{Clock, Rng, Tasks};
use wkube_store::{Entry, Error, Health, Listed, MemoryStore, Range, Revision, Store, Txn, Watch};

use super::{CONFIG_MAPS, admin, config_map, pod};

/// A store whose disk can be full, and whose watches can lag.
#[derive(Default)]
struct Disk {
    inner: MemoryStore,
    is_full: AtomicBool,
    lag: Duration,
}

impl Store for Disk {
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, Error>> {
        if self.is_full.load(Ordering::SeqCst) {
            let full = Error::Full(Arc::new(io::Error::from(io::ErrorKind::StorageFull)));
            return async move { Err(full) }.boxed();
        }
        self.inner.commit(txn)
    }

    fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        self.inner.get(key)
    }

    fn list(&self, range: &Range) -> Result<Listed, Error> {
        self.inner.list(range)
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        let lag = self.lag;
        let late = move |signal| async move {
            tokio::time::sleep(lag).await;
            signal
        };
        Ok(self.inner.watch(prefix, after)?.then(late).boxed())
    }

    fn changed(&self, prefix: &str) -> Revision {
        self.inner.changed(prefix)
    }

    fn revision(&self) -> Revision {
        self.inner.revision()
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.compact(revision)
    }

    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.close()
    }
}

async fn call(server: &ApiServer, request: http::request::Builder, body: String) -> (u16, String) {
    call_as(server, admin(), request, body).await
}

async fn call_as(server: &ApiServer, user: User, request: http::request::Builder, body: String) -> (u16, String) {
    let request = request.header("content-type", "application/json").body(Full::<bytes::Bytes>::from(body));
    let answer = server.in_process(user).oneshot(request.expect("a request")).await.expect("never fails");
    let code = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
    (code, String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn a_full_disk_fails_writes_with_its_name_and_readiness_but_not_reads() {
    let disk = Arc::new(Disk::default());
    let server = ApiServer::in_memory(disk.clone(), Clock::system(), Rng::seeded(1), &Tasks::new()).await;
    let write = |name: &str| call(&server, Request::post(CONFIG_MAPS), config_map(name, json!({})).to_string());
    let read = |path: &'static str| call(&server, Request::get(path), String::new());
    disk.is_full.store(true, Ordering::SeqCst);
    let (code, body) = write("a").await;
    assert_eq!(code, 507);
    assert!(body.contains("InsufficientStorage") && body.contains("no storage space"), "{body}");
    let (code, body) = read("/readyz").await;
    assert_eq!(code, 500);
    assert!(body.contains("[-]etcd-readiness failed: reason withheld"), "{body}");
    assert_eq!(read("/livez").await.0, 200);
    assert_eq!(read("/api/v1/namespaces/default").await.0, 200);
    disk.is_full.store(false, Ordering::SeqCst);
    assert_eq!(write("a").await.0, 201);
    assert_eq!(read("/readyz").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_node_reads_what_its_pod_mentions_the_moment_the_pod_is_there() {
    let disk = Arc::new(Disk { lag: Duration::from_secs(1), ..Disk::default() });
    let server = ApiServer::in_memory(disk, Clock::system(), Rng::seeded(1), &Tasks::new()).await;
    let ask = |node: &'static str| {
        let node = User::known(node, ["system:nodes"]);
        call_as(&server, node, Request::get(format!("{CONFIG_MAPS}/settings")), String::new())
    };
    let map = config_map("settings", json!({})).to_string();
    assert_eq!(call(&server, Request::post(CONFIG_MAPS), map).await.0, 201);
    assert_eq!(ask("system:node:n1").await.0, 403, "this starts the cache, too");
    let mut pod = pod("p");
    pod["spec"]["nodeName"] = json!("n1");
    pod["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "settings"}}]);
    assert_eq!(call(&server, Request::post("/api/v1/namespaces/default/pods"), pod.to_string()).await.0, 201);
    assert_eq!(ask("system:node:n1").await.0, 200);
    assert_eq!(ask("system:node:n2").await.0, 403);
}
