//! What every engine must do: one function per sentence of the contract, run by `tests/contract.rs`.
//!
//! Each function gets an empty store. A failing one panics with what it saw.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt as _, StreamExt as _};
use wkube_base::Rng;

use crate::{Entry, Error, Event, Key, Op, Precondition, Range, Revision, Signal, Store, TXN_MAX, Txn, Watch};

mod story;

pub use self::story::*;

/// Far more than any engine needs; a watch that is silent for so long has lost something.
const PATIENCE: Duration = Duration::from_secs(10);

/// One sentence of the contract; gets an empty store, panics if it does not hold.
pub type Sentence = for<'a> fn(&'a dyn Store) -> BoxFuture<'a, ()>;

/// Defines one test per sentence of the contract for the engine that `$open` (an expression of type
/// `(impl Store, guard)`) returns. Expands to `mod $engine { #[tokio::test] async fn sentence() { … } … }`.
///
/// `store_contract!(table)` is the same list as `[(name, Sentence)]`, for engines whose servers no test runner starts.
#[macro_export]
macro_rules! store_contract {
    ($engine:ident, $open:expr) => {
        $crate::store_contract! { @list tests $engine, $open }
    };
    (table) => {
        $crate::store_contract! { @list table }
    };
    (@list $then:ident $($arguments:tt)*) => {
        $crate::store_contract! { @$then [
            an_empty_store_is_above_revision_zero
            every_commit_has_a_greater_revision
            an_entry_remembers_its_creation_and_counts_its_writes
            a_transaction_is_all_or_nothing
            absent_holds_only_while_the_key_does_not_exist
            modified_holds_only_at_the_last_write
            a_transaction_without_ops_only_checks
            deleting_what_does_not_exist_changes_nothing
            lists_are_ordered_and_limited
            pages_at_one_revision_join_to_the_whole
            a_list_at_an_older_revision_shows_the_past
            a_watch_delivers_the_past_and_then_the_present
            only_changes_under_its_prefix_wake_a_watch
            a_quiet_watch_outlives_the_compaction_of_others
            a_deletion_carries_what_was_deleted
            the_events_of_a_commit_stay_together
            watchers_agree_on_the_order
            a_slow_watcher_blocks_nobody
            the_newest_revision_includes_every_commit
            compacted_history_is_refused_and_live_keys_stay
            a_watch_behind_a_compaction_ends_with_compacted
            the_future_is_refused
            concurrent_creators_have_one_winner
            a_commit_of_many_keys_is_one_revision
            conditions_may_be_on_keys_that_are_not_written
            lists_are_limited_at_older_revisions_too
            a_page_of_a_forgotten_revision_is_refused
            a_watch_goes_on_from_wherever_it_broke_off
            progress_is_a_place_to_go_on_from
            health_counts_what_lives
            concurrent_clients_and_watchers_are_told_one_story
            random_operations_match_a_naive_model
            a_closed_store_refuses_everything
        ] $($arguments)* }
    };
    (@table [ $($sentence:ident)+ ]) => {
        [$((stringify!($sentence), (|store| Box::pin($crate::contract::$sentence(store))) as $crate::contract::Sentence)),+]
    };
    (@tests [ $($sentence:ident)+ ] $engine:ident, $open:expr) => {
        mod $engine {
            #[allow(unused_imports)]
            use super::*;
            $(
                #[tokio::test]
                async fn $sentence() {
                    let (store, _guard) = $open;
                    $crate::contract::$sentence(&store).await;
                }
            )+
        }
    };
}

fn key(text: &str) -> Key {
    text.into()
}

async fn put(store: &dyn Store, name: &str, value: &str) -> Revision {
    store.commit(Txn::put(key(name), value.to_owned())).await.expect("an unconditional put succeeds")
}

async fn delete(store: &dyn Store, name: &str) -> Revision {
    let txn = Txn { preconditions: Vec::new(), ops: vec![Op::Delete(key(name))] };
    store.commit(txn).await.expect("an unconditional deletion succeeds")
}

fn under(prefix: &str) -> Range {
    Range { prefix: prefix.to_owned(), ..Range::default() }
}

fn names(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| &*entry.key).collect()
}

async fn next(watch: &mut Watch) -> Result<Signal, Error> {
    let signal = tokio::time::timeout(PATIENCE, watch.next()).await.expect("the watch is not silent");
    signal.expect("the watch goes on")
}

/// Reads events until the watch says that it has delivered everything up to `revision`.
async fn events_until(watch: &mut Watch, revision: Revision) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        match next(watch).await.expect("the watch does not fail") {
            Signal::Event(event) => events.push(Event::clone(&event)),
            Signal::Progress(reached) if reached >= revision => return events,
            Signal::Progress(_) => {}
        }
    }
}

/// No list has revision zero, which would mean "any" to clients.
#[expect(clippy::unused_async, reason = "has the shape of its siblings")]
pub async fn an_empty_store_is_above_revision_zero(store: &dyn Store) {
    let revision = store.revision();
    assert!(revision > Revision(0));
    let listed = store.list(&Range::default()).expect("the newest can be listed");
    assert_eq!((listed.entries.len(), listed.revision, listed.remaining), (0, revision, 0));
    assert_eq!(store.health().keys, 0);
    assert!(store.health().compacted <= revision);
}

/// Not more: whoever shares the servers behind an engine may take revisions in between. An engine of its own gives out
/// all of them, which `dense_revisions` demands.
pub async fn every_commit_has_a_greater_revision(store: &dyn Store) {
    let mut before = store.revision();
    for _ in 0..8 {
        let revision = put(store, "a", "x").await;
        assert!(revision > before);
        assert!(store.revision() >= revision, "whoever wrote reads his write");
        before = revision;
    }
}

/// What only engines of one process promise: nothing exists before revision 2, and no revision is left out.
pub async fn dense_revisions(store: &dyn Store) {
    assert_eq!((store.revision(), store.health().compacted), (Revision(1), Revision(1)));
    for expected in 2..10 {
        assert_eq!(put(store, "a", "x").await, Revision(expected));
        assert_eq!(store.revision(), Revision(expected));
    }
}

/// `created`, `modified` and `version` are what the API server builds its optimistic locks on.
pub async fn an_entry_remembers_its_creation_and_counts_its_writes(store: &dyn Store) {
    let created = put(store, "a", "1").await;
    let modified = put(store, "a", "2").await;
    let entry = store.get("a").expect("readable").expect("exists");
    assert_eq!((entry.created, entry.modified, entry.version, &entry.value[..]), (created, modified, 2, &b"2"[..]));
    delete(store, "a").await;
    assert_eq!(store.get("a").expect("readable"), None);
    let again = put(store, "a", "3").await;
    let entry = store.get("a").expect("readable").expect("exists");
    assert_eq!((entry.created, entry.modified, entry.version), (again, again, 1));
}

/// Several keys change at one revision, or none does.
pub async fn a_transaction_is_all_or_nothing(store: &dyn Store) {
    let both = Txn::create(key("a"), "1").and(Txn::create(key("b"), "1"));
    let revision = store.commit(both).await.expect("both are absent");
    for name in ["a", "b"] {
        assert_eq!(store.get(name).expect("readable").expect("exists").modified, revision);
    }
    let half = Txn::put(key("c"), "1").and(Txn::create(key("b"), "2")).and(Txn::delete(key("a"), revision));
    let error = store.commit(half).await.expect_err("b exists");
    assert!(matches!(&error, Error::Conflict { key, current: Some(now) } if &**key == "b" && now.modified == revision));
    let listed = store.list(&Range::default()).expect("the newest can be listed");
    assert_eq!((names(&listed.entries), listed.revision), (vec!["a", "b"], revision));
}

/// Creation loses against whoever was first and learns what is there.
pub async fn absent_holds_only_while_the_key_does_not_exist(store: &dyn Store) {
    store.commit(Txn::create(key("a"), "1")).await.expect("absent");
    let error = store.commit(Txn::create(key("a"), "2")).await.expect_err("exists");
    assert!(matches!(error, Error::Conflict { current: Some(now), .. } if now.value == "1"));
    delete(store, "a").await;
    store.commit(Txn::create(key("a"), "3")).await.expect("absent again");
}

/// Updates and deletions act on what their author has seen, or not at all.
pub async fn modified_holds_only_at_the_last_write(store: &dyn Store) {
    let first = put(store, "a", "1").await;
    let second = store.commit(Txn::replace(key("a"), first, "2")).await.expect("unchanged since");
    store.commit(Txn::replace(key("a"), first, "3")).await.expect_err("changed since");
    store.commit(Txn::delete(key("a"), first)).await.expect_err("changed since");
    store.commit(Txn::delete(key("a"), second)).await.expect("unchanged since");
    let error = store.commit(Txn::replace(key("a"), second, "4")).await.expect_err("deleted since");
    assert!(matches!(error, Error::Conflict { current: None, .. }));
}

/// Conditions alone are a consistent read.
pub async fn a_transaction_without_ops_only_checks(store: &dyn Store) {
    let revision = put(store, "a", "1").await;
    let holds = Txn { preconditions: vec![Precondition::Modified(key("a"), revision)], ops: Vec::new() };
    assert_eq!(store.commit(holds).await.expect("holds"), revision);
    let fails = Txn { preconditions: vec![Precondition::Absent(key("a"))], ops: Vec::new() };
    store.commit(fails).await.expect_err("does not hold");
    assert_eq!(store.revision(), revision);
}

/// No change, no revision, no event.
pub async fn deleting_what_does_not_exist_changes_nothing(store: &dyn Store) {
    let before = put(store, "a", "1").await;
    assert_eq!(delete(store, "b").await, before);
    let mut watch = store.watch("", before).expect("in the window");
    let after = put(store, "a", "2").await;
    assert_eq!(events_until(&mut watch, after).await.len(), 1);
}

/// Bytewise order, a limit, and the count of what is left.
pub async fn lists_are_ordered_and_limited(store: &dyn Store) {
    for name in ["p/b", "p/a", "p/c", "p", "q/a", "p0"] {
        put(store, name, "1").await;
    }
    let listed = store.list(&under("p/")).expect("the newest can be listed");
    assert_eq!((names(&listed.entries), listed.remaining), (vec!["p/a", "p/b", "p/c"], 0));
    let listed = store.list(&Range { limit: 2, ..under("p/") }).expect("the newest can be listed");
    assert_eq!((names(&listed.entries), listed.remaining), (vec!["p/a", "p/b"], 1));
    let rest = store.list(&Range { after: Some(key("p/b")), limit: 2, ..under("p/") }).expect("can be listed");
    assert_eq!((names(&rest.entries), rest.remaining), (vec!["p/c"], 0));
}

/// Paging is exact although others write in between.
pub async fn pages_at_one_revision_join_to_the_whole(store: &dyn Store) {
    for number in 0..10 {
        put(store, &format!("p/{number}"), "old").await;
    }
    let whole = store.list(&under("p/")).expect("the newest can be listed");
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        put(store, "p/3", "new").await;
        delete(store, "p/7").await;
        put(store, &format!("p/{}x", pages.len()), "new").await;
        let range = Range { after, limit: 3, at: Some(whole.revision), ..under("p/") };
        let page = store.list(&range).expect("in the window");
        assert_eq!(page.revision, whole.revision);
        after = page.entries.last().map(|entry| entry.key.clone());
        pages.extend(page.entries);
        assert_eq!(page.remaining, whole.entries.len() - pages.len());
        if page.remaining == 0 {
            break;
        }
    }
    assert_eq!(pages, whole.entries);
}

/// The past includes what was deleted since and excludes what was created since.
pub async fn a_list_at_an_older_revision_shows_the_past(store: &dyn Store) {
    put(store, "a", "1").await;
    let then = put(store, "b", "1").await;
    put(store, "a", "2").await;
    delete(store, "b").await;
    put(store, "c", "1").await;
    let past = store.list(&Range { at: Some(then), ..Range::default() }).expect("in the window");
    assert_eq!((names(&past.entries), past.revision), (vec!["a", "b"], then));
    assert_eq!(past.entries[0].value, "1");
}

/// No gap between what was and what comes.
pub async fn a_watch_delivers_the_past_and_then_the_present(store: &dyn Store) {
    let first = put(store, "a", "1").await;
    let second = put(store, "a", "2").await;
    let mut watch = store.watch("", first).expect("in the window");
    let third = put(store, "a", "3").await;
    let mut seen = events_until(&mut watch, third).await;
    let last = put(store, "a", "4").await;
    seen.extend(events_until(&mut watch, last).await);
    let shown: Vec<_> = seen.iter().map(|event| (event.revision, event.now.clone().expect("put").value)).collect();
    assert_eq!(shown, [(second, Bytes::from("2")), (third, Bytes::from("3")), (last, Bytes::from("4"))]);
    let versions = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.version);
    let counted: Vec<_> = seen.iter().map(|event| (versions(&event.before), versions(&event.now))).collect();
    assert_eq!(counted, [(Some(1), Some(2)), (Some(2), Some(3)), (Some(3), Some(4))]);
}

/// Of hundreds of watches, a write wakes the few that it concerns; everybody can know that the others miss nothing.
pub async fn only_changes_under_its_prefix_wake_a_watch(store: &dyn Store) {
    let mut watch = store.watch("p/", store.revision()).expect("in the window");
    let before = asleep(&mut watch, store);
    put(store, "q/a", "1").await;
    let last = put(store, "q/b", "1").await;
    assert!(watch.next().now_or_never().is_none(), "nobody has woken it");
    assert!(store.changed("p/") <= before, "nothing has changed under its prefix");
    assert!(store.changed("q/") >= last, "nobody watches it, so it may have changed until now");
    let last = put(store, "p/a", "1").await;
    assert_eq!(events_until(&mut watch, last).await.len(), 1);
    assert_eq!(store.changed("p/"), last);
}

/// That it slept through the changes of others is no reason to start anew when they are forgotten.
pub async fn a_quiet_watch_outlives_the_compaction_of_others(store: &dyn Store) {
    let start = put(store, "p/a", "1").await;
    let mut watch = store.watch("p/", start).expect("in the window");
    asleep(&mut watch, store);
    put(store, "q/a", "1").await;
    let last = put(store, "q/a", "2").await;
    store.compact(last).await.expect("in the window");
    let seen = put(store, "p/a", "2").await;
    let events = events_until(&mut watch, seen).await;
    assert_eq!(events.iter().map(|event| event.revision).collect::<Vec<_>>(), [seen]);
}

/// Lets a watch say all it has to say, and returns how far the store is.
fn asleep(watch: &mut Watch, store: &dyn Store) -> Revision {
    while watch.next().now_or_never().is_some() {}
    store.revision()
}

/// Watchers with selectors need to know what left their view.
pub async fn a_deletion_carries_what_was_deleted(store: &dyn Store) {
    let created = put(store, "a", "1").await;
    let mut watch = store.watch("a", created).expect("in the window");
    let deleted = delete(store, "a").await;
    let events = events_until(&mut watch, deleted).await;
    let [event] = &events[..] else { panic!("one event, not {events:?}") };
    assert_eq!((event.revision, &event.now), (deleted, &None));
    let before = event.before.as_ref().expect("it existed");
    assert_eq!((before.modified, &before.value[..]), (created, &b"1"[..]));
}

/// A commit of several keys is several events at one revision, and progress never stops in their middle.
pub async fn the_events_of_a_commit_stay_together(store: &dyn Store) {
    let mut watch = store.watch("", store.revision()).expect("in the window");
    let txn = (0..TXN_MAX).fold(Txn::default(), |txn, n| txn.and(Txn::create(key(&format!("k{n:03}")), "1")));
    let revision = store.commit(txn).await.expect("all are absent");
    let events = events_until(&mut watch, revision).await;
    assert_eq!(events.len(), TXN_MAX);
    assert!(events.iter().all(|event| event.revision == revision));
    assert!(events.is_sorted_by(|a, b| a.key < b.key));
}

/// Whenever they start, all watchers tell the same story.
pub async fn watchers_agree_on_the_order(store: &dyn Store) {
    let start = store.revision();
    let mut early: Vec<Watch> = (0..3).map(|_| store.watch("", start).expect("in the window")).collect();
    let names: Vec<String> = (0..100).map(|number| format!("k{}", number % 7)).collect();
    join_all(names.iter().map(|name| put(store, name, name))).await;
    early.push(store.watch("", start).expect("in the window"));
    let end = store.revision();
    let mut stories = Vec::new();
    for watch in &mut early {
        stories.push(events_until(watch, end).await);
    }
    assert!(stories.windows(2).all(|pair| pair[0] == pair[1]), "watchers disagree");
    assert_eq!(stories[0].len(), names.len());
    assert!(stories[0].is_sorted_by(|a, b| a.revision < b.revision));
}

/// Nobody waits for a watcher that does not read.
pub async fn a_slow_watcher_blocks_nobody(store: &dyn Store) {
    let start = store.revision();
    let mut slow = store.watch("", start).expect("in the window");
    let mut last = start;
    for number in 0..500 {
        last = put(store, "a", &number.to_string()).await;
    }
    let mut quick = store.watch("", start).expect("in the window");
    assert_eq!(events_until(&mut quick, last).await.len(), 500);
    assert_eq!(events_until(&mut slow, last).await.len(), 500);
}

/// What was acknowledged before the question is part of the answer, and can be read at once.
pub async fn the_newest_revision_includes_every_commit(store: &dyn Store) {
    let revision = put(store, "a", "1").await;
    let newest = store.newest().await;
    assert!(newest >= revision && store.revision() >= newest);
    let listed = store.list(&Range { at: Some(newest), ..Range::default() }).expect("in the window");
    assert_eq!(names(&listed.entries), ["a"]);
}

/// Forgetting the past never touches the present.
pub async fn compacted_history_is_refused_and_live_keys_stay(store: &dyn Store) {
    put(store, "old", "1").await;
    let before = put(store, "a", "1").await;
    let kept = put(store, "a", "2").await;
    delete(store, "a").await;
    store.compact(kept).await.expect("in the window");
    store.compact(before).await.expect("compacting again to an older revision does nothing");
    let error = store.list(&Range { at: Some(before), ..Range::default() }).expect_err("compacted");
    assert!(matches!(error, Error::Compacted { requested, oldest } if (requested, oldest) == (before, kept)));
    assert!(matches!(store.watch("", before).map(drop), Err(Error::Compacted { .. })));
    assert_eq!(store.health().compacted, kept);
    let past = store.list(&Range { at: Some(kept), ..Range::default() }).expect("the oldest kept one");
    assert_eq!(names(&past.entries), ["a", "old"]);
    let mut watch = store.watch("", kept).expect("the oldest kept one");
    assert_eq!(events_until(&mut watch, store.revision()).await.len(), 1);
    assert_eq!(names(&store.list(&Range::default()).expect("newest").entries), ["old"]);
}

/// A watcher that fell too far behind must list again, and is told so instead of losing events.
pub async fn a_watch_behind_a_compaction_ends_with_compacted(store: &dyn Store) {
    let mut watch = store.watch("", store.revision()).expect("in the window");
    put(store, "a", "1").await;
    let last = put(store, "a", "2").await;
    store.compact(last).await.expect("in the window");
    assert!(matches!(next(&mut watch).await, Err(Error::Compacted { oldest, .. }) if oldest == last));
    assert!(watch.next().await.is_none(), "the error is the last item");
}

/// Nobody has seen it yet.
pub async fn the_future_is_refused(store: &dyn Store) {
    let next = Revision(put(store, "a", "1").await.0 + 1);
    let listed = store.list(&Range { at: Some(next), ..Range::default() });
    assert!(matches!(listed, Err(Error::Future { requested, .. }) if requested == next));
    assert!(matches!(store.watch("", next).map(drop), Err(Error::Future { .. })));
    assert!(matches!(store.compact(next).await, Err(Error::Future { .. })));
}

/// Leases and names depend on it.
pub async fn concurrent_creators_have_one_winner(store: &dyn Store) {
    let txns = (0..50).map(|number| store.commit(Txn::create(key("a"), number.to_string())));
    let results = join_all(txns).await;
    let winners: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!((winners.len(), store.revision()), (1, *winners[0]));
    let lost = |result: &Result<Revision, Error>| matches!(result, Err(Error::Conflict { current: Some(_), .. }));
    assert_eq!(results.iter().filter(|result| lost(result)).count(), 49);
}

/// The store against the simplest thing that could be right: a full copy of every state.
pub async fn random_operations_match_a_naive_model(store: &dyn Store) {
    let rng = Rng::seeded(20_261_122);
    let start = store.revision();
    let mut states = BTreeMap::from([(start, BTreeMap::<String, (Bytes, u64)>::new())]);
    let mut watch = store.watch("", start).expect("in the window");
    for step in 0..1_000 {
        let mut state = states.last_key_value().expect("has the start").1.clone();
        let name = format!("k{}", rng.below(12));
        let exists = state.contains_key(&name);
        let guess = store.get(&name).expect("readable").map_or(Revision(0), |entry| entry.modified);
        let expected = guess.0 - u64::from(guess.0 > 0 && rng.below(8) == 0);
        let value = Bytes::from(step.to_string());
        let (txn, succeeds) = match rng.below(4) {
            0 => (Txn::create(key(&name), value.clone()), !exists),
            1 => (Txn::put(key(&name), value.clone()), true),
            2 => (Txn::replace(key(&name), Revision(expected), value.clone()), exists && expected == guess.0),
            _ => (Txn::delete(key(&name), Revision(expected)), exists && expected == guess.0),
        };
        let deletes = matches!(txn.ops[0], Op::Delete(_));
        let result = store.commit(txn).await;
        assert_eq!(result.is_ok(), succeeds, "step {step} on {name}: {result:?}");
        let Ok(revision) = result else { continue };
        if deletes {
            state.remove(&name);
        } else {
            let version = state.get(&name).map_or(1, |(_, version)| version + 1);
            state.insert(name, (value, version));
        }
        states.insert(revision, state);
        let (at, state) = states.iter().nth(rng.below(states.len())).expect("below the length");
        let listed = store.list(&Range { at: Some(*at), ..Range::default() }).expect("in the window");
        let found = listed.entries.into_iter().map(|entry| (entry.key.to_string(), (entry.value, entry.version)));
        assert_eq!(&found.collect::<BTreeMap<_, _>>(), state, "at {at:?}, step {step}");
    }
    let mut replayed = BTreeMap::new();
    for event in events_until(&mut watch, store.revision()).await {
        match event.now {
            Some(now) => replayed.insert(event.key.to_string(), (now.value, now.version)),
            None => replayed.remove(&*event.key),
        };
        assert_eq!(replayed, states[&event.revision], "after the event at {:?}", event.revision);
    }
}

/// After `close`, calls and watches end; none of them hangs.
pub async fn a_closed_store_refuses_everything(store: &dyn Store) {
    let revision = put(store, "a", "1").await;
    let mut watch = store.watch("", revision).expect("in the window");
    store.close().await.expect("closes");
    store.close().await.expect("closing twice is closing");
    assert!(matches!(next(&mut watch).await, Err(Error::Closed)));
    assert!(matches!(store.commit(Txn::put(key("a"), "2")).await, Err(Error::Closed)));
    assert!(matches!(store.compact(revision).await, Err(Error::Closed)));
    assert!(matches!(store.get("a"), Err(Error::Closed)));
    assert!(matches!(store.list(&Range::default()), Err(Error::Closed)));
    assert!(matches!(store.watch("", revision).map(drop), Err(Error::Closed)));
}
