//! Conversion of custom resources by a webhook, which sees all objects of a list at once.
//!
//! ```text
//! stored (any version) ─ in the row's version already? ─ yes ───────────────> shown
//!                                                      └ no ─> the webhook ─┘
//! ```

mod review;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wkube_api::resource::Conversion;
use wkube_api::{Object, Resource, Status};
use wkube_base::Rng;

use crate::webhook::{Client, Post, Target};
use review::Wrong;

/// How long a conversion may take (`webhook_converter.go`: the client's timeout).
const TIMEOUT: Duration = Duration::from_secs(30);
/// An answer may be this much longer than the question: another version says the same in more words.
const GROWTH: usize = 4;
/// An answer to a short question may have this many bytes.
const ANSWER_BYTES_MIN: usize = 4 * 1024 * 1024;

/// How an error names what was converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// One object.
    Object,
    /// A list.
    List,
}

/// Asks conversion webhooks. Clones share the connections.
#[derive(Clone)]
pub(crate) struct Converter {
    webhooks: Arc<Client>,
    rng: Rng,
}

impl Converter {
    /// Returns a converter that calls through `webhooks`.
    pub(crate) fn new(webhooks: Arc<Client>, rng: Rng) -> Self {
        Self { webhooks, rng }
    }

    /// Returns the objects in the version `desired`; those that are in it already stay as they are. The metadata must not
    /// change, and do not, except for labels and annotations.
    ///
    /// # Errors
    /// 500 with the story, if the webhook does not answer or gives back something else.
    pub(crate) async fn convert(
        &self,
        kind: &Resource,
        conversion: &Conversion,
        objects: Vec<Object>,
        desired: &str,
        of: Of,
    ) -> Result<Vec<Object>, Status> {
        let is_foreign = |object: &&Object| object.api_version() != desired;
        let foreign: Vec<Object> = objects.iter().filter(is_foreign).cloned().collect();
        if foreign.is_empty() {
            return Ok(objects);
        }
        let from = match of {
            Of::Object => format!("{}, Kind={}", foreign[0].api_version(), kind.kind),
            Of::List => format!("{}, Kind={}", kind.api_version(), kind.list_kind()),
        };
        let failed = |why: String| failure(&format!("conversion webhook for {from} failed: {why}"));
        let converted = self.ask(conversion, &foreign, desired).await.map_err(failed)?;
        if converted.len() != foreign.len() {
            let (found, expected) = (converted.len(), foreign.len());
            return Err(failure(&format!(
                "conversion webhook for {from} returned {found} objects, expected {expected}"
            )));
        }
        let mut converted = converted.into_iter().enumerate();
        objects
            .into_iter()
            .map(|object| {
                if object.api_version() == desired {
                    return Ok(object);
                }
                let (place, document) = converted.next().expect("as many as there are foreign objects");
                review::accept(&object, document, desired).map_err(|wrong| told(&from, of, place, &wrong))
            })
            .collect()
    }

    async fn ask(
        &self,
        conversion: &Conversion,
        objects: &[Object],
        desired: &str,
    ) -> Result<Vec<serde_json::Value>, String> {
        let target = Target::parse(&conversion.client)?;
        let sent = review::request(&conversion.reviews, &self.uid(), desired, objects)?;
        let body = Bytes::from(sent.to_string());
        let answer_max = ANSWER_BYTES_MIN.max(body.len().saturating_mul(GROWTH));
        let post = Post { target: &target, body, timeout: TIMEOUT, answer_max };
        let answer = self.webhooks.post(post).await.map_err(|error| error.to_string())?;
        review::documents(&answer, &sent)
    }

    fn uid(&self) -> String {
        let mut bytes = [0; 16];
        self.rng.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }
}

fn told(from: &str, of: Of, place: usize, wrong: &Wrong) -> Status {
    let place = match of {
        Of::Object => String::new(),
        Of::List => format!(" at index {place}"),
    };
    failure(&match (wrong, of) {
        (Wrong::Object(why), Of::Object) => format!("conversion webhook for {from} returned invalid object: {why}"),
        (Wrong::Object(why), Of::List) => {
            format!("conversion webhook for {from} returned invalid converted object{place}: {why}")
        }
        (Wrong::Metadata(why), Of::Object) => format!("conversion webhook for {from} returned invalid metadata: {why}"),
        (Wrong::Metadata(why), Of::List) => {
            format!("conversion webhook for {from} returned invalid metadata in object{place}: {why}")
        }
    })
}

/// Kubernetes gives no reason for these.
fn failure(message: &str) -> Status {
    Status::new(500, "", message)
}
