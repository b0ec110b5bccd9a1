//! `APIService`s: parts of the API that other servers serve, behind this one's door (`kube-aggregator`).
//!
//! ```text
//! APIService objects ─ watch ─> follow ─ check every backend ─> condition Available, its discovery ─┐
//! request for a backend's group and version ─> authorize ─> proxy ─ X-Remote-User … ─> the backend  │
//! GET /apis, /openapi/v3 <─ merge with what this server serves itself <────────────────────────────┘
//! ```
//! A backend believes who asks because this server shows a certificate of the front proxy's CA, which the backend finds
//! in the `ConfigMap` `kube-system/extension-apiserver-authentication`.

mod availability;
mod backend;
mod check;
mod follow;
pub(crate) mod front_proxy;
mod local;
mod merge;
mod proxy;

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use http::{Request, Response};
use serde_json::Value;
use wkube_api::Status;
use wkube_base::Tasks;

use crate::auth::User;
use crate::bootstrap;
use crate::metrics_api;
use crate::reconcile::Policy;
use crate::registry::{Registry, create};
use crate::respond::Body;
use crate::tls::Identity;
use backend::Backend;

pub(crate) use follow::start;
pub(crate) use merge::Merge;

/// Makes the objects that tell of what this server serves itself, and those with which backends check who asks.
pub(crate) async fn publish(registry: &Registry, trust: Option<Value>) -> Result<(), Status> {
    let now = create::timestamp(registry);
    let documents = || {
        let rows = registry.catalog.rows().iter().map(AsRef::as_ref);
        let local = local::builtin(rows, &now).into_iter().map(|document| (Policy::Keep, document));
        let rights =
            front_proxy::rights().into_iter().chain([metrics_api::rights()]).map(|document| (Policy::Grant, document));
        let trust = trust.clone().map(|document| (Policy::Refresh, document));
        local.chain(rights).chain(trust).collect()
    };
    bootstrap::keep(registry, documents).await
}

/// The backends that are known now.
#[derive(Default)]
pub(crate) struct ApiServices {
    backends: ArcSwap<Vec<Arc<Backend>>>,
    /// Shown to backends; none for a server in memory.
    identity: OnceLock<Identity>,
}

impl ApiServices {
    /// Sets the certificate that backends get to see. Later ones are ignored.
    pub(crate) fn identify(&self, identity: Identity) {
        let _ = self.identity.set(identity);
    }

    /// Returns the backends, for documents about everything that is served.
    pub(crate) fn merge(&self) -> Merge {
        let merge = Merge::new(&self.backends.load());
        merge.and_own(metrics_api::GROUP, metrics_api::VERSION, metrics_api::resource_list())
    }

    fn find(&self, group: &str, version: &str) -> Option<Arc<Backend>> {
        let backends = self.backends.load();
        backends.iter().find(|backend| backend.group == group && backend.version == version).cloned()
    }

    /// Returns the group and version in a path under `/apis` or `/openapi/v3/apis`.
    fn group_version(path: &str) -> Option<(&str, &str)> {
        let path = path.strip_prefix("/openapi/v3").unwrap_or(path);
        let mut segments = path.strip_prefix("/apis/")?.split('/');
        let (group, version) = (segments.next()?, segments.next()?);
        (!group.is_empty() && !version.is_empty()).then_some((group, version))
    }

    /// Passes a request on to whoever serves its path; gives it back if that is this server.
    pub(crate) async fn pass(
        &self,
        tasks: &Tasks,
        user: &User,
        request: Request<Body>,
    ) -> Result<Result<Response<Body>, Status>, Request<Body>> {
        let found = Self::group_version(request.uri().path()).and_then(|(group, version)| self.find(group, version));
        match found {
            None => Err(request),
            Some(backend) => Ok(proxy::pass(&backend, tasks, user, request).await),
        }
    }
}
