//! The `EndpointSlice` controller: which pods stand behind each Service. It keeps the older Endpoints objects too.

mod endpoints;
mod members;
mod plan;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use wkube_api::ObjectKey;
use wkube_base::Tasks;
use wkube_client::{Api, Change, Client, Controller, Error, Informers, Kind, Lister, Next, Reconcile};

use crate::Context;
use crate::common::{perform, pods};
use plan::{Action, Observed, SERVICE_NAME};

/// The index of slices by the Service that they name.
pub(crate) const BY_SERVICE: &str = "service";
/// The index of pods by each of their labels, so that a selector reads only pods that share one with it.
const BY_LABEL: &str = "label";
/// The label of a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

struct Reconciler {
    services: Lister<Service>,
    pods: Lister<Pod>,
    slices: Lister<EndpointSlice>,
    endpoints: Lister<Endpoints>,
    nodes: Lister<Node>,
}

/// Starts the controller.
pub(crate) fn start(context: &Context, tasks: &Tasks) {
    let informers = &context.informers;
    let services = informers.lister::<Service>();
    let pods = informers.indexed(BY_LABEL, |pod: &Pod| {
        pod.labels().iter().map(|(key, value)| label_index(pod.namespace(), key, value)).collect()
    });
    let slices = by_service(informers);
    let endpoints = informers.lister::<Endpoints>();
    let nodes = informers.lister::<Node>();
    let selecting = services.clone();
    let reconciler = Reconciler {
        services: services.clone(),
        pods: pods.clone(),
        slices: slices.clone(),
        endpoints: endpoints.clone(),
        nodes: nodes.clone(),
    };
    Controller::new(reconciler, &context.rng)
        .for_each(&services)
        .for_each(&endpoints)
        .watches(&slices, slice_service)
        .watches(&pods, move |change| affected(&selecting, change))
        .reads(&nodes)
        .start(&context.client, &context.clock, tasks);
}

/// Returns the slices with the index [`BY_SERVICE`].
pub(crate) fn by_service(informers: &Informers) -> Lister<EndpointSlice> {
    informers.indexed(BY_SERVICE, |slice: &EndpointSlice| {
        let service = slice.labels().get(SERVICE_NAME);
        service.map(|service| format!("{}/{service}", slice.namespace())).into_iter().collect()
    })
}

fn label_index(namespace: &str, key: &str, value: &str) -> String {
    format!("{namespace}/{key}={value}")
}

/// Returns the Service whose slice has changed.
pub(crate) fn slice_service(change: &Change<EndpointSlice>) -> Vec<ObjectKey> {
    let slice = change.object();
    slice.labels().get(SERVICE_NAME).map(|name| ObjectKey::new(slice.namespace(), name)).into_iter().collect()
}

/// Returns the Services that select a pod now, or did before it changed, if anything changed that they publish.
fn affected(services: &Lister<Service>, change: &Change<Pod>) -> Vec<ObjectKey> {
    let pod = change.object();
    if let Change::Applied { now, before: Some(before) } = change
        && published(now) == published(before)
    {
        return Vec::new();
    }
    let versions = [Some(pod), change.before()];
    let selects = |service: &Service| versions.iter().flatten().any(|pod| selects(service, pod));
    services.matching(pod.namespace(), selects).iter().map(|service| service.key()).collect()
}

/// Returns all that endpoints are made of.
fn published(pod: &Pod) -> impl PartialEq + '_ {
    let status = pod.status.as_ref();
    let spec = pod.spec.as_ref();
    (
        pod.uid(),
        pod.labels(),
        (pod.is_deleting(), pods::is_terminal(pod), pods::is_ready(pod)),
        (status.and_then(|status| status.pod_ips.as_ref()), status.and_then(|status| status.pod_ip.as_ref())),
        (pods::node_name(pod), spec.map(|spec| (&spec.hostname, &spec.subdomain))),
    )
}

fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| {
        !selector.is_empty() && selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value))
    })
}

impl Reconcile for Reconciler {
    fn name(&self) -> &'static str {
        "endpointslice"
    }

    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, Error> {
        // What belonged to a Service that is gone is the garbage collector's.
        let Some(service) = self.services.get(key) else { return self.forget(key, client).await };
        let pods = self.pods_of(&service);
        let slices = self.slices.by_index(BY_SERVICE, &key.to_string());
        let endpoints = self.endpoints.get(key);
        let plan = plan::plan(&Observed {
            service: &service,
            pods: &pods,
            slices: &slices,
            endpoints: endpoints.as_deref(),
            zones: &self.zones(&pods),
        });
        for action in plan.actions {
            perform_one(client, key, action).await?;
        }
        Ok(Next::Done)
    }
}

impl Reconciler {
    /// Endpoints have no owner reference; they go with their Service (`pkg/controller/endpoint`), unless somebody else
    /// keeps them.
    async fn forget(&self, key: &ObjectKey, client: &Client) -> Result<Next, Error> {
        if let Some(endpoints) = self.endpoints.get(key)
            && endpoints::is_ours(&endpoints)
            && Api::<Service>::new(client).find(key).await?.is_none()
        {
            let reference = crate::common::ObjectRef::of(&endpoints.metadata);
            perform::delete::<Endpoints>(client, &key.namespace, &reference).await?;
        }
        Ok(Next::Done)
    }

    fn pods_of(&self, service: &Service) -> Vec<Arc<Pod>> {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        // Of several labels the last one is usually the most specific; any would do.
        let Some((key, value)) = selector.and_then(|selector| selector.last_key_value()) else { return Vec::new() };
        let mut pods = self.pods.by_index(BY_LABEL, &label_index(service.namespace(), key, value));
        pods.retain(|pod| selects(service, pod));
        pods
    }

    fn zones(&self, pods: &[Arc<Pod>]) -> BTreeMap<String, String> {
        let names = pods.iter().filter_map(|pod| pods::node_name(pod));
        let zone = |name: &str| self.nodes.get(&ObjectKey::cluster(name))?.labels().get(ZONE).cloned();
        names.filter_map(|name| Some((name.to_owned(), zone(name)?))).collect()
    }
}

async fn perform_one(client: &Client, service: &ObjectKey, action: Action) -> Result<(), Error> {
    let done = match action {
        Action::Create(slice) => Api::<EndpointSlice>::new(client).create(&slice).await.map(drop),
        Action::Update(slice) => Api::<EndpointSlice>::new(client).replace(&slice).await.map(drop),
        Action::Delete(slice) => perform::delete::<EndpointSlice>(client, &service.namespace, &slice).await.map(drop),
        Action::CreateEndpoints(endpoints) => Api::<Endpoints>::new(client).create(&endpoints).await.map(drop),
        Action::UpdateEndpoints(endpoints) => Api::<Endpoints>::new(client).replace(&endpoints).await.map(drop),
    };
    match done {
        Err(error) if perform::is_namespace_terminating(&error) => Ok(()),
        other => other,
    }
}
