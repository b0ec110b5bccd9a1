//! Keeps the backends in step with the `APIService`s, and their conditions with what they do.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::select_all;
use tracing::warn;
use wkube_api::{Object, ObjectKey, Resource, Status, conditions};
use wkube_base::Tasks;
use wkube_store::{Error, Signal};

use super::availability::{self, Available};
use super::backend::{self, Backend, Seen};
use super::{check, local};
use crate::Api;
use crate::call::Call;
use crate::follow;
use crate::registry::delete::{self, DeleteOptions};
use crate::registry::object_rules::Part;
use crate::registry::update::{self, Origin};
use crate::registry::{Registry, create, keys};
use crate::router::Verb;
use crate::webhook::{Place, Transport};

const GROUP: &str = "apiregistration.k8s.io";
const PLURAL: &str = "apiservices";
/// How often a backend is asked again although nothing changed (`remote_available_controller.go`).
const AGAIN: Duration = Duration::from_secs(30);

/// Follows the `APIService`s, the services behind them, and the kinds that this server serves.
pub(crate) fn start(api: &Arc<Api>, tasks: &Tasks) {
    let api = api.clone();
    follow::keep(tasks, "apiservices", move || {
        let api = api.clone();
        async move { follow(&api).await }
    });
}

/// Looks at everything after every change, until a watch ends; returns why it did.
async fn follow(api: &Api) -> Option<Error> {
    let registry = &api.registry;
    let row = registry.catalog.find(GROUP, "v1", PLURAL)?.clone();
    let services = registry.catalog.core("services")?.clone();
    let slices = registry.catalog.find("discovery.k8s.io", "v1", "endpointslices")?.clone();
    let mut kinds = registry.catalog.changes();
    let from = registry.store.revision();
    let mut own = match registry.store.watch(&keys::prefix(&row), from) {
        Ok(watch) => watch,
        Err(error) => return Some(error),
    };
    let behind: Result<Vec<_>, _> =
        [&services, &slices].into_iter().map(|kind| registry.store.watch(&keys::prefix(kind), from)).collect();
    let mut behind = match behind {
        Ok(watches) => select_all(watches),
        Err(error) => return Some(error),
    };
    loop {
        let objects = registry.objects(&row, "").await;
        refresh(api, &objects);
        if let Err(status) = register(registry, &row, &objects).await {
            warn!(error = status.message, "the APIServices of custom resources cannot be written now");
        }
        let slices = if has_backends(api) { registry.objects(&slices, "").await } else { Vec::new() };
        let judging = api.apiservices.backends.load_full();
        join_all(judging.iter().map(|backend| judge(registry, &row, backend, &services, &slices))).await;
        // One wait for all signals: progress comes with every write of anything, and must not put it off.
        let mut again = pin!(tokio::time::sleep(AGAIN));
        loop {
            let signal = tokio::select! {
                biased;
                signal = own.next() => signal?,
                signal = behind.next(), if has_backends(api) => signal?,
                _ = kinds.changed() => break,
                () = &mut again, if has_backends(api) => break,
            };
            match signal {
                Ok(Signal::Event(_)) => break,
                Ok(Signal::Progress(_)) => {}
                Err(error) => return Some(error),
            }
        }
    }
}

fn has_backends(api: &Api) -> bool {
    !api.apiservices.backends.load().is_empty()
}

/// Makes backends of what the objects say; one that says what it said keeps its connections and its state.
fn refresh(api: &Api, objects: &[Arc<Object>]) {
    let before = api.apiservices.backends.load();
    let made = objects.iter().filter_map(|object| {
        let spec = object.0.get("spec").cloned().unwrap_or_default();
        let transport = transport(&api.registry, &backend::place(&spec)?);
        let same = |old: &&Arc<Backend>| old.name == object.name() && old.spec == spec && old.transport == transport;
        if let Some(kept) = before.iter().find(same) {
            return Some(kept.clone());
        }
        Backend::new(object, transport, &api.registry.reach, api.apiservices.identity.get()).map(Arc::new)
    });
    let made: Vec<_> = made.collect();
    if made.len() != before.len() || made.iter().zip(before.iter()).any(|(new, old)| !Arc::ptr_eq(new, old)) {
        api.apiservices.backends.store(Arc::new(made));
    }
}

fn transport(registry: &Registry, place: &Place) -> Transport {
    let Place::Service { namespace, name, port } = place else { return Transport::Tls };
    let services = registry.catalog.core("services");
    let service = services.and_then(|row| registry.find(row, &ObjectKey::new(namespace, name)).ok().flatten());
    service.map_or(Transport::Tls, |service| Transport::of(&service, *port))
}

/// Finds out whether a backend can be asked, and writes it down.
async fn judge(
    registry: &Registry,
    row: &Arc<Resource>,
    backend: &Backend,
    services: &Resource,
    slices: &[Arc<Object>],
) {
    let Place::Service { namespace, name, .. } = &backend.place else { return };
    let service = registry.find(services, &ObjectKey::new(namespace, name)).ok().flatten();
    let slices = slices.iter().filter(|slice| slice.namespace() == namespace).map(AsRef::as_ref);
    let (found, seen) = if let Some(missing) = availability::of_service(&backend.place, service.as_ref(), slices) {
        let before = backend.seen.load();
        (missing, Seen { is_available: false, ..Seen::clone(&before) })
    } else {
        check::check(backend).await
    };
    backend.seen.store(Arc::new(seen));
    if let Err(status) = write(registry, row, &backend.name, &found).await
        && !status.is_not_found()
    {
        warn!(apiservice = backend.name, error = status.message, "an APIService's status cannot be written now");
    }
}

async fn write(registry: &Registry, row: &Arc<Resource>, name: &str, found: &Available) -> Result<(), Status> {
    let now = create::timestamp(registry);
    let call = Call::own(row, "", name);
    let with_condition = |old: &Object| {
        let mut new = old.clone();
        conditions::set(&mut new, found.condition(&now));
        Ok(new)
    };
    update::change(registry, &call, Part::Status, Origin::Server, with_condition).await.map(drop)
}

/// Makes an `APIService` for each group and version of custom resources, and removes those of groups that are gone.
async fn register(registry: &Registry, row: &Arc<Resource>, objects: &[Arc<Object>]) -> Result<(), Status> {
    let served = registry.catalog.served();
    let wanted = local::group_versions(served.rows().filter(|row| row.is_custom()));
    let named = |object: &Object, (group, version): &(String, String)| object.name() == local::name(group, version);
    for one in wanted.iter().filter(|one| !objects.iter().any(|object| named(object, one))) {
        let document = local::custom(&one.0, &one.1, &create::timestamp(registry));
        let object = Object(document.as_object().cloned().unwrap_or_default());
        let call = Call { verb: Verb::Create, ..Call::own(row, "", "") };
        let status = object.0.get("status").cloned().unwrap_or_default();
        create::store(registry, &call, object, Origin::Server).await?;
        let call = Call::own(row, "", &local::name(&one.0, &one.1));
        update::put(registry, &call, Part::Status, &["status"], status).await?;
    }
    let gone = |object: &&Arc<Object>| local::is_of_custom(object) && !wanted.iter().any(|one| named(object, one));
    for object in objects.iter().filter(gone) {
        match delete::one(registry, &Call::own(row, "", object.name()), &DeleteOptions::default()).await {
            Err(status) if !status.is_not_found() => return Err(status),
            _ => {}
        }
    }
    Ok(())
}
