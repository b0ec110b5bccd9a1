//! Admission: what the cluster adds to an object, or refuses, between decoding and the store
//! (`kubeapiserver/options/plugins.go`). A plugin is one file; the three lists below are the chain, in Kubernetes' order.
//!
//! ```text
//! create, update, connect ─> admit (may change the object) ─> defaults, registry, validation ─> validate ─> store
//! delete ─────────────────> delete (both phases: there is nothing to change) ─> store
//! ```
//! Every plugin takes [`Attributes`], looks first whether it is concerned, and may warn (`call.warn`) or leave an audit
//! annotation (`call.annotate`). An update may be tried several times; plugins see each try.

use wkube_api::{Object, Status};

use self::metrics::{Laps, Plugin, Step};
use crate::call::Call;
use crate::definitions;
use crate::registry::Registry;

mod amounts;
mod attributes;
pub(crate) mod certificates;
mod claim_resize;
pub(crate) mod claims;
mod connect;
mod default_class;
mod default_toleration_seconds;
pub(crate) mod escalation;
mod limit_ranger;
pub(crate) mod metrics;
mod namespace_lifecycle;
mod node_restriction;
mod pod_security;
mod pod_topology_labels;
mod policies;
mod priority;
pub(crate) mod resource_quota;
mod rules;
mod runtime_class;
mod service_account;
pub(crate) mod service_network;
mod storage_protection;
mod taint_nodes;
mod webhooks;

pub(crate) use attributes::{Attributes, Operation};
pub(crate) use policies::{Policies, is_policy};
pub(crate) use resource_quota::Reservation;
pub(crate) use webhooks::{Hooks, is_configuration};

/// The mutating phase: completes or refuses an object. Webhooks that ask for it get a second round.
pub(crate) async fn admit(attributes: &Attributes<'_>, object: &mut Object) -> Result<(), Status> {
    round(attributes, object).await?;
    let again = {
        let mut rounds = attributes.rounds.lock();
        let wanted = std::mem::take(&mut rounds.wanted);
        rounds.again = wanted;
        wanted
    };
    if again { round(attributes, object).await } else { Ok(()) }
}

/// The mutating plugins, in order.
async fn round(attributes: &Attributes<'_>, object: &mut Object) -> Result<(), Status> {
    let mut laps = Laps::new(attributes, Step::Admit);
    laps.end(Plugin::NamespaceLifecycle, namespace_lifecycle::admit(attributes, object))?;
    laps.end(Plugin::LimitRanger, limit_ranger::admit(attributes, object))?;
    laps.end(Plugin::ServiceAccount, service_account::admit(attributes, object))?;
    laps.end(Plugin::NodeRestriction, node_restriction::admit(attributes, Some(object)))?;
    taint_nodes::admit(attributes, object);
    laps.end(Plugin::TaintNodesByCondition, Ok(()))?;
    laps.end(Plugin::Priority, priority::admit(attributes, object).await)?;
    default_toleration_seconds::admit(attributes, object);
    laps.end(Plugin::DefaultTolerationSeconds, Ok(()))?;
    laps.end(Plugin::DefaultStorageClass, default_class::admit_claim(attributes, object))?;
    storage_protection::admit(attributes, object);
    laps.end(Plugin::StorageObjectInUseProtection, Ok(()))?;
    laps.end(Plugin::RuntimeClass, runtime_class::admit(attributes, object))?;
    laps.end(Plugin::DefaultIngressClass, default_class::admit_ingress(attributes, object))?;
    laps.end(Plugin::PodTopologyLabels, pod_topology_labels::admit(attributes, object))?;
    laps.end(Plugin::MutatingAdmissionPolicy, policies::admit(attributes, object).await)?;
    laps.end(Plugin::MutatingAdmissionWebhook, webhooks::mutating::admit(attributes, Some(object)).await)
}

/// The validating phase: refuses an object that is valid but not welcome. What it reserves is written with the object.
pub(crate) async fn validate(attributes: &Attributes<'_>, object: &Object) -> Result<Reservation, Status> {
    escalation::validate(attributes, object)?;
    let mut laps = Laps::new(attributes, Step::Validate);
    laps.end(Plugin::LimitRanger, limit_ranger::validate(attributes, object))?;
    laps.end(Plugin::ServiceAccount, service_account::validate(attributes, object))?;
    laps.end(Plugin::PodSecurity, pod_security::validate(attributes, object).await)?;
    laps.end(Plugin::Priority, priority::validate(attributes, object).await)?;
    laps.end(Plugin::PersistentVolumeClaimResize, claim_resize::validate(attributes, object))?;
    laps.end(Plugin::CertificateApproval, certificates::validate(attributes, object))?;
    laps.end(Plugin::ValidatingAdmissionPolicy, policies::validate(attributes, Some(object)).await)?;
    laps.end(Plugin::ValidatingAdmissionWebhook, webhooks::validating::validate(attributes, Some(object)).await)?;
    laps.end(Plugin::ResourceQuota, resource_quota::reserve(attributes, object).await)
}

/// Both phases for a delete, whose object is `attributes.old`.
pub(crate) async fn delete(attributes: &Attributes<'_>) -> Result<(), Status> {
    let mut laps = Laps::new(attributes, Step::Admit);
    laps.end(Plugin::NamespaceLifecycle, namespace_lifecycle::on_delete(attributes))?;
    laps.end(Plugin::NodeRestriction, node_restriction::admit(attributes, None))?;
    laps.end(Plugin::MutatingAdmissionWebhook, webhooks::mutating::admit(attributes, None).await)?;
    drop(laps);
    let mut laps = Laps::new(attributes, Step::Validate);
    laps.end(Plugin::ValidatingAdmissionPolicy, policies::validate(attributes, None).await)?;
    laps.end(Plugin::ValidatingAdmissionWebhook, webhooks::validating::validate(attributes, None).await)
}

/// Both phases for something that is answered and not stored: a binding, an eviction, a stream's options.
pub(crate) async fn pass(
    registry: &Registry,
    call: &Call,
    operation: Operation,
    object: &mut Object,
) -> Result<(), Status> {
    let attributes = Attributes::new(registry, call, operation, None);
    admit(&attributes, object).await?;
    validate(&attributes, object).await.map(drop)
}

/// Both phases for a stream to a pod, node or service.
pub(crate) async fn connect(registry: &Registry, call: &Call) -> Result<(), Status> {
    pass(registry, call, Operation::Connect, &mut connect::options(call)).await
}

/// Fills in what is the registry's to give, after admission and before validation: addresses, ports, requesters.
pub(crate) fn complete(attributes: &Attributes<'_>, object: &mut Object) -> Result<(), Status> {
    let Attributes { registry, call, operation, old, .. } = attributes;
    if !call.subresource.is_empty() {
        return Ok(());
    }
    if call.is_for("", "services") {
        service_network::settle(registry, object, *old)?;
    }
    if attributes.creates("certificates.k8s.io", "certificatesigningrequests") {
        certificates::on_create(&call.user, object);
    }
    if definitions::is_definition(&call.resource) {
        if *operation == Operation::Create {
            object.0.remove("status");
        }
        definitions::settle(registry, call, object)?;
    }
    Ok(())
}
