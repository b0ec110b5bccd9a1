//! What a reader of logs asks for: the query of `pods/log` and of the kubelet's `containerLogs`. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

use super::entry::{Entry, Stream};

/// Which part of a log, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Whether to go on with what is written later.
    pub follow: bool,
    /// Whether the attempt before the current one is meant.
    pub previous: bool,
    /// Whether each line begins with its time.
    pub timestamps: bool,
    /// Only the last lines.
    pub tail: Option<usize>,
    /// Only what was written then or later.
    pub since: Option<Timestamp>,
    /// Only that many bytes.
    pub limit_bytes: Option<u64>,
    /// Only this stream.
    pub stream: Option<Stream>,
}

impl Query {
    /// Reads a URL's query.
    ///
    /// # Errors
    /// The message of a value that makes no sense (`core/validation`, `ValidatePodLogOptions`).
    pub fn parse(query: &str, now: Timestamp) -> Result<Self, String> {
        let mut result = Self::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let number =
                || value.parse::<i64>().map_err(|_| format!("{name}: Invalid value: \"{value}\": must be a number"));
            let truth = matches!(value, "true" | "1" | "");
            match name {
                "follow" => result.follow = truth,
                "previous" => result.previous = truth,
                "timestamps" => result.timestamps = truth,
                "tailLines" => {
                    let lines = usize::try_from(number()?);
                    result.tail = Some(lines.map_err(|_| at_least(name, value, 0))?);
                }
                "limitBytes" => {
                    let bytes = u64::try_from(number()?).ok().filter(|bytes| *bytes > 0);
                    result.limit_bytes = Some(bytes.ok_or_else(|| at_least(name, value, 1))?);
                }
                "sinceSeconds" => {
                    let seconds = u64::try_from(number()?).ok().filter(|seconds| *seconds > 0);
                    let ago = Duration::from_secs(seconds.ok_or_else(|| at_least(name, value, 1))?);
                    result.since = Some(now.checked_sub(ago).unwrap_or(Timestamp::MIN));
                }
                "sinceTime" => {
                    let text = value.replace("%3A", ":").replace("%3a", ":").replace("%2B", "+");
                    let time =
                        text.parse().map_err(|_| format!("sinceTime: Invalid value: \"{value}\": must be RFC 3339"))?;
                    result.since = Some(time);
                }
                "stream" => {
                    result.stream = match value {
                        "Stdout" => Some(Stream::Stdout),
                        "Stderr" => Some(Stream::Stderr),
                        _ => None,
                    }
                }
                _ => {}
            }
        }
        Ok(result)
    }

    /// Appends an entry to `out` the way the reader wants it, if at all.
    pub fn render(&self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        let is_wanted = self.stream.is_none_or(|stream| stream == entry.stream);
        if !is_wanted || self.since.is_some_and(|since| !entry.is_since(since)) {
            return;
        }
        if self.timestamps {
            out.extend_from_slice(entry.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(entry.text);
        if !entry.is_partial {
            out.push(b'\n');
        }
    }
}

fn at_least(name: &str, value: &str, least: u8) -> String {
    format!("{name}: Invalid value: {value}: must be greater than or equal to {least}")
}

/// Returns which attempt's log is meant (`kubelet.go`, `validateContainerLogStatus`).
///
/// # Errors
/// The kubelet's sentence when there is none.
pub fn attempt_of(pod: &str, status: &PodStatus, container: &str, previous: bool) -> Result<u32, String> {
    let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    let Some(status) = lists.into_iter().flatten().flatten().find(|status| status.name == container) else {
        return Err(format!("container \"{container}\" in pod \"{pod}\" is not available"));
    };
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let last = last.map(|terminated| attempt_in(terminated.container_id.as_deref()).unwrap_or_else(|| before(status)));
    if previous {
        let message = || format!("previous terminated container \"{container}\" in pod \"{pod}\" not found");
        return last.ok_or_else(message);
    }
    let state = status.state.clone().unwrap_or_default();
    let current = || u32::try_from(status.restart_count).unwrap_or(0);
    if state.running.is_some() {
        return Ok(current());
    }
    if let Some(terminated) = &state.terminated {
        let message = || format!("container \"{container}\" in pod \"{pod}\" is terminated");
        return attempt_in(terminated.container_id.as_deref()).ok_or_else(message);
    }
    if let Some(last) = last {
        return Ok(last);
    }
    let reason = state.waiting.and_then(|waiting| waiting.reason).unwrap_or_default();
    Err(match reason.as_str() {
        "ErrImagePull" => {
            format!("container \"{container}\" in pod \"{pod}\" is waiting to start: image can't be pulled")
        }
        "ImagePullBackOff" => {
            format!("container \"{container}\" in pod \"{pod}\" is waiting to start: trying and failing to pull image")
        }
        reason => format!("container \"{container}\" in pod \"{pod}\" is waiting to start: {reason}"),
    })
}

fn attempt_in(id: Option<&str>) -> Option<u32> {
    id?.rsplit_once('.')?.1.parse().ok()
}

fn before(status: &ContainerStatus) -> u32 {
    u32::try_from(status.restart_count).unwrap_or(0).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::entry;
    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:01:00Z".parse().unwrap()
    }

    #[test]
    fn a_query_is_read_as_the_kubelet_does() {
        let query =
            Query::parse("follow=true&tailLines=20&sinceSeconds=60&timestamps=true&limitBytes=5&x=y", now()).unwrap();
        assert_eq!(
            query,
            Query {
                follow: true,
                timestamps: true,
                tail: Some(20),
                since: Some("2026-01-01T00:00:00Z".parse().unwrap()),
                limit_bytes: Some(5),
                ..Query::default()
            }
        );
        let query = Query::parse("sinceTime=2026-01-01T00%3A00%3A00Z&previous=true", now()).unwrap();
        assert!(query.previous && query.since.is_some());
    }

    #[test]
    fn values_that_make_no_sense_are_refused_with_their_name() {
        for (text, name) in [
            ("tailLines=-1", "tailLines"),
            ("limitBytes=0", "limitBytes"),
            ("sinceSeconds=0", "sinceSeconds"),
            ("sinceTime=yesterday", "sinceTime"),
            ("tailLines=x", "tailLines"),
        ] {
            assert!(Query::parse(text, now()).unwrap_err().starts_with(name), "{text}");
        }
    }

    fn render(query: &str) -> String {
        let query = Query::parse(query, now()).unwrap();
        let mut out = Vec::new();
        for line in
            ["2026-01-01T00:00:30Z stdout P a", "2026-01-01T00:00:31Z stdout F b", "2026-01-01T00:00:59Z stderr F c"]
        {
            query.render(&entry::parse(line.as_bytes()).unwrap(), &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn pieces_are_joined_and_filters_apply() {
        assert_eq!(render(""), "ab\nc\n");
        assert_eq!(render("sinceSeconds=2"), "c\n");
        assert_eq!(render("stream=Stdout"), "ab\n");
        assert_eq!(render("sinceSeconds=2&timestamps=true"), "2026-01-01T00:00:59Z c\n");
    }

    fn attempt(container: Value, previous: bool) -> Result<u32, String> {
        let mut container = container;
        container["name"] = json!("c");
        for (field, value) in [("image", json!("i")), ("imageID", json!("")), ("ready", json!(false))] {
            container[field] = value;
        }
        let status = serde_json::from_value(json!({ "containerStatuses": [container] })).unwrap();
        attempt_of("p", &status, "c", previous)
    }

    #[test]
    fn the_attempt_follows_the_state() {
        let ended = |attempt: u32| json!({ "terminated": { "exitCode": 1, "containerID": format!("wasmtime://u.c.{attempt}") } });
        let running = json!({ "restartCount": 2, "state": { "running": {} }, "lastState": ended(1) });
        assert_eq!((attempt(running.clone(), false), attempt(running, true)), (Ok(2), Ok(1)));
        assert_eq!(attempt(json!({ "restartCount": 0, "state": ended(0) }), false), Ok(0));
        let waiting = json!({ "restartCount": 2, "state": { "waiting": { "reason": "CrashLoopBackOff" } }, "lastState": ended(2) });
        assert_eq!((attempt(waiting.clone(), false), attempt(waiting, true)), (Ok(2), Ok(2)));
    }

    #[test]
    fn without_a_log_the_kubelets_sentence_is_given() {
        let waiting = |reason: &str| json!({ "restartCount": 0, "state": { "waiting": { "reason": reason } } });
        let sentence = |reason| attempt(waiting(reason), false).unwrap_err();
        assert_eq!(
            sentence("ContainerCreating"),
            "container \"c\" in pod \"p\" is waiting to start: ContainerCreating"
        );
        assert_eq!(sentence("ErrImagePull"), "container \"c\" in pod \"p\" is waiting to start: image can't be pulled");
        assert_eq!(
            sentence("ImagePullBackOff"),
            "container \"c\" in pod \"p\" is waiting to start: trying and failing to pull image"
        );
        assert_eq!(
            attempt(waiting("ContainerCreating"), true).unwrap_err(),
            "previous terminated container \"c\" in pod \"p\" not found"
        );
        let none = attempt_of("p", &PodStatus::default(), "c", false).unwrap_err();
        assert_eq!(none, "container \"c\" in pod \"p\" is not available");
    }
}
