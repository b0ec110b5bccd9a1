//! Fills in the Secrets that hold service accounts' tokens, and takes them away with their account.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream;
use tracing::warn;
use wkube_api::{Object, ObjectKey, Resource, Status};
use wkube_base::Tasks;
use wkube_store::{Error, Signal};

use crate::Api;
use crate::auth::token::legacy::{self, Step};
use crate::call::Call;
use crate::follow;
use crate::registry::delete::{self, DeleteOptions};
use crate::registry::keys;
use crate::registry::object_rules::Part;
use crate::registry::update::{self, Origin};

/// Starts following Secrets and accounts.
pub(crate) fn start(api: &Arc<Api>, tasks: &Tasks) {
    let api = api.clone();
    follow::keep(tasks, "legacy-tokens", move || {
        let api = api.clone();
        async move { follow(&api).await }
    });
}

/// Looks again after every change of a Secret of the type, and after an account has gone; returns why it ended.
async fn follow(api: &Api) -> Option<Error> {
    let registry = &api.registry;
    let (secrets, accounts) =
        (registry.catalog.core("secrets")?.clone(), registry.catalog.core("serviceaccounts")?.clone());
    let from = registry.store.revision();
    let watch = |row: &Resource| registry.store.watch(&keys::prefix(row), from);
    let (of_secrets, of_accounts) = match (watch(&secrets), watch(&accounts)) {
        (Ok(secrets), Ok(accounts)) => (secrets, accounts),
        (Err(error), _) | (_, Err(error)) => return Some(error),
    };
    let mut changes = stream::select(of_secrets, of_accounts);
    look(api, &secrets, &accounts).await;
    loop {
        match changes.next().await? {
            Ok(Signal::Event(event)) if matters(&event) => look(api, &secrets, &accounts).await,
            Ok(Signal::Event(_) | Signal::Progress(_)) => {}
            Err(error) => return Some(error),
        }
    }
}

/// Most Secrets are of other types, and most changes of accounts are none of ours.
fn matters(event: &wkube_store::Event) -> bool {
    match &event.now {
        None => true,
        Some(entry) => entry.value.windows(legacy::TYPE.len()).any(|part| part == legacy::TYPE.as_bytes()),
    }
}

async fn look(api: &Api, secrets: &Arc<Resource>, accounts: &Arc<Resource>) {
    for secret in api.registry.objects(secrets, "").await {
        if secret.str_at(&["type"]) != legacy::TYPE {
            continue;
        }
        match tend(api, secrets, accounts, &secret).await {
            Err(status) if !status.is_not_found() && !status.is_conflict() => {
                let secret = format!("{}/{}", secret.namespace(), secret.name());
                warn!(secret, error = status.message, "a service account's token cannot be kept");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

async fn tend(api: &Api, secrets: &Arc<Resource>, accounts: &Arc<Resource>, secret: &Object) -> Result<(), Status> {
    let name = secret.str_at(&["metadata", "annotations", legacy::ACCOUNT]);
    let account = api.registry.find(accounts, &ObjectKey::new(secret.namespace(), name))?;
    let ca = String::from_utf8_lossy(&api.ca_pem);
    let call = Call::own(secrets, secret.namespace(), secret.name());
    match legacy::step(secret, account.as_ref(), &ca, |claims| api.tokens.sign_legacy(claims)) {
        Step::Leave => Ok(()),
        Step::Delete => delete::one(&api.registry, &call, &DeleteOptions::default()).await.map(drop),
        Step::Fill(filled) => {
            let fill = |old: &Object| {
                let mut new = old.clone();
                new.set(&["data"], filled.at(&["data"]).cloned().unwrap_or_default());
                let uid = filled.str_at(&["metadata", "annotations", legacy::ACCOUNT_UID]);
                new.set(&["metadata", "annotations", legacy::ACCOUNT_UID], uid);
                Ok(new)
            };
            update::change(&api.registry, &call, Part::Whole, Origin::Server, fill).await.map(drop)
        }
    }
}
