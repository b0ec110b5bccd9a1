//! Foreign controllers run unmodified: kube-rs' own watcher, reflector, controller and finalizer against this API server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_client::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube_client::{Api, Client, ResourceExt as _};
use kube_core::Resource as _;
use kube_runtime::controller::Action;
use kube_runtime::finalizer::{self, Event};
use kube_runtime::{Controller, WatchStreamExt as _, reflector, watcher};
use parking_lot::Mutex;
use wkube_apiserver::auth::User;
use wkube_base::{Clock, Rng, Tasks};
use wkube_control::{ApiServer, start_components};
use wkube_store::MemoryStore;

use crate::wait::until;

const FINALIZER: &str = "example.com/tidy";

/// An API server with its own controllers, and kube-rs' client on it.
pub(crate) struct World {
    pub(crate) client: Client,
    tasks: Tasks,
}

impl World {
    pub(crate) async fn new() -> Self {
        let (tasks, clock, rng) = (Tasks::new(), Clock::system(), Rng::from_entropy());
        let server = ApiServer::in_memory(Arc::new(MemoryStore::new()), clock.clone(), rng.split(), &tasks).await;
        start_components(&server, &clock, &rng, &tasks);
        let admin = User::known("kubernetes-admin", ["system:masters"]);
        let client = wkube_client::Client::new(server.in_process(admin)).kube();
        Self { client, tasks }
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), "default")
    }

    pub(crate) async fn end(self) {
        self.tasks.stop(Duration::from_secs(5)).await;
    }
}

fn config_map(name: &str, labels: &[(&str, &str)], value: &str) -> ConfigMap {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("value".to_owned(), value.to_owned())])),
        ..ConfigMap::default()
    }
}

#[tokio::test]
async fn a_reflector_follows_what_is_created_changed_and_deleted() {
    let world = World::new().await;
    let maps = world.config_maps();
    maps.create(&PostParams::default(), &config_map("before", &[("app", "x")], "1")).await.expect("created");
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let (store, writer) = reflector::store();
        let events = reflector(writer, watcher(world.config_maps(), config.labels("app=x"))).default_backoff();
        let following =
            tokio::task::JoinSet::from_iter([events.for_each(|event| async { drop(event.expect("an event")) })]);
        let value = |name: &str| {
            let found = store.state().into_iter().find(|map| map.name_any() == name);
            found.and_then(|map| map.data.as_ref()?.get("value").cloned())
        };
        until("the first list is there", async || value("before").as_deref() == Some("1")).await;
        maps.create(&PostParams::default(), &config_map("other", &[], "1")).await.expect("created");
        maps.create(&PostParams::default(), &config_map("after", &[("app", "x")], "1")).await.expect("created");
        until("a new object is there", async || value("after").is_some()).await;
        let patch = Patch::Merge(serde_json::json!({ "data": { "value": "2" } }));
        maps.patch("after", &PatchParams::default(), &patch).await.expect("patched");
        until("a change is there", async || value("after").as_deref() == Some("2")).await;
        maps.delete("after", &DeleteParams::default()).await.expect("deleted");
        until("a deleted object is gone", async || value("after").is_none()).await;
        assert_eq!(value("other"), None, "the selector holds");
        maps.delete("other", &DeleteParams::default()).await.expect("deleted");
        drop(following);
    }
    world.end().await;
}

/// Makes a copy of each `ConfigMap`, which belongs to it.
async fn copy(map: Arc<ConfigMap>, maps: Arc<Api<ConfigMap>>) -> Result<Action, kube_client::Error> {
    let mut child = config_map(&format!("{}-copy", map.name_any()), &[], "");
    child.data.clone_from(&map.data);
    child.metadata.owner_references = map.controller_owner_ref(&()).map(|owner| vec![owner]);
    let params = PatchParams::apply("copier").force();
    maps.patch(&child.name_any(), &params, &Patch::Apply(&child)).await?;
    Ok(Action::await_change())
}

#[tokio::test]
async fn a_controller_keeps_a_child_for_each_object_and_the_garbage_collector_takes_it() {
    let world = World::new().await;
    let maps = world.config_maps();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let controller = Controller::new(world.config_maps(), watcher::Config::default().labels("copy=yes"))
        .owns(world.config_maps(), watcher::Config::default())
        .graceful_shutdown_on(stopped.map(drop))
        .run(copy, |_, _, _| Action::requeue(Duration::from_millis(100)), Arc::new(world.config_maps()));
    let running = tokio::task::JoinSet::from_iter([controller.for_each(|_| async {})]);

    maps.create(&PostParams::default(), &config_map("one", &[("copy", "yes")], "1")).await.expect("created");
    let is = async |value: Option<&str>| {
        let copy = maps.get_opt("one-copy").await.expect("readable");
        copy.and_then(|copy| copy.data?.remove("value")).as_deref() == value
    };
    until("the copy is made", async || is(Some("1")).await).await;
    let patch = Patch::Merge(serde_json::json!({ "data": { "value": "2" } }));
    maps.patch("one", &PatchParams::default(), &patch).await.expect("patched");
    until("the copy follows", async || is(Some("2")).await).await;
    let first = maps.get("one-copy").await.expect("there").uid();
    maps.delete("one-copy", &DeleteParams::default()).await.expect("deleted");
    until("the copy is made again", async || {
        maps.get_opt("one-copy").await.expect("readable").is_some_and(|copy| copy.uid() != first)
    })
    .await;
    maps.delete("one", &DeleteParams::default()).await.expect("deleted");
    until("the copy goes with its owner", async || is(None).await).await;

    drop(stop);
    running.join_all().await;
    world.end().await;
}

#[tokio::test]
async fn the_finalizer_helper_cleans_up_before_an_object_goes() {
    let world = World::new().await;
    let maps = world.config_maps();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let reconcile = {
        let (maps, seen) = (world.config_maps(), Arc::clone(&seen));
        move |map: Arc<ConfigMap>, _: Arc<()>| {
            let (maps, seen) = (maps.clone(), Arc::clone(&seen));
            async move {
                finalizer::finalizer(&maps, FINALIZER, map, |event| async {
                    let line = match event {
                        Event::Apply(map) => format!("apply {}", map.name_any()),
                        Event::Cleanup(map) => format!("clean up {}", map.name_any()),
                    };
                    seen.lock().push(line);
                    Ok::<_, std::convert::Infallible>(Action::await_change())
                })
                .await
            }
        }
    };
    let controller = Controller::new(world.config_maps(), watcher::Config::default().labels("tidy=yes")).run(
        reconcile,
        |_, _, _| Action::requeue(Duration::from_millis(100)),
        Arc::new(()),
    );
    let running = tokio::task::JoinSet::from_iter([controller.for_each(|_| async {})]);

    maps.create(&PostParams::default(), &config_map("one", &[("tidy", "yes")], "1")).await.expect("created");
    until("the object is applied", async || seen.lock().iter().any(|line| line == "apply one")).await;
    assert_eq!(maps.get("one").await.expect("there").finalizers(), [FINALIZER]);
    maps.delete("one", &DeleteParams::default()).await.expect("deletion begins");
    until("the object is gone", async || maps.get_opt("one").await.expect("readable").is_none()).await;
    assert_eq!(seen.lock().last().map(String::as_str), Some("clean up one"));
    drop(running);
    world.end().await;
}
