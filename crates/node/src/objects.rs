//! The objects that pods refer to, fetched when needed and kept for a moment, so that a thousand pods of one Deployment
//! ask once. (A node may not list other people's Secrets, so this is no informer; the kubelet's TTL caches do the same.)

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;
use wkube_api::ObjectKey;
use wkube_client::api::Scope;
use wkube_client::kind::Kind;
use wkube_client::{Api, Client, Error};

use crate::env;
use crate::pod::spec;
use crate::volumes::payload::{self, Objects};

/// How old an object may be when a container starts.
const FRESH: Duration = Duration::from_secs(1);
/// Beyond this many remembered objects, the old ones are dropped.
const REMEMBERED_MAX: usize = 2_000;

/// Fetches objects. Clones share what is remembered.
#[derive(Clone)]
pub struct Fetcher {
    client: Client,
    config_maps: Remembered<Option<ConfigMap>>,
    secrets: Remembered<Option<Secret>>,
    services: Remembered<Vec<Service>>,
    tokens: Remembered<Option<String>>,
}

/// Values with the time they were fetched. The inner lock is held while fetching, so that one fetch serves all.
type Slot<T> = Arc<tokio::sync::Mutex<Option<(Instant, T)>>>;
type Remembered<T> = Arc<Mutex<BTreeMap<ObjectKey, Slot<T>>>>;

impl Fetcher {
    /// Returns a fetcher with the rights of `client`.
    pub fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            config_maps: Arc::default(),
            secrets: Arc::default(),
            services: Arc::default(),
            tokens: Arc::default(),
        }
    }

    /// Returns what a container's environment needs, without addresses.
    ///
    /// # Errors
    /// If the API server cannot be asked. A missing object is no error here.
    pub async fn for_env(&self, pod: &Pod, needs: env::Needs) -> Result<env::Sources, Error> {
        let namespace = spec::namespace(pod);
        let mut sources = env::Sources { services: self.services(namespace).await?, ..env::Sources::default() };
        if namespace != "default" {
            let api = self.services("default").await?;
            sources.services.extend(api.into_iter().filter(|service| service.name() == "kubernetes"));
        }
        for name in needs.config_maps {
            if let Some(map) = self.find(&self.config_maps, namespace, &name).await? {
                sources.config_maps.insert(name, map);
            }
        }
        for name in needs.secrets {
            if let Some(secret) = self.find(&self.secrets, namespace, &name).await? {
                sources.secrets.insert(name, secret);
            }
        }
        Ok(sources)
    }

    /// Returns what a pod's volumes need, without addresses.
    ///
    /// # Errors
    /// If the API server cannot be asked. A missing object or token is no error here.
    pub async fn for_volumes(&self, pod: &Pod, needs: payload::Needs) -> Result<Objects, Error> {
        let namespace = spec::namespace(pod);
        let mut objects = Objects::default();
        for name in needs.config_maps {
            if let Some(map) = self.find(&self.config_maps, namespace, &name).await? {
                objects.sources.config_maps.insert(name, map);
            }
        }
        for name in needs.secrets {
            if let Some(secret) = self.find(&self.secrets, namespace, &name).await? {
                objects.sources.secrets.insert(name, secret);
            }
        }
        for (audience, seconds) in needs.tokens {
            if let Some(token) = self.token(pod, &audience, seconds).await {
                objects.tokens.insert(audience, token);
            }
        }
        Ok(objects)
    }

    /// Returns a Secret, such as one of `imagePullSecrets`.
    ///
    /// # Errors
    /// If the API server cannot be asked.
    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, Error> {
        self.find(&self.secrets, namespace, name).await
    }

    async fn find<K: Kind>(
        &self,
        remembered: &Remembered<Option<K>>,
        namespace: &str,
        name: &str,
    ) -> Result<Option<K>, Error> {
        let key = ObjectKey::new(namespace, name);
        recall(remembered, &key, FRESH, || async { Api::<K>::new(&self.client).find(&key).await }).await
    }

    async fn services(&self, namespace: &str) -> Result<Vec<Service>, Error> {
        let key = ObjectKey::new(namespace, "");
        let list = || async { Ok(Api::<Service>::new(&self.client).list(&Scope::namespace(namespace)).await?.items) };
        recall(&self.services, &key, FRESH, list).await
    }

    /// Returns a token of the pod's service account. Tokens are bound to their pod, and renewed at half their life.
    async fn token(&self, pod: &Pod, audience: &str, seconds: i64) -> Option<String> {
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
        let key =
            ObjectKey::new(format!("{}/{account}", spec::namespace(pod)), format!("{}/{audience}", spec::uid(pod)));
        let audiences: Vec<&str> = if audience.is_empty() { Vec::new() } else { vec![audience] };
        let bound = json!({ "kind": "Pod", "apiVersion": "v1", "name": spec::name(pod), "uid": spec::uid(pod) });
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": { "audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": bound },
        });
        let half_life = Duration::from_secs(u64::try_from(seconds / 2).unwrap_or(0));
        let ask = || async {
            let accounts = Api::<k8s_openapi::api::core::v1::ServiceAccount>::new(&self.client);
            let of = ObjectKey::new(spec::namespace(pod), account);
            let answer: Value = accounts.create_subresource(&of, "token", &request).await?;
            Ok(answer["status"]["token"].as_str().map(str::to_owned))
        };
        match recall(&self.tokens, &key, half_life, ask).await {
            Ok(token) => token,
            Err(error) => {
                tracing::debug!(pod = %spec::full_name(pod), %error, "no service account token");
                None
            }
        }
    }
}

async fn recall<T: Clone, F>(
    remembered: &Remembered<T>,
    key: &ObjectKey,
    fresh: Duration,
    fetch: impl FnOnce() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let slot = {
        let mut slots = remembered.lock();
        if slots.len() >= REMEMBERED_MAX {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry(key.clone()).or_default())
    };
    let mut slot = slot.lock().await;
    if let Some((at, value)) = &*slot
        && at.elapsed() < fresh
    {
        return Ok(value.clone());
    }
    let value = fetch().await?;
    *slot = Some((Instant::now(), value.clone()));
    Ok(value)
}
