//! The namespace controller: empties namespaces that are being deleted.

mod plan;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use serde_json::json;
use wkube_api::{Object, ObjectKey};
use wkube_base::{Clock, Tasks};
use wkube_client::{Api, Change, Client, Controller, DeleteOptions, Error, Kind, List, Lister, Next, Reconcile, Scope};

use crate::Context;
use crate::common::served::{self, ServedKind};
use crate::common::{ObjectRef, perform, request};
use plan::{Action, Content, FINALIZER, Item, Observed};

/// How long to wait before looking at what is left, unless its last pod goes earlier.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

struct Reconciler {
    namespaces: Lister<Namespace>,
    clock: Clock,
}

/// Starts the controller.
pub(crate) fn start(context: &Context, tasks: &Tasks) {
    let namespaces = context.informers.lister::<Namespace>();
    let pods = context.informers.lister::<Pod>();
    let ending = namespaces.clone();
    let reconciler = Reconciler { namespaces: namespaces.clone(), clock: context.clock.clone() };
    Controller::new(reconciler, &context.rng)
        .for_each(&namespaces)
        .watches(&pods, move |change| {
            let Change::Deleted(pod) = change else { return Vec::new() };
            let key = ObjectKey::cluster(pod.namespace());
            ending.get(&key).filter(|namespace| namespace.is_deleting()).map(|_| key).into_iter().collect()
        })
        .start(&context.client, &context.clock, tasks);
}

impl Reconcile for Reconciler {
    fn name(&self) -> &'static str {
        "namespace"
    }

    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, Error> {
        let Some(namespace) = self.namespaces.get(key).filter(|namespace| namespace.is_deleting()) else {
            return Ok(Next::Done);
        };
        let (kinds, discovery_failure) = match served::kinds(client).await {
            Ok(kinds) => (kinds, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let (contents, list_failures) = contents(client, &key.name, &kinds).await;
        let now = self.clock.now();
        let plan =
            plan::plan(&Observed { namespace: &namespace, contents: &contents, discovery_failure, list_failures, now });

        let mut written = namespace.as_ref().clone();
        if namespace.status.as_ref() != Some(&plan.status) {
            written.status = Some(plan.status);
            written = Api::<Namespace>::new(client).replace_status(&written).await?;
        }
        let by_name: BTreeMap<String, &ServedKind> = kinds.iter().map(|kind| (kind.to_string(), kind)).collect();
        let mut deletions: Vec<BoxFuture<'_, Result<(), Error>>> = Vec::new();
        for action in plan.actions {
            match action {
                Action::Delete(kind, object) => {
                    let Some(kind) = by_name.get(&kind) else { continue };
                    deletions.push(Box::pin(delete(client, &key.name, kind, object)));
                }
                Action::Finalize => finalize(client, &written).await?,
            }
        }
        perform::all_ok(deletions).await?;
        Ok(if plan.is_waiting { Next::After(LOOK_AGAIN) } else { Next::Done })
    }
}

/// Lists everything in a namespace, kind by kind, a few at a time.
async fn contents(client: &Client, namespace: &str, kinds: &[ServedKind]) -> (Vec<Content>, Vec<String>) {
    let wanted = kinds.iter().filter(|kind| kind.is_namespaced && kind.can(&["list", "delete"]));
    let lists = wanted.map(|kind| {
        let listing = async move { (kind, kind.api(client).list(&Scope::namespace(namespace)).await) };
        Box::pin(listing) as BoxFuture<'_, (&ServedKind, Result<List<Object>, Error>)>
    });
    let (mut contents, mut failures) = (Vec::new(), Vec::new());
    for (kind, list) in perform::all(lists.collect()).await {
        match list {
            Ok(list) if list.items.is_empty() => {}
            Ok(list) => {
                contents.push(Content { kind: kind.to_string(), objects: list.items.iter().map(item).collect() });
            }
            // The kind has just gone, with all its objects.
            Err(error) if error.is_not_found() => {}
            Err(error) => failures.push(format!("{kind}: {error}")),
        }
    }
    contents.sort_by(|one, two| one.kind.cmp(&two.kind));
    failures.sort();
    (contents, failures)
}

fn item(object: &Object) -> Item {
    Item {
        object: ObjectRef { name: object.name().to_owned(), uid: object.uid().to_owned() },
        is_deleting: object.is_deleting(),
        finalizers: object.finalizers().into_iter().map(str::to_owned).collect(),
    }
}

async fn delete(client: &Client, namespace: &str, kind: &ServedKind, object: ObjectRef) -> Result<(), Error> {
    let key = ObjectKey::new(namespace, object.name);
    match kind.api(client).delete(&key, &DeleteOptions::of_uid(object.uid)).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

async fn finalize(client: &Client, namespace: &Namespace) -> Result<(), Error> {
    let mut released = namespace.clone();
    if let Some(finalizers) = &mut released.spec.get_or_insert_default().finalizers {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    let path = format!("/api/v1/namespaces/{}/finalize", namespace.name());
    match request::put(client, &path, &json!(released)).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}
