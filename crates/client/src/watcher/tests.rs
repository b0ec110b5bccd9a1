//! The watch protocol against a scripted server.

use k8s_openapi::api::core::v1::ConfigMap;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc;
use wkube_base::Tasks;

use super::*;
use crate::cache::{Change, Lister};
use crate::informers::Informers;
use crate::scripted::{Answer, Server, bookmark, config_map, event, failure, initial_end};

struct Watched {
    lister: Lister<ConfigMap>,
    changes: Arc<Mutex<Vec<String>>>,
    _tasks: Tasks,
}

fn watch(server: &Server) -> Watched {
    let tasks = Tasks::new();
    let lister = Informers::new(&server.client(), &Rng::seeded(1), &tasks).lister::<ConfigMap>();
    let changes = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&changes);
    lister.on_change(move |change| {
        log.lock().push(match change {
            Change::Applied { now, before: None } => format!("+{}={}", now.name(), value(now)),
            Change::Applied { now, before: Some(_) } => format!("~{}={}", now.name(), value(now)),
            Change::Deleted(before) => format!("-{}", before.name()),
        });
    });
    Watched { lister, changes, _tasks: tasks }
}

fn value(map: &ConfigMap) -> String {
    map.data.as_ref().and_then(|data| data.get("v")).cloned().unwrap_or_default()
}

impl Watched {
    fn contents(&self) -> Vec<String> {
        self.lister.all().iter().map(|map| format!("{}={}", map.name(), value(map))).collect()
    }

    async fn reaches(&self, revision: u64) {
        let reached = self.lister.caught_up(Revision(revision));
        tokio::time::timeout(Duration::from_mins(2), reached).await.expect("the cache reaches the revision");
    }
}

#[tokio::test(start_paused = true)]
async fn caches_hold_no_managed_fields() {
    let mut added = event("ADDED", "a", 3, "1");
    added["object"]["metadata"]["managedFields"] = json!([{ "manager": "m", "fieldsV1": { "f:data": {} } }]);
    let server = Server::new([Answer::Hold(vec![added, initial_end(5)])]);
    let watched = watch(&server);
    watched.lister.ready().await;
    assert_eq!(watched.contents(), ["a=1"]);
    assert!(watched.lister.all()[0].metadata.managed_fields.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_list_is_shown_only_when_it_is_complete() {
    let (more, receiver) = mpsc::unbounded_channel();
    let server = Server::new([Answer::Live(vec![event("ADDED", "a", 3, "1")], receiver)]);
    let watched = watch(&server);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(!watched.lister.is_ready());
    assert_eq!(watched.contents(), [""; 0]);
    more.send(event("ADDED", "b", 4, "1")).expect("open");
    more.send(initial_end(5)).expect("open");
    watched.lister.ready().await;
    assert_eq!(watched.contents(), ["a=1", "b=1"]);
    assert_eq!(watched.lister.revision(), Revision(5));
    assert_eq!(
        server.lines(),
        ["GET /api/v1/configmaps?watch=true&allowWatchBookmarks=true&timeoutSeconds=290&sendInitialEvents=true\
          &resourceVersionMatch=NotOlderThan"]
    );
}

#[tokio::test(start_paused = true)]
async fn changes_arrive_in_order_and_bookmarks_advance_an_idle_cache() {
    let server = Server::new([Answer::Hold(vec![
        event("ADDED", "a", 3, "1"),
        initial_end(5),
        event("MODIFIED", "a", 6, "2"),
        event("ADDED", "b", 7, "1"),
        event("DELETED", "a", 8, "2"),
        bookmark(20),
    ])]);
    let watched = watch(&server);
    watched.reaches(20).await;
    assert_eq!(*watched.changes.lock(), ["+a=1", "~a=2", "+b=1", "-a"]);
    assert_eq!(watched.contents(), ["b=1"]);
}

#[tokio::test(start_paused = true)]
async fn a_cut_watch_resumes_where_it_was() {
    let server = Server::new([
        Answer::Lines(vec![event("ADDED", "a", 3, "1"), initial_end(5), bookmark(9)]),
        Answer::Cut,
        Answer::Hold(vec![event("MODIFIED", "a", 11, "2")]),
    ]);
    let watched = watch(&server);
    watched.reaches(11).await;
    assert_eq!(*watched.changes.lock(), ["+a=1", "~a=2"]);
    let resumed = "GET /api/v1/configmaps?watch=true&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion=9";
    assert_eq!(server.lines()[1..], [resumed, resumed]);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_was_cut_is_asked_for_again_and_leaves_nothing_behind() {
    let server = Server::new([
        Answer::Lines(vec![event("ADDED", "ghost", 3, "1")]),
        Answer::Hold(vec![event("ADDED", "a", 4, "1"), initial_end(6)]),
    ]);
    let watched = watch(&server);
    watched.reaches(6).await;
    assert_eq!(watched.contents(), ["a=1"]);
}

/// Whether the expiry comes as an event inside the watch or as the answer to the request.
async fn relists_after(expiry: Answer) {
    let first = vec![
        event("ADDED", "kept", 3, "1"),
        event("ADDED", "gone", 3, "1"),
        event("ADDED", "changed", 3, "1"),
        initial_end(5),
    ];
    let second = vec![
        event("ADDED", "kept", 3, "1"),
        event("ADDED", "changed", 30, "2"),
        event("ADDED", "new", 31, "1"),
        initial_end(40),
    ];
    let server = Server::new([Answer::Lines(first), expiry, Answer::Hold(second)]);
    let watched = watch(&server);
    watched.reaches(40).await;
    let changes = watched.changes.lock().split_off(3);
    assert_eq!(changes, ["-gone", "~changed=2", "+new=1"], "differences are derived, what is the same is not repeated");
    assert_eq!(watched.contents(), ["changed=2", "kept=1", "new=1"]);
}

#[tokio::test(start_paused = true)]
async fn an_expired_event_lists_again_and_derives_the_deletions() {
    relists_after(Answer::Lines(vec![json!({ "type": "ERROR", "object": failure(410, "Expired") })])).await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_answer_lists_again_and_derives_the_deletions() {
    relists_after(Answer::Document(410, failure(410, "Expired"))).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_without_streaming_lists_is_listed_page_by_page() {
    let page = |items: serde_json::Value, more: &str| {
        let metadata = json!({ "resourceVersion": "12", "continue": more });
        Answer::Document(
            200,
            json!({ "kind": "ConfigMapList", "apiVersion": "v1", "metadata": metadata, "items": items }),
        )
    };
    let server = Server::new([
        Answer::Document(422, failure(422, "Invalid")),
        page(json!([config_map("a", 3, "1")]), "next"),
        page(json!([config_map("b", 4, "1")]), ""),
        Answer::Hold(vec![event("DELETED", "a", 13, "1")]),
    ]);
    let watched = watch(&server);
    watched.reaches(13).await;
    assert_eq!(*watched.changes.lock(), ["+a=1", "+b=1", "-a"]);
    assert!(server.lines()[2].ends_with("limit=500&continue=next"), "{:?}", server.lines());
    assert!(server.lines()[3].ends_with("resourceVersion=12"), "{:?}", server.lines());
}

#[tokio::test(start_paused = true)]
async fn one_object_that_cannot_be_decoded_does_not_stop_the_others() {
    let mut bad = event("ADDED", "bad", 6, "1");
    bad["object"]["data"] = json!(17);
    let server = Server::new([Answer::Hold(vec![initial_end(5), bad, event("ADDED", "good", 7, "1")])]);
    let watched = watch(&server);
    watched.reaches(7).await;
    assert_eq!(watched.contents(), ["good=1"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_closes_every_watch_is_not_hammered() {
    let server = Server::new((0..1_000).map(|_| Answer::Lines(Vec::new())));
    let _watched = watch(&server);
    tokio::time::sleep(Duration::from_mins(1)).await;
    let asked = server.lines().len();
    assert!((8..30).contains(&asked), "{asked} requests in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_silent_watch_is_given_up_after_its_time() {
    let server = Server::new([Answer::Hold(vec![initial_end(5)]), Answer::Hold(vec![bookmark(9)])]);
    let watched = watch(&server);
    watched.lister.ready().await;
    let reached = tokio::time::timeout(Duration::from_secs(301), watched.lister.caught_up(Revision(9))).await;
    assert!(reached.is_ok(), "the watch was not renewed: {:?}", server.lines());
}

#[tokio::test(start_paused = true)]
async fn two_readers_of_a_kind_share_one_watch_and_scopes_have_their_own() {
    let server = Server::new([]);
    let tasks = Tasks::new();
    let informers = Informers::new(&server.client(), &Rng::seeded(1), &tasks);
    let _first = informers.lister::<ConfigMap>();
    let _second = informers.clone().lister::<ConfigMap>();
    let _scoped = informers.lister_of::<ConfigMap>(Scope::namespace("kube-system"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(server.lines().len(), 2, "{:?}", server.lines());
}

#[test]
fn only_a_refused_stream_falls_back_to_pages() {
    let refused = |code| {
        End::Failed(Error::Api(Box::new(crate::client::status_of(
            http::StatusCode::from_u16(code).expect("valid"),
            b"",
        ))))
    };
    let streamed = Phase::Listing(Listing::Streamed);
    assert_eq!(next_phase(streamed, &refused(422)), Phase::Listing(Listing::Paged));
    assert_eq!(next_phase(streamed, &refused(403)), streamed);
    assert_eq!(next_phase(Phase::Following, &refused(422)), Phase::Following);
    assert_eq!(next_phase(Phase::Following, &refused(410)), streamed);
    assert_eq!(next_phase(Phase::Following, &End::Closed), Phase::Following);
}
