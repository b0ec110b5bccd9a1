//! All controllers against a real API server in memory, with a node that does as it is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Event, Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wkube_api::ObjectKey;
use wkube_apiserver::ApiServer;
use wkube_apiserver::auth::User;
use wkube_base::{Clock, Rng, Tasks};
use wkube_client::{Api, Client, DeleteOptions, Informers, Kind, Patch, Propagation, Scope};
use wkube_controllers::{Context, SignError, Signer, Subject};
use wkube_store::MemoryStore;

/// How long anything may take; with a busy machine in mind.
const DEADLINE: Duration = Duration::from_secs(20);

struct NoSigner;

impl Signer for NoSigner {
    fn subject(&self, _request_pem: &str) -> Result<Subject, SignError> {
        Err(SignError("this cluster signs nothing".to_owned()))
    }

    fn sign_client(&self, _request_pem: &str, _ttl: Duration) -> Result<String, SignError> {
        Err(SignError("this cluster signs nothing".to_owned()))
    }
}

struct Cluster {
    client: Client,
    tasks: Tasks,
}

impl Cluster {
    async fn start() -> Self {
        let (tasks, clock, rng) = (Tasks::new(), Clock::system(), Rng::seeded(1));
        let store = Arc::new(MemoryStore::new());
        let server = ApiServer::in_memory(store, clock.clone(), rng.split(), &tasks).await;
        let client = Client::new(server.in_process(User::known("admin", ["system:masters"])));
        let informers = Informers::new(&client, &rng, &tasks);
        let signer = Arc::new(NoSigner);
        let ca_pem = "PEM".to_owned();
        let context = Context { client: client.clone(), informers: informers.clone(), clock, rng, ca_pem, signer };
        wkube_controllers::start(&context, &tasks);
        tasks.spawn("kubelet", kubelet(client.clone(), informers));
        Self { client, tasks }
    }

    async fn create<K: Kind>(&self, object: Value) -> K {
        let object: K = typed(object);
        Api::<K>::new(&self.client).create(&object).await.expect("created")
    }

    async fn get<K: Kind>(&self, name: &str) -> Option<K> {
        Api::<K>::new(&self.client).find(&key(name)).await.expect("an answer")
    }

    async fn list<K: Kind>(&self) -> Vec<K> {
        Api::<K>::new(&self.client).list(&Scope::namespace("default")).await.expect("a list").items
    }

    async fn patch<K: Kind>(&self, name: &str, body: Value) {
        Api::<K>::new(&self.client).patch(&key(name), &Patch::Strategic(body)).await.expect("patched");
    }

    async fn delete<K: Kind>(&self, name: &str, propagation: Propagation) {
        let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
        Api::<K>::new(&self.client).delete(&key(name), &options).await.expect("deleted");
    }

    async fn stop(self) {
        self.tasks.stop(Duration::from_secs(5)).await;
    }
}

fn typed<K: DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).expect("a valid object")
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

/// Waits until `look` finds what it looks for.
async fn wait<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, looking).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// A scheduler and a node in one: every pod runs at once, those of Jobs end at once, those deleted go at once.
async fn kubelet(client: Client, informers: Informers) {
    let pods = informers.lister::<Pod>();
    let api = Api::<Pod>::new(&client);
    let mut progress = pods.progress();
    let mut address = 0;
    loop {
        for pod in pods.all() {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
            if pod.is_deleting() {
                let _ = api.delete(&pod.key(), &DeleteOptions::of_uid(pod.uid()).grace(0)).await;
            } else if !matches!(phase, "Running" | "Succeeded" | "Failed") {
                address += 1;
                let is_job = pod.controller_owner().is_some_and(|owner| owner.kind == "Job");
                let phase = if is_job { "Succeeded" } else { "Running" };
                let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": Timestamp::now() });
                let ip = format!("10.42.0.{address}");
                let status = json!({
                    "phase": phase, "podIP": ip, "podIPs": [{ "ip": ip }],
                    "conditions": if is_job { json!([]) } else { json!([ready]) },
                });
                let _ = api.patch_status(&pod.key(), &Patch::Strategic(json!({ "status": status }))).await;
            }
        }
        if progress.changed().await.is_err() {
            return;
        }
    }
}

fn deployment(replicas: i32, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "main", "image": image }] },
            },
        },
    })
}

/// Waits until the Deployment reports exactly so many pods, all new and available.
async fn rolled_out(cluster: &Cluster, replicas: i32) {
    wait(&format!("{replicas} replicas"), async || {
        let deployment = cluster.get::<Deployment>("web").await?;
        let status = deployment.status.clone().unwrap_or_default();
        let counts = [status.replicas, status.updated_replicas, status.available_replicas];
        let is_current = status.observed_generation == deployment.metadata.generation;
        (is_current && counts.iter().all(|count| count.unwrap_or_default() == replicas)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_deployment_rolls_out_scales_updates_and_goes() {
    let cluster = Cluster::start().await;
    cluster.create::<Deployment>(deployment(3, "hello:1")).await;
    rolled_out(&cluster, 3).await;

    cluster.patch::<Deployment>("web", json!({ "spec": { "replicas": 5 } })).await;
    rolled_out(&cluster, 5).await;

    let container = json!([{ "name": "main", "image": "hello:2" }]);
    cluster
        .patch::<Deployment>("web", json!({ "spec": { "template": { "spec": { "containers": container } } } }))
        .await;
    rolled_out(&cluster, 5).await;
    let images: Vec<String> = cluster
        .list::<Pod>()
        .await
        .into_iter()
        .filter(|pod| !pod.is_deleting())
        .filter_map(|pod| pod.spec.and_then(|spec| spec.containers[0].image.clone()))
        .collect();
    assert_eq!(images, ["hello:2"; 5]);
    assert_eq!(cluster.list::<ReplicaSet>().await.len(), 2, "the old set stays as history");

    let told = cluster.list::<Event>().await.into_iter().filter_map(|event| event.message).collect::<Vec<_>>();
    assert!(told.iter().any(|message| message.starts_with("Scaled up replica set web-")), "{told:?}");

    cluster.delete::<Deployment>("web", Propagation::Background).await;
    wait("everything to be collected", async || {
        (cluster.list::<ReplicaSet>().await.is_empty() && cluster.list::<Pod>().await.is_empty()).then_some(())
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_foreground_deletion_takes_dependents_first_and_orphans_stay() {
    let cluster = Cluster::start().await;
    cluster.create::<Deployment>(deployment(2, "hello:1")).await;
    rolled_out(&cluster, 2).await;
    cluster.delete::<Deployment>("web", Propagation::Orphan).await;
    wait("the deployment to go", async || cluster.get::<Deployment>("web").await.is_none().then_some(())).await;
    let orphan = cluster.list::<ReplicaSet>().await.remove(0);
    assert_eq!(orphan.metadata.owner_references.unwrap_or_default(), []);

    // A new Deployment with the same template adopts the set and its pods.
    cluster.create::<Deployment>(deployment(2, "hello:1")).await;
    rolled_out(&cluster, 2).await;
    assert_eq!(cluster.list::<ReplicaSet>().await.len(), 1);

    cluster.delete::<Deployment>("web", Propagation::Foreground).await;
    wait("the deployment to go", async || cluster.get::<Deployment>("web").await.is_none().then_some(())).await;
    assert!(cluster.list::<Pod>().await.is_empty() && cluster.list::<ReplicaSet>().await.is_empty());
    cluster.stop().await;
}

#[tokio::test]
async fn a_job_runs_to_its_end_and_counts_its_pods() {
    let cluster = Cluster::start().await;
    let template =
        json!({ "spec": { "restartPolicy": "Never", "containers": [{ "name": "main", "image": "job:1" }] } });
    cluster
        .create::<Job>(json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": { "name": "work", "namespace": "default" },
            "spec": { "completions": 4, "parallelism": 2, "completionMode": "Indexed", "template": template },
        }))
        .await;
    let status = wait("the job to complete", async || {
        let status = cluster.get::<Job>("work").await?.status?;
        let complete = status.conditions.iter().flatten().any(|condition| condition.type_ == "Complete");
        complete.then_some(status)
    })
    .await;
    assert_eq!((status.succeeded, status.completed_indexes.as_deref()), (Some(4), Some("0-3")));
    cluster.delete::<Job>("work", Propagation::Background).await;
    wait("its pods to go", async || cluster.list::<Pod>().await.is_empty().then_some(())).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_service_has_slices_and_endpoints_of_its_ready_pods() {
    let cluster = Cluster::start().await;
    cluster
        .create::<Service>(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "web", "namespace": "default" },
            "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": 8080 }] },
        }))
        .await;
    cluster.create::<Deployment>(deployment(2, "hello:1")).await;
    let addresses = wait("two endpoints", async || {
        let slices: Vec<EndpointSlice> = cluster.list().await;
        let ours = slices
            .into_iter()
            .filter(|slice| slice.labels().get("kubernetes.io/service-name").is_some_and(|name| name == "web"));
        let endpoints: Vec<_> = ours.flat_map(|slice| slice.endpoints.unwrap_or_default()).collect();
        let ready = endpoints
            .iter()
            .filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true));
        let addresses: Vec<String> = ready.flat_map(|endpoint| endpoint.addresses.clone()).collect();
        (addresses.len() == 2).then_some(addresses)
    })
    .await;
    let endpoints = wait("the endpoints object", async || {
        let subsets = cluster.get::<Endpoints>("web").await?.subsets?;
        let ips: Vec<String> = subsets
            .iter()
            .flat_map(|subset| subset.addresses.iter().flatten())
            .map(|address| address.ip.clone())
            .collect();
        (ips.len() == 2).then_some(ips)
    })
    .await;
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    assert_eq!(sorted(addresses), sorted(endpoints));

    cluster.delete::<Service>("web", Propagation::Background).await;
    wait("slices and endpoints to go", async || {
        let ours = |labels: &BTreeMap<String, String>| {
            labels.get("kubernetes.io/service-name").is_some_and(|name| name == "web")
        };
        let slices: Vec<EndpointSlice> = cluster.list().await;
        (cluster.get::<Endpoints>("web").await.is_none() && !slices.iter().any(|slice| ours(slice.labels())))
            .then_some(())
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_namespace_is_furnished_and_empties_when_it_is_deleted() {
    let cluster = Cluster::start().await;
    cluster
        .create::<Namespace>(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "team" } }))
        .await;
    let within = |name: &str| ObjectKey::new("team", name);
    wait("the account and the CA", async || {
        let account = Api::<ServiceAccount>::new(&cluster.client).find(&within("default")).await.expect("an answer")?;
        let root_ca =
            Api::<ConfigMap>::new(&cluster.client).find(&within("kube-root-ca.crt")).await.expect("an answer")?;
        assert_eq!(account.name(), "default");
        assert_eq!(root_ca.data.and_then(|data| data.get("ca.crt").cloned()).as_deref(), Some("PEM"));
        Some(())
    })
    .await;
    let mut inside = deployment(2, "hello:1");
    inside["metadata"]["namespace"] = json!("team");
    cluster.create::<Deployment>(inside).await;
    let namespaces = Api::<Namespace>::new(&cluster.client);
    namespaces.delete(&ObjectKey::cluster("team"), &DeleteOptions::default()).await.expect("deleted");
    wait("the namespace to go", async || {
        namespaces.find(&ObjectKey::cluster("team")).await.expect("an answer").is_none().then_some(())
    })
    .await;
    let left = Api::<Pod>::new(&cluster.client).list(&Scope::namespace("team")).await.expect("a list");
    assert!(left.items.is_empty());
    cluster.stop().await;
}

#[tokio::test]
async fn nodes_get_addresses_of_their_own() {
    let cluster = Cluster::start().await;
    for name in ["n1", "n2", "n3"] {
        cluster.create::<Node>(json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } })).await;
    }
    let nodes = Api::<Node>::new(&cluster.client);
    let mut ranges = wait("three ranges", async || {
        let nodes = nodes.list(&Scope::all()).await.expect("a list").items;
        let ranges: Vec<String> = nodes.into_iter().filter_map(|node| node.spec?.pod_cidr).collect();
        (ranges.len() == 3).then_some(ranges)
    })
    .await;
    ranges.sort();
    assert_eq!(ranges, ["10.42.0.0/24", "10.42.1.0/24", "10.42.2.0/24"]);
    cluster.stop().await;
}

#[tokio::test]
async fn a_cron_job_makes_jobs_by_the_clock_and_keeps_few() {
    let cluster = Cluster::start().await;
    let template = json!({ "spec": { "template": { "spec": {
        "restartPolicy": "Never", "containers": [{ "name": "main", "image": "job:1" }] } } } });
    cluster
        .create::<CronJob>(json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": "tick", "namespace": "default" },
            "spec": { "schedule": "@every 1s", "successfulJobsHistoryLimit": 1, "jobTemplate": template },
        }))
        .await;
    // Job names have minutes in them, so that a second one comes with the next minute; one is enough here.
    let status = wait("a job to succeed", async || {
        cluster.get::<CronJob>("tick").await?.status.filter(|status| status.last_successful_time.is_some())
    })
    .await;
    assert!(status.last_schedule_time.is_some());
    let jobs = cluster.list::<Job>().await;
    assert!(jobs.iter().all(|job| job.controller_owner().is_some_and(|owner| owner.name == "tick")), "{jobs:?}");
    cluster.delete::<CronJob>("tick", Propagation::Background).await;
    wait("its jobs to go", async || cluster.list::<Job>().await.is_empty().then_some(())).await;
    cluster.stop().await;
}
