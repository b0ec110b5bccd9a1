//! Rows that show what another row keeps: `events.k8s.io` events are core events, `autoscaling/v1` is `autoscaling/v2`;
//! and custom resources, which are kept in one version and read by today's schema.
//! For every other row these functions only encode and decode.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use wkube_api::{Object, Resource, Status};
use wkube_store::Entry;

use super::damaged;
use crate::encoding;
use crate::watch_cache::Item;

/// Returns a kept entry as the row's document.
pub(crate) fn decode(resource: &Resource, entry: &Entry) -> Result<Object, Status> {
    let mut object = encoding::decode(&entry.value, entry.modified).ok_or_else(|| damaged(entry))?;
    if resource.manners.is_view() {
        resource.manners.to_served(&mut object);
    }
    Ok(object)
}

/// Returns the bytes to keep of the row's document.
pub(crate) fn encode(resource: &Resource, object: &Object) -> Bytes {
    let mut object = Cow::Borrowed(object);
    if resource.manners.is_view() {
        resource.manners.to_stored(object.to_mut());
    }
    encoding::encode(&object)
}

/// Returns a kept item as the row shows it.
pub(crate) fn item(resource: &Resource, item: Arc<Item>) -> Arc<Item> {
    if !resource.manners.is_view() {
        return item;
    }
    let kept = item.object();
    let mut object = Object::clone(&kept);
    resource.manners.to_served(&mut object);
    if object == *kept {
        return item;
    }
    let entry = Entry { value: encoding::encode(&object), ..item.entry.clone() };
    Arc::new(Item::new(entry))
}
