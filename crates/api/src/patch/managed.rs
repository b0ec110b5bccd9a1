//! `metadata.managedFields`: who set which field last (`apimachinery/pkg/util/managedfields`).

use std::cmp::Ordering;
use std::fmt::Write;
use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::fieldset::FieldSet;
use super::typed::{self, Changes};
use crate::object::{Object, format_time};
use crate::schema::Type;

/// Managers that only update; more are merged into one, or objects that everyone touches would only grow
/// (`DefaultMaxUpdateManagers`).
const UPDATE_MANAGERS_MAX: usize = 10;
/// The manager that stands for those merged.
const ANCIENT: &str = "ancient-changes";
/// Manager names may not be longer (`FieldManagerMaxLength`).
const NAME_MAX: usize = 128;

const MANAGED_FIELDS: [&str; 2] = ["metadata", "managedFields"];

/// What the server sets itself: never owned by anyone (`stripmeta.go`).
static STRIPPED: LazyLock<FieldSet> = LazyLock::new(|| {
    let metadata = [
        "clusterName",
        "creationTimestamp",
        "generation",
        "managedFields",
        "name",
        "namespace",
        "resourceVersion",
        "selfLink",
        "uid",
    ];
    let set = FieldSet::default().with(&["apiVersion"]).with(&["kind"]).with(&["metadata"]);
    metadata.into_iter().fold(set, |set, field| set.with(&["metadata", field]))
});

/// Who writes, and when.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    /// The field manager: the parameter `fieldManager`, or the start of the user agent (see [`Writer::name_of`]).
    pub manager: &'a str,
    /// The version of the API in which the object is written, such as `apps/v1`.
    pub api_version: &'a str,
    /// Such as `status`; empty for the object itself.
    pub subresource: &'a str,
    /// The time of the write.
    pub now: Timestamp,
    /// Parts that this endpoint does not write and so nobody can own here: `[["status"]]` for the object itself of a
    /// kind with a status subresource, `[["spec"]]` for the status.
    pub reset: &'a [&'a [&'a str]],
    /// Whether fields are tracked at all.
    pub tracking: Tracking,
}

/// Whether a write keeps track of fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tracking {
    /// As in Kubernetes.
    #[default]
    Fields,
    /// The write leaves the managers as they are: for kinds written so often that nobody wants to know.
    Nothing,
}

impl Writer<'_> {
    /// Returns the manager of a request: what it says, or its user agent up to the first slash, or `unknown`.
    pub fn name_of(field_manager: Option<&str>, user_agent: &str) -> String {
        let name = match field_manager.filter(|name| !name.is_empty()) {
            Some(name) => name,
            None => user_agent.split('/').next().unwrap_or_default(),
        };
        let name: String = name.chars().filter(|character| !character.is_control()).collect();
        let mut end = name.len().min(NAME_MAX);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        if end == 0 { "unknown".to_owned() } else { name[..end].to_owned() }
    }
}

/// How a manager came to its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// One entry of `managedFields`. The fields stay JSON until someone needs them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Manager {
    pub(super) name: String,
    pub(super) operation: Operation,
    pub(super) api_version: String,
    pub(super) subresource: String,
    time: Option<String>,
    fields: Value,
}

impl Manager {
    pub(super) fn new(writer: &Writer<'_>, operation: Operation) -> Self {
        Self {
            name: if writer.manager.is_empty() { "unknown".to_owned() } else { writer.manager.to_owned() },
            operation,
            api_version: writer.api_version.to_owned(),
            subresource: writer.subresource.to_owned(),
            time: None,
            fields: json!({}),
        }
    }

    /// Whether both are the same manager. An applier stays itself in every version of the API.
    fn is(&self, other: &Self) -> bool {
        self.name == other.name
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    pub(super) fn set(&self) -> FieldSet {
        FieldSet::from_json(&self.fields).unwrap_or_default()
    }

    pub(super) fn touches(&self, changes: &FieldSet) -> bool {
        changes.touches(&self.fields)
    }

    /// Names the manager as conflicts do.
    pub(super) fn title(&self) -> String {
        let mut title = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            let _ = write!(title, " with subresource {:?}", self.subresource);
        }
        if self.operation == Operation::Update {
            let _ = write!(title, " using {}", self.api_version);
        }
        title
    }

    fn take(entry: Value) -> Option<Self> {
        let Value::Object(mut entry) = entry else { return None };
        let mut text = |field| match entry.remove(field) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let (name, operation, time) = (text("manager"), text("operation"), text("time"));
        let (api_version, subresource) = (text("apiVersion"), text("subresource"));
        let operation = match operation.as_str() {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        let fields = entry.remove("fieldsV1").filter(Value::is_object)?;
        let time = Some(time).filter(|time| !time.is_empty());
        Some(Self { name, operation, api_version, subresource, time, fields })
    }

    fn write(self) -> Value {
        let mut entry = Map::new();
        let operation = match self.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        entry.insert("apiVersion".into(), self.api_version.into());
        entry.insert("fieldsType".into(), "FieldsV1".into());
        entry.insert("fieldsV1".into(), self.fields);
        entry.insert("manager".into(), self.name.into());
        entry.insert("operation".into(), operation.into());
        if !self.subresource.is_empty() {
            entry.insert("subresource".into(), self.subresource.into());
        }
        if let Some(time) = self.time {
            entry.insert("time".into(), time.into());
        }
        Value::Object(entry)
    }

    /// The order in the list: appliers first, then by age.
    fn order(&self, other: &Self) -> Ordering {
        let key = |manager: &Self| {
            let time = manager.time.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
            time.map_or(0, Timestamp::as_second)
        };
        (self.operation, key(self), &self.name, &self.api_version, &self.subresource).cmp(&(
            other.operation,
            key(other),
            &other.name,
            &other.api_version,
            &other.subresource,
        ))
    }
}

/// The managers of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Managers {
    pub(super) list: Vec<Manager>,
}

impl Managers {
    /// Reads those of an object; `None` if there is an entry that is none, which makes all of them worthless.
    pub(super) fn read(object: &Object) -> Option<Self> {
        object.at(&MANAGED_FIELDS).cloned().map_or_else(|| Some(Self::default()), Self::take)
    }

    fn take(entries: Value) -> Option<Self> {
        let Value::Array(entries) = entries else { return None };
        let list = entries.into_iter().map(Manager::take).collect::<Option<Vec<_>>>()?;
        Some(Self { list })
    }

    /// Returns the list in the form that the server writes; `None` if a set is none.
    fn canonical(mut self) -> Option<Value> {
        for manager in &mut self.list {
            let mut set = FieldSet::from_json(&manager.fields)?;
            set.subtract(&STRIPPED);
            manager.fields = set.to_json();
        }
        let mut object = Object::default();
        self.write(&mut object);
        object.remove(&MANAGED_FIELDS)
    }

    /// Writes them into an object: capped, in order, without what nobody can own.
    pub(super) fn write(mut self, object: &mut Object) {
        self.cap();
        self.list.sort_by(Manager::order);
        if self.list.is_empty() {
            object.remove(&MANAGED_FIELDS);
            return;
        }
        let entries: Vec<Value> = self.list.into_iter().map(Manager::write).collect();
        object.set(&MANAGED_FIELDS, entries);
    }

    pub(super) fn find(&self, manager: &Manager) -> Option<&Manager> {
        self.list.iter().find(|known| known.is(manager))
    }

    /// Gives a manager this set, and this time if one is told. An empty set removes the manager.
    pub(super) fn set(&mut self, mut manager: Manager, mut set: FieldSet, time: Option<Timestamp>) {
        set.subtract(&STRIPPED);
        let known = self.list.iter().position(|known| known.is(&manager)).map(|place| self.list.swap_remove(place));
        if set.is_empty() {
            return;
        }
        manager.time = time.map(format_time).or_else(|| known.and_then(|known| known.time));
        manager.fields = set.to_json();
        self.list.push(manager);
    }

    /// Takes changed and removed fields from everyone but the writer.
    pub(super) fn dispossess(&mut self, writer: &Manager, changes: &Changes) {
        self.list.retain_mut(|manager| {
            if manager.is(writer) || !(manager.touches(&changes.taken) || manager.touches(&changes.removed)) {
                return true;
            }
            let mut set = manager.set();
            set.subtract(&changes.taken);
            set.subtract(&changes.removed);
            manager.fields = set.to_json();
            !set.is_empty()
        });
    }

    /// Merges the oldest updaters of the same version until there are few enough (`capmanagers.go`).
    fn cap(&mut self) {
        let is_update = |manager: &Manager| manager.operation == Operation::Update;
        let mut excess =
            self.list.iter().filter(|manager| is_update(manager)).count().saturating_sub(UPDATE_MANAGERS_MAX);
        if excess == 0 {
            return;
        }
        self.list.sort_by(Manager::order);
        let mut kept: Vec<Manager> = Vec::with_capacity(self.list.len());
        // The oldest of each version becomes the one that the others are merged into.
        let mut buckets: Vec<usize> = Vec::new();
        for manager in std::mem::take(&mut self.list) {
            let bucket = buckets.iter().find(|place| kept[**place].api_version == manager.api_version);
            match bucket {
                _ if !is_update(&manager) || excess == 0 => kept.push(manager),
                None => {
                    buckets.push(kept.len());
                    kept.push(manager);
                }
                Some(place) => {
                    let ancient = &mut kept[*place];
                    let mut set = ancient.set();
                    set.add(&manager.set());
                    ancient.fields = set.to_json();
                    ANCIENT.clone_into(&mut ancient.name);
                    ancient.subresource.clear();
                    ancient.time = manager.time;
                    excess -= 1;
                }
            }
        }
        self.list = kept;
    }
}

/// Records who wrote what in a create, an update or a patch. `live` is the stored object, `None` on create; `new` is
/// what will be stored. Costs one walk over both documents; where nothing differs, the managers are not even read.
pub fn update_managers(live: Option<&Object>, new: &mut Object, of: Option<&Type>, writer: &Writer<'_>) {
    let stored = live.and_then(|live| live.at(&MANAGED_FIELDS));
    let list = match managers_to_start_from(new.remove(&MANAGED_FIELDS), stored, writer) {
        Start::Forget => return,
        Start::From(list) => list,
    };
    let is_tracked = list.as_ref().and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    // An object that nobody tracked stays so until someone applies to it (`skipnonapplied.go`).
    let skip = writer.tracking == Tracking::Nothing || (live.is_some() && !is_tracked);
    let changes = if skip { Changes::default() } else { owned_changes(live, new, of, writer) };
    if !changes.is_empty() {
        let mut managers = list.and_then(Managers::take).unwrap_or_default();
        record(&mut managers, &changes, writer);
        managers.write(new);
    } else if let Some(list) = list.filter(|_| is_tracked) {
        new.set(&MANAGED_FIELDS, list);
    }
}

enum Start {
    /// The client asked to forget them (`managedFields: [{}]`).
    Forget,
    From(Option<Value>),
}

/// Returns the managers before the write: those of the live object, unless the client means to rewrite them.
fn managers_to_start_from(given: Option<Value>, stored: Option<&Value>, writer: &Writer<'_>) -> Start {
    match given {
        Some(given) if Some(&given) == stored => Start::From(Some(given)),
        Some(given) if writer.subresource.is_empty() => {
            if given == json!([{}]) {
                return Start::Forget;
            }
            // Sets from outside are brought into the one form that comparisons of texts need.
            let rewritten = Managers::take(given).filter(|managers| !managers.list.is_empty());
            Start::From(rewritten.and_then(Managers::canonical).or_else(|| stored.cloned()))
        }
        _ => Start::From(stored.cloned()),
    }
}

/// Records changes as an update.
pub(super) fn record(managers: &mut Managers, changes: &Changes, writer: &Writer<'_>) {
    let manager = Manager::new(writer, Operation::Update);
    managers.dispossess(&manager, changes);
    let mut set = managers.find(&manager).map(Manager::set).unwrap_or_default();
    set.subtract(&changes.removed);
    set.add(&changes.taken);
    let time = (!changes.taken.is_empty()).then_some(writer.now);
    managers.set(manager, set, time);
}

/// Returns the differences that a writer answers for.
pub(super) fn owned_changes(live: Option<&Object>, new: &Object, of: Option<&Type>, writer: &Writer<'_>) -> Changes {
    let mut changes = difference(live, new, of);
    for path in writer.reset {
        changes.taken.subtract_tree(path);
        changes.removed.subtract_tree(path);
    }
    changes.taken.subtract(&STRIPPED);
    changes.removed.subtract(&STRIPPED);
    changes
}

/// Compares two objects without their `managedFields`.
fn difference(live: Option<&Object>, new: &Object, of: Option<&Type>) -> Changes {
    let mut changes = typed::compare_documents(live.map(|live| &live.0), &new.0, of);
    let managed = FieldSet::default().with(&MANAGED_FIELDS);
    changes.taken.subtract(&managed);
    changes.removed.subtract(&managed);
    changes
}

#[cfg(test)]
mod tests;
