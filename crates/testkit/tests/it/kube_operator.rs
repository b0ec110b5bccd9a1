//! An operator as people write them with kube-rs runs unmodified: its own kind, a finalizer, server-side apply of what it
//! keeps, a status, and watches that stream their first list.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_client::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube_client::{Api, Client, ResourceExt as _};
use kube_core::{ApiResource, DynamicObject, GroupVersionKind, Resource as _};
use kube_runtime::controller::Action;
use kube_runtime::finalizer::{self, Event};
use kube_runtime::wait::{await_condition, conditions};
use kube_runtime::{Controller, watcher};
use parking_lot::Mutex;
use serde_json::json;

use crate::kube_runtime::World;
use crate::wait::until;

const FINALIZER: &str = "orchards.example.com/fell";

fn definition() -> CustomResourceDefinition {
    let spec = json!({"type": "object", "properties": {
        "trees": {"type": "integer", "minimum": 0}, "fruit": {"type": "string", "default": "apples"}}});
    let status = json!({"type": "object", "properties": {"planted": {"type": "integer"}}});
    let schema = json!({"type": "object", "properties": {"spec": spec, "status": status}});
    let version = json!({"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema}});
    serde_json::from_value(json!({
        "metadata": {"name": "orchards.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "versions": [version],
            "names": {"plural": "orchards", "singular": "orchard", "kind": "Orchard", "listKind": "OrchardList"}},
    }))
    .expect("a definition")
}

fn orchard(kind: &ApiResource, name: &str, trees: u64) -> DynamicObject {
    DynamicObject::new(name, kind).data(json!({"spec": {"trees": trees}}))
}

/// What the operator works with.
struct Operator {
    client: Client,
    kind: ApiResource,
    felled: Mutex<Vec<String>>,
}

impl Operator {
    fn orchards(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), "default", &self.kind)
    }

    fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Applies a map with a line for each tree, and tells the status.
    async fn plant(&self, orchard: &DynamicObject) -> Result<Action, kube_client::Error> {
        let trees = orchard.data["spec"]["trees"].as_u64().unwrap_or_default();
        let fruit = &orchard.data["spec"]["fruit"];
        let data: serde_json::Map<_, _> = (0..trees).map(|number| (format!("tree-{number}"), fruit.clone())).collect();
        let name = format!("{}-trees", orchard.name_any());
        let owner = orchard.controller_owner_ref(&self.kind);
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": [owner]}, "data": data});
        let params = PatchParams::apply("orchards").force();
        self.maps().patch(&name, &params, &Patch::Apply(&map)).await?;
        let status = json!({"apiVersion": "example.com/v1", "kind": "Orchard", "status": {"planted": trees}});
        self.orchards().patch_status(&orchard.name_any(), &params, &Patch::Apply(&status)).await?;
        Ok(Action::requeue(Duration::from_mins(1)))
    }
}

async fn reconcile(
    orchard: Arc<DynamicObject>,
    operator: Arc<Operator>,
) -> Result<Action, finalizer::Error<kube_client::Error>> {
    let orchards = operator.orchards();
    finalizer::finalizer(&orchards, FINALIZER, orchard, |event| async {
        match event {
            Event::Apply(orchard) => operator.plant(&orchard).await,
            Event::Cleanup(orchard) => {
                operator.felled.lock().push(orchard.name_any());
                Ok(Action::await_change())
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_operator_manages_its_own_kind() {
    let world = World::new().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    definitions.create(&PostParams::default(), &definition()).await.expect("created");
    let established = await_condition(definitions.clone(), "orchards.example.com", conditions::is_crd_established());
    tokio::time::timeout(Duration::from_secs(30), established).await.expect("in time").expect("established");

    let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("example.com", "v1", "Orchard"), "orchards");
    let operator = Arc::new(Operator { client: world.client.clone(), kind: kind.clone(), felled: Mutex::default() });
    let (orchards, maps) = (operator.orchards(), operator.maps());
    orchards.create(&PostParams::default(), &orchard(&kind, "early", 1)).await.expect("created");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let streaming = || watcher::Config::default().streaming_lists();
    let controller = Controller::new_with(orchards.clone(), streaming(), kind.clone())
        .owns(maps.clone(), streaming())
        .graceful_shutdown_on(stopped.map(drop))
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_millis(100)), Arc::clone(&operator));
    let running = tokio::task::JoinSet::from_iter([controller.for_each(|_| async {})]);

    orchards.create(&PostParams::default(), &orchard(&kind, "new", 3)).await.expect("created");
    let planted = async |name: &str| orchards.get(name).await.expect("there").data["status"]["planted"].as_u64();
    until("what was there is planted", async || planted("early").await == Some(1)).await;
    until("what is new is planted", async || planted("new").await == Some(3)).await;
    let trees = maps.get("new-trees").await.expect("applied").data.expect("trees");
    assert_eq!(trees.get("tree-2").map(String::as_str), Some("apples"), "the schema's default");
    let grown = Patch::Merge(json!({"spec": {"trees": 2}}));
    orchards.patch("new", &PatchParams::default(), &grown).await.expect("patched");
    until("two are left", async || planted("new").await == Some(2)).await;
    let trees = maps.get("new-trees").await.expect("applied").data.expect("trees");
    assert_eq!(trees.len(), 2, "apply takes away what is applied no more");
    maps.delete("new-trees", &DeleteParams::default()).await.expect("deleted");
    until("a lost child comes back", async || maps.get_opt("new-trees").await.expect("readable").is_some()).await;

    orchards.delete("new", &DeleteParams::default()).await.expect("deletion begins");
    until("it goes", async || orchards.get_opt("new").await.expect("readable").is_none()).await;
    assert_eq!(*operator.felled.lock(), ["new"], "cleaned up before");
    until("with its child", async || maps.get_opt("new-trees").await.expect("readable").is_none()).await;
    drop(stop);
    running.join_all().await;
    world.end().await;
}
