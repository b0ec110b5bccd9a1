//! Decides what a namespace needs so that pods in it can talk to the API: an account and the cluster's CA
//! (`pkg/controller/serviceaccount`, `pkg/controller/certificates/rootcacertpublisher`). Pure.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::common::meta;

/// The account of pods that name none.
pub(super) const ACCOUNT: &str = "default";
/// The `ConfigMap` that pods mount beside their token.
pub(super) const ROOT_CA: &str = "kube-root-ca.crt";

const CERTIFICATE_KEY: &str = "ca.crt";
const DESCRIPTION_KEY: &str = "kubernetes.io/description";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
    endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
    distributions of Kubernetes clusters.";

/// Everything the decision may look at.
pub(super) struct Observed<'a> {
    pub(super) namespace: &'a Namespace,
    pub(super) account: Option<&'a ServiceAccount>,
    pub(super) root_ca: Option<&'a ConfigMap>,
    pub(super) ca_pem: &'a str,
}

/// One step; each is safe alone and may be repeated.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    CreateAccount(Box<ServiceAccount>),
    CreateRootCa(Box<ConfigMap>),
    UpdateRootCa(Box<ConfigMap>),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateAccount(_) => "create the default account",
            Self::CreateRootCa(_) => "publish the CA",
            Self::UpdateRootCa(_) => "restore the CA",
        })
    }
}

/// Decides. In a namespace that is ending nothing can be created any more.
pub(super) fn plan(observed: &Observed<'_>) -> Vec<Action> {
    let ends = observed.namespace.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Terminating");
    if ends || meta::is_deleting(&observed.namespace.metadata) {
        return Vec::new();
    }
    let namespace = meta::name(&observed.namespace.metadata);
    let mut actions = Vec::new();
    if observed.account.is_none() {
        let account = ServiceAccount { metadata: metadata(ACCOUNT, namespace), ..ServiceAccount::default() };
        actions.push(Action::CreateAccount(Box::new(account)));
    }
    let data = BTreeMap::from([(CERTIFICATE_KEY.to_owned(), observed.ca_pem.to_owned())]);
    match observed.root_ca {
        None => {
            let mut metadata = metadata(ROOT_CA, namespace);
            metadata.annotations = Some(described(None));
            actions.push(Action::CreateRootCa(Box::new(ConfigMap {
                metadata,
                data: Some(data),
                ..ConfigMap::default()
            })));
        }
        Some(known) if known.data.as_ref() != Some(&data) => {
            let annotations = Some(described(known.metadata.annotations.clone()));
            let metadata = ObjectMeta { annotations, ..known.metadata.clone() };
            actions.push(Action::UpdateRootCa(Box::new(ConfigMap { metadata, data: Some(data), ..known.clone() })));
        }
        Some(_) => {}
    }
    actions
}

fn described(annotations: Option<BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let mut annotations = annotations.unwrap_or_default();
    annotations.insert(DESCRIPTION_KEY.to_owned(), DESCRIPTION.to_owned());
    annotations
}

fn metadata(name: &str, namespace: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), namespace: Some(namespace.to_owned()), ..ObjectMeta::default() }
}
