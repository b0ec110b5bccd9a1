//! Keeps on disk where requests go, so that a node that starts alone can route to the pods that it has.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use wkube_api::ObjectKey;
use wkube_base::Tasks;
use wkube_client::{Informers, Lister};
use wkube_proxy::{Proxy, service_of};

use crate::checkpoint::{Checkpoints, Kind};
use crate::pods::OFFLINE_AFTER;

/// Changes gather for so long: a rollout changes a slice many times a second. What is younger is lost in a crash.
const GATHER: Duration = Duration::from_millis(250);

/// One service as it was routed last.
#[derive(Serialize, Deserialize)]
struct Route {
    service: Service,
    slices: Vec<EndpointSlice>,
}

/// Fills the proxy's routes and follows them. Completes with the first complete picture; a node that has one on its
/// disk begins with that, and waits no longer than [`OFFLINE_AFTER`] for a better one.
pub async fn follow(proxy: &Proxy, informers: &Informers, kept: &Checkpoints, tasks: &Tasks) {
    // Before the cluster is looked at: what is seen there must not be overwritten.
    let has_some = begin_with_kept(proxy, kept).await;
    let first = Arc::new(Notify::new());
    let (told, proxy, informers) = (Arc::clone(&first), proxy.clone(), informers.clone());
    let keeper = Keeper::new(&informers, kept);
    tasks.spawn("routes", async move {
        proxy.follow(&informers).await;
        told.notify_one();
        keeper.run().await;
    });
    if !has_some {
        first.notified().await;
    } else if tokio::time::timeout(OFFLINE_AFTER, first.notified()).await.is_err() {
        tracing::warn!("the control plane does not answer; requests go where they went last");
    }
}

async fn begin_with_kept(proxy: &Proxy, kept: &Checkpoints) -> bool {
    let kept = kept.clone();
    let read = tokio::task::spawn_blocking(move || {
        (kept.recall_all::<Route>(Kind::Routes), kept.recall_all::<Ingress>(Kind::Ingresses))
    });
    let (routes, ingresses) = read.await.unwrap_or_default();
    if routes.is_empty() {
        return false;
    }
    let routes = routes.into_iter().map(|(_, route)| (route.service, route.slices));
    proxy.begin_with(routes, ingresses.into_iter().map(|(_, ingress)| ingress));
    true
}

/// Writes down what changes.
struct Keeper {
    kept: Checkpoints,
    services: Lister<Service>,
    slices: Lister<EndpointSlice>,
    ingresses: Lister<Ingress>,
    changed: Arc<Changed>,
}

#[derive(Default)]
struct Changed {
    services: Mutex<BTreeSet<ObjectKey>>,
    ingresses: Mutex<BTreeSet<ObjectKey>>,
    some: Notify,
}

impl Keeper {
    fn new(informers: &Informers, kept: &Checkpoints) -> Self {
        Self {
            kept: kept.clone(),
            services: informers.lister(),
            slices: informers.lister(),
            ingresses: informers.lister(),
            changed: Arc::default(),
        }
    }

    async fn run(self) {
        let note = |set: fn(&Changed) -> &Mutex<BTreeSet<ObjectKey>>| {
            let changed = Arc::clone(&self.changed);
            move |key: Option<ObjectKey>| {
                set(&changed).lock().extend(key);
                changed.some.notify_one();
            }
        };
        let (on_service, on_slice) = (note(|changed| &changed.services), note(|changed| &changed.services));
        let on_ingress = note(|changed| &changed.ingresses);
        self.services.on_change(move |change| on_service(Some(change.key())));
        self.slices.on_change(move |change| {
            on_slice(service_of(change.object()));
            on_slice(change.before().and_then(|slice| service_of(slice)));
        });
        self.ingresses.on_change(move |change| on_ingress(Some(change.key())));
        self.forget_unlisted();
        loop {
            self.changed.some.notified().await;
            tokio::time::sleep(GATHER).await;
            self.write();
        }
    }

    fn write(&self) {
        for key in std::mem::take(&mut *self.changed.services.lock()) {
            let file = file_of(&key);
            match self.services.get(&key) {
                Some(service) => {
                    let is_its_own = |slice: &EndpointSlice| service_of(slice).as_ref() == Some(&key);
                    let slices = self.slices.matching(&key.namespace, is_its_own);
                    let slices = slices.iter().map(|slice| EndpointSlice::clone(slice)).collect();
                    self.kept.keep(Kind::Routes, &file, &Route { service: Service::clone(&service), slices });
                }
                None => self.kept.forget(Kind::Routes, &file),
            }
        }
        for key in std::mem::take(&mut *self.changed.ingresses.lock()) {
            match self.ingresses.get(&key) {
                Some(ingress) => self.kept.keep(Kind::Ingresses, &file_of(&key), &*ingress),
                None => self.kept.forget(Kind::Ingresses, &file_of(&key)),
            }
        }
    }

    /// Forgets what went while this node was away.
    fn forget_unlisted(&self) {
        let services: BTreeSet<String> =
            self.services.all().iter().map(|service| file_of(&key_of(&service.metadata))).collect();
        self.kept.retain(Kind::Routes, |file| services.contains(file));
        let ingresses: BTreeSet<String> =
            self.ingresses.all().iter().map(|ingress| file_of(&key_of(&ingress.metadata))).collect();
        self.kept.retain(Kind::Ingresses, |file| ingresses.contains(file));
    }
}

fn key_of(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> ObjectKey {
    ObjectKey::new(metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

/// The name of a service's file: no name contains `_`.
fn file_of(key: &ObjectKey) -> String {
    format!("{}_{}", key.namespace, key.name)
}
