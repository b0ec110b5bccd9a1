//! Several servers over one store: one leads, and what a leader does that does not know that its term is over is refused.
//!
//! Each server has a thread's worth of tasks and a clock of its own, and moves only while a test waits for it: not to wait
//! for one is what SIGSTOP is to a process, and it notices as little.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use wkube_api::{Object, ObjectKey, fence};
use wkube_apiserver::ApiServer;
use wkube_apiserver::auth::User;
use wkube_base::{Clock, Rng, Tasks};
use wkube_client::api::Conflicts;
use wkube_client::election::Candidate;
use wkube_client::{Api, Client, Error, Patch, Scope};
use wkube_control::elect;
use wkube_store::{MemoryStore, Store};
use wkube_testkit::sim::objects::deployment;

const LEASE: &str = "kube-controller-manager";

/// A server, and whoever runs on it.
struct Process {
    name: &'static str,
    runtime: Runtime,
    server: ApiServer,
    clock: Clock,
    tasks: Tasks,
}

impl Process {
    /// Starts a server on `store` whose clock is wrong by `offset`.
    fn start(store: &Arc<dyn Store>, name: &'static str, offset: SignedDuration) -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let (runtime, tasks, rng) = (runtime.expect("a runtime without I/O starts"), Tasks::new(), rng());
        let begins: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let (server, clock) = runtime.block_on(async {
            let clock = Clock::simulated(begins + offset);
            (ApiServer::in_memory(Arc::clone(store), clock.clone(), rng, &tasks).await, clock)
        });
        Self { name, runtime, server, clock, tasks }
    }

    /// Lets it compete for the control plane.
    fn elect(self) -> Self {
        self.runtime.block_on(async { elect(&self.server, self.name.to_owned(), &self.clock, &rng(), &self.tasks) });
        self
    }

    /// Lets it compete, only to lead: its term's clients are put into the list that is returned.
    fn elect_idle(&self) -> Arc<Mutex<Vec<Client>>> {
        let (clients, client) = (Arc::new(Mutex::default()), self.client("system:kube-controller-manager", &[]));
        let candidate = Candidate {
            client: client.clone(),
            lease: ObjectKey::new("kube-system", LEASE),
            identity: self.name.to_owned(),
            clock: self.clock.clone(),
            rng: rng(),
        };
        let terms: Arc<Mutex<Vec<Client>>> = Arc::clone(&clients);
        self.runtime.block_on(async {
            candidate.run(&self.tasks, move |term, _| terms.lock().push(client.in_term(term)));
        });
        clients
    }

    fn client(&self, user: &str, groups: &[&str]) -> Client {
        Client::new(self.server.in_process(User::known(user, groups.iter().copied())))
    }

    fn admin(&self) -> Client {
        self.client("kubernetes-admin", &["system:masters"])
    }

    /// Lets it go on until `is_so`.
    fn until(&self, what: &str, is_so: impl AsyncFn(&Client) -> bool) {
        let admin = self.admin();
        self.runtime.block_on(async {
            let ends = Instant::now() + Duration::from_mins(5);
            while !is_so(&admin).await {
                assert!(Instant::now() < ends, "{}: {what}: not within five simulated minutes", self.name);
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        });
    }

    fn until_it_leads(&self) {
        self.until("it leads", async |admin| holder(admin).await.as_deref() == Some(self.name));
    }

    /// Lets it go on for this long.
    fn run_for(&self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    /// Applies a Deployment of two pods.
    fn apply(&self, name: &str) {
        let (key, object) = (ObjectKey::new("default", name), deployment(name, 2, "web:1"));
        let patch = Patch::Apply { object, manager: "user".to_owned(), conflicts: Conflicts::Force };
        let admin = self.admin();
        let applied = self.runtime.block_on(async {
            let deployments = Api::<Object>::of_collection(&admin, "apps", "v1", "deployments");
            deployments.patch(&key, &patch).await.map(drop)
        });
        applied.expect("a Deployment is taken");
    }

    /// Returns how many `ReplicaSet`s and pods there are.
    fn made(&self) -> (usize, usize) {
        let admin = self.admin();
        self.runtime.block_on(made(&admin))
    }

    fn lease(&self) -> LeaseSpec {
        let admin = self.admin();
        self.runtime.block_on(lease(&admin)).and_then(|lease| lease.spec).expect("somebody has claimed it")
    }
}

fn rng() -> Rng {
    Rng::seeded(7)
}

async fn lease(admin: &Client) -> Option<Lease> {
    Api::<Lease>::new(admin).find(&ObjectKey::new("kube-system", LEASE)).await.expect("readable")
}

async fn holder(admin: &Client) -> Option<String> {
    lease(admin).await?.spec?.holder_identity
}

async fn made(admin: &Client) -> (usize, usize) {
    let scope = Scope::namespace("default");
    let sets = Api::<ReplicaSet>::new(admin).list(&scope).await.expect("readable");
    let pods = Api::<Pod>::new(admin).list(&scope).await.expect("readable");
    (sets.items.len(), pods.items.len())
}

fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

#[test]
fn a_leader_that_was_paused_makes_nothing_when_it_wakes_up() {
    let store = store();
    let paused = Process::start(&store, "paused", SignedDuration::ZERO).elect();
    paused.until_it_leads();
    paused.apply("before");
    paused.until("it makes what it is asked for", async |admin| made(admin).await == (1, 2));
    // From here on it does not move. The other one leads, but makes nothing, so that it is known who made what.
    let idle = Process::start(&store, "idle", SignedDuration::ZERO);
    let _terms = idle.elect_idle();
    idle.until_it_leads();
    idle.apply("after");
    // Its clock stood still, too: for itself its term goes on, and the first thing it sees is work to do. Not for longer
    // than a term, for now the other one does not move.
    paused.run_for(Duration::from_secs(10));
    assert_eq!(paused.made(), (1, 2));
    assert_eq!((idle.lease().holder_identity.as_deref(), idle.lease().lease_transitions), (Some("idle"), Some(1)));
    // Elected again, it does it.
    idle.runtime.block_on(async { idle.tasks.stop(Duration::from_secs(5)).await });
    paused.until("it makes what it was asked for", async |admin| made(admin).await == (2, 4));
}

#[test]
fn a_write_belongs_to_the_term_of_its_client() {
    let process = Process::start(&store(), "only", SignedDuration::ZERO);
    let terms = process.elect_idle();
    process.until_it_leads();
    let write = |term: usize, name: &str| {
        let client = terms.lock()[term].clone();
        let pod: Result<Pod, _> = serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "namespace": "default"}, "spec": {"containers": [{"name": "c", "image": "i"}]},
        }));
        let pod = pod.expect("a pod");
        process.runtime.block_on(async { Api::<Pod>::new(&client).create(&pod).await.map(drop) })
    };
    write(0, "in-its-term").expect("it leads");
    process.run_for(Duration::from_secs(30));
    write(0, "after-renewals").expect("it still leads");
    // Somebody takes the lease away; the same candidate gets it again, in another term.
    let admin = process.admin();
    let deleted = process.runtime.block_on(async {
        let leases = Api::<Lease>::new(&admin);
        leases.delete(&ObjectKey::new("kube-system", LEASE), &wkube_client::DeleteOptions::default()).await
    });
    deleted.expect("an admin may");
    fenced(write(0, "without-a-lease"));
    process.until("it leads again", async |_| terms.lock().len() == 2);
    fenced(write(0, "of-another-term"));
    write(1, "in-its-other-term").expect("it leads again");
    assert_eq!(process.made(), (0, 3));
}

fn fenced(written: Result<(), Error>) {
    let error = written.expect_err("the term is over");
    let status = error.status().expect("the server answered");
    assert_eq!((status.code, status.reason.as_str()), (409, fence::FENCED), "{}", status.message);
}

#[test]
fn servers_whose_clocks_are_a_minute_apart_agree_who_leads() {
    let store = store();
    let ahead = Process::start(&store, "ahead", SignedDuration::from_secs(60)).elect();
    ahead.until_it_leads();
    let behind = Process::start(&store, "behind", SignedDuration::ZERO).elect();
    ahead.apply("web");
    for _second in 0..60 {
        for process in [&ahead, &behind] {
            process.run_for(Duration::from_secs(1));
            assert_eq!(process.lease().holder_identity.as_deref(), Some("ahead"));
        }
    }
    assert_eq!((ahead.lease().lease_transitions, behind.made()), (Some(0), (1, 2)));
    // The one ahead stops without a word. For the other its last sign of life came from the future: it takes no longer.
    drop(ahead);
    behind.run_for(Duration::from_secs(20));
    let lease = behind.lease();
    assert_eq!((lease.holder_identity.as_deref(), lease.lease_transitions), (Some("behind"), Some(1)));
    behind.apply("more");
    behind.until("it makes what it is asked for", async |admin| made(admin).await == (2, 4));
}
