//! How many pods a controller wants: the built-in ones from the caches, any other by its scale (`finders` of
//! `pkg/controller/disruption/disruption.go`).

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::ReplicationController;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::Value;
use wkube_api::ObjectKey;
use wkube_client::{Client, Controller, Error, Informers, Kind, Lister, Reconcile};

use crate::common::served;

/// The caches of the kinds that keep pods at a number. Clones share them.
#[derive(Clone)]
pub(super) struct Scales {
    deployments: Lister<Deployment>,
    sets: Lister<ReplicaSet>,
    stateful: Lister<StatefulSet>,
    replication: Lister<ReplicationController>,
}

/// A controller and how many pods it wants; several sets may have one Deployment, which counts once.
type Scale = (String, i32);

impl Scales {
    pub(super) fn new(informers: &Informers) -> Self {
        Self {
            deployments: informers.lister(),
            sets: informers.lister(),
            stateful: informers.lister(),
            replication: informers.lister(),
        }
    }

    /// Makes a controller wait for these caches.
    pub(super) fn read_by<R: Reconcile>(&self, controller: Controller<R>) -> Controller<R> {
        controller.reads(&self.deployments).reads(&self.sets).reads(&self.stateful).reads(&self.replication)
    }

    /// Returns how many pods these controllers want together, or why nobody can say.
    ///
    /// # Errors
    /// If the server does not answer.
    pub(super) async fn total(
        &self,
        client: &Client,
        namespace: &str,
        controllers: &[&OwnerReference],
    ) -> Result<Result<i32, String>, Error> {
        let mut wanted = BTreeMap::new();
        for controller in controllers {
            let scale = match self.built_in(namespace, controller) {
                Some(scale) => scale,
                None => match custom(client, namespace, controller).await? {
                    Ok(scale) => scale,
                    Err(problem) => return Ok(Err(problem)),
                },
            };
            wanted.insert(scale.0, scale.1);
        }
        Ok(Ok(wanted.into_values().fold(0, i32::saturating_add)))
    }

    fn built_in(&self, namespace: &str, controller: &OwnerReference) -> Option<Scale> {
        let key = ObjectKey::new(namespace, controller.name.as_str());
        let group = controller.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let replicas = |count: Option<i32>| (controller.uid.clone(), count.unwrap_or(1));
        match (group, controller.kind.as_str()) {
            ("apps", "ReplicaSet") => {
                let set = known(&self.sets, &key, controller)?;
                let of_deployment = set.controller_owner().and_then(|owner| {
                    let key = ObjectKey::new(namespace, owner.name.as_str());
                    let deployment = known(&self.deployments, &key, owner)?;
                    Some((owner.uid.clone(), deployment.spec.replicas.unwrap_or(1)))
                });
                Some(of_deployment.unwrap_or_else(|| replicas(set.spec.replicas)))
            }
            ("apps", "StatefulSet") => Some(replicas(known(&self.stateful, &key, controller)?.spec.replicas)),
            ("", "ReplicationController") => {
                let controller = known(&self.replication, &key, controller)?;
                Some(replicas(controller.spec.as_ref().and_then(|spec| spec.replicas)))
            }
            _ => None,
        }
    }
}

/// Returns the object that a reference means, and no namesake.
fn known<K: Kind>(lister: &Lister<K>, key: &ObjectKey, reference: &OwnerReference) -> Option<std::sync::Arc<K>> {
    lister.get(key).filter(|object| object.uid() == reference.uid)
}

/// Asks the server for the scale of any other kind.
async fn custom(client: &Client, namespace: &str, controller: &OwnerReference) -> Result<Result<Scale, String>, Error> {
    let group = controller.api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let kinds = served::kinds(client).await?;
    let Some(kind) = kinds.iter().find(|kind| kind.group == group && kind.kind == controller.kind) else {
        return Ok(Err(format!("no kind {:?} is served in {:?}", controller.kind, controller.api_version)));
    };
    let key = ObjectKey::new(namespace, controller.name.as_str());
    match kind.api(client).get_subresource::<Value>(&key, "scale").await {
        Ok(scale) => {
            let count = scale["spec"]["replicas"].as_i64().and_then(|count| i32::try_from(count).ok());
            Ok(Ok((controller.uid.clone(), count.unwrap_or_default())))
        }
        Err(error) if error.is_not_found() => Ok(Err(format!("{kind} does not implement the scale subresource"))),
        Err(error) => Err(error),
    }
}
