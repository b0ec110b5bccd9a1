//! The objects that pods refer to, fetched when needed and kept for a moment, so that a thousand pods of one Deployment
//! ask once. (A node may not list other people's Secrets, so this is no informer; the kubelet's TTL caches do the same.)
//! What was fetched is kept on disk: while the API server cannot be asked, pods start with what it said last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret, Service};
use k8s_openapi::api::node::v1::RuntimeClass;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use wkube_api::ObjectKey;
use wkube_base::Clock;
use wkube_client::api::Scope;
use wkube_client::kind::Kind;
use wkube_client::{Api, Client, Error};

use crate::checkpoint::{Checkpoints, Kind as Kept};
use crate::env;
use crate::pod::backoff::{elapsed, later};
use crate::pod::spec;
use crate::static_pods::mirror::is_static;
use crate::volumes::payload::{self, Objects};

/// How old an object may be when a container starts.
const FRESH: Duration = Duration::from_secs(1);
/// Beyond this many remembered objects, the old ones are dropped.
const REMEMBERED_MAX: usize = 2_000;
/// How long nobody asks again for what is on disk, once the API server did not answer: a thousand pods that each wait
/// for a server that is not there would start one by one.
const AWAY: Duration = Duration::from_secs(5);
/// A token is used for this part of its life (`pkg/kubelet/token/token_manager.go`, `requiresRefresh`) …
const TOKEN_LIFE_PERCENT: u32 = 80;
/// … and no longer than this.
const TOKEN_AGE_MAX: Duration = Duration::from_hours(24);

/// Fetches objects. Clones share what is remembered.
#[derive(Clone)]
pub struct Fetcher {
    client: Client,
    clock: Clock,
    kept: Checkpoints,
    config_maps: Remembered<Option<ConfigMap>>,
    secrets: Remembered<Option<Secret>>,
    runtime_classes: Remembered<Option<RuntimeClass>>,
    services: Remembered<Vec<Service>>,
    tokens: Remembered<Token>,
    /// Until when the API server is taken to be away.
    away_until: Arc<Mutex<Option<Instant>>>,
}

/// Values with the time they were fetched. The inner lock is held while fetching, so that one fetch serves all.
type Slot<T> = Arc<tokio::sync::Mutex<Option<(Instant, T)>>>;
type Remembered<T> = Arc<Mutex<BTreeMap<ObjectKey, Slot<T>>>>;

/// A token of a service account.
#[derive(Clone, Serialize, Deserialize)]
struct Token {
    text: String,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

impl Token {
    /// Whether it is time for another.
    fn is_due(&self, now: Timestamp) -> bool {
        let life = elapsed(self.issued_at, self.expires_at) * TOKEN_LIFE_PERCENT / 100;
        now >= later(self.issued_at, life.min(TOKEN_AGE_MAX))
    }
}

impl Fetcher {
    /// Returns a fetcher with the rights of `client`.
    pub fn new(client: &Client, kept: &Checkpoints, clock: &Clock) -> Self {
        Self {
            client: client.clone(),
            clock: clock.clone(),
            kept: kept.clone(),
            config_maps: Arc::default(),
            secrets: Arc::default(),
            runtime_classes: Arc::default(),
            services: Arc::default(),
            tokens: Arc::default(),
            away_until: Arc::default(),
        }
    }

    /// Returns what a container's environment needs, without addresses.
    ///
    /// # Errors
    /// If the API server cannot be asked. A missing object is no error here.
    pub async fn for_env(&self, pod: &Pod, needs: env::Needs) -> Result<env::Sources, Error> {
        let namespace = spec::namespace(pod);
        // A static pod may start before any server was there; it does without their addresses (`kubelet_pods.go`).
        let services = async |namespace| match self.services(namespace).await {
            Err(error) if error.is_transient() && is_static(pod) => Ok(Vec::new()),
            services => services,
        };
        let mut sources = env::Sources { services: services(namespace).await?, ..env::Sources::default() };
        if namespace != "default" {
            let api = services("default").await?;
            sources.services.extend(api.into_iter().filter(|service| service.name() == "kubernetes"));
        }
        for name in needs.config_maps {
            if let Some(map) = self.find(&self.config_maps, Kept::ConfigMaps, namespace, &name).await? {
                sources.config_maps.insert(name, map);
            }
        }
        for name in needs.secrets {
            if let Some(secret) = self.find(&self.secrets, Kept::Secrets, namespace, &name).await? {
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
            if let Some(map) = self.find(&self.config_maps, Kept::ConfigMaps, namespace, &name).await? {
                objects.sources.config_maps.insert(name, map);
            }
        }
        for name in needs.secrets {
            if let Some(secret) = self.find(&self.secrets, Kept::Secrets, namespace, &name).await? {
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

    /// Returns the labels of this node.
    ///
    /// # Errors
    /// If the API server cannot be asked.
    pub async fn node_labels(&self, name: &str) -> Result<BTreeMap<String, String>, Error> {
        let node = Api::<Node>::new(&self.client).get(&ObjectKey::cluster(name)).await?;
        Ok(node.metadata.labels.unwrap_or_default())
    }

    /// Returns a Secret, such as one of `imagePullSecrets`.
    ///
    /// # Errors
    /// If the API server cannot be asked.
    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, Error> {
        self.find(&self.secrets, Kept::Secrets, namespace, name).await
    }

    /// Returns a `RuntimeClass`.
    ///
    /// # Errors
    /// If the API server cannot be asked.
    pub async fn runtime_class(&self, name: &str) -> Result<Option<RuntimeClass>, Error> {
        self.find(&self.runtime_classes, Kept::RuntimeClasses, "", name).await
    }

    async fn find<K: Kind + Serialize + DeserializeOwned>(
        &self,
        remembered: &Remembered<Option<K>>,
        kept: Kept,
        namespace: &str,
        name: &str,
    ) -> Result<Option<K>, Error> {
        let key = ObjectKey::new(namespace, name);
        let find = || async {
            let asking = Api::<K>::new(&self.client);
            self.or_kept(kept, &file_of(namespace, name), asking.find(&key)).await
        };
        recall(remembered, &key, FRESH, find).await
    }

    async fn services(&self, namespace: &str) -> Result<Vec<Service>, Error> {
        let key = ObjectKey::new(namespace, "");
        let list = || async {
            let asking =
                async { Ok(Api::<Service>::new(&self.client).list(&Scope::namespace(namespace)).await?.items) };
            self.or_kept(Kept::Services, namespace, asking).await
        };
        recall(&self.services, &key, FRESH, list).await
    }

    /// Returns what the API server says, or what it said last while it cannot be asked.
    async fn or_kept<T: Serialize + DeserializeOwned>(
        &self,
        kind: Kept,
        file: &str,
        asking: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let is_away = self.away_until.lock().is_some_and(|until| Instant::now() < until);
        if is_away && let Some(value) = self.kept.recall(kind, file) {
            return Ok(value);
        }
        match asking.await {
            Ok(value) => {
                *self.away_until.lock() = None;
                self.kept.keep(kind, file, &value);
                Ok(value)
            }
            Err(error) if error.is_transient() => {
                *self.away_until.lock() = Some(Instant::now() + AWAY);
                self.kept.recall(kind, file).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns a token of the pod's service account. Tokens are bound to their pod. One that cannot be renewed is used
    /// on: the API server does not take it after its end, but whoever else looks at it may.
    async fn token(&self, pod: &Pod, audience: &str, seconds: i64) -> Option<String> {
        let key = ObjectKey::new(spec::uid(pod), audience);
        let file = token_file_of(spec::uid(pod), audience);
        let slot = slot_of(&self.tokens, &key);
        let mut slot = slot.lock().await;
        let known = slot.take().map(|(_, token)| token).or_else(|| self.kept.recall(Kept::Tokens, &file));
        let token = match known {
            Some(token) if !token.is_due(self.clock.now()) => token,
            known => match self.ask_for_token(pod, audience, seconds).await {
                Ok(token) => {
                    self.kept.keep(Kept::Tokens, &file, &token);
                    token
                }
                Err(error) => {
                    tracing::debug!(pod = %spec::full_name(pod), %error, "no new service account token");
                    known?
                }
            },
        };
        *slot = Some((Instant::now(), token.clone()));
        Some(token.text)
    }

    async fn ask_for_token(&self, pod: &Pod, audience: &str, seconds: i64) -> Result<Token, Error> {
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
        let audiences: Vec<&str> = if audience.is_empty() { Vec::new() } else { vec![audience] };
        let bound = json!({ "kind": "Pod", "apiVersion": "v1", "name": spec::name(pod), "uid": spec::uid(pod) });
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": { "audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": bound },
        });
        let accounts = Api::<k8s_openapi::api::core::v1::ServiceAccount>::new(&self.client);
        let of = ObjectKey::new(spec::namespace(pod), account);
        let answer: Value = accounts.create_subresource(&of, "token", &request).await?;
        let said = |field: &str| answer["status"][field].as_str();
        let issued_at = self.clock.now();
        let asked_for = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let expires_at = said("expirationTimestamp").and_then(|time| time.parse().ok());
        let text = said("token").ok_or_else(|| Error::other("the answer has no token"))?.to_owned();
        Ok(Token { text, issued_at, expires_at: expires_at.unwrap_or_else(|| later(issued_at, asked_for)) })
    }

    /// Drops from the disk what none of these pods needs.
    pub fn retain(&self, pods: impl Iterator<Item = Arc<Pod>>) {
        let mut needed = BTreeSet::new();
        for pod in pods {
            let namespace = spec::namespace(&pod);
            needed.extend([(Kept::Services, namespace.to_owned()), (Kept::Services, "default".to_owned())]);
            let volumes = payload::needs(&pod);
            let envs: Vec<_> = spec::containers(&pod).map(|(container, _)| env::needs(&container)).collect();
            let maps = volumes.config_maps.iter().chain(envs.iter().flat_map(|needs| &needs.config_maps));
            needed.extend(maps.map(|name| (Kept::ConfigMaps, file_of(namespace, name))));
            let class = pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.as_deref());
            needed.extend(class.map(|name| (Kept::RuntimeClasses, file_of("", name))));
            let pull = pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
            let secrets = volumes.secrets.iter().chain(envs.iter().flat_map(|needs| &needs.secrets));
            let secrets = secrets.chain(pull.map(|secret| &secret.name));
            needed.extend(secrets.map(|name| (Kept::Secrets, file_of(namespace, name))));
            let tokens = volumes.tokens.keys().map(|audience| token_file_of(spec::uid(&pod), audience));
            needed.extend(tokens.map(|file| (Kept::Tokens, file)));
        }
        for kind in [Kept::ConfigMaps, Kept::Secrets, Kept::Tokens, Kept::Services, Kept::RuntimeClasses] {
            self.kept.retain(kind, |file| needed.contains(&(kind, file.to_owned())));
        }
    }
}

/// The name of an object's file: no name contains `_`.
fn file_of(namespace: &str, name: &str) -> String {
    format!("{namespace}_{name}")
}

/// The name of a token's file: audiences are URLs as a rule.
fn token_file_of(uid: &str, audience: &str) -> String {
    format!("{uid}_{}", &hex::encode(Sha256::digest(audience))[..16])
}

fn slot_of<T>(remembered: &Remembered<T>, key: &ObjectKey) -> Slot<T> {
    let mut slots = remembered.lock();
    if slots.len() >= REMEMBERED_MAX {
        slots.retain(|_, slot| Arc::strong_count(slot) > 1);
    }
    Arc::clone(slots.entry(key.clone()).or_default())
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
    let slot = slot_of(remembered, key);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_at_four_fifths_of_its_life_and_daily() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let token = |life: i64| Token { text: String::new(), issued_at: at(0), expires_at: at(life) };
        for (life, now, expected) in
            [(600, 479, false), (600, 480, true), (604_800, 86_399, false), (604_800, 86_400, true), (0, 0, true)]
        {
            assert_eq!(token(life).is_due(at(now)), expected, "{life} {now}");
        }
    }

    #[test]
    fn files_of_tokens_are_names_whatever_the_audience() {
        let file = token_file_of("u", "https://vault.example/../x");
        assert!(file.starts_with("u_") && !file.contains(['/', '.']), "{file}");
        assert_ne!(file, token_file_of("u", "https://vault.example"));
    }
}
