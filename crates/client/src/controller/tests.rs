//! The shell's promises, against a scripted server and reconcilers that note what happens to them.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::api::{Api, Patch};
use crate::informers::Informers;
use crate::kind::Revision;
use crate::scripted::{Answer, Server, config_map, event, failure, initial_end};

/// Calls a closure for each key and notes when.
struct Noted<F> {
    calls: Arc<Mutex<Vec<(u64, String)>>>,
    start: Instant,
    act: F,
}

impl<F, T> Reconcile for Noted<F>
where
    F: Fn(usize, Client) -> T + Send + Sync + 'static,
    T: Future<Output = Result<Next, Error>> + Send,
{
    fn name(&self) -> &'static str {
        "noted"
    }

    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, Error> {
        let call = {
            let mut calls = self.calls.lock();
            calls.push((u64::try_from(self.start.elapsed().as_millis()).expect("short"), key.name.clone()));
            calls.len()
        };
        (self.act)(call, client.clone()).await
    }
}

struct Running {
    handle: Handle,
    calls: Arc<Mutex<Vec<(u64, String)>>>,
    tasks: Tasks,
}

/// Starts a controller of `ConfigMap`s over the server.
fn start<F, T>(server: &Server, act: F) -> Running
where
    F: Fn(usize, Client) -> T + Send + Sync + 'static,
    T: Future<Output = Result<Next, Error>> + Send + 'static,
{
    let (tasks, rng, client) = (Tasks::new(), Rng::seeded(1), server.client());
    let maps = Informers::new(&client, &rng, &tasks).lister::<ConfigMap>();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let reconciler = Noted { calls: Arc::clone(&calls), start: Instant::now(), act };
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH);
    let handle = Controller::new(reconciler, &rng).for_each(&maps).start(&client, &clock, &tasks);
    Running { handle, calls, tasks }
}

fn listed(names: &[&str]) -> Vec<serde_json::Value> {
    let mut lines: Vec<_> = names.iter().map(|name| event("ADDED", name, 3, "1")).collect();
    lines.push(initial_end(5));
    lines
}

async fn pass(duration: Duration) {
    tokio::time::sleep(duration).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_planned_before_the_caches_are_ready() {
    let (more, receiver) = mpsc::unbounded_channel();
    let server = Server::new([Answer::Live(vec![event("ADDED", "a", 3, "1")], receiver)]);
    let running = start(&server, |_, _| async { Ok(Next::Done) });
    running.handle.trigger(ObjectKey::new("default", "asked-early"));
    pass(Duration::from_secs(5)).await;
    assert_eq!(running.calls.lock().len(), 0);
    more.send(initial_end(4)).expect("open");
    pass(Duration::from_secs(5)).await;
    let names: Vec<String> = running.calls.lock().iter().map(|(_, name)| name.clone()).collect();
    assert_eq!(names, ["asked-early", "a"]);
}

#[tokio::test(start_paused = true)]
async fn a_failing_key_backs_off_while_the_others_go_on() {
    let server = Server::new([Answer::Hold(listed(&["a"]))]);
    let running =
        start(&server, |call, _| async move { if call < 4 { Err(Error::other("not yet")) } else { Ok(Next::Done) } });
    pass(Duration::from_mins(1)).await;
    let times: Vec<u64> = running.calls.lock().iter().map(|(at, _)| *at).collect();
    assert_eq!(times.len(), 4, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    assert_eq!(running.handle.metrics().failed.load(Ordering::Relaxed), 3);
    assert_eq!(running.handle.metrics().succeeded.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_of_that_key_only() {
    let server = Server::new([Answer::Hold(listed(&["a"]))]);
    let running = start(&server, |call, _| async move {
        assert!(call != 1, "the first call panics");
        Ok(Next::Done)
    });
    pass(Duration::from_mins(1)).await;
    assert_eq!(running.calls.lock().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_key_comes_back_at_the_time_it_names() {
    let server = Server::new([Answer::Hold(listed(&["a"]))]);
    let at = Timestamp::from_second(30).expect("in range");
    let running =
        start(&server, move |call, _| async move { Ok(if call == 1 { Next::from(Some(at)) } else { Next::Done }) });
    pass(Duration::from_mins(1)).await;
    let times: Vec<u64> = running.calls.lock().iter().map(|(millis, _)| millis / 1000).collect();
    assert_eq!(times, [0, 30]);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_not_looked_at_again_before_the_cache_shows_its_own_write() {
    let (more, receiver) = mpsc::unbounded_channel();
    let server = Server::new([Answer::Live(listed(&["a"]), receiver), Answer::Document(200, config_map("a", 9, "2"))]);
    let running = start(&server, |call, client| async move {
        if call == 1 {
            let key = ObjectKey::new("default", "a");
            Api::<ConfigMap>::new(&client).patch(&key, &Patch::Merge(json!({ "data": { "v": "2" } }))).await?;
        }
        Ok(Next::Done)
    });
    pass(Duration::from_secs(1)).await;
    running.handle.trigger(ObjectKey::new("default", "a"));
    more.send(event("ADDED", "other", 8, "1")).expect("open");
    pass(Duration::from_secs(1)).await;
    let names: Vec<String> = running.calls.lock().iter().map(|(_, name)| name.clone()).collect();
    assert_eq!(names, ["a", "other"], "the cache is at 8 and the write at 9; others are not held up");
    more.send(event("MODIFIED", "a", 9, "2")).expect("open");
    pass(Duration::from_secs(1)).await;
    assert_eq!(running.calls.lock().last().expect("called").1, "a");
    assert_eq!(running.handle.metrics().impatient.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_never_shows_the_write_holds_a_key_up_only_for_a_while() {
    let server = Server::new([Answer::Hold(listed(&["a"])), Answer::Document(200, config_map("a", 9, "2"))]);
    let running = start(&server, |call, client| async move {
        if call == 1 {
            Api::<ConfigMap>::new(&client).replace(&ConfigMap::default()).await?;
        }
        Ok(Next::After(Duration::ZERO)).map(|next| if call == 1 { next } else { Next::Done })
    });
    pass(CATCH_UP_MAX.mul_f64(0.9)).await;
    assert_eq!(running.calls.lock().len(), 1);
    pass(Duration::from_secs(2)).await;
    assert_eq!(running.calls.lock().len(), 2);
    assert_eq!(running.handle.metrics().impatient.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn no_more_keys_are_worked_on_at_once_than_there_are_workers() {
    let names: Vec<String> = (0..40).map(|number| format!("m{number:02}")).collect();
    let server = Server::new([Answer::Hold(listed(&names.iter().map(String::as_str).collect::<Vec<_>>()))]);
    let (now, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let peak = Arc::clone(&most);
    let running = start(&server, move |_, _| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            pass(Duration::from_millis(10)).await;
            now.fetch_sub(1, Ordering::Relaxed);
            Ok(Next::Done)
        }
    });
    pass(Duration::from_secs(5)).await;
    assert_eq!(running.calls.lock().len(), 40);
    assert_eq!(peak.load(Ordering::Relaxed), WORKERS as u64);
    running.tasks.stop(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_request_is_tried_again() {
    let server = Server::new([
        Answer::Hold(listed(&["a"])),
        Answer::Document(409, failure(409, "Conflict")),
        Answer::Cut,
        Answer::Document(200, config_map("a", 4, "2")),
    ]);
    let running = start(&server, |_, client| async move {
        Api::<ConfigMap>::new(&client).get(&ObjectKey::new("default", "a")).await?;
        Ok(Next::Done)
    });
    pass(Duration::from_mins(1)).await;
    assert_eq!(running.calls.lock().len(), 3);
}

#[test]
fn an_owner_counts_only_if_it_is_the_controller_and_of_the_right_kind() {
    let set_of = |owner: serde_json::Value| ReplicaSet {
        metadata: serde_json::from_value::<ObjectMeta>(
            json!({ "name": "rs", "namespace": "ns", "ownerReferences": [owner] }),
        )
        .expect("valid"),
        ..ReplicaSet::default()
    };
    let owner = |version: &str, kind: &str, controller: bool| json!({ "apiVersion": version, "kind": kind, "name": "web", "uid": "1", "controller": controller });
    let find = |set: ReplicaSet| owner_key::<Deployment, ReplicaSet>(&set);
    assert_eq!(find(set_of(owner("apps/v1", "Deployment", true))), Some(ObjectKey::new("ns", "web")));
    assert_eq!(find(set_of(owner("apps/v1beta1", "Deployment", true))).map(|key| key.name).as_deref(), Some("web"));
    assert_eq!(find(set_of(owner("apps/v1", "Deployment", false))), None);
    assert_eq!(find(set_of(owner("apps/v1", "StatefulSet", true))), None);
    assert_eq!(find(set_of(owner("v1", "Deployment", true))), None);
    assert_eq!(Revision::default(), Revision(0));
}
