//! The quota controller (`pkg/controller/resourcequota`): counts a namespace again after something in it changed, so
//! that `status.used` also shrinks. It lives beside the plugin because both stand at the same turnstile, and because it
//! counts every kind, custom ones too.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tracing::warn;
use wkube_api::{Object, Status};
use wkube_base::Tasks;
use wkube_store::{Error, Signal, Watch};

use super::{amounts, relevant, used, with_used};
use crate::Api;
use crate::call::Call;
use crate::follow;
use crate::registry::object_rules::Part;
use crate::registry::update;
use crate::registry::{Registry, view};

/// Where all objects are.
const EVERYTHING: &str = "/registry/";
/// Changes that come within this are counted once.
const PAUSE: Duration = Duration::from_millis(100);

/// Counts for as long as the server runs.
pub(crate) fn start(api: &Arc<Api>, tasks: &Tasks) {
    let api = api.clone();
    follow::keep(tasks, "resource-quota", move || {
        let api = api.clone();
        async move { follow(&api.registry).await }
    });
}

/// Counts every namespace with quotas once, then those in which something changes; returns why the watch ended.
async fn follow(registry: &Registry) -> Option<Error> {
    let mut watch = match registry.store.watch(EVERYTHING, registry.store.revision()) {
        Ok(watch) => watch,
        Err(error) => return Some(error),
    };
    let mut dirty = match registry.catalog.core("resourcequotas").map(|kind| registry.stored(kind, "")) {
        Some(Ok(quotas)) => quotas.iter().map(|quota| quota.namespace().to_owned()).collect(),
        _ => BTreeSet::new(),
    };
    loop {
        for namespace in std::mem::take(&mut dirty) {
            if let Err(status) = count(registry, &namespace).await {
                warn!(namespace, error = status.message, "the quotas cannot be counted now");
            }
        }
        let end = gather(registry, &mut watch, &mut dirty).await;
        if end.is_some() {
            return end;
        }
    }
}

/// Waits for a change in a namespace with quotas, and for those that follow at its heels.
async fn gather(registry: &Registry, watch: &mut Watch, dirty: &mut BTreeSet<String>) -> Option<Error> {
    let pause = tokio::time::sleep(PAUSE);
    tokio::pin!(pause);
    loop {
        tokio::select! {
            biased;
            () = &mut pause, if !dirty.is_empty() => return None,
            signal = watch.next() => match signal {
                None => return Some(Error::Closed),
                Some(Err(error)) => return Some(error),
                Some(Ok(Signal::Progress(_))) => {}
                Some(Ok(Signal::Event(event))) => {
                    if let Some(namespace) = namespace_of(&event.key).filter(|namespace| is_limited(registry, namespace)) {
                        if dirty.is_empty() {
                            pause.as_mut().reset(tokio::time::Instant::now() + PAUSE);
                        }
                        dirty.insert(namespace.to_owned());
                    }
                }
            },
        }
    }
}

/// Returns the namespace of `/registry/<group>/<plural>/<namespace>/<name>`.
fn namespace_of(key: &str) -> Option<&str> {
    let mut parts = key.strip_prefix(EVERYTHING)?.splitn(4, '/').skip(2);
    let namespace = parts.next()?;
    parts.next().map(|_| namespace)
}

fn is_limited(registry: &Registry, namespace: &str) -> bool {
    let kind = registry.catalog.core("resourcequotas");
    kind.is_some_and(|kind| registry.entries(kind, namespace).is_ok_and(|quotas| !quotas.is_empty()))
}

/// Counts everything that the namespace's quotas are about, and writes what differs.
async fn count(registry: &Registry, namespace: &str) -> Result<(), Status> {
    let Some(kind) = registry.catalog.core("resourcequotas") else { return Ok(()) };
    let _turn = registry.quotas.pass(namespace).await;
    for entry in registry.entries(kind, namespace)? {
        let quota = view::decode(kind, &entry)?;
        let counted = recounted(registry, &quota).await;
        if counted == quota {
            continue;
        }
        let status = counted.0.get("status").cloned().unwrap_or_default();
        let call = Call::own(kind, namespace, quota.name());
        update::put(registry, &call, Part::Status, &["status"], status).await?;
    }
    Ok(())
}

/// Returns a quota as its status should be.
async fn recounted(registry: &Registry, quota: &Object) -> Object {
    let mut counted = quota.clone();
    let served = registry.catalog.served();
    for resource in served.rows().filter(|row| row.is_namespaced() && row.is_stored()) {
        let hard = relevant(resource, &counted);
        if !hard.is_empty() && resource.manners.stored_as().is_none() {
            let used: amounts::Amounts = used(registry, resource, &counted, &hard).await;
            counted = with_used(&counted, &used);
        }
    }
    with_used(&counted, &amounts::Amounts::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_objects_in_namespaces_have_one_in_their_key() {
        assert_eq!(namespace_of("/registry/core/pods/shop/web"), Some("shop"));
        assert_eq!(namespace_of("/registry/apps/deployments/shop/web"), Some("shop"));
        assert_eq!(namespace_of("/registry/core/nodes/one"), None);
        assert_eq!(namespace_of("/elsewhere/a/b/c/d"), None);
    }
}
