//! The `EndpointSlice` mirroring controller: Endpoints that somebody wrote by hand, as the slices that proxies read.

mod plan;
mod subsets;

#[cfg(test)]
mod tests;

use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use wkube_api::ObjectKey;
use wkube_base::Tasks;
use wkube_client::{Api, Client, Controller, Error, EventType, Lister, Next, Reconcile, Recorder};

use crate::Context;
use crate::common::perform;
use crate::endpoint_slice::{self, BY_SERVICE};
use plan::{Action, Observed};

struct Reconciler {
    endpoints: Lister<Endpoints>,
    services: Lister<Service>,
    slices: Lister<EndpointSlice>,
    recorder: Recorder,
}

/// Starts the controller.
pub(crate) fn start(context: &Context, tasks: &Tasks) {
    let informers = &context.informers;
    let (endpoints, services) = (informers.lister::<Endpoints>(), informers.lister::<Service>());
    let slices = endpoint_slice::by_service(informers);
    let reconciler = Reconciler {
        endpoints: endpoints.clone(),
        services: services.clone(),
        slices: slices.clone(),
        recorder: context.recorder("endpoint-slice-mirroring-controller", tasks),
    };
    Controller::new(reconciler, &context.rng)
        .for_each(&endpoints)
        .for_each(&services)
        .watches(&slices, endpoint_slice::slice_service)
        .start(&context.client, &context.clock, tasks);
}

impl Reconcile for Reconciler {
    fn name(&self) -> &'static str {
        "endpointslicemirroring"
    }

    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, Error> {
        let endpoints = self.endpoints.get(key);
        let service = self.services.get(key);
        let slices = self.slices.by_index(BY_SERVICE, &key.to_string());
        let plan =
            plan::plan(&Observed { endpoints: endpoints.as_deref(), service: service.as_deref(), slices: &slices });
        // Only with something to do: an event per look would repeat what has been said.
        if !plan.actions.is_empty()
            && let Some(endpoints) = &endpoints
        {
            for warning in plan.warnings {
                self.recorder.event(endpoints.as_ref(), EventType::Warning, warning.reason, warning.message);
            }
        }
        for action in plan.actions {
            perform_one(client, key, action).await?;
        }
        Ok(Next::Done)
    }
}

async fn perform_one(client: &Client, service: &ObjectKey, action: Action) -> Result<(), Error> {
    let done = match action {
        Action::Create(slice) => Api::<EndpointSlice>::new(client).create(&slice).await.map(drop),
        Action::Update(slice) => Api::<EndpointSlice>::new(client).replace(&slice).await.map(drop),
        Action::Delete(slice) => perform::delete::<EndpointSlice>(client, &service.namespace, &slice).await.map(drop),
    };
    match done {
        Err(error) if perform::is_namespace_terminating(&error) => Ok(()),
        other => other,
    }
}
