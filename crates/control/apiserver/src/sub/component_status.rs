//! `componentstatuses`: what the parts of the control plane say when somebody asks (`pkg/registry/core/componentstatus`).
//!
//! Nothing is kept. The scheduler and the controllers live where this server lives, so that whoever gets an answer has
//! them, too; the store says itself how it is.

use std::sync::Arc;

use serde_json::{Value, json};
use wkube_api::{Object, Status};
use wkube_store::{Entry, Revision};

use crate::call::Call;
use crate::encoding;
use crate::registry::read::Listing;
use crate::registry::selection::Selection;
use crate::registry::{Outcome, Registry};
use crate::router::Verb;
use crate::watch_cache::Item;

const COMPONENTS: [&str; 3] = ["controller-manager", "etcd-0", "scheduler"];

/// Whether a call is about component statuses.
pub(crate) fn is_meant(call: &Call) -> bool {
    call.is_for("", "componentstatuses")
}

/// Answers GET of one or all.
pub(crate) fn answer(registry: &Registry, call: &Call) -> Result<Outcome, Status> {
    if call.verb == Verb::Get {
        let name = COMPONENTS.iter().find(|name| **name == call.name);
        let name = name.ok_or_else(|| Status::not_found(&call.resource, &call.name))?;
        return Ok(Outcome::Object { code: 200, item: item(name) });
    }
    let selection = Selection::parse(&call.resource, &call.query, &call.name)?;
    let items = COMPONENTS.iter().map(|name| item(name));
    let items = items.filter(|item| selection.matches_item(&call.resource, item)).collect();
    Ok(Outcome::List(Listing { items, revision: registry.store.revision(), next: String::new(), remaining: None }))
}

fn item(name: &str) -> Arc<Item> {
    let document = json!({
        "kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name},
        "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}],
    });
    let object = match document {
        Value::Object(map) => Object(map),
        _ => Object::default(),
    };
    let never = Revision::default();
    let value = encoding::encode(&object);
    Arc::new(Item::new(Entry { key: name.into(), value, created: never, modified: never, version: 1 }))
}
