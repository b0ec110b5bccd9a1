//! `Resource`: one row of the table of kinds. Built-in kinds and CRDs are rows of the same map; routing, discovery,
//! `OpenAPI` and authorization read it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::decode::{self, Problem, Unknown};
use crate::meta::{self, NameRule};
use crate::object::Object;
use crate::protobuf::omit;
use crate::schema::{Schema, Type};
use crate::status::FieldError;

/// Whether objects live in namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Inside a namespace.
    Namespaced,
    /// One for the whole cluster.
    Cluster,
}

/// A part of an object with its own URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subresource {
    /// Such as `status` or `scale`.
    pub name: Cow<'static, str>,
    /// The kind that is read and written there, with its `apiVersion` (`autoscaling/v1`, `Scale`).
    pub api_version: Cow<'static, str>,
    /// See `api_version`.
    pub kind: Cow<'static, str>,
    /// Such as `get`, `patch`, `update`, `create`.
    pub verbs: Cow<'static, [&'static str]>,
}

/// One kind as the API serves it.
#[derive(Clone)]
pub struct Resource {
    /// The API group, empty for core.
    pub group: Cow<'static, str>,
    /// Such as `v1`.
    pub version: Cow<'static, str>,
    /// Such as `Deployment`.
    pub kind: Cow<'static, str>,
    /// The name in URLs, such as `deployments`.
    pub plural: Cow<'static, str>,
    /// Such as `deployment`.
    pub singular: Cow<'static, str>,
    /// Such as `deploy`.
    pub short_names: Vec<Cow<'static, str>>,
    /// Such as `all`.
    pub categories: Vec<Cow<'static, str>>,
    /// Where its objects live.
    pub scope: Scope,
    /// Which verbs the collection serves (`create`, `delete`, `deletecollection`, `get`, `list`, `patch`, `update`, `watch`).
    /// Kinds that only accept `create`, such as reviews, are not stored.
    pub verbs: Vec<&'static str>,
    /// Its subresources.
    pub subresources: Vec<Subresource>,
    /// The `OpenAPI` name of its schema, such as `io.k8s.api.apps.v1.Deployment`.
    pub schema: Cow<'static, str>,
    /// What is special about it.
    pub manners: Arc<dyn Manners>,
}

/// A printer column (`kubectl get`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The heading, such as `Ready`.
    pub name: Cow<'static, str>,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: Cow<'static, str>,
    /// `name` for the name column, else empty.
    pub format: Cow<'static, str>,
    /// What it means.
    pub description: Cow<'static, str>,
    /// 0 is always shown, 1 only with `-o wide`.
    pub priority: i32,
}

/// A kind's own behaviour: pure functions on documents. Every one has a default that fits a plain kind.
pub trait Manners: Send + Sync {
    /// Fills what the user left out, as `pkg/apis/*/v1/defaults.go` does.
    fn default(&self, _object: &mut Object) {}

    /// Changes a new object before it is validated (`PrepareForCreate`): clears `status`, sets derived fields.
    fn prepare_create(&self, _object: &mut Object) {}

    /// Carries over what an update must not change or may leave out (`PrepareForUpdate`), such as `clusterIP`.
    fn prepare_update(&self, _object: &mut Object, _old: &Object) {}

    /// Returns everything that is wrong; `old` is the stored object of an update.
    fn validate(&self, _object: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        Vec::new()
    }

    /// The printer columns, `Name` first.
    fn columns(&self) -> Vec<Column>;

    /// The cells of one row, one per column.
    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value>;

    /// Returns the value of a field that selectors may name besides `metadata.name` and `metadata.namespace`;
    /// `None` if this kind does not support the field.
    fn field(&self, _object: &Object, _path: &str) -> Option<String> {
        None
    }

    /// What the names of this kind must look like.
    fn name_rule(&self) -> NameRule {
        NameRule::Subdomain
    }

    /// Where objects are kept if another row of the table keeps them: `events.k8s.io` events are core events.
    fn stored_as(&self) -> Option<StoredAs> {
        None
    }

    /// Turns a document of this row into the form that is kept.
    fn to_stored(&self, _object: &mut Object) {}

    /// Turns what is kept into a document of this row.
    fn to_served(&self, _object: &mut Object) {}

    /// Whether documents of this row differ from what is kept: it shows another row's objects, or it completes them on
    /// every read.
    fn is_view(&self) -> bool {
        self.stored_as().is_some()
    }

    /// Marks an object whose deletion begins: finalizers and conditions that its kind has of its own.
    fn prepare_delete(&self, _object: &mut Object, _now: Timestamp) {}

    /// Whether an update may leave its `resourceVersion` out and overwrite what others wrote (`AllowUnconditionalUpdate`).
    fn updates_unconditionally(&self) -> bool {
        true
    }

    /// Returns the rules of a subresource that changes a part of the object of its own; `None` leaves it to those of
    /// the object (or of its status).
    fn part(&self, _subresource: &str) -> Option<&'static dyn Part> {
        None
    }

    /// Returns what clients should be told about the kind: that it is about to go, and what to use instead.
    fn deprecation(&self) -> Option<String> {
        None
    }

    /// What a custom resource brings along; `None` for kinds that are built in.
    fn custom(&self) -> Option<&dyn CustomManners> {
        None
    }

    /// Whether `metadata.generation` counts changes of `spec`.
    fn has_generation(&self) -> bool {
        true
    }

    /// Whether a delete waits for a grace period and how many seconds by default (pods).
    fn grace_seconds(&self, _object: &Object) -> Option<i64> {
        None
    }
}

/// The rules of a subresource through which only a part of an object is changed.
pub trait Part: Send + Sync {
    /// Restores everything that the subresource must not change.
    fn prepare(&self, new: &mut Object, old: &Object);

    /// Returns everything that is wrong with the change.
    fn validate(&self, new: &Object, old: &Object) -> Vec<FieldError>;
}

/// What only custom resources have: their own type, and settings that built-in kinds have in code.
pub trait CustomManners: Send + Sync {
    /// Returns the type, for server-side apply.
    fn schema(&self) -> &Type;

    /// Drops what the schema does not name; returns what it dropped.
    ///
    /// # Errors
    /// If the metadata cannot be read.
    fn fit(&self, document: &mut Value) -> Result<Vec<Problem>, decode::Error>;

    /// Returns where the numbers of its `scale` subresource are, if it has one.
    fn scale(&self) -> Option<&ScalePaths>;

    /// Returns the name of the list kind.
    fn list_kind(&self) -> &str;

    /// Returns who converts objects from version to version; `None` if only their `apiVersion` changes.
    fn conversion(&self) -> Option<&Conversion>;
}

/// Who converts the objects of a custom kind (`spec.conversion` with the strategy `Webhook`).
#[derive(Debug, Clone, PartialEq)]
pub struct Conversion {
    /// The `apiVersion` in which objects are kept.
    pub storage: String,
    /// Where the webhook is: its `clientConfig`.
    pub client: Value,
    /// The versions of `ConversionReview` that it reads, the best first.
    pub reviews: Vec<String>,
}

/// Where a custom resource keeps what its `scale` subresource shows: field names from the root down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalePaths {
    /// How many replicas are wanted.
    pub wanted: Vec<String>,
    /// How many there are.
    pub found: Vec<String>,
    /// The label selector as text, for autoscalers.
    pub selector: Option<Vec<String>>,
}

/// The row of the table that keeps another row's objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredAs {
    /// The group, empty for core.
    pub group: &'static str,
    /// Such as `v1`.
    pub version: &'static str,
    /// Such as `events`.
    pub plural: &'static str,
}

impl Resource {
    /// Gives an object the form in which it is kept: with its defaults, and without what Go leaves out.
    pub fn complete(&self, object: &mut Object) {
        if !self.is_custom() {
            omit::empty(&self.api_version(), &self.kind, &mut object.0);
        }
        self.manners.default(object);
    }

    /// Returns everything that is wrong with an object: its metadata, and what its kind says; `old` is the stored
    /// object of an update.
    pub fn validate(&self, object: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = meta::validate(object, self.scope, self.manners.name_rule());
        if let Some(old) = old {
            errors.extend(meta::validate_update(object, old));
        }
        errors.extend(self.manners.validate(object, old));
        errors
    }

    /// Returns everything that is wrong with a change through a subresource: with the metadata, and with the part.
    pub fn validate_part(&self, part: &dyn Part, object: &Object, old: &Object) -> Vec<FieldError> {
        let mut errors = meta::validate(object, self.scope, self.manners.name_rule());
        errors.extend(meta::validate_update(object, old));
        errors.extend(part.validate(object, old));
        errors
    }

    /// Returns the group that names the objects in the store.
    pub fn storage_group(&self) -> &str {
        self.manners.stored_as().map_or(&self.group, |stored| stored.group)
    }

    /// Returns the type of its documents; `None` if nothing is known of them.
    pub fn type_of(&self) -> Option<&Type> {
        self.manners.custom().map(CustomManners::schema).or_else(|| Schema::of(&self.schema))
    }

    /// Whether a `CustomResourceDefinition` brought it.
    pub fn is_custom(&self) -> bool {
        self.manners.custom().is_some()
    }

    /// Brings a document into the form of its type; returns the fields that it dropped.
    ///
    /// # Errors
    /// If a value has the wrong type, in the words of Go's decoder.
    pub fn fit(&self, document: &mut Value) -> Result<Vec<Problem>, decode::Error> {
        match (self.manners.custom(), Schema::of(&self.schema)) {
            (Some(custom), _) => custom.fit(document),
            (None, Some(of)) => decode::check(document, of, Unknown::Prune),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// Returns the name of the list kind, such as `PodList`.
    pub fn list_kind(&self) -> String {
        self.manners.custom().map_or_else(|| format!("{}List", self.kind), |custom| custom.list_kind().to_owned())
    }

    /// Whether objects live in namespaces.
    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// Returns `group/version`, or the version alone for core.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Returns `plural.group` as error messages name it; the plural alone for core.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_string() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Returns the subresource of this name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// Whether objects are stored (reviews and bindings are answered, component statuses computed).
    pub fn is_stored(&self) -> bool {
        self.verbs.contains(&"watch")
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resource({} {})", self.api_version(), self.plural)
    }
}
