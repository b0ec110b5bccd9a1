//! What clients see when the disk fails.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use tower::ServiceExt as _;
use wkube_apiserver::ApiServer;
use wkube_base::{Clock, Rng, Tasks};
use wkube_store::{Entry, Error, Health, Listed, MemoryStore, Range, Revision, Store, Txn, Watch};

use super::{CONFIG_MAPS, admin, config_map};

/// A store whose disk can be full.
#[derive(Default)]
struct Disk {
    inner: MemoryStore,
    is_full: AtomicBool,
}

impl Store for Disk {
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, Error>> {
        if self.is_full.load(Ordering::SeqCst) {
            let full = Error::Engine(Arc::new(io::Error::from(io::ErrorKind::StorageFull)));
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
        self.inner.watch(prefix, after)
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
    let request = request.header("content-type", "application/json").body(Full::<bytes::Bytes>::from(body));
    let answer = server.in_process(admin()).oneshot(request.expect("a request")).await.expect("never fails");
    let code = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
    (code, String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn a_full_disk_fails_writes_with_its_name_and_readiness_but_not_reads() {
    let disk = Arc::new(Disk::default());
    let server = ApiServer::in_memory(disk.clone(), Clock::system(), Rng::seeded(1), &Tasks::new()).await;
    let write = |name: &str| call(&server, Request::post(CONFIG_MAPS), config_map(name, serde_json::json!({})).to_string());
    let read = |path: &'static str| call(&server, Request::get(path), String::new());
    disk.is_full.store(true, Ordering::SeqCst);
    let (code, body) = write("a").await;
    assert_eq!(code, 500);
    assert!(body.contains("InternalError") && body.contains("the store failed: no storage space"), "{body}");
    let (code, body) = read("/readyz").await;
    assert_eq!(code, 500);
    assert!(body.contains("[-]etcd-readiness failed: no storage space"), "{body}");
    assert_eq!(read("/livez").await.0, 200);
    assert_eq!(read("/api/v1/namespaces/default").await.0, 200);
    disk.is_full.store(false, Ordering::SeqCst);
    assert_eq!(write("a").await.0, 201);
    assert_eq!(read("/readyz").await.0, 200);
}
