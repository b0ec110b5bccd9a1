//! What a workload's pods were made of, noted down in `ControllerRevisions`, so that they can be told apart and brought
//! back: shared by `DaemonSets` and `StatefulSets`.

mod plan;

#[cfg(test)]
mod tests;

use k8s_openapi::api::apps::v1::ControllerRevision;
use serde_json::json;
use wkube_api::ObjectKey;
use wkube_client::{Api, Client, Error, Kind, Patch};

pub(crate) use plan::{History, Keeper, Step, hash_of, template_of};

use crate::common::{ObjectRef, hash, perform};

/// The label by which a pod says of which revision it is.
pub(crate) const POD_HASH: &str = "controller-revision-hash";

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noted {
    /// It was taken.
    Done,
    /// The name of the revision is another template's: the workload counts it, and tries another name.
    Collided,
}

/// Takes one step for `owner`.
///
/// # Errors
/// If the server refuses for any other reason than that somebody was faster.
pub(crate) async fn perform<O: Kind>(client: &Client, owner: &O, step: Step) -> Result<Noted, Error> {
    match step {
        Step::Adopt(revision) => perform::adopt::<O, ControllerRevision>(client, owner, &revision).await?,
        Step::Release(revision) => perform::release::<O, ControllerRevision>(client, owner, &revision).await?,
        Step::Create(revision) => return create(client, owner, &revision).await,
        Step::Renumber(revision, number) => renumber(client, owner, &revision, number).await?,
        Step::Forget(revision) => {
            perform::delete::<ControllerRevision>(client, owner.namespace(), &revision).await?;
        }
    }
    Ok(Noted::Done)
}

async fn create<O: Kind>(client: &Client, owner: &O, revision: &ControllerRevision) -> Result<Noted, Error> {
    let api = Api::<ControllerRevision>::new(client);
    match api.create(revision).await {
        Ok(_) => Ok(Noted::Done),
        Err(error) if perform::is_namespace_terminating(&error) => Ok(Noted::Done),
        Err(error) if error.is_already_exists() => {
            let Some(known) = api.find(&revision.key()).await? else { return Err(error) };
            let content = |revision: &ControllerRevision| template_of(revision).as_ref().map(hash::canonical);
            let is_ours = known.controller_owner().is_some_and(|controller| controller.uid == owner.uid());
            // The cache does not show it yet.
            let is_same = is_ours && content(&known) == content(revision);
            Ok(if is_same { Noted::Done } else { Noted::Collided })
        }
        Err(error) => Err(error),
    }
}

async fn renumber<O: Kind>(client: &Client, owner: &O, revision: &ObjectRef, number: i64) -> Result<(), Error> {
    let key = ObjectKey::new(owner.namespace(), revision.name.as_str());
    let body = Patch::Merge(json!({ "metadata": { "uid": revision.uid }, "revision": number }));
    match Api::<ControllerRevision>::new(client).patch(&key, &body).await {
        Err(error) if !error.is_not_found() => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}
