//! What a pod's annotations say about the guests of its containers. Pure.
//!
//! `wkube.dev/NAME` is for all containers of the pod, `CONTAINER.wkube.dev/NAME` for one, and goes before.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};

/// What one container's guest is granted, and how its requests are served. `None` is the runtime's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// Whether an instance answers more than one request.
    pub http_reuse: Option<bool>,
    /// How many requests the container answers at once.
    pub http_concurrency: Option<usize>,
    /// How many requests one instance answers at once, where instances are reused.
    pub http_instance_concurrency: Option<usize>,
    /// After how many requests an instance is replaced.
    pub http_instance_requests: Option<u32>,
    /// How many requests wait for their turn; more are answered with 503.
    pub http_queue: Option<usize>,
    /// How long a request may take until its response head.
    pub http_deadline: Option<Duration>,
    /// Where the `wasi:keyvalue` buckets are that the guest may open, by name.
    pub buckets: BTreeMap<String, Keep>,
}

/// Where a bucket is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keep {
    /// In memory, shared by the pod's containers, until the last of them ends.
    Memory,
    /// In a file: the path that the container sees.
    File(String),
}

/// An annotation that does not say what it should; the text of `CreateContainerConfigError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("annotation {name}: {problem}")]
pub struct Problem {
    name: String,
    problem: String,
}

/// The annotation for the image that `kubectl exec` looks for programs in that the container's own does not have.
pub const EXEC_IMAGE: &str = "wkube.dev/exec-image";

const DOMAIN: &str = "wkube.dev/";
const HTTP: &str = "http-";
const KEYVALUE: &str = "keyvalue";
const HTTP_NAMES: &str =
    "http-reuse, http-concurrency, http-instance-concurrency, http-instance-requests, http-queue and http-deadline";
/// A pod has at most this many buckets.
const BUCKETS_MAX: usize = 16;
/// Nobody waits longer for an answer.
const DEADLINE_MAX: Duration = Duration::from_hours(1);

impl Grants {
    /// Reads the annotations of `pod` that concern `container`.
    ///
    /// # Errors
    /// Names the annotation and what is wrong with it.
    pub fn of(pod: &Pod, container: &str) -> Result<Self, Problem> {
        let mut grants = Self::default();
        let annotations = || pod.metadata.annotations.iter().flatten();
        // Those of the container come second and overwrite the pod's.
        for prefix in [String::new(), format!("{container}.")] {
            for (key, value) in annotations() {
                let name = key.strip_prefix(&*prefix).and_then(|key| key.strip_prefix(DOMAIN));
                let Some(name) = name.filter(|name| name.starts_with(HTTP) || *name == KEYVALUE) else { continue };
                grants.set(name, value.trim()).map_err(|problem| Problem { name: key.clone(), problem })?;
            }
        }
        Ok(grants)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "http-reuse" => self.http_reuse = Some(switch(value)?),
            "http-concurrency" => self.http_concurrency = Some(number(value, 1, 10_000)?),
            "http-instance-concurrency" => self.http_instance_concurrency = Some(number(value, 1, 1_000)?),
            "http-instance-requests" => self.http_instance_requests = Some(number(value, 1, 1_000_000)?),
            "http-queue" => self.http_queue = Some(number(value, 0, 100_000)?),
            "http-deadline" => self.http_deadline = Some(deadline(value)?),
            KEYVALUE => self.buckets = buckets(value)?,
            _ => return Err(format!("not known; what is known are {HTTP_NAMES}")),
        }
        Ok(())
    }
}

/// Returns the image that the pod names for commands beside `container`.
pub fn exec_image<'a>(pod: &'a Pod, container: &str) -> Option<&'a str> {
    let annotations = pod.metadata.annotations.as_ref()?;
    let named = annotations.get(&format!("{container}.{EXEC_IMAGE}")).or_else(|| annotations.get(EXEC_IMAGE));
    named.map(|name| name.trim()).filter(|name| !name.is_empty())
}

fn switch(value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("{value:?} is neither true nor false"))
}

fn number<N: FromStr + PartialOrd + std::fmt::Display + Copy>(value: &str, least: N, most: N) -> Result<N, String> {
    let number = value.parse::<N>().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("{value:?} is not a number from {least} to {most}"))
}

fn deadline(value: &str) -> Result<Duration, String> {
    let read = duration(value).ok_or_else(|| format!("{value:?} is not a duration such as 500ms, 30s or 1m30s"))?;
    let is_useful = read >= Duration::from_millis(1) && read <= DEADLINE_MAX;
    is_useful.then_some(read).ok_or_else(|| format!("{value:?} is not between 1ms and 1h"))
}

/// Reads a duration as Go writes them, in whole numbers.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u32 = rest[..digits].parse().ok()?;
        let (unit, after) = [
            ("ms", Duration::from_millis(1)),
            ("s", Duration::from_secs(1)),
            ("m", Duration::from_mins(1)),
            ("h", Duration::from_hours(1)),
        ]
        .into_iter()
        .find_map(|(name, unit)| Some((unit, rest[digits..].strip_prefix(name)?)))?;
        total = total.checked_add(unit.checked_mul(number)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// Reads `NAME=memory` and `NAME=/path/in/the/container`, separated by commas.
fn buckets(value: &str) -> Result<BTreeMap<String, Keep>, String> {
    let mut buckets = BTreeMap::new();
    for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, keep) = part.split_once('=').ok_or_else(|| {
            format!(
                "{part:?} is neither NAME=memory nor NAME=/PATH, the path of a file in one of the container's volumes"
            )
        })?;
        let keep = match keep.trim() {
            "memory" => Keep::Memory,
            path if path.starts_with('/') => Keep::File(path.to_owned()),
            other => return Err(format!("bucket {name:?}: {other:?} is neither memory nor an absolute path")),
        };
        if buckets.insert(name.trim().to_owned(), keep).is_some() {
            return Err(format!("bucket {name:?} is there twice"));
        }
    }
    if buckets.len() > BUCKETS_MAX {
        return Err(format!("{} buckets are more than the {BUCKETS_MAX} that a container may have", buckets.len()));
    }
    Ok(buckets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(annotations: &[(&str, &str)]) -> Result<Grants, String> {
        let mut pod = Pod::default();
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pod.metadata.annotations = Some(annotations.iter().map(owned).collect());
        Grants::of(&pod, "web").map_err(|problem| problem.to_string())
    }

    #[test]
    fn without_annotations_everything_is_as_the_runtime_has_it_and_nothing_is_granted() {
        assert_eq!(check(&[("prometheus.io/scrape", "true"), ("wkube.dev/other", "x")]).unwrap(), Grants::default());
    }

    #[test]
    fn a_container_goes_before_its_pod_and_other_containers_do_not_matter() {
        let grants = check(&[
            ("wkube.dev/http-reuse", "true"),
            ("wkube.dev/http-queue", "0"),
            ("web.wkube.dev/http-reuse", "false"),
            ("other.wkube.dev/http-reuse", "nonsense"),
        ]);
        let expected = Grants { http_reuse: Some(false), http_queue: Some(0), ..Grants::default() };
        assert_eq!(grants.unwrap(), expected);
    }

    #[test]
    fn the_image_for_commands_is_the_containers_or_else_the_pods() {
        let find = |annotations: &[(&str, &str)]| {
            let mut pod = Pod::default();
            let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            pod.metadata.annotations = Some(annotations.iter().map(owned).collect());
            exec_image(&pod, "web").map(str::to_owned)
        };
        let (of_pod, of_other) = ((EXEC_IMAGE, " tools:v1 "), ("other.wkube.dev/exec-image", "x"));
        assert_eq!(find(&[of_other]), None);
        assert_eq!(find(&[of_pod, of_other]).as_deref(), Some("tools:v1"));
        assert_eq!(find(&[of_pod, ("web.wkube.dev/exec-image", "mine:v1")]).as_deref(), Some("mine:v1"));
        assert_eq!(find(&[(EXEC_IMAGE, "")]), None);
    }

    #[test]
    fn deadlines_are_durations_as_go_writes_them() {
        for (text, millis) in [("500ms", 500), ("30s", 30_000), ("1m30s", 90_000), ("1h", 3_600_000)] {
            let grants = check(&[("wkube.dev/http-deadline", text)]).unwrap();
            assert_eq!(grants.http_deadline, Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_named_with_what_could_be() {
        for (name, value, expected) in [
            ("wkube.dev/http-reuse", "yes", "annotation wkube.dev/http-reuse: \"yes\" is neither true nor false"),
            (
                "web.wkube.dev/http-concurrency",
                "0",
                "annotation web.wkube.dev/http-concurrency: \"0\" is not a number from 1 to 10000",
            ),
            (
                "wkube.dev/http-deadline",
                "30",
                "annotation wkube.dev/http-deadline: \"30\" is not a duration such as 500ms, 30s or 1m30s",
            ),
            ("wkube.dev/http-deadline", "2h", "annotation wkube.dev/http-deadline: \"2h\" is not between 1ms and 1h"),
            (
                "wkube.dev/http-deadline",
                "99999999999999999999h",
                "annotation wkube.dev/http-deadline: \"99999999999999999999h\" is not a duration such as 500ms, 30s or 1m30s",
            ),
            (
                "wkube.dev/keyvalue",
                "a=disk",
                "annotation wkube.dev/keyvalue: bucket \"a\": \"disk\" is neither memory nor an absolute path",
            ),
        ] {
            assert_eq!(check(&[(name, value)]).unwrap_err(), expected);
        }
        let unknown = check(&[("wkube.dev/http-conurrency", "3")]).unwrap_err();
        assert!(unknown.starts_with("annotation wkube.dev/http-conurrency: not known; what is known are http-reuse"));
    }

    #[test]
    fn buckets_are_in_memory_or_in_a_file() {
        let grants = check(&[("wkube.dev/keyvalue", "default=memory, sessions=/data/sessions.redb,")]).unwrap();
        let expected = [
            ("default".to_owned(), Keep::Memory),
            ("sessions".to_owned(), Keep::File("/data/sessions.redb".to_owned())),
        ];
        assert_eq!(grants.buckets, BTreeMap::from(expected));
        assert!(
            check(&[("wkube.dev/keyvalue", "a=memory,a=/x")]).unwrap_err().ends_with("bucket \"a\" is there twice")
        );
    }
}
