//! The table of built-in kinds, one line a kind. A kind with manners of its own has a file of its own beside this one.

mod admission;
mod autoscaling;
mod certificates;
mod cluster;
mod config;
mod cron_job;
pub mod custom;
pub mod definition;
mod deployment;
mod devices;
pub(crate) mod doc;
mod endpoints;
mod event;
mod flow_control;
mod job;
mod limits;
mod namespace;
mod networking;
mod node;
mod others;
mod plain;
mod pod;
mod pod_spec;
mod print;
mod rbac;
pub mod references;
mod replica_set;
mod rules;
mod service;
mod sets;
mod simple;
mod storage;
#[cfg(test)]
mod testing;
mod workload;

use std::sync::{Arc, LazyLock};

use crate::resource::{Manners, Resource, Scope, Subresource};
use plain::Plain;
pub use print::human_duration;

/// The verbs of a kind that is kept like any other.
const KEPT: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Namespaces refuse to be deleted by the dozen.
const ONE_BY_ONE: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
/// Reviews and bindings are answered and not kept.
const ANSWERED: &[&str] = &["create"];
/// What is computed when somebody asks.
const COMPUTED: &[&str] = &["get", "list"];

const NAMESPACED: Scope = Scope::Namespaced;
const CLUSTER: Scope = Scope::Cluster;

/// A group and its version.
type Group = (&'static str, &'static str);

const CORE: Group = ("", "v1");
const APPS: Group = ("apps", "v1");
const EVENTS: Group = ("events.k8s.io", "v1");
const AUTHENTICATION: Group = ("authentication.k8s.io", "v1");
const AUTHORIZATION: Group = ("authorization.k8s.io", "v1");
const AUTOSCALING_2: Group = ("autoscaling", "v2");
const AUTOSCALING_1: Group = ("autoscaling", "v1");
const BATCH: Group = ("batch", "v1");
const CERTIFICATES: Group = ("certificates.k8s.io", "v1");
const NETWORKING: Group = ("networking.k8s.io", "v1");
const POLICY: Group = ("policy", "v1");
const RBAC: Group = ("rbac.authorization.k8s.io", "v1");
const STORAGE: Group = ("storage.k8s.io", "v1");
const ADMISSION: Group = ("admissionregistration.k8s.io", "v1");
const SCHEDULING: Group = ("scheduling.k8s.io", "v1");
const COORDINATION: Group = ("coordination.k8s.io", "v1");
const NODE: Group = ("node.k8s.io", "v1");
const DISCOVERY: Group = ("discovery.k8s.io", "v1");
const FLOWCONTROL: Group = ("flowcontrol.apiserver.k8s.io", "v1");
const RESOURCE: Group = ("resource.k8s.io", "v1");
const EXTENSIONS: Group = ("apiextensions.k8s.io", "v1");
const REGISTRATION: Group = ("apiregistration.k8s.io", "v1");
const MIGRATION: Group = ("storagemigration.k8s.io", "v1");

/// One line of the table: group, kind, plural, short names, categories, scope, verbs, subresources, manners.
struct Row(
    Group,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    Scope,
    &'static [&'static str],
    &'static [&'static str],
    fn() -> Arc<dyn Manners>,
);

/// The order of the groups is the order in which clients look for an ambiguous short name.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row(CORE, "Binding", "bindings", &[], &[], NAMESPACED, ANSWERED, &[], plain),
    Row(CORE, "ComponentStatus", "componentstatuses", &["cs"], &[], CLUSTER, COMPUTED, &[], || Arc::new(cluster::COMPONENT_STATUS)),
    Row(CORE, "ConfigMap", "configmaps", &["cm"], &[], NAMESPACED, KEPT, &[], || Arc::new(config::ConfigMap)),
    Row(CORE, "Endpoints", "endpoints", &["ep"], &[], NAMESPACED, KEPT, &[], || Arc::new(endpoints::ENDPOINTS)),
    Row(CORE, "Event", "events", &["ev"], &[], NAMESPACED, KEPT, &[], || Arc::new(event::CoreEvent)),
    Row(CORE, "LimitRange", "limitranges", &["limits"], &[], NAMESPACED, KEPT, &[], || Arc::new(limits::LIMIT_RANGE)),
    Row(CORE, "Namespace", "namespaces", &["ns"], &[], CLUSTER, ONE_BY_ONE, &["finalize", "status"], || Arc::new(namespace::Namespace)),
    Row(CORE, "Node", "nodes", &["no"], &[], CLUSTER, KEPT, &["proxy", "status"], || Arc::new(node::Node)),
    Row(CORE, "PersistentVolumeClaim", "persistentvolumeclaims", &["pvc"], &[], NAMESPACED, KEPT, &["status"], || Arc::new(storage::PERSISTENT_VOLUME_CLAIM)),
    Row(CORE, "PersistentVolume", "persistentvolumes", &["pv"], &[], CLUSTER, KEPT, &["status"], || Arc::new(storage::PERSISTENT_VOLUME)),
    Row(CORE, "Pod", "pods", &["po"], &["all"], NAMESPACED, KEPT, &["attach", "binding", "ephemeralcontainers", "eviction", "exec", "log", "portforward", "proxy", "resize", "status"], || Arc::new(pod::Pod)),
    Row(CORE, "PodTemplate", "podtemplates", &[], &[], NAMESPACED, KEPT, &[], || Arc::new(others::POD_TEMPLATE)),
    Row(CORE, "ReplicationController", "replicationcontrollers", &["rc"], &["all"], NAMESPACED, KEPT, &["scale", "status"], || Arc::new(replica_set::ReplicationController)),
    Row(CORE, "ResourceQuota", "resourcequotas", &["quota"], &[], NAMESPACED, KEPT, &["status"], || Arc::new(limits::RESOURCE_QUOTA)),
    Row(CORE, "Secret", "secrets", &[], &[], NAMESPACED, KEPT, &[], || Arc::new(config::Secret)),
    Row(CORE, "ServiceAccount", "serviceaccounts", &["sa"], &[], NAMESPACED, KEPT, &["token"], || Arc::new(rbac::SERVICE_ACCOUNT)),
    Row(CORE, "Service", "services", &["svc"], &["all"], NAMESPACED, KEPT, &["proxy", "status"], || Arc::new(service::Service)),
    Row(REGISTRATION, "APIService", "apiservices", &[], &["api-extensions"], CLUSTER, KEPT, &["status"], || Arc::new(cluster::API_SERVICE)),
    Row(APPS, "ControllerRevision", "controllerrevisions", &[], &[], NAMESPACED, KEPT, &[], || Arc::new(others::CONTROLLER_REVISION)),
    Row(APPS, "DaemonSet", "daemonsets", &["ds"], &["all"], NAMESPACED, KEPT, &["status"], || Arc::new(sets::DaemonSet)),
    Row(APPS, "Deployment", "deployments", &["deploy"], &["all"], NAMESPACED, KEPT, &["scale", "status"], || Arc::new(deployment::Deployment)),
    Row(APPS, "ReplicaSet", "replicasets", &["rs"], &["all"], NAMESPACED, KEPT, &["scale", "status"], || Arc::new(replica_set::ReplicaSet)),
    Row(APPS, "StatefulSet", "statefulsets", &["sts"], &["all"], NAMESPACED, KEPT, &["scale", "status"], || Arc::new(sets::StatefulSet)),
    Row(EVENTS, "Event", "events", &["ev"], &[], NAMESPACED, KEPT, &[], || Arc::new(event::NewEvent)),
    Row(AUTHENTICATION, "SelfSubjectReview", "selfsubjectreviews", &[], &[], CLUSTER, ANSWERED, &[], plain),
    Row(AUTHENTICATION, "TokenReview", "tokenreviews", &[], &[], CLUSTER, ANSWERED, &[], plain),
    Row(AUTHORIZATION, "LocalSubjectAccessReview", "localsubjectaccessreviews", &[], &[], NAMESPACED, ANSWERED, &[], plain),
    Row(AUTHORIZATION, "SelfSubjectAccessReview", "selfsubjectaccessreviews", &[], &[], CLUSTER, ANSWERED, &[], plain),
    Row(AUTHORIZATION, "SelfSubjectRulesReview", "selfsubjectrulesreviews", &[], &[], CLUSTER, ANSWERED, &[], plain),
    Row(AUTHORIZATION, "SubjectAccessReview", "subjectaccessreviews", &[], &[], CLUSTER, ANSWERED, &[], plain),
    Row(AUTOSCALING_2, "HorizontalPodAutoscaler", "horizontalpodautoscalers", &["hpa"], &["all"], NAMESPACED, KEPT, &["status"], || Arc::new(autoscaling::AUTOSCALER)),
    Row(AUTOSCALING_1, "HorizontalPodAutoscaler", "horizontalpodautoscalers", &["hpa"], &["all"], NAMESPACED, KEPT, &["status"], || Arc::new(autoscaling::OldAutoscaler)),
    Row(BATCH, "CronJob", "cronjobs", &["cj"], &["all"], NAMESPACED, KEPT, &["status"], || Arc::new(cron_job::CronJob)),
    Row(BATCH, "Job", "jobs", &[], &["all"], NAMESPACED, KEPT, &["status"], || Arc::new(job::Job)),
    Row(CERTIFICATES, "CertificateSigningRequest", "certificatesigningrequests", &["csr"], &[], CLUSTER, KEPT, &["approval", "status"], || Arc::new(certificates::CERTIFICATE_REQUEST)),
    Row(CERTIFICATES, "ClusterTrustBundle", "clustertrustbundles", &[], &[], CLUSTER, KEPT, &[], || Arc::new(certificates::CLUSTER_TRUST_BUNDLE)),
    Row(CERTIFICATES, "PodCertificateRequest", "podcertificaterequests", &[], &[], NAMESPACED, KEPT, &["status"], || Arc::new(certificates::POD_CERTIFICATE_REQUEST)),
    Row(NETWORKING, "IngressClass", "ingressclasses", &[], &[], CLUSTER, KEPT, &[], || Arc::new(networking::INGRESS_CLASS)),
    Row(NETWORKING, "Ingress", "ingresses", &["ing"], &[], NAMESPACED, KEPT, &["status"], || Arc::new(networking::INGRESS)),
    Row(NETWORKING, "IPAddress", "ipaddresses", &["ip"], &[], CLUSTER, KEPT, &[], || Arc::new(cluster::IP_ADDRESS)),
    Row(NETWORKING, "NetworkPolicy", "networkpolicies", &["netpol"], &[], NAMESPACED, KEPT, &[], || Arc::new(networking::NETWORK_POLICY)),
    Row(NETWORKING, "ServiceCIDR", "servicecidrs", &[], &[], CLUSTER, KEPT, &["status"], || Arc::new(cluster::SERVICE_CIDR)),
    Row(POLICY, "PodDisruptionBudget", "poddisruptionbudgets", &["pdb"], &[], NAMESPACED, KEPT, &["status"], || Arc::new(others::POD_DISRUPTION_BUDGET)),
    Row(RBAC, "ClusterRoleBinding", "clusterrolebindings", &[], &[], CLUSTER, KEPT, &[], || Arc::new(rbac::BINDING)),
    Row(RBAC, "ClusterRole", "clusterroles", &[], &[], CLUSTER, KEPT, &[], || Arc::new(rbac::ROLE)),
    Row(RBAC, "RoleBinding", "rolebindings", &[], &[], NAMESPACED, KEPT, &[], || Arc::new(rbac::BINDING)),
    Row(RBAC, "Role", "roles", &[], &[], NAMESPACED, KEPT, &[], || Arc::new(rbac::ROLE)),
    Row(STORAGE, "CSIDriver", "csidrivers", &[], &[], CLUSTER, KEPT, &[], || Arc::new(storage::CSI_DRIVER)),
    Row(STORAGE, "CSINode", "csinodes", &[], &[], CLUSTER, KEPT, &[], || Arc::new(storage::CSI_NODE)),
    Row(STORAGE, "CSIStorageCapacity", "csistoragecapacities", &[], &[], NAMESPACED, KEPT, &[], || Arc::new(storage::CSI_STORAGE_CAPACITY)),
    Row(STORAGE, "StorageClass", "storageclasses", &["sc"], &[], CLUSTER, KEPT, &[], || Arc::new(storage::STORAGE_CLASS)),
    Row(STORAGE, "VolumeAttachment", "volumeattachments", &[], &[], CLUSTER, KEPT, &["status"], || Arc::new(storage::VOLUME_ATTACHMENT)),
    Row(STORAGE, "VolumeAttributesClass", "volumeattributesclasses", &["vac"], &[], CLUSTER, KEPT, &[], || Arc::new(storage::VOLUME_ATTRIBUTES_CLASS)),
    Row(ADMISSION, "MutatingAdmissionPolicy", "mutatingadmissionpolicies", &[], &["api-extensions"], CLUSTER, KEPT, &[], || Arc::new(admission::MUTATING_POLICY)),
    Row(ADMISSION, "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", &[], &["api-extensions"], CLUSTER, KEPT, &[], || Arc::new(admission::MUTATING_BINDING)),
    Row(ADMISSION, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", &[], &["api-extensions"], CLUSTER, KEPT, &[], || Arc::new(admission::Configuration::Mutating)),
    Row(ADMISSION, "ValidatingAdmissionPolicy", "validatingadmissionpolicies", &[], &["api-extensions"], CLUSTER, KEPT, &["status"], || Arc::new(admission::VALIDATING_POLICY)),
    Row(ADMISSION, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", &[], &["api-extensions"], CLUSTER, KEPT, &[], || Arc::new(admission::VALIDATING_BINDING)),
    Row(ADMISSION, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", &[], &["api-extensions"], CLUSTER, KEPT, &[], || Arc::new(admission::Configuration::Validating)),
    Row(EXTENSIONS, "CustomResourceDefinition", "customresourcedefinitions", &["crd", "crds"], &["api-extensions"], CLUSTER, KEPT, &["status"], || Arc::new(definition::Definition)),
    Row(SCHEDULING, "PriorityClass", "priorityclasses", &["pc"], &[], CLUSTER, KEPT, &[], || Arc::new(others::PRIORITY_CLASS)),
    Row(COORDINATION, "Lease", "leases", &[], &[], NAMESPACED, KEPT, &[], || Arc::new(others::LEASE)),
    Row(NODE, "RuntimeClass", "runtimeclasses", &[], &[], CLUSTER, KEPT, &[], || Arc::new(others::RUNTIME_CLASS)),
    Row(DISCOVERY, "EndpointSlice", "endpointslices", &[], &[], NAMESPACED, KEPT, &[], || Arc::new(endpoints::ENDPOINT_SLICE)),
    Row(FLOWCONTROL, "FlowSchema", "flowschemas", &[], &[], CLUSTER, KEPT, &["status"], || Arc::new(flow_control::FLOW_SCHEMA)),
    Row(FLOWCONTROL, "PriorityLevelConfiguration", "prioritylevelconfigurations", &[], &[], CLUSTER, KEPT, &["status"], || Arc::new(flow_control::PRIORITY_LEVEL)),
    Row(RESOURCE, "DeviceClass", "deviceclasses", &[], &[], CLUSTER, KEPT, &[], || Arc::new(devices::DEVICE_CLASS)),
    Row(RESOURCE, "DeviceTaintRule", "devicetaintrules", &[], &[], CLUSTER, KEPT, &["status"], || Arc::new(devices::DEVICE_TAINT_RULE)),
    Row(RESOURCE, "ResourceClaim", "resourceclaims", &[], &[], NAMESPACED, KEPT, &["status"], || Arc::new(devices::RESOURCE_CLAIM)),
    Row(RESOURCE, "ResourceClaimTemplate", "resourceclaimtemplates", &[], &[], NAMESPACED, KEPT, &[], || Arc::new(devices::RESOURCE_CLAIM_TEMPLATE)),
    Row(RESOURCE, "ResourceSlice", "resourceslices", &[], &[], CLUSTER, KEPT, &[], || Arc::new(devices::RESOURCE_SLICE)),
    Row(MIGRATION, "StorageVersionMigration", "storageversionmigrations", &[], &[], CLUSTER, KEPT, &["status"], || Arc::new(cluster::STORAGE_VERSION_MIGRATION)),
];

/// Returns every built-in kind, in the order of discovery.
pub fn builtin() -> &'static [Arc<Resource>] {
    static BUILTIN: LazyLock<Vec<Arc<Resource>>> =
        LazyLock::new(|| TABLE.iter().map(|row| Arc::new(row.resource())).collect());
    &BUILTIN
}

/// Returns the built-in kind with this plural name.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Arc<Resource>> {
    builtin().iter().find(|row| row.group == group && row.version == version && row.plural == plural)
}

/// Returns the built-in kind with this `apiVersion` and `kind`.
pub fn find_kind(api_version: &str, kind: &str) -> Option<&'static Arc<Resource>> {
    builtin().iter().find(|row| row.kind == kind && row.api_version() == api_version)
}

impl Row {
    fn resource(&self) -> Resource {
        let &Row((group, version), kind, plural, short_names, categories, scope, verbs, subresources, manners) = self;
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        Resource {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            plural: plural.into(),
            singular: kind.to_lowercase().into(),
            short_names: short_names.iter().map(|&name| name.into()).collect(),
            categories: categories.iter().map(|&name| name.into()).collect(),
            scope,
            verbs: verbs.to_vec(),
            subresources: subresources.iter().map(|name| subresource(name, plural, &api_version, kind)).collect(),
            schema: crate::schema::builtin_name(group, version, kind).into(),
            manners: manners(),
        }
    }
}

/// Returns a subresource of a kind; most of them mean the same wherever they appear.
fn subresource(name: &'static str, plural: &str, api_version: &str, kind: &'static str) -> Subresource {
    const READ_WRITE: &[&str] = &["get", "patch", "update"];
    const STREAM: &[&str] = &["create", "get"];
    const ANY: &[&str] = &["create", "delete", "get", "patch", "update"];
    let (version, kind, verbs): (&str, &str, &'static [&'static str]) = match (name, plural) {
        ("scale", _) => ("autoscaling/v1", "Scale", READ_WRITE),
        ("binding", _) => ("v1", "Binding", &["create"]),
        ("eviction", _) => ("policy/v1", "Eviction", &["create"]),
        ("token", _) => ("authentication.k8s.io/v1", "TokenRequest", &["create"]),
        ("attach", _) => ("v1", "PodAttachOptions", STREAM),
        ("exec", _) => ("v1", "PodExecOptions", STREAM),
        ("portforward", _) => ("v1", "PodPortForwardOptions", STREAM),
        ("proxy", "nodes") => ("v1", "NodeProxyOptions", ANY),
        ("proxy", "services") => ("v1", "ServiceProxyOptions", ANY),
        ("proxy", _) => ("v1", "PodProxyOptions", ANY),
        ("log", _) => (api_version, kind, &["get"]),
        ("finalize", _) => (api_version, kind, &["update"]),
        _ => (api_version, kind, READ_WRITE),
    };
    Subresource { name: name.into(), api_version: version.to_owned().into(), kind: kind.into(), verbs: verbs.into() }
}

/// The manners of a kind that has none of its own.
fn plain() -> Arc<dyn Manners> {
    Arc::new(Plain)
}

#[cfg(test)]
mod tests;
