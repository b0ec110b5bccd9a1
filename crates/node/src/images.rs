//! Images: the pull policy, one pull for all who wait for the same image, credentials, and the events that tell about it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::objects::Fetcher;
use crate::pod::backoff::go_duration;
use crate::pod::phase::{Note, StartFailure};
use crate::pod::spec;
use crate::runtime::{Credential, Image, Pull, PullError, Runtime};

/// How many images are fetched at once: compiling them is what costs, and it uses every core.
const PULLS_MAX: usize = 4;

/// When to ask the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// If the image is not here.
    IfNotPresent,
    /// Not at all.
    Never,
}

impl PullPolicy {
    /// Reads a container's policy. The default asks always for `:latest`, and for a name without tag
    /// (`core/v1/defaults.go`, `SetDefaults_Container`).
    pub fn of(container: &Container) -> Self {
        match container.image_pull_policy.as_deref() {
            Some("Always") => Self::Always,
            Some("Never") => Self::Never,
            None if is_latest(container.image.as_deref().unwrap_or_default()) => Self::Always,
            None | Some(_) => Self::IfNotPresent,
        }
    }
}

fn is_latest(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or_default();
    !last.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// The images of one node. Clones share pulls.
#[derive(Clone)]
pub struct Images {
    runtime: Arc<dyn Runtime>,
    fetcher: Fetcher,
    pulls: Arc<Semaphore>,
    by_name: Arc<Mutex<BTreeMap<String, Slot>>>,
}

/// The latest pull of one name. Held while pulling, so that those who come meanwhile share its result.
type Slot = Arc<tokio::sync::Mutex<Option<(Instant, Image)>>>;

impl Images {
    /// Returns the images of a runtime.
    pub fn new(runtime: Arc<dyn Runtime>, fetcher: &Fetcher) -> Self {
        let pulls = Arc::new(Semaphore::new(PULLS_MAX));
        Self { runtime, fetcher: fetcher.clone(), pulls, by_name: Arc::default() }
    }

    /// Returns the container's image, fetched if its policy says so.
    ///
    /// # Errors
    /// The state that the container waits in.
    pub async fn ensure(
        &self,
        pod: &Pod,
        container: &Container,
        record: &(dyn Fn(Note) + Send + Sync),
    ) -> Result<Image, StartFailure> {
        let name = container.image.as_deref().unwrap_or_default();
        let policy = PullPolicy::of(container);
        let asked = Instant::now();
        if policy != PullPolicy::Always
            && let Some(image) = self.runtime.find_image(name).await
        {
            record(Note::normal("Pulled", already_present(name)));
            return Ok(image);
        }
        if policy == PullPolicy::Never {
            let message = format!("Container image \"{name}\" is not present with pull policy of Never");
            record(Note::warning("ErrImageNeverPull", message.clone()));
            return Err(StartFailure::Other { reason: "ErrImageNeverPull", message });
        }
        let slot = Arc::clone(self.by_name.lock().entry(name.to_owned()).or_default());
        let mut latest = slot.lock().await;
        if let Some((at, image)) = &*latest
            && *at >= asked
        {
            record(Note::normal("Pulled", already_present(name)));
            return Ok(image.clone());
        }
        record(Note::normal("Pulling", format!("Pulling image \"{name}\"")));
        let credentials = self.credentials(pod).await;
        let _turn = self.pulls.acquire().await;
        let began = Instant::now();
        let pulled = self.runtime.pull_image(Pull { image: name.to_owned(), credentials }).await;
        match pulled {
            Ok(image) => {
                record(Note::normal(
                    "Pulled",
                    pulled_message(name, began.elapsed(), asked.elapsed(), image.size_bytes),
                ));
                *latest = Some((Instant::now(), image.clone()));
                Ok(image)
            }
            Err(PullError::InvalidName { image, problem }) => {
                let message = format!(
                    "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": {problem}"
                );
                record(Note::warning("InspectFailed", message.clone()));
                Err(StartFailure::Other { reason: "InvalidImageName", message })
            }
            Err(PullError::Failed(cause)) => {
                record(Note::warning("Failed", format!("Failed to pull image \"{name}\": {cause}")));
                Err(StartFailure::Pull { message: format!("failed to pull image \"{name}\": {cause}") })
            }
        }
    }

    async fn credentials(&self, pod: &Pod) -> Vec<Credential> {
        let mut credentials = Vec::new();
        let secrets = pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
        for reference in secrets {
            match self.fetcher.secret(spec::namespace(pod), &reference.name).await {
                Ok(Some(secret)) => credentials.extend(credentials_in(&secret)),
                Ok(None) => tracing::warn!(secret = reference.name, "image pull secret does not exist"),
                Err(error) => tracing::warn!(secret = reference.name, %error, "cannot read image pull secret"),
            }
        }
        credentials
    }
}

fn already_present(name: &str) -> String {
    format!("Container image \"{name}\" already present on machine")
}

fn pulled_message(name: &str, took: Duration, waited: Duration, size: u64) -> String {
    let (took, waited) = (go_duration(took), go_duration(waited));
    format!("Successfully pulled image \"{name}\" in {took} ({waited} including waiting). Image size: {size} bytes.")
}

/// Reads a `kubernetes.io/dockerconfigjson` Secret.
fn credentials_in(secret: &Secret) -> Vec<Credential> {
    let file = secret.data.as_ref().and_then(|data| data.get(".dockerconfigjson"));
    let config: Value = file.and_then(|file| serde_json::from_slice(&file.0).ok()).unwrap_or_default();
    let auths = config["auths"].as_object().into_iter().flatten();
    let credential = |(host, login): (&String, &Value)| {
        let host = host.trim_start_matches("https://").trim_start_matches("http://");
        let host = host.split('/').next().unwrap_or_default().to_owned();
        let user = login["username"].as_str()?.to_owned();
        Some(Credential { host, user, password: login["password"].as_str()?.to_owned() })
    };
    auths.filter_map(credential).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(image: &str, policy: Option<&str>) -> PullPolicy {
        PullPolicy::of(&Container {
            image: Some(image.into()),
            image_pull_policy: policy.map(Into::into),
            ..Container::default()
        })
    }

    #[test]
    fn latest_is_always_asked_for_and_a_tag_or_digest_only_once() {
        for image in ["a", "a:latest", "localhost:5050/a", "ghcr.io/x/a:latest"] {
            assert_eq!(policy(image, None), PullPolicy::Always, "{image}");
        }
        for image in ["a:v1", "localhost:5050/a:v1", "a@sha256:00", "a:latest@sha256:00"] {
            assert_eq!(policy(image, None), PullPolicy::IfNotPresent, "{image}");
        }
        assert_eq!(policy("a:latest", Some("Never")), PullPolicy::Never);
    }

    #[test]
    fn messages_are_kubernetes() {
        let message = pulled_message("a:v1", Duration::from_millis(1200), Duration::from_millis(1500), 42);
        assert_eq!(
            message,
            "Successfully pulled image \"a:v1\" in 1.2s (1.5s including waiting). Image size: 42 bytes."
        );
    }

    #[test]
    fn pull_secrets_are_read_by_host() {
        let config = json!({ "auths": { "https://ghcr.io/v2/": { "username": "u", "password": "p" }, "bad": {} } });
        let data = BTreeMap::from([(
            ".dockerconfigjson".to_owned(),
            k8s_openapi::ByteString(config.to_string().into_bytes()),
        )]);
        let credentials = credentials_in(&Secret { data: Some(data), ..Secret::default() });
        assert_eq!(credentials, [Credential { host: "ghcr.io".into(), user: "u".into(), password: "p".into() }]);
    }
}
