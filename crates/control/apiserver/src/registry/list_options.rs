//! The query of a list or watch, checked (`apimachinery/pkg/apis/meta/internalversion/validation`). Pure.

use std::time::Duration;

use wkube_api::Status;
use wkube_api::status::FieldError;

use super::page::Page;
use crate::router::Query;

/// How fresh the answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// As of now.
    Latest,
    /// Whatever is at hand.
    Any,
    /// This revision or newer.
    AtLeast(u64),
    /// This revision.
    Exactly(u64),
}

/// A list's query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListOptions {
    /// How fresh.
    pub(crate) freshness: Freshness,
    /// At most this many objects; zero is all.
    pub(crate) limit: usize,
    /// Set from the second page on.
    pub(crate) page: Option<Page>,
}

/// Where a watch starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// With what exists, then live. The freshness is `Latest`, `Any` or `AtLeast`.
    State(Freshness),
    /// With the changes after this revision.
    After(u64),
}

/// A watch's query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WatchOptions {
    /// Where it starts.
    pub(crate) start: Start,
    /// Whether to mark the end of the initial state (`k8s.io/initial-events-end`).
    pub(crate) mark_initial: bool,
    /// Whether to send bookmarks.
    pub(crate) bookmarks: bool,
    /// When the client wants it to end.
    pub(crate) timeout: Option<Duration>,
}

/// Reads a list's query.
pub(crate) fn list(query: &Query) -> Result<ListOptions, Status> {
    let mut errors = Vec::new();
    let matching = query.get("resourceVersionMatch");
    let token = query.get("continue");
    let version = version(query)?;
    if query.has("sendInitialEvents") {
        errors.push(FieldError::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    check_match(matching, query.get("resourceVersion"), &mut errors);
    if !matching.is_empty() && !token.is_empty() {
        let detail = "resourceVersionMatch is forbidden when continue is provided";
        errors.push(FieldError::forbidden("resourceVersionMatch", detail));
    }
    refuse(errors)?;
    let limit = number(query, "limit")?.unwrap_or(0);
    let limit = usize::try_from(limit).unwrap_or(0);
    if !token.is_empty() {
        if version.is_some_and(|version| version != 0) {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        return Ok(ListOptions { freshness: Freshness::Latest, limit, page: Some(Page::parse(token)?) });
    }
    let freshness = match (version, matching) {
        (None, _) => Freshness::Latest,
        (Some(0), _) => Freshness::Any,
        (Some(n), "Exact") => Freshness::Exactly(n),
        (Some(n), "NotOlderThan") => Freshness::AtLeast(n),
        (Some(n), _) if limit > 0 => Freshness::Exactly(n),
        (Some(n), _) => Freshness::AtLeast(n),
    };
    Ok(ListOptions { freshness, limit, page: None })
}

/// Reads a watch's query.
pub(crate) fn watch(query: &Query) -> Result<WatchOptions, Status> {
    let mut errors = Vec::new();
    let matching = query.get("resourceVersionMatch");
    let version = version(query)?;
    let mark_initial = query.flag("sendInitialEvents");
    if query.has("sendInitialEvents") {
        if matching.is_empty() {
            let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(FieldError::forbidden("resourceVersionMatch", detail));
        } else if matching != "NotOlderThan" {
            errors.push(FieldError::not_supported("resourceVersionMatch", matching, &["NotOlderThan"]));
        }
    } else if !matching.is_empty() {
        let detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        errors.push(FieldError::forbidden("resourceVersionMatch", detail));
    }
    refuse(errors)?;
    let start = match version {
        None => Start::State(Freshness::Latest),
        Some(0) => Start::State(Freshness::Any),
        Some(n) if mark_initial => Start::State(Freshness::AtLeast(n)),
        Some(n) => Start::After(n),
    };
    let timeout = number(query, "timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok());
    let timeout = timeout.filter(|seconds| *seconds > 0).map(Duration::from_secs);
    Ok(WatchOptions { start, mark_initial, bookmarks: query.flag("allowWatchBookmarks"), timeout })
}

/// Reads `resourceVersion`; `None` if it is not given.
pub(crate) fn version(query: &Query) -> Result<Option<u64>, Status> {
    let text = query.get("resourceVersion");
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Status::bad_request(format!("invalid resource version {text:?}")))
}

fn number(query: &Query, name: &str) -> Result<Option<i64>, Status> {
    let text = query.get(name);
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| Status::bad_request(format!("invalid value {text:?} for {name}: not an integer")))
}

fn check_match(matching: &str, version: &str, errors: &mut Vec<FieldError>) {
    if matching.is_empty() {
        return;
    }
    if version.is_empty() {
        let detail = "resourceVersionMatch is forbidden unless resourceVersion is provided";
        errors.push(FieldError::forbidden("resourceVersionMatch", detail));
    }
    if !matches!(matching, "Exact" | "NotOlderThan") {
        errors.push(FieldError::not_supported("resourceVersionMatch", matching, &["Exact", "NotOlderThan", ""]));
    }
    if matching == "Exact" && version == "0" {
        let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
        errors.push(FieldError::forbidden("resourceVersionMatch", detail));
    }
}

fn refuse(errors: Vec<FieldError>) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("ListOptions", "meta.k8s.io", "", errors)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(query: &str) -> Result<ListOptions, u16> {
        list(&Query::parse(Some(query))).map_err(|status| status.code)
    }

    fn freshness(query: &str) -> Freshness {
        listed(query).expect("valid").freshness
    }

    fn watched(query: &str) -> Result<WatchOptions, u16> {
        watch(&Query::parse(Some(query))).map_err(|status| status.code)
    }

    #[test]
    fn a_list_without_a_version_is_consistent() {
        assert_eq!(freshness(""), Freshness::Latest);
        assert_eq!(freshness("limit=5"), Freshness::Latest);
    }

    #[test]
    fn version_zero_is_any_state() {
        assert_eq!(freshness("resourceVersion=0"), Freshness::Any);
        assert_eq!(freshness("resourceVersion=0&resourceVersionMatch=NotOlderThan"), Freshness::Any);
        assert_eq!(freshness("resourceVersion=0&limit=500"), Freshness::Any);
    }

    #[test]
    fn a_version_means_not_older_unless_a_limit_makes_it_exact() {
        assert_eq!(freshness("resourceVersion=7"), Freshness::AtLeast(7));
        assert_eq!(freshness("resourceVersion=7&limit=2"), Freshness::Exactly(7));
        assert_eq!(freshness("resourceVersion=7&limit=2&resourceVersionMatch=NotOlderThan"), Freshness::AtLeast(7));
        assert_eq!(freshness("resourceVersion=7&resourceVersionMatch=Exact"), Freshness::Exactly(7));
    }

    #[test]
    fn forbidden_combinations_are_invalid() {
        for query in [
            "resourceVersionMatch=Exact",
            "resourceVersionMatch=Exact&resourceVersion=0",
            "resourceVersionMatch=Other&resourceVersion=5",
            "sendInitialEvents=true",
        ] {
            assert_eq!(listed(query), Err(422), "{query}");
        }
        assert_eq!(watched("resourceVersionMatch=NotOlderThan"), Err(422));
        assert_eq!(watched("sendInitialEvents=true"), Err(422));
        assert_eq!(watched("sendInitialEvents=true&resourceVersionMatch=Exact"), Err(422));
    }

    #[test]
    fn a_version_that_is_no_number_is_a_bad_request() {
        assert_eq!(listed("resourceVersion=x"), Err(400));
        assert_eq!(watched("resourceVersion=-1"), Err(400));
    }

    #[test]
    fn continue_tokens_round_trip_and_exclude_a_version() {
        let page = Page { revision: 42, after: "ns/name".into() };
        let query = format!("limit=1&continue={}", page.token());
        assert_eq!(listed(&query).expect("valid").page, Some(page.clone()));
        assert_eq!(listed(&format!("{query}&resourceVersion=5")), Err(400));
        assert_eq!(listed(&format!("{query}&resourceVersion=0")).expect("valid").page, Some(page));
        assert_eq!(listed("continue=garbage"), Err(400));
    }

    #[test]
    fn a_watch_starts_with_the_state_or_after_a_version() {
        let start = |query| watched(query).expect("valid").start;
        assert_eq!(start(""), Start::State(Freshness::Latest));
        assert_eq!(start("resourceVersion=0"), Start::State(Freshness::Any));
        assert_eq!(start("resourceVersion=9"), Start::After(9));
        let streaming = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        assert_eq!(start(streaming), Start::State(Freshness::Latest));
        assert_eq!(start(&format!("{streaming}&resourceVersion=9")), Start::State(Freshness::AtLeast(9)));
    }
}
