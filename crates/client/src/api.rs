//! `Api<K>`: the verbs of one kind, typed; or of any kind at run time, on documents.

use std::marker::PhantomData;

use bytes::Bytes;
use http::{Method, Request, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wkube_api::{Object, ObjectKey, Resource};

use crate::client::{Client, ResponseBody};
use crate::error::Error;
use crate::kind::{Kind, KindName, Revision};
use crate::path::{Collection, Query};

/// How many objects one page of a list holds, as in client-go's pager.
const PAGE_OBJECTS: u32 = 500;

/// Which objects to list or watch.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// Only this namespace; empty means all.
    pub namespace: String,
    /// A label selector such as `app=web,tier!=db`; empty means all.
    pub labels: String,
    /// A field selector such as `spec.nodeName=n1`; empty means all.
    pub fields: String,
}

impl Scope {
    /// Every object of the kind.
    pub fn all() -> Self {
        Self::default()
    }

    /// The objects of one namespace.
    pub fn namespace(namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), ..Self::default() }
    }

    /// Narrows by a label selector.
    #[must_use]
    pub fn labels(self, selector: impl Into<String>) -> Self {
        Self { labels: selector.into(), ..self }
    }

    /// Narrows by a field selector.
    #[must_use]
    pub fn fields(self, selector: impl Into<String>) -> Self {
        Self { fields: selector.into(), ..self }
    }
}

/// A complete list.
#[derive(Debug, Clone)]
pub struct List<K> {
    /// The objects in key order.
    pub items: Vec<K>,
    /// The revision at which the list is exact.
    pub revision: Revision,
}

/// A change to an object, in one of the four languages for it.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// RFC 7386: given fields replace, `null` removes.
    Merge(Value),
    /// Kubernetes' own: lists with a merge key are merged by it.
    Strategic(Value),
    /// RFC 6902: a list of operations.
    Json(Value),
    /// Server-side apply of the fields that `manager` wants to own.
    Apply {
        /// The fields, with `apiVersion` and `kind`.
        object: Value,
        /// Who owns them from now on.
        manager: String,
        /// What happens to fields that somebody else owns.
        conflicts: Conflicts,
    },
}

/// What an apply does about fields that another manager owns with another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflicts {
    /// The apply fails.
    Fail,
    /// The apply takes the fields over.
    Force,
}

impl Patch {
    fn media_type(&self) -> &'static str {
        match self {
            Self::Merge(_) => "application/merge-patch+json",
            Self::Strategic(_) => "application/strategic-merge-patch+json",
            Self::Json(_) => "application/json-patch+json",
            Self::Apply { .. } => "application/apply-patch+yaml",
        }
    }

    fn body(&self) -> &Value {
        match self {
            Self::Merge(body) | Self::Strategic(body) | Self::Json(body) | Self::Apply { object: body, .. } => body,
        }
    }

    fn query(&self) -> Query {
        match self {
            Self::Merge(_) | Self::Strategic(_) | Self::Json(_) => Query::new(),
            Self::Apply { manager, conflicts, .. } => Query::new()
                .with("fieldManager", manager)
                .with("force", if *conflicts == Conflicts::Force { "true" } else { "false" }),
        }
    }
}

/// How to delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// How long the object may take to end; `None` leaves it to the kind.
    pub grace_seconds: Option<u32>,
    /// Only if this is still the object's uid. Plans always give it, so that they never delete a namesake.
    pub uid: Option<String>,
    /// Only if the object has not been written since.
    pub revision: Option<Revision>,
    /// What happens to the objects it owns; `None` leaves it to the kind.
    pub propagation: Option<Propagation>,
}

/// What happens to owned objects when their owner is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Propagation {
    /// They are deleted afterwards.
    Background,
    /// They are deleted first.
    Foreground,
    /// They stay.
    Orphan,
}

impl DeleteOptions {
    /// Deletes exactly this object and not a later one of the same name.
    pub fn of_uid(uid: impl Into<String>) -> Self {
        Self { uid: Some(uid.into()), ..Self::default() }
    }

    /// Sets the grace period.
    #[must_use]
    pub fn grace(self, seconds: u32) -> Self {
        Self { grace_seconds: Some(seconds), ..self }
    }

    fn body(&self) -> Value {
        let mut body = json!({ "kind": "DeleteOptions", "apiVersion": "v1" });
        if let Some(seconds) = self.grace_seconds {
            body["gracePeriodSeconds"] = json!(seconds);
        }
        if let Some(uid) = &self.uid {
            body["preconditions"]["uid"] = json!(uid);
        }
        if let Some(revision) = self.revision {
            body["preconditions"]["resourceVersion"] = json!(revision.to_string());
        }
        if let Some(propagation) = self.propagation {
            body["propagationPolicy"] = json!(propagation);
        }
        body
    }
}

/// The verbs of one kind. Every object that comes back carries its revision ([`Kind::revision`]).
pub struct Api<K> {
    client: Client,
    collection: Collection,
    key_of: fn(&K) -> ObjectKey,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Api<K> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            collection: self.collection.clone(),
            key_of: self.key_of,
            kind: PhantomData,
        }
    }
}

impl<K: Kind> Api<K> {
    /// Returns the verbs of a typed kind.
    pub fn new(client: &Client) -> Self {
        Self { client: client.clone(), collection: Collection::of::<K>(), key_of: K::key, kind: PhantomData }
    }
}

impl Api<Object> {
    /// Returns the verbs of any kind, on documents.
    pub fn dynamic(client: &Client, resource: &Resource) -> Self {
        let collection = Collection {
            group: resource.group.clone(),
            version: resource.version.clone(),
            plural: resource.plural.clone(),
        };
        Self { client: client.clone(), collection, key_of: Object::key, kind: PhantomData }
    }

    /// Returns the verbs of a kind by its names in URLs, for those who know them from discovery.
    pub fn of_collection(client: &Client, group: &str, version: &str, plural: &str) -> Self {
        let collection = Collection {
            group: group.to_owned().into(),
            version: version.to_owned().into(),
            plural: plural.to_owned().into(),
        };
        Self { client: client.clone(), collection, key_of: Object::key, kind: PhantomData }
    }
}

impl<K: Serialize + DeserializeOwned> Api<K> {
    /// Returns the object.
    ///
    /// # Errors
    /// `is_not_found` if it does not exist.
    pub async fn get(&self, key: &ObjectKey) -> Result<K, Error> {
        self.read(&self.collection.object(key), &Query::new()).await
    }

    /// Returns the object, or `None` if it does not exist.
    pub async fn find(&self, key: &ObjectKey) -> Result<Option<K>, Error> {
        match self.get(key).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns every object of the scope, fetched page by page at one revision.
    ///
    /// # Errors
    /// `is_expired` if the history moved on while paging.
    pub async fn list(&self, scope: &Scope) -> Result<List<K>, Error> {
        let path = self.collection.collection(&scope.namespace);
        let mut query = Query::of_scope(scope).with("limit", &PAGE_OBJECTS.to_string());
        let mut items = Vec::new();
        loop {
            let page: Page<K> = self.read(&path, &query).await?;
            items.extend(page.items.into_iter().flatten());
            if page.metadata.continuation.is_empty() {
                return Ok(List { items, revision: Revision::parse(&page.metadata.resource_version) });
            }
            query = Query::of_scope(scope)
                .with("limit", &PAGE_OBJECTS.to_string())
                .with("continue", &page.metadata.continuation);
        }
    }

    /// Creates an object and returns it as stored. Its namespace is taken from its metadata.
    ///
    /// # Errors
    /// `is_already_exists` if the name is taken.
    pub async fn create(&self, object: &K) -> Result<K, Error> {
        let path = self.collection.collection(&(self.key_of)(object).namespace);
        self.write(request(Method::POST, &path, &Query::new(), JSON, encode(object)?)?).await
    }

    /// Replaces an object; if it carries a revision, only that one.
    ///
    /// # Errors
    /// `is_conflict` if it has been written since.
    pub async fn replace(&self, object: &K) -> Result<K, Error> {
        let path = self.collection.object(&(self.key_of)(object));
        self.write(request(Method::PUT, &path, &Query::new(), JSON, encode(object)?)?).await
    }

    /// Replaces an object's status; nothing else is taken from `object`.
    ///
    /// # Errors
    /// `is_conflict` if it carries a revision and has been written since.
    pub async fn replace_status(&self, object: &K) -> Result<K, Error> {
        let path = self.collection.subresource(&(self.key_of)(object), "status");
        self.write(request(Method::PUT, &path, &Query::new(), JSON, encode(object)?)?).await
    }

    /// Changes part of an object and returns the whole.
    pub async fn patch(&self, key: &ObjectKey, patch: &Patch) -> Result<K, Error> {
        self.write_patch(&self.collection.object(key), patch).await
    }

    /// Asks whether the server would take a patch, without changing anything (`dryRun=All`); returns what would be.
    ///
    /// # Errors
    /// As [`Api::patch`].
    pub async fn check_patch(&self, key: &ObjectKey, patch: &Patch) -> Result<K, Error> {
        let query = patch.query().with("dryRun", "All");
        let url = self.collection.object(key);
        let request = request(Method::PATCH, &url, &query, patch.media_type(), encode(patch.body())?)?;
        serde_json::from_slice(&self.client.call(request).await?).map_err(Error::Decode)
    }

    /// Changes part of an object's status and returns the whole object. The patch is of the form `{"status": ...}`.
    pub async fn patch_status(&self, key: &ObjectKey, patch: &Patch) -> Result<K, Error> {
        self.write_patch(&self.collection.subresource(key, "status"), patch).await
    }

    /// Deletes an object, or marks it for deletion if it has a grace period or finalizers.
    ///
    /// # Errors
    /// `is_not_found` if it does not exist; `is_conflict` if a precondition does not hold.
    pub async fn delete(&self, key: &ObjectKey, options: &DeleteOptions) -> Result<(), Error> {
        let path = self.collection.object(key);
        // The answer is the object if it goes on for a while, else a `Status`.
        let _: Value =
            self.write(request(Method::DELETE, &path, &Query::new(), JSON, encode(&options.body())?)?).await?;
        Ok(())
    }

    /// Reads a subresource, such as `scale`.
    pub async fn get_subresource<T: DeserializeOwned>(&self, key: &ObjectKey, name: &str) -> Result<T, Error> {
        self.read(&self.collection.subresource(key, name), &Query::new()).await
    }

    /// Posts to a subresource, such as `binding` or `eviction`.
    pub async fn create_subresource<B: Serialize, T: DeserializeOwned>(
        &self,
        key: &ObjectKey,
        name: &str,
        body: &B,
    ) -> Result<T, Error> {
        let path = self.collection.subresource(key, name);
        self.write(request(Method::POST, &path, &Query::new(), JSON, encode(body)?)?).await
    }

    /// Watches the scope; the answer is a stream of lines. [`Informers`](crate::Informers) are the usual way.
    pub(crate) async fn watch(&self, scope: &Scope, query: Query) -> Result<ResponseBody, Error> {
        let path = self.collection.collection(&scope.namespace);
        self.client.stream(request(Method::GET, &path, &query, JSON, Bytes::new())?).await
    }

    /// Returns the group and plural.
    pub fn name(&self) -> KindName<'_> {
        self.collection.name()
    }

    async fn write_patch<T: DeserializeOwned>(&self, url: &str, patch: &Patch) -> Result<T, Error> {
        let request = request(Method::PATCH, url, &patch.query(), patch.media_type(), encode(patch.body())?)?;
        self.write(request).await
    }

    async fn write<T: DeserializeOwned>(&self, request: Request<Bytes>) -> Result<T, Error> {
        let answer = self.client.call(request).await?;
        if let Ok(head) = serde_json::from_slice::<Head>(&answer) {
            self.client.wrote(self.collection.name(), Revision::parse(&head.metadata.resource_version));
        }
        serde_json::from_slice(&answer).map_err(Error::Decode)
    }

    async fn read<T: DeserializeOwned>(&self, path: &str, query: &Query) -> Result<T, Error> {
        let request = request(Method::GET, path, query, JSON, Bytes::new())?;
        serde_json::from_slice(&self.client.call(request).await?).map_err(Error::Decode)
    }
}

/// Puts a request together. `media_type` is the body's.
fn request(method: Method, path: &str, query: &Query, media_type: &str, body: Bytes) -> Result<Request<Bytes>, Error> {
    Request::builder()
        .method(method)
        .uri(query.after_path(path))
        .header(header::ACCEPT, JSON)
        .header(header::CONTENT_TYPE, media_type)
        .body(body)
        .map_err(|error| Error::Request(error.into()))
}

const JSON: &str = "application/json";

fn encode<T: Serialize>(value: &T) -> Result<Bytes, Error> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| Error::Request(error.into()))
}

/// One page of a list.
#[derive(Deserialize)]
struct Page<K> {
    #[serde(default)]
    metadata: PageMeta,
    /// `null` is what Go writes for an empty list.
    items: Option<Vec<K>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PageMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    continuation: String,
}

/// The part of an answer that says when it was written.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    metadata: HeadMeta,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct HeadMeta {
    resource_version: String,
}

#[cfg(test)]
mod tests;
