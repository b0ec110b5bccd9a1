//! The controller of default service accounts and of the published CA: what every namespace needs.

mod plan;

#[cfg(test)]
mod tests;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use wkube_api::ObjectKey;
use wkube_base::Tasks;
use wkube_client::{Api, Change, Client, Controller, Error, Kind, Lister, Next, Reconcile, Scope};

use crate::Context;
use crate::common::perform;
use plan::{ACCOUNT, Action, Observed, ROOT_CA};

struct Reconciler {
    namespaces: Lister<Namespace>,
    accounts: Lister<ServiceAccount>,
    root_cas: Lister<ConfigMap>,
    ca_pem: String,
}

/// Starts the controller. It watches the two names only, not every `ConfigMap` of the cluster.
pub(crate) fn start(context: &Context, tasks: &Tasks) {
    let named = |name: &str| Scope::all().fields(format!("metadata.name={name}"));
    let namespaces = context.informers.lister::<Namespace>();
    let accounts = context.informers.lister_of::<ServiceAccount>(named(ACCOUNT));
    let root_cas = context.informers.lister_of::<ConfigMap>(named(ROOT_CA));
    let reconciler = Reconciler {
        namespaces: namespaces.clone(),
        accounts: accounts.clone(),
        root_cas: root_cas.clone(),
        ca_pem: context.ca_pem.clone(),
    };
    Controller::new(reconciler, &context.rng)
        .for_each(&namespaces)
        .watches(&accounts, namespace_of)
        .watches(&root_cas, namespace_of)
        .start(&context.client, &context.clock, tasks);
}

fn namespace_of<K: Kind>(change: &Change<K>) -> Vec<ObjectKey> {
    vec![ObjectKey::cluster(change.object().namespace())]
}

impl Reconcile for Reconciler {
    fn name(&self) -> &'static str {
        "serviceaccount"
    }

    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, Error> {
        let Some(namespace) = self.namespaces.get(key) else { return Ok(Next::Done) };
        let account = self.accounts.get(&ObjectKey::new(key.name.as_str(), ACCOUNT));
        let root_ca = self.root_cas.get(&ObjectKey::new(key.name.as_str(), ROOT_CA));
        let actions = plan::plan(&Observed {
            namespace: &namespace,
            account: account.as_deref(),
            root_ca: root_ca.as_deref(),
            ca_pem: &self.ca_pem,
        });
        for action in actions {
            let done = match action {
                Action::CreateAccount(account) => Api::<ServiceAccount>::new(client).create(&account).await.map(drop),
                Action::CreateRootCa(root_ca) => Api::<ConfigMap>::new(client).create(&root_ca).await.map(drop),
                Action::UpdateRootCa(root_ca) => Api::<ConfigMap>::new(client).replace(&root_ca).await.map(drop),
            };
            match done {
                Err(error) if perform::is_namespace_terminating(&error) || error.is_already_exists() => {}
                other => other?,
            }
        }
        Ok(Next::Done)
    }
}
