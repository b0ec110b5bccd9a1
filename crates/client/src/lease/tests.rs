//! Making a lease and keeping it fresh.

use serde_json::Value;
use wkube_base::Tasks;

use super::*;
use crate::scripted::{Answer, Server, failure};

fn lease() -> Answer {
    Answer::Document(
        200,
        json!({ "metadata": { "name": "n1", "namespace": NODE_LEASE_NAMESPACE, "resourceVersion": "3" } }),
    )
}

fn keep(server: &Server) -> Tasks {
    let (tasks, clock) = (Tasks::new(), Clock::simulated(Timestamp::UNIX_EPOCH));
    tasks.spawn("lease", keep_node_lease(server.client(), clock, Rng::seeded(1), "n1".into(), None));
    tasks
}

#[tokio::test(start_paused = true)]
async fn a_missing_lease_is_made_and_an_existing_one_renewed_every_ten_seconds() {
    let missing = Answer::Document(404, failure(404, "NotFound"));
    let server = Server::new([missing].into_iter().chain((0..10).map(|_| lease())));
    let _tasks = keep(&server);
    tokio::time::sleep(Duration::from_secs(35)).await;
    let path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let renewal = format!("PATCH {path}/n1");
    assert_eq!(server.lines(), [renewal.clone(), format!("POST {path}"), renewal.clone(), renewal.clone(), renewal]);
    let spec = |index: usize| -> Value { server.requests()[index].body["spec"].clone() };
    assert_eq!(spec(1)["holderIdentity"], "n1");
    assert_eq!(spec(1)["leaseDurationSeconds"], 40);
    assert!(spec(2)["renewTime"].as_str() > spec(1)["renewTime"].as_str(), "{} {}", spec(1), spec(2));
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_is_tried_again_well_before_the_lease_runs_out() {
    let server = Server::new([Answer::Cut, Answer::Cut, Answer::Cut, lease()]);
    let _tasks = keep(&server);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(server.lines().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_hangs_is_given_up() {
    let server = Server::new([]);
    let _tasks = keep(&server);
    tokio::time::sleep(NODE_LEASE_DURATION).await;
    assert!(server.lines().len() >= 3, "{:?}", server.lines());
}
