//! The store's contract against a real etcd: `etcd_contract etcd://HOST:2379,… [REVISION | linear]`; `e2e/etcd` starts the
//! members and runs it. With a revision, every store goes on after it, as one does that came from elsewhere. With `linear`,
//! clients call until standard input ends, and their story is judged.
//!
//! Each sentence gets a prefix of its own, for no sentence may see what another left behind.

#![expect(clippy::print_stdout, reason = "a test runner says what it does")]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use wkube_base::{Rng, Tasks};
use wkube_store::contract::Sentence;
use wkube_store::etcd::transfer::{Leavings, Target};
use wkube_store::{EtcdOptions, EtcdStore, Key, Range, Revision, Signal, Store, Txn, store_contract};

mod cable;
mod linear;

/// No sentence takes this long, on a laptop with three members.
const PATIENCE: Duration = Duration::from_mins(2);

#[tokio::main]
async fn main() -> ExitCode {
    let Some(address) = std::env::args().nth(1) else {
        println!("usage: etcd_contract etcd://HOST:PORT,… [REVISION | linear]");
        return ExitCode::from(2);
    };
    let more = std::env::args().nth(2);
    if more.as_deref() == Some("linear") {
        let prefix = format!("/linear-{}", Rng::from_entropy().name_suffix(8));
        return linear::run(EtcdOptions { prefix, ..EtcdOptions::new(&*address) }).await;
    }
    let after = more.map(|after| Revision(after.parse().expect("REVISION is a number")));
    let run = Rng::from_entropy().name_suffix(8);
    let place = |name: &str| EtcdOptions { prefix: format!("/contract-{run}/{name}"), ..EtcdOptions::new(&*address) };
    let mut failed = 0;
    for (name, sentence) in store_contract!(table) {
        let place = moved(place(name), after).await;
        failed += u32::from(!holds(name, in_one_process(sentence, place)).await);
    }
    let among_several: [(&str, AmongSeveral); 6] = [
        ("what_one_server_wrote_the_other_reads", |place| Box::pin(what_one_server_wrote_the_other_reads(place))),
        ("servers_agree_on_the_order", |place| Box::pin(servers_agree_on_the_order(place))),
        ("a_new_server_knows_the_past", |place| Box::pin(a_new_server_knows_the_past(place))),
        ("a_server_that_was_cut_off_misses_nothing", |place| {
            Box::pin(cable::a_server_that_was_cut_off_misses_nothing(place))
        }),
        ("a_server_that_was_cut_off_too_long_begins_anew", |place| {
            Box::pin(cable::a_server_that_was_cut_off_too_long_begins_anew(place))
        }),
        ("strangers_keys_are_refused", |place| Box::pin(strangers_keys_are_refused(place))),
    ];
    for (name, sentence) in among_several {
        failed += u32::from(!holds(name, sentence(moved(place(name), after).await)).await);
    }
    println!("{failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

type AmongSeveral = fn(EtcdOptions) -> BoxFuture<'static, ()>;

/// Runs a sentence in a task of its own, where it may panic.
async fn holds(name: &str, sentence: impl Future<Output = ()> + Send + 'static) -> bool {
    let tasks = Tasks::new();
    let done = Arc::new(AtomicBool::new(false));
    let flag = done.clone();
    let running = tasks.spawn("sentence", async move {
        sentence.await;
        flag.store(true, Ordering::SeqCst);
    });
    // A panic was printed where it happened.
    let ended = tokio::time::timeout(PATIENCE, running).await.is_ok();
    let holds = ended && done.load(Ordering::SeqCst);
    println!("{name} ... {}", if holds { "ok" } else { "FAILED" });
    holds
}

/// Makes an empty store at `place` that goes on after a revision, if one is given.
async fn moved(place: EtcdOptions, after: Option<Revision>) -> EtcdOptions {
    if let Some(after) = after {
        let target = Target::begin(&place, Leavings::Refused, after).await.expect("nothing is there");
        let begins = target.finish().await.expect("nobody else is there");
        assert!(begins > after, "{begins:?}");
    }
    place
}

async fn in_one_process(sentence: Sentence, place: EtcdOptions) {
    let store = connect(&place).await;
    sentence(&store).await;
}

pub(crate) async fn connect(place: &EtcdOptions) -> EtcdStore {
    EtcdStore::connect(place).await.unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn key(number: usize) -> Key {
    format!("/k/{number:04}").into()
}

/// `newest` is a barrier between servers: what one acknowledged, the other shows.
async fn what_one_server_wrote_the_other_reads(place: EtcdOptions) {
    let (writer, reader) = (connect(&place).await, connect(&place).await);
    for number in 0..200 {
        let written = writer.commit(Txn::create(key(number), "1")).await.expect("absent");
        assert!(reader.newest().await >= written);
        assert_eq!(reader.get(&key(number)).expect("readable").map(|entry| entry.modified), Some(written));
    }
}

/// Two servers write against each other; both tell the same story, in which every write is there once.
async fn servers_agree_on_the_order(place: EtcdOptions) {
    let (one, other) = (connect(&place).await, connect(&place).await);
    let start = one.newest().await;
    other.newest().await;
    let (mut watches, mut stories) = (Vec::new(), Vec::new());
    for server in [&one, &other] {
        watches.push(server.watch("/k/", start).expect("in the window"));
    }
    let writes = (0..100).flat_map(|number| [one.commit(put(number, "one")), other.commit(put(number, "other"))]);
    for written in futures::future::join_all(writes).await {
        written.expect("unconditional");
    }
    let end = one.newest().await;
    assert_eq!(other.newest().await, end);
    // The newest change under the prefix; nobody wakes them for what comes after it.
    let end = one.changed("/k/");
    for watch in &mut watches {
        let mut story = Vec::new();
        loop {
            match watch.next().await.expect("goes on").expect("no failure") {
                Signal::Event(event) => story.push(event),
                Signal::Progress(reached) if reached >= end => break,
                Signal::Progress(_) => {}
            }
        }
        stories.push(story);
    }
    assert_eq!(stories[0].len(), 200);
    assert_eq!(stories[0], stories[1]);
}

pub(crate) fn put(number: usize, value: &'static str) -> Txn {
    Txn::put(key(number % 10), value)
}

/// Clients of a server that was restarted go on where they were.
async fn a_new_server_knows_the_past(place: EtcdOptions) {
    let old = connect(&place).await;
    let first = old.commit(Txn::create(key(0), "1")).await.expect("absent");
    let second = old.commit(Txn::replace(key(0), first, "2")).await.expect("unchanged");
    old.close().await.expect("closes");
    let new = connect(&place).await;
    let then = new.list(&Range { at: Some(first), ..Range::default() }).expect("in the window");
    assert_eq!(then.entries[0].value, "1");
    let mut watch = new.watch("", first).expect("in the window");
    let next = watch.next().await.expect("goes on").expect("no failure");
    assert!(matches!(next, Signal::Event(event) if event.revision == second));
}

/// A prefix that somebody else uses is left alone.
async fn strangers_keys_are_refused(place: EtcdOptions) {
    let store = connect(&place).await;
    let written = store.commit(Txn::create("/registry/x".into(), "1")).await.expect("absent");
    assert!(written > Revision(1));
    // From above, those keys are somebody else's.
    let above = place.prefix.rsplit_once('/').map(|(above, _)| above.to_owned()).expect("has two parts");
    let refused = EtcdStore::connect(&EtcdOptions { prefix: above.clone(), ..place }).map(Result::err).await;
    let message = refused.expect("refused").to_string();
    assert!(message.contains(&above) && message.contains("--etcd-prefix"), "{message}");
}
