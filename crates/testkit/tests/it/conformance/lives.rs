//! The lives of the kinds that conformance walks through their API operations.

use serde_json::{Value, json};

use super::life::Life;
use super::world::{World, object};

const ADMISSION: &str = "admissionregistration.k8s.io/v1";
const CERTIFICATES: &str = "certificates.k8s.io/v1";
const FLOW: &str = "flowcontrol.apiserver.k8s.io/v1";
const DEVICES: &str = "resource.k8s.io/v1";
const STORAGE: &str = "storage.k8s.io/v1";
const NETWORK: &str = "networking.k8s.io/v1";

/// A condition, as most statuses have them.
fn condition() -> Value {
    json!({"type": "Walked", "status": "True", "reason": "Walk", "message": "walked", "lastTransitionTime": "2024-01-01T00:00:00Z"})
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "life"}}, "spec": {"containers": [{"name": "main", "image": "pause"}]}})
}

#[tokio::test]
async fn flow_schemas_support_their_api_operations() {
    let spec = json!({"matchingPrecedence": 10000, "priorityLevelConfiguration": {"name": "exempt"}});
    let status = json!({"conditions": [{"type": "Dangling", "status": "False", "reason": "Walk", "message": "m",
        "lastTransitionTime": "2024-01-01T00:00:00Z"}]});
    Life::of_cluster(FLOW, "flowschemas", "FlowSchema", json!({"spec": spec})).with_status(status).walk().await;
}

#[tokio::test]
async fn priority_levels_support_their_api_operations() {
    let spec =
        json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}});
    let status = json!({"conditions": [condition()]});
    let life =
        Life::of_cluster(FLOW, "prioritylevelconfigurations", "PriorityLevelConfiguration", json!({"spec": spec}));
    life.with_status(status).walk().await;
}

fn constraints() -> Value {
    let rule =
        json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]});
    json!({"resourceRules": [rule], "namespaceSelector": {"matchLabels": {"nobody": "has"}}})
}

#[tokio::test]
async fn mutating_policies_support_their_api_operations() {
    let expression = "Object{metadata: Object.metadata{labels: {\"a\": \"b\"}}}";
    let mutation = json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}});
    let spec = json!({"matchConstraints": constraints(), "mutations": [mutation], "reinvocationPolicy": "Never"});
    Life::of_cluster(ADMISSION, "mutatingadmissionpolicies", "MutatingAdmissionPolicy", json!({"spec": spec}))
        .walk()
        .await;
}

#[tokio::test]
async fn bindings_of_mutating_policies_support_their_api_operations() {
    let body = json!({"spec": {"policyName": "life"}});
    Life::of_cluster(ADMISSION, "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", body).walk().await;
}

#[tokio::test]
async fn validating_policies_support_their_api_operations() {
    let spec =
        json!({"matchConstraints": constraints(), "validations": [{"expression": "object.spec.replicas <= 100"}]});
    let life =
        Life::of_cluster(ADMISSION, "validatingadmissionpolicies", "ValidatingAdmissionPolicy", json!({"spec": spec}));
    life.with_status(json!({"conditions": [condition()]})).walk().await;
}

#[tokio::test]
async fn bindings_of_validating_policies_support_their_api_operations() {
    let body = json!({"spec": {"policyName": "life", "validationActions": ["Deny"]}});
    Life::of_cluster(ADMISSION, "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", body)
        .walk()
        .await;
}

#[tokio::test]
async fn storage_version_migrations_support_their_api_operations() {
    let body = json!({"spec": {"resource": {"group": "apps", "resource": "deployments"}}});
    let life =
        Life::of_cluster("storagemigration.k8s.io/v1", "storageversionmigrations", "StorageVersionMigration", body);
    life.with_status(json!({"resourceVersion": "1"})).walk().await;
}

#[tokio::test]
async fn cron_jobs_support_their_api_operations() {
    let mut template = template();
    template["spec"]["restartPolicy"] = "OnFailure".into();
    let spec = json!({"schedule": "0 0 29 2 *", "suspend": true, "jobTemplate": {"spec": {"template": template}}});
    let status = json!({"lastScheduleTime": "2024-01-01T00:00:00Z"});
    Life::of("batch/v1", "cronjobs", "CronJob", json!({"spec": spec})).with_status(status).walk().await;
}

#[tokio::test]
async fn disruption_budgets_support_their_api_operations() {
    let body = json!({"spec": {"minAvailable": "50%", "selector": {"matchLabels": {"app": "life"}}}});
    let status = json!({"disruptedPods": {"walked": "2024-01-01T00:00:00Z"}, "currentHealthy": 0,
        "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
    Life::of("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", body).with_status(status).walk().await;
}

#[tokio::test]
async fn trust_bundles_support_their_api_operations() {
    let pem = include_str!("life-ca.pem");
    Life::of_cluster(CERTIFICATES, "clustertrustbundles", "ClusterTrustBundle", json!({"spec": {"trustBundle": pem}}))
        .walk()
        .await;
}

#[tokio::test]
async fn certificate_requests_of_pods_support_their_api_operations() {
    let spec = json!({"signerName": "example.com/walker", "podName": "p", "podUID": "1", "serviceAccountName": "default",
        "serviceAccountUID": "2", "nodeName": "n", "nodeUID": "3", "stubPKCS10Request": "MA=="});
    let issued = json!({"type": "Issued", "status": "True", "reason": "Walk", "message": "walked",
        "lastTransitionTime": "2024-01-01T00:00:00Z"});
    let status = json!({"certificateChain": include_str!("life-ca.pem"), "notBefore": "2024-01-01T00:00:00Z",
        "notAfter": "2024-01-01T01:00:00Z", "beginRefreshAt": "2024-01-01T00:20:00Z", "conditions": [issued]});
    let life = Life::of(CERTIFICATES, "podcertificaterequests", "PodCertificateRequest", json!({"spec": spec}));
    life.with_status(status).walk().await;
}

#[tokio::test]
async fn events_support_their_api_operations() {
    let about = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": "life"});
    let body = json!({"involvedObject": about, "reason": "Walk", "message": "walks", "type": "Normal",
        "source": {"component": "walker"}, "firstTimestamp": "2024-01-01T00:00:00Z",
        "lastTimestamp": "2024-01-01T00:00:00Z", "count": 1});
    Life::of("v1", "events", "Event", body).walk().await;
}

#[tokio::test]
async fn events_of_the_new_group_support_their_api_operations() {
    let about = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": "life"});
    let body = json!({"regarding": about, "reason": "Walk", "note": "walks", "type": "Normal", "action": "Walk",
        "eventTime": "2024-01-01T00:00:00.000001Z", "reportingController": "example.com/walker", "reportingInstance": "w-1"});
    Life::of("events.k8s.io/v1", "events", "Event", body).walk().await;
}

#[tokio::test]
async fn endpoints_support_their_api_operations() {
    let body = json!({"subsets": [{"addresses": [{"ip": "10.0.0.24"}], "ports": [{"name": "http", "port": 80}]}]});
    Life::of("v1", "endpoints", "Endpoints", body).walk().await;
}

#[tokio::test]
async fn endpoint_slices_support_their_api_operations() {
    let body = json!({"addressType": "IPv4", "endpoints": [{"addresses": ["1.2.3.4"], "conditions": {"ready": true}}],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]});
    Life::of("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", body).walk().await;
}

#[tokio::test]
async fn ingresses_support_their_api_operations() {
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let body = json!({"spec": {"defaultBackend": backend}});
    let status = json!({"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}});
    Life::of(NETWORK, "ingresses", "Ingress", body).with_status(status).walk().await;
}

#[tokio::test]
async fn ingress_classes_support_their_api_operations() {
    let body = json!({"spec": {"controller": "example.com/controller"}});
    Life::of_cluster(NETWORK, "ingressclasses", "IngressClass", body).walk().await;
}

#[tokio::test]
async fn addresses_support_their_api_operations() {
    let parent = json!({"group": "", "resource": "services", "name": "s", "namespace": "default"});
    let life = Life::of_cluster(NETWORK, "ipaddresses", "IPAddress", json!({"spec": {"parentRef": parent}}));
    life.named(["192.168.1.1", "192.168.1.2", "192.168.1.3"]).walk().await;
}

#[tokio::test]
async fn service_networks_support_their_api_operations() {
    let body = json!({"spec": {"cidrs": ["10.196.196.0/24"]}});
    Life::of_cluster(NETWORK, "servicecidrs", "ServiceCIDR", body)
        .with_status(json!({"conditions": [condition()]}))
        .walk()
        .await;
}

#[tokio::test]
async fn services_support_their_api_operations() {
    let body = json!({"spec": {"type": "LoadBalancer", "ports": [{"name": "http", "port": 80, "targetPort": 80}]}});
    let status = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.1", "ipMode": "VIP"}]}});
    Life::of("v1", "services", "Service", body).with_status(status).walk().await;
}

#[tokio::test]
async fn config_maps_support_their_api_operations() {
    Life::of("v1", "configmaps", "ConfigMap", json!({"data": {"value": "1"}})).walk().await;
}

#[tokio::test]
async fn secrets_support_their_api_operations() {
    Life::of("v1", "secrets", "Secret", json!({"data": {"key": "dmFsdWU="}, "type": "Opaque"})).walk().await;
}

#[tokio::test]
async fn leases_support_their_api_operations() {
    let spec = json!({"holderIdentity": "walker", "leaseDurationSeconds": 30, "acquireTime": "2024-01-01T00:00:00.000000Z",
        "renewTime": "2024-01-01T00:00:05.000000Z", "leaseTransitions": 0});
    Life::of("coordination.k8s.io/v1", "leases", "Lease", json!({"spec": spec})).walk().await;
}

#[tokio::test]
async fn pod_templates_support_their_api_operations() {
    Life::of("v1", "podtemplates", "PodTemplate", json!({"template": template()})).walk().await;
}

#[tokio::test]
async fn runtime_classes_support_their_api_operations() {
    Life::of_cluster("node.k8s.io/v1", "runtimeclasses", "RuntimeClass", json!({"handler": "wasm"})).walk().await;
}

#[tokio::test]
async fn service_accounts_support_their_api_operations() {
    Life::of("v1", "serviceaccounts", "ServiceAccount", json!({"automountServiceAccountToken": false})).walk().await;
}

#[tokio::test]
async fn device_classes_support_their_api_operations() {
    let body = json!({"spec": {"selectors": [{"cel": {"expression": "device.driver == 'walker.example.com'"}}]}});
    Life::of_cluster(DEVICES, "deviceclasses", "DeviceClass", body).walk().await;
}

#[tokio::test]
async fn device_claims_support_their_api_operations() {
    let request = json!({"name": "one", "exactly": {"deviceClassName": "walker"}});
    let life =
        Life::of(DEVICES, "resourceclaims", "ResourceClaim", json!({"spec": {"devices": {"requests": [request]}}}));
    life.with_status(json!({"allocation": {"devices": {}}})).walk().await;
}

#[tokio::test]
async fn templates_of_device_claims_support_their_api_operations() {
    let request = json!({"name": "one", "exactly": {"deviceClassName": "walker"}});
    let body = json!({"spec": {"spec": {"devices": {"requests": [request]}}}});
    Life::of(DEVICES, "resourceclaimtemplates", "ResourceClaimTemplate", body).walk().await;
}

#[tokio::test]
async fn device_slices_support_their_api_operations() {
    let spec = json!({"driver": "walker.example.com", "allNodes": true, "devices": [{"name": "one"}],
        "pool": {"name": "pool", "generation": 1, "resourceSliceCount": 1}});
    Life::of_cluster(DEVICES, "resourceslices", "ResourceSlice", json!({"spec": spec})).walk().await;
}

#[tokio::test]
async fn device_taint_rules_support_their_api_operations() {
    let spec = json!({"deviceSelector": {"driver": "walker.example.com"},
        "taint": {"key": "example.com/broken", "effect": "NoSchedule"}});
    let life = Life::of_cluster(DEVICES, "devicetaintrules", "DeviceTaintRule", json!({"spec": spec}));
    life.with_status(json!({"conditions": [condition()]})).walk().await;
}

#[tokio::test]
async fn limit_ranges_support_their_api_operations() {
    let limit = json!({"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}});
    Life::of("v1", "limitranges", "LimitRange", json!({"spec": {"limits": [limit]}})).walk().await;
}

#[tokio::test]
async fn quotas_support_their_api_operations() {
    let body = json!({"spec": {"hard": {"configmaps": "100"}}});
    Life::of("v1", "resourcequotas", "ResourceQuota", body).with_status(json!({"used": {"pods": "1"}})).walk().await;
}

#[tokio::test]
async fn priority_classes_support_their_api_operations_and_keep_their_value() {
    let life = Life::of_cluster("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", json!({"value": 5}));
    life.walk().await;
    let world = World::new().await;
    let class = object("scheduling.k8s.io/v1", "PriorityClass", "fixed", &json!({"value": 5, "description": "d"}));
    world.post("/apis/scheduling.k8s.io/v1/priorityclasses", &class).await.is(201);
    let path = "/apis/scheduling.k8s.io/v1/priorityclasses/fixed";
    let refused = world.patch(path, &json!({"value": 6})).await.is(422);
    assert!(refused.at("/message").contains("may not be changed in an update"), "{}", refused.at("/message"));
    world.patch(path, &json!({"description": "other"})).await.is(200);
    world.end().await;
}

#[tokio::test]
async fn csi_drivers_support_their_api_operations() {
    Life::of_cluster(STORAGE, "csidrivers", "CSIDriver", json!({"spec": {"volumeLifecycleModes": ["Ephemeral"]}}))
        .walk()
        .await;
}

#[tokio::test]
async fn csi_nodes_support_their_api_operations() {
    Life::of_cluster(STORAGE, "csinodes", "CSINode", json!({"spec": {"drivers": []}})).walk().await;
}

#[tokio::test]
async fn csi_capacities_support_their_api_operations() {
    let body = json!({"storageClassName": "walker", "capacity": "256Mi"});
    Life::of(STORAGE, "csistoragecapacities", "CSIStorageCapacity", body).walk().await;
}

#[tokio::test]
async fn storage_classes_support_their_api_operations() {
    Life::of_cluster(STORAGE, "storageclasses", "StorageClass", json!({"provisioner": "walker.example.com"}))
        .walk()
        .await;
}

#[tokio::test]
async fn volume_attachments_support_their_api_operations() {
    let body =
        json!({"spec": {"attacher": "walker.example.com", "nodeName": "n", "source": {"persistentVolumeName": "pv"}}});
    let life = Life::of_cluster(STORAGE, "volumeattachments", "VolumeAttachment", body);
    life.with_status(json!({"attached": true})).walk().await;
}

#[tokio::test]
async fn volume_attribute_classes_support_their_api_operations() {
    let body = json!({"driverName": "walker.example.com", "parameters": {"iops": "500"}});
    Life::of_cluster(STORAGE, "volumeattributesclasses", "VolumeAttributesClass", body).walk().await;
}

#[tokio::test]
async fn nodes_support_their_api_operations() {
    let status = json!({"capacity": {"cpu": "1"}});
    Life::of_cluster("v1", "nodes", "Node", json!({"spec": {"unschedulable": true}})).with_status(status).walk().await;
}

#[tokio::test]
async fn controller_revisions_support_their_api_operations() {
    Life::of("apps/v1", "controllerrevisions", "ControllerRevision", json!({"data": {}, "revision": 1})).walk().await;
}

#[tokio::test]
async fn replica_sets_support_their_api_operations() {
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"app": "life"}}, "template": template()});
    Life::of("apps/v1", "replicasets", "ReplicaSet", json!({"spec": spec}))
        .with_status(json!({"conditions": [condition()]}))
        .walk()
        .await;
}

#[tokio::test]
async fn stateful_sets_support_their_api_operations() {
    let spec = json!({"replicas": 0, "serviceName": "s", "selector": {"matchLabels": {"app": "life"}}, "template": template()});
    Life::of("apps/v1", "statefulsets", "StatefulSet", json!({"spec": spec}))
        .with_status(json!({"conditions": [condition()]}))
        .walk()
        .await;
}

#[tokio::test]
async fn deployments_support_their_api_operations() {
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"app": "life"}}, "template": template()});
    let life = Life::of("apps/v1", "deployments", "Deployment", json!({"spec": spec}));
    life.with_status(json!({"collisionCount": 1})).walk().await;
}

#[tokio::test]
async fn jobs_support_their_api_operations() {
    let mut template = template();
    template["spec"]["restartPolicy"] = "Never".into();
    let life = Life::of("batch/v1", "jobs", "Job", json!({"spec": {"suspend": true, "template": template}}));
    life.with_status(json!({"conditions": [condition()]})).walk().await;
}

#[tokio::test]
async fn pods_support_their_api_operations() {
    let body = json!({"spec": template()["spec"]});
    Life::of("v1", "pods", "Pod", body).with_status(json!({"message": "walks"})).walk().await;
}
