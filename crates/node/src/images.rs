//! Images: the pull policy, one pull for all who wait for the same image, credentials, and the events that tell about it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use wkube_wasm_runtime::oci::Keyring;

use crate::objects::Fetcher;
use crate::pod::backoff::go_duration;
use crate::pod::phase::{Note, StartFailure};
use crate::pod::spec;
use crate::runtime::{Image, Pull, PullError, Runtime};

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
        let keyring = self.keyring(pod).await;
        let _turn = self.pulls.acquire().await;
        let began = Instant::now();
        let pulled = self.runtime.pull_image(Pull { image: name.to_owned(), keyring }).await;
        match pulled {
            Ok(image) => {
                let message = pulled_message(name, began.elapsed(), asked.elapsed(), image.size_bytes);
                record(Note::normal("Pulled", message));
                *latest = Some((Instant::now(), image.clone()));
                Ok(image)
            }
            Err(error) => {
                // A node that has lost its registry goes on with what it has, and says so.
                if let PullError::Unavailable(cause) = &error
                    && let Some(image) = self.runtime.find_image(name).await
                {
                    record(Note::warning("RegistryUnavailable", not_checked(name, &image.id, cause)));
                    return Ok(image);
                }
                let (note, failure) = refused(name, error);
                record(note);
                Err(failure)
            }
        }
    }

    /// Reads the pod's pull secrets. One that is missing or unreadable is left out, as kubelet does.
    async fn keyring(&self, pod: &Pod) -> Keyring {
        let mut keyring = Keyring::default();
        let secrets = pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
        for reference in secrets {
            let problem = match self.fetcher.secret(spec::namespace(pod), &reference.name).await {
                Ok(Some(secret)) => match keyring_in(&secret) {
                    Ok(found) => {
                        keyring.extend(found);
                        continue;
                    }
                    Err(problem) => problem,
                },
                Ok(None) => "it does not exist".to_owned(),
                Err(error) => error.to_string(),
            };
            tracing::warn!(secret = reference.name, problem, "an image pull secret cannot be used");
        }
        keyring
    }
}

/// Says what went wrong in kubelet's words (`kubelet/images/image_manager.go`, `evalCRIPullErr`).
fn refused(name: &str, error: PullError) -> (Note, StartFailure) {
    if let PullError::InvalidName { image, problem } = error {
        let message =
            format!("Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": {problem}");
        let note = Note::warning("InspectFailed", message.clone());
        return (note, StartFailure::Other { reason: "InvalidImageName", message });
    }
    let note = Note::warning("Failed", format!("Failed to pull image \"{name}\": {error}"));
    let (reason, message) = match error {
        PullError::Unavailable(cause) => (
            "RegistryUnavailable",
            format!("image pull failed for {name} because the registry is unavailable: {cause}"),
        ),
        PullError::Unsigned(cause) => (
            "SignatureValidationFailed",
            format!("image pull failed for {name} because the signature validation failed: {cause}"),
        ),
        other => ("ErrImagePull", format!("failed to pull image \"{name}\": {other}")),
    };
    (note, StartFailure::Pull { reason, message })
}

fn not_checked(name: &str, id: &str, cause: &str) -> String {
    let pinned = id.rsplit_once('@').map_or(id, |(_, digest)| digest);
    format!(
        "Image \"{name}\" could not be checked, so what this node has of it is used ({pinned}): the registry is \
         unavailable: {cause}"
    )
}

fn already_present(name: &str) -> String {
    format!("Container image \"{name}\" already present on machine")
}

fn pulled_message(name: &str, took: Duration, waited: Duration, size: u64) -> String {
    let (took, waited) = (go_duration(took), go_duration(waited));
    format!("Successfully pulled image \"{name}\" in {took} ({waited} including waiting). Image size: {size} bytes.")
}

/// Reads a Secret of either type for registries: `.dockerconfigjson`, or the older `.dockercfg`.
fn keyring_in(secret: &Secret) -> Result<Keyring, String> {
    let data = secret.data.as_ref();
    let file = data.and_then(|data| data.get(".dockerconfigjson").or_else(|| data.get(".dockercfg")));
    Keyring::parse(&file.ok_or("it has neither .dockerconfigjson nor .dockercfg")?.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wkube_wasm_runtime::oci::Credentials;

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

    fn secret(file: &str, text: &str) -> Secret {
        let data = BTreeMap::from([(file.to_owned(), k8s_openapi::ByteString(text.into()))]);
        Secret { data: Some(data), ..Secret::default() }
    }

    #[test]
    fn both_types_of_pull_secrets_are_read() {
        let entry = json!({ "https://ghcr.io/v2/": { "username": "u", "password": "p" }, "bad": {} });
        let user = [Credentials::Basic { user: "u".into(), password: "p".into() }];
        let new = secret(".dockerconfigjson", &json!({ "auths": entry }).to_string());
        assert_eq!(keyring_in(&new).unwrap().find("ghcr.io", "team/app"), user);
        let old = secret(".dockercfg", &entry.to_string());
        assert_eq!(keyring_in(&old).unwrap().find("ghcr.io", "team/app"), user);
        for bad in [secret("token", "x"), secret(".dockerconfigjson", "x"), Secret::default()] {
            assert!(keyring_in(&bad).is_err());
        }
    }

    #[test]
    fn failures_have_kubelets_reasons() {
        let failed = |error| match refused("r.io/a:v1", error) {
            (note, StartFailure::Pull { reason, message } | StartFailure::Other { reason, message }) => {
                (note.reason, reason, message)
            }
            (_, StartFailure::Cancelled) => panic!("cancelled"),
        };
        assert_eq!(
            failed(PullError::Unavailable("refused".into())),
            (
                "Failed",
                "RegistryUnavailable",
                "image pull failed for r.io/a:v1 because the registry is unavailable: refused".into()
            )
        );
        assert_eq!(
            failed(PullError::Unsigned("no key".into())),
            (
                "Failed",
                "SignatureValidationFailed",
                "image pull failed for r.io/a:v1 because the signature validation failed: no key".into()
            )
        );
        assert_eq!(
            failed(PullError::Failed("not found".into())),
            ("Failed", "ErrImagePull", "failed to pull image \"r.io/a:v1\": not found".into())
        );
        let (event, reason, message) = failed(PullError::InvalidName { image: "A".into(), problem: "upper".into() });
        assert_eq!((event, reason), ("InspectFailed", "InvalidImageName"));
        assert_eq!(message, "Failed to apply default image tag \"A\": couldn't parse image name \"A\": upper");
    }

    #[test]
    fn an_image_that_could_not_be_checked_is_named_with_its_digest() {
        assert_eq!(
            not_checked("a:latest", "a@sha256:00", "no route"),
            "Image \"a:latest\" could not be checked, so what this node has of it is used (sha256:00): the registry is \
             unavailable: no route"
        );
    }
}
