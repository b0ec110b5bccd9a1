//! Keeps the route table in step with the cluster: each change recomputes the one service that it touches.

use std::sync::Arc;

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use parking_lot::Mutex;
use wkube_api::ObjectKey;
use wkube_client::{Informers, Lister};

use crate::http::Proxy;
use crate::ingress::IngressTable;
use crate::table::{RouteTable, ServiceRoute};

/// The label by which a slice names its service (`discovery/v1`, `LabelServiceName`).
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The index of slices by `namespace/service`.
const BY_SERVICE: &str = "service";

impl Proxy {
    /// Fills the route table from the cluster and follows it from now on. Completes once the first complete picture
    /// is in place.
    pub async fn follow(&self, informers: &Informers) {
        let sync = Arc::new(Sync {
            services: informers.lister::<Service>(),
            slices: informers.indexed::<EndpointSlice>(BY_SERVICE, |slice| {
                service_of(slice).map(|key| key.to_string()).into_iter().collect()
            }),
            ingresses: informers.lister::<Ingress>(),
            published: Arc::clone(&self.table),
            table: Mutex::new(RouteTable::clone(&self.table.load())),
        });
        let on_service = Arc::clone(&sync);
        sync.services.on_change(move |change| on_service.refresh(&change.key()));
        let on_slice = Arc::clone(&sync);
        sync.slices.on_change(move |change| {
            // A slice may have moved from one service to another by its label.
            let before = change.before().and_then(|slice| service_of(slice));
            let now = service_of(change.object());
            for key in now.iter().chain(before.iter().filter(|key| Some(*key) != now.as_ref())) {
                on_slice.refresh(key);
            }
        });
        let on_ingress = Arc::clone(&sync);
        sync.ingresses.on_change(move |_| on_ingress.refresh_ingress());
        tokio::join!(sync.services.ready(), sync.slices.ready(), sync.ingresses.ready());
        sync.remove_unlisted();
    }

    /// Fills the route table with what was known before, each service with its slices. [`Proxy::follow`] replaces it
    /// once the cluster can be asked.
    pub fn begin_with(
        &self,
        services: impl IntoIterator<Item = (Service, Vec<EndpointSlice>)>,
        ingresses: impl IntoIterator<Item = Ingress>,
    ) {
        let mut table = RouteTable::default();
        for (service, slices) in services {
            let route = ServiceRoute::new(&service, &slices);
            table.set(&route.key.clone(), Some(route));
        }
        let ingresses: Vec<Ingress> = ingresses.into_iter().collect();
        table.ingress = Arc::new(IngressTable::new(&ingresses));
        self.table.store(Arc::new(table));
    }
}

struct Sync {
    services: Lister<Service>,
    slices: Lister<EndpointSlice>,
    ingresses: Lister<Ingress>,
    published: Arc<ArcSwap<RouteTable>>,
    // The writer's copy: changes of three kinds arrive on three tasks.
    table: Mutex<RouteTable>,
}

impl Sync {
    fn refresh(&self, key: &ObjectKey) {
        let mut table = self.table.lock();
        let route = self.services.get(key).map(|service| {
            let slices = self.slices.by_index(BY_SERVICE, &key.to_string());
            ServiceRoute::new(&service, &slices)
        });
        table.set(key, route);
        self.published.store(Arc::new(table.clone()));
    }

    /// Takes out what was known before and is not there any more.
    fn remove_unlisted(&self) {
        let gone: Vec<ObjectKey> = {
            let table = self.table.lock();
            let keys = table.services().map(|route| route.key.clone());
            keys.filter(|key| self.services.get(key).is_none()).collect()
        };
        for key in &gone {
            self.refresh(key);
        }
        self.refresh_ingress();
    }

    fn refresh_ingress(&self) {
        let mut table = self.table.lock();
        // There are few Ingresses, and their order decides among equals, so all are read again.
        let ingresses = self.ingresses.all();
        table.ingress = Arc::new(IngressTable::new(ingresses.iter().map(Arc::as_ref)));
        self.published.store(Arc::new(table.clone()));
    }
}

/// Returns the service that a slice belongs to.
pub fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(ObjectKey::new(slice.metadata.namespace.clone().unwrap_or_default(), name.clone()))
}
