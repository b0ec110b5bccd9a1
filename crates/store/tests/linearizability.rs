//! Clients that call at the same time, and watchers that come and go, are told one story that one store could have told.

use std::path::Path;

use futures::StreamExt as _;
use futures::executor::block_on;
use wkube_base::Rng;
use wkube_store::linear::{Script, Session};
use wkube_store::{MemoryStore, RedbStore, Revision, Store};

const SCRIPT: Script = Script { clients: 8, watchers: 3, keys: 5 };
const STEPS: usize = 120;
/// More than it takes until the store is closed. A machine that closes it late makes no longer histories of it.
const STEPS_MAX: usize = 400;

#[track_caller]
fn judge(session: &Session, seed: u64) {
    if let Err(problem) = session.recorder.check() {
        panic!("seed {seed}: {problem}");
    }
}

#[test]
fn memory_is_linearizable() {
    for seed in 0..20 {
        let store = MemoryStore::new();
        let mut session = Session::new(SCRIPT, store.revision(), seed);
        session.run(&store, STEPS);
        judge(&session, seed);
        assert!(session.recorder.calls() > 900, "everyone did something");
    }
}

fn opened(directory: &Path) -> RedbStore {
    RedbStore::open(&directory.join("store")).expect("the store opens")
}

#[test]
fn redb_is_linearizable() {
    for seed in 0..5 {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = opened(directory.path());
        let mut session = Session::new(SCRIPT, store.revision(), seed);
        session.run(&store, STEPS);
        judge(&session, seed);
    }
}

/// Clients give up calls, the store closes under them and is opened again: still one story, in which watchers go on.
#[test]
fn redb_stays_linearizable_when_it_is_closed_and_opened_under_its_clients() {
    for seed in 0..5 {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let rng = Rng::seeded(seed);
        let store = opened(directory.path());
        let mut session = Session::new(SCRIPT, store.revision(), seed);
        drop(store);
        for _ in 0..4 {
            let store = opened(directory.path());
            let after = store.revision().0 + 50 + rng.below(200) as u64;
            std::thread::scope(|scope| {
                scope.spawn(|| block_on(close_after(&store, Revision(after))));
                session.run(&store, STEPS_MAX);
            });
        }
        session.run(&opened(directory.path()), STEPS);
        judge(&session, seed);
    }
}

/// Closes the store once somebody has written `revision`.
async fn close_after(store: &dyn Store, revision: Revision) {
    let mut watch = store.watch("", store.revision()).expect("open");
    while store.revision() < revision {
        watch.next().await.expect("goes on").expect("open");
    }
    store.close().await.expect("closes");
}
