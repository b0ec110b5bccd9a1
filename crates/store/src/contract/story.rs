//! The sentences about one story: commits of many keys, pages and watches that go on, and many clients at the same time.

use bytes::Bytes;
use futures::future::join_all;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::{delete, events_until, key, names, next, put, under};
use crate::linear::{Script, Session};
use crate::{Error, Op, Precondition, Range, Revision, Signal, Store, Txn};

/// Creations, changes and deletions in one commit happen at one moment, for readers, watchers and the keys themselves.
pub async fn a_commit_of_many_keys_is_one_revision(store: &dyn Store) {
    let changed = put(store, "changed", "1").await;
    let before = put(store, "deleted", "1").await;
    let mut watch = store.watch("", before).expect("in the window");
    let txn = Txn::create(key("created"), "1").and(Txn::delete(key("deleted"), before)).and(Txn::replace(
        key("changed"),
        changed,
        "2",
    ));
    let revision = store.commit(txn).await.expect("all is as expected");
    let at = |at| store.list(&Range { at: Some(at), ..Range::default() }).expect("in the window").entries;
    assert_eq!(names(&at(before)), ["changed", "deleted"]);
    let now = at(revision);
    let shown: Vec<_> = now.iter().map(|entry| (&*entry.key, entry.created, entry.modified, entry.version)).collect();
    assert_eq!(shown, [("changed", changed, revision, 2), ("created", revision, revision, 1)]);
    let events = events_until(&mut watch, revision).await;
    let told: Vec<_> = events.iter().map(|event| (&*event.key, event.revision, event.now.is_some())).collect();
    assert_eq!(told, [("changed", revision, true), ("created", revision, true), ("deleted", revision, false)]);
}

/// A fence: who holds a key may write others, and only as long as the key is as it was.
pub async fn conditions_may_be_on_keys_that_are_not_written(store: &dyn Store) {
    let fence = put(store, "fence", "mine").await;
    let fenced = |value: &str| Txn {
        preconditions: vec![Precondition::Modified(key("fence"), fence)],
        ops: vec![Op::Put(key("a"), Bytes::from(value.to_owned()))],
    };
    store.commit(fenced("1")).await.expect("the fence stands");
    assert_eq!(store.get("fence").expect("readable").expect("exists").modified, fence, "it was only looked at");
    put(store, "fence", "theirs").await;
    let error = store.commit(fenced("2")).await.expect_err("somebody else has it");
    assert!(matches!(error, Error::Conflict { key, .. } if &*key == "fence"));
    assert_eq!(store.get("a").expect("readable").expect("exists").value, "1");
}

/// A limit cuts the past as it cuts the present.
pub async fn lists_are_limited_at_older_revisions_too(store: &dyn Store) {
    for name in ["p/a", "p/b", "p/c"] {
        put(store, name, "1").await;
    }
    let then = store.revision();
    delete(store, "p/a").await;
    put(store, "p/0", "1").await;
    let first = store.list(&Range { limit: 2, at: Some(then), ..under("p/") }).expect("in the window");
    assert_eq!((names(&first.entries), first.remaining, first.revision), (vec!["p/a", "p/b"], 1, then));
    let newest = store.list(&Range { limit: 2, ..under("p/") }).expect("the newest can be listed");
    assert_eq!((names(&newest.entries), newest.remaining), (vec!["p/0", "p/b"], 1));
}

/// Whoever pages too slowly is told so, rather than shown another state.
pub async fn a_page_of_a_forgotten_revision_is_refused(store: &dyn Store) {
    for name in ["p/a", "p/b"] {
        put(store, name, "1").await;
    }
    let page = Range { limit: 1, at: Some(store.revision()), ..under("p/") };
    store.list(&page).expect("in the window");
    let newest = put(store, "p/b", "2").await;
    store.compact(newest).await.expect("in the window");
    let next = store.list(&Range { after: Some(key("p/a")), ..page.clone() });
    let (requested, oldest) = match next {
        Err(Error::Compacted { requested, oldest }) => (requested, oldest),
        other => panic!("{other:?}"),
    };
    assert_eq!((Some(requested), oldest), (page.at, newest));
}

/// Each place in the history is as good as any other to begin at: no gap, no repetition.
pub async fn a_watch_goes_on_from_wherever_it_broke_off(store: &dyn Store) {
    let start = store.revision();
    for number in 0..12 {
        put(store, &format!("p/{}", number % 3), &number.to_string()).await;
        put(store, "q", &number.to_string()).await;
    }
    delete(store, "p/1").await;
    let end = store.revision();
    let mut watch = store.watch("p/", start).expect("in the window");
    let whole = events_until(&mut watch, end).await;
    assert_eq!(whole.len(), 13);
    for from in start.0..=end.0 {
        // Something to wait for, also for those who begin at the end.
        let end = put(store, "p/end", "1").await;
        let mut watch = store.watch("p/", Revision(from)).expect("in the window");
        let told = events_until(&mut watch, end).await;
        let told = told.into_iter().filter(|event| &*event.key != "p/end");
        let rest = whole.iter().filter(|event| event.revision.0 > from).cloned();
        assert_eq!(told.collect::<Vec<_>>(), rest.collect::<Vec<_>>(), "from {from}");
    }
}

/// A bookmark: whoever goes on from it has missed nothing, and is told nothing twice.
pub async fn progress_is_a_place_to_go_on_from(store: &dyn Store) {
    let mut known = store.revision();
    let (mut told, mut written) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let mut watch = store.watch("p/", known).expect("in the window");
        let names: Vec<String> = (0..7).map(|number| format!("p/{number}")).collect();
        written.extend(join_all(names.iter().map(|name| put(store, name, "1"))).await);
        // Reads until some progress, which need not be the newest, and breaks off there.
        loop {
            match next(&mut watch).await.expect("the watch does not fail") {
                Signal::Event(event) => told.push(event.revision),
                Signal::Progress(revision) => {
                    assert!(told.iter().all(|event| *event <= revision), "progress is behind an event");
                    known = revision;
                    break;
                }
            }
        }
        assert!(known <= store.revision(), "progress is not in the future");
    }
    let last = put(store, "p/last", "1").await;
    let mut watch = store.watch("p/", known).expect("in the window");
    told.extend(events_until(&mut watch, last).await.iter().map(|event| event.revision));
    written.push(last);
    written.sort_unstable();
    assert_eq!(told, written);
}

/// What dashboards show, and what decides if a file is worth rewriting.
pub async fn health_counts_what_lives(store: &dyn Store) {
    let live = |store: &dyn Store| (store.health().keys, store.health().live_bytes);
    assert_eq!(live(store), (0, 0));
    put(store, "aa", "1234").await;
    put(store, "b", "12").await;
    assert_eq!(live(store), (2, 9));
    put(store, "aa", "1").await;
    assert_eq!(live(store), (2, 6), "older values do not count");
    delete(store, "b").await;
    assert_eq!(live(store), (1, 3));
    store.compact(store.revision()).await.expect("in the window");
    assert_eq!(live(store), (1, 3), "forgetting the past changes nothing");
    assert_eq!(store.health().revision, store.revision());
}

/// Linearizability, with watchers that come and go: see `linear`.
#[expect(clippy::unused_async, reason = "has the shape of its siblings")]
pub async fn concurrent_clients_and_watchers_are_told_one_story(store: &dyn Store) {
    let mut session = Session::new(Script { clients: 6, watchers: 3, keys: 4 }, store.revision(), 20_261_122);
    let mut run = || session.run(store, 60);
    // The clients have threads of their own, and this one waits for them.
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(run),
        _ => run(),
    }
    if let Err(problem) = session.recorder.check() {
        panic!("{problem}");
    }
}
