//! Keeping a Lease fresh: a node's sign of life, which costs far less than writing its status.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use serde_json::json;
use tracing::{debug, warn};
use wkube_api::ObjectKey;
use wkube_base::{Backoff, Clock, Rng};

use crate::api::{Api, Patch};
use crate::client::Client;
use crate::error::Error;

/// Where node leases live.
pub const NODE_LEASE_NAMESPACE: &str = "kube-node-lease";

/// How long a lease counts after its last renewal (`nodeLeaseDurationSeconds`).
pub const NODE_LEASE_DURATION: Duration = Duration::from_secs(40);

/// How often it is renewed: a quarter of its duration (`nodeLeaseRenewIntervalFraction`).
const RENEW_EVERY: Duration = Duration::from_secs(10);

/// Renews the node lease named `holder` for ever; run it as a task. The lease is made if it is missing. `owner` is
/// the Node, so that the lease goes with it.
pub async fn keep_node_lease(client: Client, clock: Clock, rng: Rng, holder: String, owner: Option<OwnerReference>) {
    // A renewal that hangs must fail well before the lease runs out.
    let leases: Api<Lease> = Api::new(&client.with_timeout(RENEW_EVERY));
    let mut failures = 0;
    loop {
        match renew(&leases, &holder, owner.as_ref(), clock.now()).await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                warn!(node = holder, failures, error = &error as &dyn std::error::Error, "failed to renew the lease");
            }
        }
        // Jitter of up to 4 %, as the kubelet has, so that many nodes do not renew in step.
        let wait = if failures == 0 {
            RENEW_EVERY.mul_f64(1.0 + rng.unit() * 0.04)
        } else {
            Backoff::RECONNECT.after(failures)
        };
        tokio::time::sleep(wait).await;
    }
}

/// Renews the lease once, making it if it is missing.
///
/// # Errors
/// Whatever the server answers.
pub async fn renew(
    leases: &Api<Lease>,
    holder: &str,
    owner: Option<&OwnerReference>,
    now: Timestamp,
) -> Result<(), Error> {
    let key = ObjectKey::new(NODE_LEASE_NAMESPACE, holder);
    let patch = Patch::Merge(json!({ "spec": {
        "holderIdentity": holder,
        "leaseDurationSeconds": NODE_LEASE_DURATION.as_secs(),
        "renewTime": MicroTime(now),
    }}));
    match leases.patch(&key, &patch).await {
        Ok(_) => return Ok(()),
        Err(error) if error.is_not_found() => debug!(node = holder, "making the lease"),
        Err(error) => return Err(error),
    }
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(holder.to_owned()),
            namespace: Some(NODE_LEASE_NAMESPACE.to_owned()),
            owner_references: owner.cloned().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: i32::try_from(NODE_LEASE_DURATION.as_secs()).ok(),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    };
    leases.create(&lease).await.map(drop)
}

#[cfg(test)]
mod tests;
