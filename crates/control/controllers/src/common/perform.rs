//! Performing actions: many at once but not too many, creations slowly at first, and lost races forgiven.

use std::future::Future;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use wkube_api::ObjectKey;
use wkube_client::{Api, Client, DeleteOptions, Error, Kind, Patch};

use crate::common::{ObjectRef, meta};

/// How many requests of one plan are on their way at once. The server commits concurrent writes together, so that more
/// in flight is faster up to a point; this one leaves room for other controllers.
const IN_FLIGHT_MAX: usize = 16;

/// Runs all requests, a few at a time, and returns their results in any order.
pub(crate) async fn all<T: Send>(requests: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    stream::iter(requests).buffer_unordered(IN_FLIGHT_MAX).collect().await
}

/// Runs all requests and returns the first failure, if there is one.
///
/// # Errors
/// The first of the failures.
pub(crate) async fn all_ok(requests: Vec<BoxFuture<'_, Result<(), Error>>>) -> Result<(), Error> {
    all(requests).await.into_iter().collect()
}

/// Creates something for each item in batches of 1, 2, 4 and so on, and stops after the first batch with a failure: if
/// the quota is used up, one request finds out, not five hundred (`slowStartBatch`).
///
/// # Errors
/// The first failure of the last batch.
pub(crate) async fn slow_start<'a, T, F, Fut>(items: Vec<T>, create: F) -> Result<(), Error>
where
    F: Fn(T) -> Fut,
    Fut: Future<Output = Result<(), Error>> + Send + 'a,
{
    let (mut items, mut batch) = (items.into_iter(), 1);
    loop {
        let now: Vec<BoxFuture<'_, _>> = items.by_ref().take(batch).map(|item| Box::pin(create(item)) as _).collect();
        if now.is_empty() {
            return Ok(());
        }
        all_ok(now).await?;
        batch *= 2;
    }
}

/// Makes `owner` the controller of an object that has none, after asking the server whether the owner is still itself
/// and not being deleted: the cache may show an owner that has just been replaced by a namesake.
pub(crate) async fn adopt<O: Kind, K: Kind>(client: &Client, owner: &O, child: &ObjectRef) -> Result<(), Error> {
    adopt_with::<O, K>(client, owner, child, json!({})).await
}

/// As [`adopt`], with more to write into the object's metadata.
pub(crate) async fn adopt_with<O: Kind, K: Kind>(
    client: &Client,
    owner: &O,
    child: &ObjectRef,
    mut metadata: Value,
) -> Result<(), Error> {
    let live = Api::<O>::new(client).get(&owner.key()).await?;
    if live.uid() != owner.uid() || live.is_deleting() {
        return Ok(());
    }
    metadata["ownerReferences"] = json!([meta::controller_ref(owner)]);
    patch_child::<K>(client, owner.namespace(), child, metadata).await
}

/// Removes `owner` from an object's owners.
pub(crate) async fn release<O: Kind, K: Kind>(client: &Client, owner: &O, child: &ObjectRef) -> Result<(), Error> {
    release_with::<O, K>(client, owner, child, json!({})).await
}

/// As [`release`], with more to write into the object's metadata.
pub(crate) async fn release_with<O: Kind, K: Kind>(
    client: &Client,
    owner: &O,
    child: &ObjectRef,
    mut metadata: Value,
) -> Result<(), Error> {
    metadata["ownerReferences"] = json!([{ "$patch": "delete", "uid": owner.uid() }]);
    patch_child::<K>(client, owner.namespace(), child, metadata).await
}

async fn patch_child<K: Kind>(
    client: &Client,
    namespace: &str,
    child: &ObjectRef,
    mut metadata: Value,
) -> Result<(), Error> {
    let key = ObjectKey::new(namespace, child.name.as_str());
    metadata["uid"] = json!(child.uid);
    match Api::<K>::new(client).patch(&key, &Patch::Strategic(json!({ "metadata": metadata }))).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Deletes exactly this object; `false` if it was gone already. If the name is another object's by now, the conflict makes
/// the controller look again.
pub(crate) async fn delete<K: Kind>(client: &Client, namespace: &str, object: &ObjectRef) -> Result<bool, Error> {
    delete_with::<K>(client, namespace, object, DeleteOptions::default()).await
}

/// Deletes exactly this object with these options; `false` if it was gone already.
pub(crate) async fn delete_with<K: Kind>(
    client: &Client,
    namespace: &str,
    object: &ObjectRef,
    options: DeleteOptions,
) -> Result<bool, Error> {
    let key = ObjectKey::new(namespace, object.name.as_str());
    let options = DeleteOptions { uid: Some(object.uid.clone()), ..options };
    match Api::<K>::new(client).delete(&key, &options).await {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the server refuses because the namespace is on its way out; there is nothing to try again then.
pub(crate) fn is_namespace_terminating(error: &Error) -> bool {
    let causes = error.status().and_then(|status| status.details.as_ref()).map(|details| details.causes.as_slice());
    causes.unwrap_or_default().iter().any(|cause| cause.reason == "NamespaceTerminating")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_slow_start_creates_all_of_them_when_nothing_fails() {
        let created = AtomicUsize::new(0);
        let result = slow_start(vec![(); 11], |()| async {
            created.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        assert!(result.await.is_ok());
        assert_eq!(created.into_inner(), 11);
    }

    #[tokio::test]
    async fn a_slow_start_stops_after_the_first_batch_that_fails() {
        let tried = AtomicUsize::new(0);
        let result = slow_start(vec![(); 500], |()| async {
            match tried.fetch_add(1, Ordering::Relaxed) {
                0..3 => Ok(()),
                _ => Err(Error::other("exceeded quota")),
            }
        });
        assert!(result.await.is_err());
        assert_eq!(tried.into_inner(), 1 + 2 + 4, "three batches, not five hundred requests");
    }

    #[tokio::test]
    async fn no_more_than_the_limit_is_in_flight() {
        let (current, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let one = || async {
            most.fetch_max(current.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            current.fetch_sub(1, Ordering::Relaxed);
        };
        all((0..100).map(|_| Box::pin(one()) as BoxFuture<'_, ()>).collect()).await;
        assert_eq!(most.into_inner(), IN_FLIGHT_MAX);
    }
}
