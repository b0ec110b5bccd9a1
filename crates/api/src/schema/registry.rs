//! The built-in types, generated once: which roots there are, their schemas, the graph.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;

use k8s_openapi::api::{
    admissionregistration, apps, authentication, authorization, autoscaling, batch, certificates, coordination, core,
    discovery, events, flowcontrol, networking, node, policy, rbac, scheduling, storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{Type, build, rules};

/// Everything that was generated.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) json: BTreeMap<String, Value>,
    pub(super) types: Vec<Type>,
    pub(super) index: HashMap<String, usize>,
}

/// Returns the registry, making it the first time.
pub(super) fn get() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(make)
}

/// Returns the names of a root and all that it refers to.
pub(super) fn closure(root: &str) -> Vec<&'static str> {
    let json = &get().json;
    let mut found = BTreeSet::new();
    let mut open: Vec<&'static str> = json.get_key_value(root).map(|(name, _)| name.as_str()).into_iter().collect();
    while let Some(name) = open.pop() {
        if found.insert(name) {
            references(&json[name], &mut open);
        }
    }
    found.into_iter().collect()
}

fn references<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
    match schema {
        Value::Object(map) => {
            let reference = map.get("$ref").and_then(Value::as_str);
            found.extend(reference.and_then(|text| text.strip_prefix(build::REFERENCE)));
            map.values().for_each(|inner| references(inner, found));
        }
        Value::Array(list) => list.iter().for_each(|inner| references(inner, found)),
        _ => {}
    }
}

fn make() -> Registry {
    let settings = SchemaSettings::default().with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    for root in ROOTS {
        root(&mut generator);
    }
    newer_roots(&mut generator);
    let mut definitions = generator.take_definitions(false);
    rules::annotate(&mut definitions);
    definitions.values_mut().for_each(wrap_references);
    let index = definitions.keys().enumerate().map(|(place, name)| (name.clone(), place)).collect();
    let types = definitions.iter().map(|(name, schema)| build::named_type(name, schema, &index)).collect();
    Registry { json: definitions.into_iter().collect(), types, index }
}

/// `OpenAPI` 3.0 ignores what stands beside a `$ref`, so that Kubernetes wraps described references into `allOf`.
fn wrap_references(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(wrap_references);
            if map.len() > 1 && map.get("$ref").is_some_and(Value::is_string) {
                let reference: Map<String, Value> = map.remove_entry("$ref").into_iter().collect();
                map.insert("allOf".to_owned(), json!([reference]));
            }
        }
        Value::Array(list) => list.iter_mut().for_each(wrap_references),
        _ => {}
    }
}

fn root<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}

/// Adds the kinds that older version features of `k8s-openapi` lack.
fn newer_roots(generator: &mut SchemaGenerator) {
    k8s_openapi::k8s_if_ge_1_34! {
        root::<k8s_openapi::api::resource::v1::DeviceClass>(generator);
        root::<k8s_openapi::api::resource::v1::ResourceClaim>(generator);
        root::<k8s_openapi::api::resource::v1::ResourceClaimTemplate>(generator);
        root::<k8s_openapi::api::resource::v1::ResourceSlice>(generator);
        root::<storage::v1::VolumeAttributesClass>(generator);
    }
    k8s_openapi::k8s_if_ge_1_36! {
        root::<admissionregistration::v1::MutatingAdmissionPolicy>(generator);
        root::<admissionregistration::v1::MutatingAdmissionPolicyBinding>(generator);
    }
    k8s_openapi::k8s_if_ge_1_37! {
        root::<certificates::v1::ClusterTrustBundle>(generator);
        root::<certificates::v1::PodCertificateRequest>(generator);
        root::<k8s_openapi::api::resource::v1::DeviceTaintRule>(generator);
        root::<k8s_openapi::api::storagemigration::v1::StorageVersionMigration>(generator);
    }
}

/// The kinds and bodies that are served, and so everything that they are made of. Only types that every supported
/// version feature of `k8s-openapi` has, because an embedding program may have chosen another.
const ROOTS: &[fn(&mut SchemaGenerator)] = &[
    root::<admissionregistration::v1::MutatingWebhookConfiguration>,
    root::<admissionregistration::v1::ValidatingAdmissionPolicy>,
    root::<admissionregistration::v1::ValidatingAdmissionPolicyBinding>,
    root::<admissionregistration::v1::ValidatingWebhookConfiguration>,
    root::<apiextensions::v1::CustomResourceDefinition>,
    root::<apiregistration::v1::APIService>,
    root::<apps::v1::ControllerRevision>,
    root::<apps::v1::DaemonSet>,
    root::<apps::v1::Deployment>,
    root::<apps::v1::ReplicaSet>,
    root::<apps::v1::StatefulSet>,
    root::<authentication::v1::SelfSubjectReview>,
    root::<authentication::v1::TokenRequest>,
    root::<authentication::v1::TokenReview>,
    root::<authorization::v1::LocalSubjectAccessReview>,
    root::<authorization::v1::SelfSubjectAccessReview>,
    root::<authorization::v1::SelfSubjectRulesReview>,
    root::<authorization::v1::SubjectAccessReview>,
    root::<autoscaling::v1::HorizontalPodAutoscaler>,
    root::<autoscaling::v1::Scale>,
    root::<autoscaling::v2::HorizontalPodAutoscaler>,
    root::<batch::v1::CronJob>,
    root::<batch::v1::Job>,
    root::<certificates::v1::CertificateSigningRequest>,
    root::<coordination::v1::Lease>,
    root::<core::v1::Binding>,
    root::<core::v1::ComponentStatus>,
    root::<core::v1::ConfigMap>,
    root::<core::v1::Endpoints>,
    root::<core::v1::Event>,
    root::<core::v1::LimitRange>,
    root::<core::v1::Namespace>,
    root::<core::v1::Node>,
    root::<core::v1::PersistentVolume>,
    root::<core::v1::PersistentVolumeClaim>,
    root::<core::v1::Pod>,
    root::<core::v1::PodTemplate>,
    root::<core::v1::ReplicationController>,
    root::<core::v1::ResourceQuota>,
    root::<core::v1::Secret>,
    root::<core::v1::Service>,
    root::<core::v1::ServiceAccount>,
    root::<discovery::v1::EndpointSlice>,
    root::<events::v1::Event>,
    root::<flowcontrol::v1::FlowSchema>,
    root::<flowcontrol::v1::PriorityLevelConfiguration>,
    root::<meta::v1::APIGroup>,
    root::<meta::v1::APIGroupList>,
    root::<meta::v1::APIResourceList>,
    root::<meta::v1::APIVersions>,
    root::<meta::v1::DeleteOptions>,
    root::<meta::v1::ListMeta>,
    root::<meta::v1::ObjectMeta>,
    root::<meta::v1::Patch>,
    root::<meta::v1::Status>,
    root::<meta::v1::WatchEvent<k8s_openapi::apimachinery::pkg::runtime::RawExtension>>,
    root::<networking::v1::IPAddress>,
    root::<networking::v1::Ingress>,
    root::<networking::v1::IngressClass>,
    root::<networking::v1::NetworkPolicy>,
    root::<networking::v1::ServiceCIDR>,
    root::<node::v1::RuntimeClass>,
    root::<policy::v1::Eviction>,
    root::<policy::v1::PodDisruptionBudget>,
    root::<rbac::v1::ClusterRole>,
    root::<rbac::v1::ClusterRoleBinding>,
    root::<rbac::v1::Role>,
    root::<rbac::v1::RoleBinding>,
    root::<scheduling::v1::PriorityClass>,
    root::<storage::v1::CSIDriver>,
    root::<storage::v1::CSINode>,
    root::<storage::v1::CSIStorageCapacity>,
    root::<storage::v1::StorageClass>,
    root::<storage::v1::VolumeAttachment>,
];
