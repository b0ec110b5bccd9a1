//! One kind's whole life through the API, as most conformance tests named "should support X API operations" walk it:
//! found in discovery, created, read, listed, watched, patched, replaced, applied, its status written, deleted alone and
//! by the dozen.

use serde_json::{Value, json};

use super::world::{APPLY, Answer, World, at, object};

/// How often a controller may be faster.
const CONFLICTS_MAX: usize = 20;

/// A kind, and an object of it without its metadata.
pub(crate) struct Life {
    api_version: &'static str,
    plural: &'static str,
    kind: &'static str,
    body: Value,
    names: [&'static str; 3],
    namespace: Option<&'static str>,
    status: Option<Value>,
}

impl Life {
    /// A kind of the cluster.
    pub(crate) fn of_cluster(api_version: &'static str, plural: &'static str, kind: &'static str, body: Value) -> Self {
        let names = ["life-one", "life-two", "life-three"];
        Self { api_version, plural, kind, body, names, namespace: None, status: None }
    }

    /// A kind whose objects live in namespaces.
    pub(crate) fn of(api_version: &'static str, plural: &'static str, kind: &'static str, body: Value) -> Self {
        Self { namespace: Some("life"), ..Self::of_cluster(api_version, plural, kind, body) }
    }

    /// Names its three objects, where names have a form.
    pub(crate) fn named(self, names: [&'static str; 3]) -> Self {
        Self { names, ..self }
    }

    /// Walks its status, too.
    pub(crate) fn with_status(self, status: Value) -> Self {
        Self { status: Some(status), ..self }
    }

    fn root(&self) -> String {
        let folder = if self.api_version.contains('/') { "apis" } else { "api" };
        format!("/{folder}/{}", self.api_version)
    }

    fn everywhere(&self) -> String {
        format!("{}/{}", self.root(), self.plural)
    }

    fn collection(&self) -> String {
        match self.namespace {
            Some(namespace) => format!("{}/namespaces/{namespace}/{}", self.root(), self.plural),
            None => self.everywhere(),
        }
    }

    fn one(&self) -> String {
        format!("{}/{}", self.collection(), self.names[0])
    }

    fn object(&self, name: &str) -> Value {
        let mut object = object(self.api_version, self.kind, name, &self.body);
        object["metadata"]["labels"] = json!({"life": "yes"});
        object
    }

    /// Walks it.
    pub(crate) async fn walk(self) {
        let world = World::new().await;
        if let Some(namespace) = self.namespace {
            world.namespace(namespace).await;
        }
        self.is_discovered(&world).await;
        let revision = self.is_created_and_read(&world).await;
        let path = format!("{}?watch=true&labelSelector=life%3Dyes&resourceVersion={revision}", self.everywhere());
        let mut watch = world.watch(&path).await;
        self.is_changed(&world).await;
        for step in ["patched", "replaced", "applied"] {
            let event = watch.find(&format!("MODIFIED {}", self.names[0])).await;
            assert_eq!(at(&event, "/metadata/annotations/step"), step);
        }
        if let Some(status) = &self.status {
            self.has_a_status(&world, status).await;
        }
        world.delete(&self.one()).await.is(200);
        watch.find(&format!("DELETED {}", self.names[0])).await;
        assert_eq!(world.get(&self.one()).await.is(404).at("/reason"), "NotFound");
        self.is_deleted_by_the_dozen(&world).await;
        world.end().await;
    }

    async fn is_discovered(&self, world: &World) {
        let resources = world.get(&self.root()).await.is(200);
        assert_eq!(resources.at("/groupVersion"), self.api_version);
        let names: Vec<&str> = resources.body["resources"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|each| each["name"].as_str())
            .collect();
        assert!(names.contains(&self.plural), "{names:?}");
        let has_status = names.contains(&format!("{}/status", self.plural).as_str());
        assert_eq!(has_status, self.status.is_some(), "the walk knows whether the kind has a status");
    }

    async fn is_created_and_read(&self, world: &World) -> String {
        let made = world.post(&self.collection(), &self.object(self.names[0])).await.is(201);
        for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
            assert_ne!(made.at(&format!("/metadata/{field}")), "", "the server sets {field}");
        }
        let again = world.post(&self.collection(), &self.object(self.names[0])).await.is(409);
        assert_eq!(again.at("/reason"), "AlreadyExists");
        let read = world.get(&self.one()).await.is(200);
        assert_eq!(read.at("/metadata/uid"), made.at("/metadata/uid"));
        for list in [self.collection(), self.everywhere()] {
            let list = world.get(&format!("{list}?labelSelector=life%3Dyes")).await.is(200);
            assert_eq!(list.names(), [self.names[0]]);
            assert_eq!(list.at("/kind"), format!("{}List", self.kind));
        }
        let none = world.get(&format!("{}?labelSelector=life%3Dno", self.everywhere())).await.is(200);
        assert!(none.names().is_empty());
        none.at("/metadata/resourceVersion")
    }

    /// Replaces the newest object by itself with another annotation, and with a change; again if somebody was faster.
    async fn replace(&self, world: &World, path: &str, step: &str, change: impl Fn(&mut Value)) -> Answer {
        for _ in 0..CONFLICTS_MAX {
            let mut read = world.get(&self.one()).await.is(200);
            read.body["metadata"]["annotations"]["step"] = step.into();
            change(&mut read.body);
            let replaced = world.put(path, &read.body).await;
            if replaced.code != 409 {
                return replaced.is(200);
            }
        }
        panic!("{CONFLICTS_MAX} conflicts in a row");
    }

    async fn is_changed(&self, world: &World) {
        let stale = world.get(&self.one()).await.is(200);
        let patched =
            world.patch(&self.one(), &json!({"metadata": {"annotations": {"step": "patched"}}})).await.is(200);
        assert_ne!(patched.at("/metadata/resourceVersion"), stale.at("/metadata/resourceVersion"));
        assert_eq!(world.put(&self.one(), &stale.body).await.is(409).at("/reason"), "Conflict");
        let replaced = self.replace(world, &self.one(), "replaced", |_| {}).await;
        assert_eq!(replaced.at("/metadata/annotations/step"), "replaced");
        assert_eq!(replaced.at("/metadata/uid"), stale.at("/metadata/uid"));
        let annotation = json!({"metadata": {"annotations": {"step": "applied"}}});
        let applied = object(self.api_version, self.kind, self.names[0], &annotation);
        let path = format!("{}?fieldManager=walker&force=true", self.one());
        let applied = world.call("PATCH", &path, APPLY, &applied).await.is(200);
        assert_eq!(applied.at("/metadata/annotations/step"), "applied");
        assert!(applied.at("/metadata/managedFields").contains("\"walker\""));
    }

    async fn has_a_status(&self, world: &World, status: &Value) {
        let path = format!("{}/status", self.one());
        assert_eq!(world.get(&path).await.is(200).at("/kind"), self.kind);
        let (field, wanted) =
            status.as_object().and_then(|status| status.iter().next()).expect("a field of the status");
        let pointer = format!("/status/{field}");
        let patched = world.patch(&path, &json!({"status": status})).await.is(200);
        assert_eq!(patched.at(&pointer), wanted.as_str().map_or_else(|| wanted.to_string(), str::to_owned));
        let replaced = self.replace(world, &path, "of-the-status", |_| {}).await;
        assert_eq!(replaced.at(&pointer), patched.at(&pointer));
        // A write to the object itself leaves the status alone.
        let without = |object: &mut Value| drop(object.as_object_mut().and_then(|object| object.remove("status")));
        let whole = self.replace(world, &self.one(), "of-the-object", without).await;
        assert_eq!(whole.at(&pointer), patched.at(&pointer));
    }

    async fn is_deleted_by_the_dozen(&self, world: &World) {
        for name in &self.names[1..] {
            world.post(&self.collection(), &self.object(name)).await.is(201);
        }
        let mut other = self.object(self.names[0]);
        other["metadata"]["labels"] = json!({"life": "other"});
        world.post(&self.collection(), &other).await.is(201);
        world.delete(&format!("{}?labelSelector=life%3Dyes", self.collection())).await.is(200);
        let left = |answer: &Answer| answer.names().is_empty();
        let path = format!("{}?labelSelector=life%3Dyes", self.collection());
        world.until("both are gone", &path, left).await;
        world.get(&self.one()).await.is(200);
    }
}
