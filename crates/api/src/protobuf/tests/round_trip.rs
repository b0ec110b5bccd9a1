//! Every kind with every field, through two crates that know Kubernetes' types: `k8s-pb` has the numbers and types of its
//! messages, `k8s-openapi` the names of its documents. What either does not know is lost on the way, and found here.

use k8s_openapi::api;
use k8s_pb::api as pb;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::super::schema::{Else, Field, Kind, Message, Shape};
use super::*;
use crate::kinds::builtin;

/// Returns what a kind of both crates makes of a document that each of them has read and written.
struct Case {
    api_version: &'static str,
    kind: &'static str,
    through_protobuf: fn(&[u8]) -> Result<Vec<u8>, prost::DecodeError>,
    through_json: fn(Value) -> serde_json::Result<Value>,
}

fn case<K, M>() -> Case
where
    K: k8s_openapi::Resource + Serialize + DeserializeOwned,
    M: prost::Message + Default,
{
    Case {
        api_version: K::API_VERSION,
        kind: K::KIND,
        through_protobuf: |bytes| Ok(M::decode(bytes)?.encode_to_vec()),
        through_json: |document| serde_json::to_value(serde_json::from_value::<K>(document)?),
    }
}

macro_rules! cases {
    ($(($k:path, $m:path)),* $(,)?) => { [$(case::<$k, $m>()),*] };
}

#[rustfmt::skip]
#[expect(clippy::too_many_lines, reason = "one line a kind")]
fn all() -> Vec<Case> {
    cases![
        (api::core::v1::Binding, pb::core::v1::Binding),
        (api::core::v1::ComponentStatus, pb::core::v1::ComponentStatus),
        (api::core::v1::ConfigMap, pb::core::v1::ConfigMap),
        (api::core::v1::Endpoints, pb::core::v1::Endpoints),
        (api::core::v1::Event, pb::core::v1::Event),
        (api::core::v1::LimitRange, pb::core::v1::LimitRange),
        (api::core::v1::Namespace, pb::core::v1::Namespace),
        (api::core::v1::Node, pb::core::v1::Node),
        (api::core::v1::PersistentVolume, pb::core::v1::PersistentVolume),
        (api::core::v1::PersistentVolumeClaim, pb::core::v1::PersistentVolumeClaim),
        (api::core::v1::Pod, pb::core::v1::Pod),
        (api::core::v1::PodTemplate, pb::core::v1::PodTemplate),
        (api::core::v1::ReplicationController, pb::core::v1::ReplicationController),
        (api::core::v1::ResourceQuota, pb::core::v1::ResourceQuota),
        (api::core::v1::Secret, pb::core::v1::Secret),
        (api::core::v1::Service, pb::core::v1::Service),
        (api::core::v1::ServiceAccount, pb::core::v1::ServiceAccount),
        (api::apps::v1::ControllerRevision, pb::apps::v1::ControllerRevision),
        (api::apps::v1::DaemonSet, pb::apps::v1::DaemonSet),
        (api::apps::v1::Deployment, pb::apps::v1::Deployment),
        (api::apps::v1::ReplicaSet, pb::apps::v1::ReplicaSet),
        (api::apps::v1::StatefulSet, pb::apps::v1::StatefulSet),
        (api::events::v1::Event, pb::events::v1::Event),
        (api::authentication::v1::SelfSubjectReview, pb::authentication::v1::SelfSubjectReview),
        (api::authentication::v1::TokenRequest, pb::authentication::v1::TokenRequest),
        (api::authentication::v1::TokenReview, pb::authentication::v1::TokenReview),
        (api::authorization::v1::LocalSubjectAccessReview, pb::authorization::v1::LocalSubjectAccessReview),
        (api::authorization::v1::SelfSubjectAccessReview, pb::authorization::v1::SelfSubjectAccessReview),
        (api::authorization::v1::SelfSubjectRulesReview, pb::authorization::v1::SelfSubjectRulesReview),
        (api::authorization::v1::SubjectAccessReview, pb::authorization::v1::SubjectAccessReview),
        (api::autoscaling::v1::HorizontalPodAutoscaler, pb::autoscaling::v1::HorizontalPodAutoscaler),
        (api::autoscaling::v1::Scale, pb::autoscaling::v1::Scale),
        (api::autoscaling::v2::HorizontalPodAutoscaler, pb::autoscaling::v2::HorizontalPodAutoscaler),
        (api::batch::v1::CronJob, pb::batch::v1::CronJob),
        (api::batch::v1::Job, pb::batch::v1::Job),
        (api::certificates::v1::CertificateSigningRequest, pb::certificates::v1::CertificateSigningRequest),
        (api::certificates::v1::ClusterTrustBundle, pb::certificates::v1beta1::ClusterTrustBundle),
        (api::certificates::v1::PodCertificateRequest, pb::certificates::v1beta1::PodCertificateRequest),
        (api::networking::v1::Ingress, pb::networking::v1::Ingress),
        (api::networking::v1::IngressClass, pb::networking::v1::IngressClass),
        (api::networking::v1::IPAddress, pb::networking::v1::IPAddress),
        (api::networking::v1::NetworkPolicy, pb::networking::v1::NetworkPolicy),
        (api::networking::v1::ServiceCIDR, pb::networking::v1::ServiceCIDR),
        (api::policy::v1::Eviction, pb::policy::v1::Eviction),
        (api::policy::v1::PodDisruptionBudget, pb::policy::v1::PodDisruptionBudget),
        (api::rbac::v1::ClusterRole, pb::rbac::v1::ClusterRole),
        (api::rbac::v1::ClusterRoleBinding, pb::rbac::v1::ClusterRoleBinding),
        (api::rbac::v1::Role, pb::rbac::v1::Role),
        (api::rbac::v1::RoleBinding, pb::rbac::v1::RoleBinding),
        (api::storage::v1::CSIDriver, pb::storage::v1::CSIDriver),
        (api::storage::v1::CSINode, pb::storage::v1::CSINode),
        (api::storage::v1::CSIStorageCapacity, pb::storage::v1::CSIStorageCapacity),
        (api::storage::v1::StorageClass, pb::storage::v1::StorageClass),
        (api::storage::v1::VolumeAttachment, pb::storage::v1::VolumeAttachment),
        (api::storage::v1::VolumeAttributesClass, pb::storage::v1::VolumeAttributesClass),
        (api::admissionregistration::v1::MutatingWebhookConfiguration, pb::admissionregistration::v1::MutatingWebhookConfiguration),
        (api::admissionregistration::v1::ValidatingAdmissionPolicy, pb::admissionregistration::v1::ValidatingAdmissionPolicy),
        (api::admissionregistration::v1::ValidatingAdmissionPolicyBinding, pb::admissionregistration::v1::ValidatingAdmissionPolicyBinding),
        (api::admissionregistration::v1::ValidatingWebhookConfiguration, pb::admissionregistration::v1::ValidatingWebhookConfiguration),
        (api::admissionregistration::v1::MutatingAdmissionPolicy, pb::admissionregistration::v1beta1::MutatingAdmissionPolicy),
        (api::admissionregistration::v1::MutatingAdmissionPolicyBinding, pb::admissionregistration::v1beta1::MutatingAdmissionPolicyBinding),
        (api::scheduling::v1::PriorityClass, pb::scheduling::v1::PriorityClass),
        (api::coordination::v1::Lease, pb::coordination::v1::Lease),
        (api::node::v1::RuntimeClass, pb::node::v1::RuntimeClass),
        (api::discovery::v1::EndpointSlice, pb::discovery::v1::EndpointSlice),
        (api::flowcontrol::v1::FlowSchema, pb::flowcontrol::v1::FlowSchema),
        (api::flowcontrol::v1::PriorityLevelConfiguration, pb::flowcontrol::v1::PriorityLevelConfiguration),
        (api::resource::v1::DeviceClass, pb::resource::v1::DeviceClass),
        (api::resource::v1::ResourceClaim, pb::resource::v1::ResourceClaim),
        (api::resource::v1::ResourceClaimTemplate, pb::resource::v1::ResourceClaimTemplate),
        (api::resource::v1::ResourceSlice, pb::resource::v1::ResourceSlice),
        (api::resource::v1::DeviceTaintRule, pb::resource::v1alpha3::DeviceTaintRule),
        (api::storagemigration::v1::StorageVersionMigration, pb::storagemigration::v1beta1::StorageVersionMigration),
        (k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService, k8s_pb::kube_aggregator::pkg::apis::apiregistration::v1::APIService),
        (k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition, k8s_pb::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition),
    ].into()
}

/// Fields that `k8s-pb` does not know yet: it drops them. The golden vectors have most of them.
const NEW_IN_PROTOBUF: &[&str] = &[
    "clusterTrustBundle.user",
    "conditions[].observedGeneration",
    "configMap.defaultUser",
    "downwardAPI.defaultUser",
    "emptyDir.mode",
    "grpc.mode",
    "httpGet.protocol",
    "items[].user",
    "podCertificate.user",
    "projected.defaultUser",
    "resources[].message",
    "secret.defaultUser",
    "serviceAccountToken.user",
    "spec.attestations",
    "spec.evictionResponders",
    "spec.podPreemptionPolicy",
    "spec.scheduling",
    "spec.schedulingGroup",
    "spec.stubPKCS10Request",
    "status.healthStatus",
    "status.volumeHealth",
    "volumeMounts[].bindMountOptions",
    "volumeMounts[].volumeStatus",
];

/// `k8s-openapi` always writes what an object is, also in the templates of claims.
const OTHER_IN_JSON: &[&str] = &["].apiVersion: JSON has null", "].kind: JSON has null"];

#[test]
fn every_field_of_every_kind_has_kubernetes_number_and_type() {
    let mut differences = Vec::new();
    for Case { api_version, kind, through_protobuf, .. } in all() {
        let document = filled_kind(api_version, kind);
        let message = encode_kind(api_version, kind, document.as_object().unwrap()).unwrap();
        let again = through_protobuf(&message).unwrap_or_else(|error| panic!("{kind}: {error}"));
        compare(&document, &decode_kind(api_version, kind, &again).unwrap(), kind, &mut differences);
    }
    let is_new = |difference: &String| {
        let path = difference.split(':').next().unwrap_or_default().replace("[0]", "[]").replace("[1]", "[]");
        NEW_IN_PROTOBUF.iter().any(|field| path.ends_with(field))
    };
    differences.retain(|difference| !is_new(difference));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn every_field_of_every_kind_has_kubernetes_name() {
    let mut differences = Vec::new();
    for Case { api_version, kind, through_json, .. } in all() {
        let document = filled_kind(api_version, kind);
        let again = through_json(document.clone()).unwrap_or_else(|error| panic!("{kind}: {error}"));
        compare(&document, &again, kind, &mut differences);
    }
    differences.retain(|difference| !OTHER_IN_JSON.iter().any(|field| difference.contains(field)));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn every_built_in_kind_goes_through_both_crates() {
    let all = all();
    for row in builtin() {
        let is_there = |case: &Case| case.kind == row.kind && case.api_version == row.api_version();
        assert!(all.iter().any(is_there), "{row:?}");
    }
}

fn filled_kind(api_version: &str, kind: &str) -> Value {
    let root = Schema::builtin().kind(api_version, kind).unwrap();
    let mut document = Map::new();
    fill(root, &mut Vec::new(), &mut document);
    document.insert("apiVersion".to_owned(), api_version.into());
    document.insert("kind".to_owned(), kind.into());
    document.into()
}

/// Sets every field. A message that is inside itself ends there.
fn fill(message: &Message, open: &mut Vec<&'static str>, document: &mut Map<String, Value>) {
    for (number, field) in message {
        if field.shape == Shape::Embedded {
            let Kind::Message(name) = field.kind else { continue };
            fill(Schema::builtin().message(name).unwrap(), open, document);
            continue;
        }
        let Some(value) = value_of(*number, field, open) else { continue };
        let value = match field.shape {
            Shape::List => json!([value, value]),
            Shape::Map => json!({"a": value, "b/c": value}),
            Shape::Single | Shape::Embedded => value,
        };
        document.insert(field.name.to_owned(), value);
    }
}

fn value_of(number: u32, field: &Field, open: &mut Vec<&'static str>) -> Option<Value> {
    Some(match field.kind {
        Kind::Text => format!("text {number}").into(),
        Kind::Int => (number + 200).into(),
        Kind::Double => json!(1.5),
        Kind::Bool => true.into(),
        Kind::Bytes => "AP8=".into(),
        Kind::Time => "2026-01-02T03:04:05Z".into(),
        Kind::MicroTime => "2026-01-02T03:04:05.000006Z".into(),
        Kind::Quantity => "1500m".into(),
        Kind::IntOrString if number.is_multiple_of(2) => 7.into(),
        Kind::IntOrString => "25%".into(),
        Kind::Raw | Kind::Fields => json!({"f:a": {}}),
        Kind::SchemaOr(Else::Bool) if number.is_multiple_of(2) => false.into(),
        Kind::SchemaOr(Else::Bool) => json!({"type": "string"}),
        Kind::SchemaOr(Else::Schemas) => json!([{"type": "string"}, {"minimum": 2.5}]),
        Kind::Texts | Kind::SchemaOr(Else::Texts) => json!(["a", "b"]),
        Kind::Message(name) if open.contains(&name) => return None,
        Kind::Message(name) => {
            open.push(name);
            let mut inner = Map::new();
            fill(Schema::builtin().message(name)?, open, &mut inner);
            open.pop();
            inner.into()
        }
    })
}
