//! Rows that show what another row keeps: `events.k8s.io` events are core events, `autoscaling/v1` is `autoscaling/v2`;
//! and custom resources, which are kept in one version and read by today's schema.
//! For every other row these functions only encode and decode.
//!
//! Kinds whose versions a webhook converts take the way through it (`converted`, `stored`, `between`); all others never
//! wait.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use wkube_api::resource::{Conversion, CustomManners};
use wkube_api::{Object, Resource, Status};
use wkube_store::Entry;

use super::damaged;
use crate::conversion::{Converter, Of};
use crate::encoding;
use crate::watch_cache::{Change, Item};

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

/// Returns a kept entry as the row's document.
pub(crate) async fn read(converter: &Converter, resource: &Resource, entry: &Entry) -> Result<Object, Status> {
    let Some(conversion) = conversion_of(resource) else { return decode(resource, entry) };
    let object = encoding::decode(&entry.value, entry.modified).ok_or_else(|| damaged(entry))?;
    converted(converter, resource, conversion, object, &resource.api_version()).await.map(|mut object| {
        resource.manners.to_served(&mut object);
        object
    })
}

/// Returns the bytes to keep of the row's document.
pub(crate) async fn stored(converter: &Converter, resource: &Resource, object: &Object) -> Result<Bytes, Status> {
    let Some(conversion) = conversion_of(resource) else { return Ok(encode(resource, object)) };
    let kept = converted(converter, resource, conversion, object.clone(), &conversion.storage).await?;
    Ok(encode(resource, &kept))
}

/// Returns a kept item as the row shows it.
pub(crate) async fn one(converter: &Converter, resource: &Resource, kept: Arc<Item>) -> Result<Arc<Item>, Status> {
    if conversion_of(resource).is_none() {
        return Ok(item(resource, kept));
    }
    let shown = items(converter, resource, vec![kept], Of::Object).await?;
    Ok(shown.into_iter().next().expect("as many as were given"))
}

/// Returns a kept item as the row shows it, which is known: nobody has to be asked again.
pub(crate) fn shown(resource: &Resource, kept: Arc<Item>, document: &Object) -> Arc<Item> {
    if conversion_of(resource).is_none() {
        return item(resource, kept);
    }
    Arc::new(Item::new(Entry { value: encoding::encode(document), ..kept.entry.clone() }))
}

/// Returns kept items as the row shows them; a webhook sees all that it has to convert at once.
pub(crate) async fn items(
    converter: &Converter,
    resource: &Resource,
    items: Vec<Arc<Item>>,
    of: Of,
) -> Result<Vec<Arc<Item>>, Status> {
    let Some(conversion) = conversion_of(resource) else {
        return Ok(items.into_iter().map(|one| item(resource, one)).collect());
    };
    let objects = items.iter().map(|one| Object::clone(&one.object())).collect();
    let documents = converter.convert(resource, conversion, objects, &resource.api_version(), of).await?;
    let shown = items.into_iter().zip(documents).map(|(one, mut object)| {
        resource.manners.to_served(&mut object);
        Arc::new(Item::new(Entry { value: encoding::encode(&object), ..one.entry.clone() }))
    });
    Ok(shown.collect())
}

/// Returns a change with both states as the row shows them.
pub(crate) async fn change(
    converter: &Converter,
    resource: &Resource,
    change: Arc<Change>,
) -> Result<Arc<Change>, Status> {
    if is_converted(resource) {
        return convert_change(converter, resource, &change).await;
    }
    Ok(if resource.manners.is_view() { change.map(|one| item(resource, one)) } else { change })
}

async fn convert_change(converter: &Converter, resource: &Resource, change: &Change) -> Result<Arc<Change>, Status> {
    let states = change.now.iter().chain(&change.before).cloned().collect();
    let mut shown = items(converter, resource, states, Of::Object).await?.into_iter();
    let now = if change.now.is_some() { shown.next() } else { None };
    Ok(Change::new(change.revision, now, shown.next()))
}

/// Whether a webhook has to be asked before a kept object can be shown.
pub(crate) fn is_converted(resource: &Resource) -> bool {
    conversion_of(resource).is_some()
}

/// Returns a document of one row as another row of the same objects shows it.
pub(crate) async fn between(
    converter: &Converter,
    object: &Object,
    from: &Resource,
    to: &Resource,
) -> Result<Object, Status> {
    let mut object = object.clone();
    if from.api_version() == to.api_version() {
        return Ok(object);
    }
    match conversion_of(to) {
        Some(conversion) => object = converted(converter, to, conversion, object, &to.api_version()).await?,
        None => from.manners.to_stored(&mut object),
    }
    to.manners.to_served(&mut object);
    Ok(object)
}

fn conversion_of(resource: &Resource) -> Option<&Conversion> {
    resource.manners.custom().and_then(CustomManners::conversion)
}

async fn converted(
    converter: &Converter,
    resource: &Resource,
    conversion: &Conversion,
    object: Object,
    desired: &str,
) -> Result<Object, Status> {
    let one = converter.convert(resource, conversion, vec![object], desired, Of::Object).await?;
    Ok(one.into_iter().next().unwrap_or_default())
}

/// Returns a kept item as the row shows it.
fn item(resource: &Resource, item: Arc<Item>) -> Arc<Item> {
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
