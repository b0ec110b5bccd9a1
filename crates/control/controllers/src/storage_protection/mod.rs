//! The controllers that let claims and volumes go once nobody uses them. Admission put the finalizers there.

mod plan;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;
use wkube_api::ObjectKey;
use wkube_base::Tasks;
use wkube_client::{Api, Change, Client, Controller, Error, Kind, Lister, Next, Patch, Reconcile};

use crate::Context;
use plan::{CLAIM_FINALIZER, VOLUME_FINALIZER};

struct Claims {
    claims: Lister<PersistentVolumeClaim>,
    pods: Lister<Pod>,
}

struct Volumes {
    volumes: Lister<PersistentVolume>,
}

/// Starts both controllers.
pub(crate) fn start(context: &Context, tasks: &Tasks) {
    let claims = context.informers.lister::<PersistentVolumeClaim>();
    let volumes = context.informers.lister::<PersistentVolume>();
    let pods = context.informers.lister::<Pod>();
    let of_claims = Claims { claims: claims.clone(), pods: pods.clone() };
    Controller::new(of_claims, &context.rng).for_each(&claims).watches(&pods, claims_of).start(
        &context.client,
        &context.clock,
        tasks,
    );
    let of_volumes = Volumes { volumes: volumes.clone() };
    Controller::new(of_volumes, &context.rng).for_each(&volumes).start(&context.client, &context.clock, tasks);
}

/// A pod's claims are looked at whenever the pod changes or goes.
fn claims_of(change: &Change<Pod>) -> Vec<ObjectKey> {
    let pod = change.object();
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    plan::claims_of(pod, volumes).into_iter().map(|name| ObjectKey::new(pod.namespace(), name)).collect()
}

impl Reconcile for Claims {
    fn name(&self) -> &'static str {
        "persistentvolumeclaim-protection"
    }

    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, Error> {
        let Some(claim) = self.claims.get(key) else { return Ok(Next::Done) };
        let Some(left) = plan::without(&claim.metadata, CLAIM_FINALIZER) else { return Ok(Next::Done) };
        let in_use = self.pods.all().iter().any(|pod| pod.namespace() == key.namespace && plan::uses(pod, &key.name));
        if !in_use {
            release::<PersistentVolumeClaim>(client, key, &claim.metadata, left).await?;
        }
        Ok(Next::Done)
    }
}

impl Reconcile for Volumes {
    fn name(&self) -> &'static str {
        "persistentvolume-protection"
    }

    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, Error> {
        let Some(volume) = self.volumes.get(key).filter(|volume| !plan::is_bound(volume)) else {
            return Ok(Next::Done);
        };
        if let Some(left) = plan::without(&volume.metadata, VOLUME_FINALIZER) {
            release::<PersistentVolume>(client, key, &volume.metadata, left).await?;
        }
        Ok(Next::Done)
    }
}

/// Writes the finalizers that are left, if nobody else has written meanwhile.
async fn release<K: Kind>(
    client: &Client,
    key: &ObjectKey,
    metadata: &ObjectMeta,
    left: Vec<String>,
) -> Result<(), Error> {
    let body = json!({"metadata": {"resourceVersion": metadata.resource_version, "finalizers": left}});
    match Api::<K>::new(client).patch(key, &Patch::Merge(body)).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}
