//! Clients of the API that write at the same time, and watches that break off and go on, are told one story, also when the
//! server dies in the middle and comes back on the same store.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::{join, join_all};
use serde_json::{Value, json};
use wkube_base::Rng;
use wkube_store::linear::{Op, Outcome, Recorder, Seen, Told};
use wkube_store::{RedbStore, Signal, Store};

use crate::conformance::world::{Answer, JSON, World, at, object};

const PATH: &str = "/api/v1/namespaces/linear/configmaps";
const CLIENTS: usize = 6;
const WATCHERS: usize = 2;
const STEPS: usize = 50;
const KEYS: usize = 3;
/// Written last, for the watchers to wait for.
const END: &str = "end";

/// One client; it goes on until its steps are done or the server fails.
async fn client(world: &World, recorder: &Recorder, rng: Rng, steps: usize) {
    let mut known: [Option<Seen>; KEYS] = [None; KEYS];
    for _ in 0..steps {
        let number = rng.below(KEYS);
        let (name, value) = (format!("k{number}"), recorder.number());
        let op = match (rng.below(10), known[number]) {
            (0..3, _) => Op::Get,
            (3..5, Some(seen)) => Op::Delete(seen),
            (_, Some(seen)) => Op::Replace(seen, value),
            (_, None) => Op::Create(value),
        };
        let asked = recorder.ask(&name, op);
        let answer = ask(world, &name, op).await;
        let outcome = outcome(op, &answer);
        known[number] = match (op, outcome) {
            (_, Outcome::Saw(seen)) => seen,
            (Op::Create(value) | Op::Replace(_, value), Outcome::Done(Some(revision))) => {
                Some(Seen { value, revision })
            }
            // Whoever was refused looks again; whoever was not answered goes on with what he knew.
            (Op::Create(_), Outcome::Refused(_)) => read(world, &name).await,
            _ => None,
        };
        asked.answered(outcome);
        if outcome == Outcome::Unknown {
            return;
        }
    }
}

async fn ask(world: &World, name: &str, op: Op) -> Answer {
    let path = format!("{PATH}/{name}");
    match op {
        Op::Get => world.get(&path).await,
        Op::Put(value) | Op::Create(value) => world.post(PATH, &config_map(name, value, None)).await,
        Op::Replace(seen, value) => world.put(&path, &config_map(name, value, Some(seen))).await,
        Op::Delete(seen) => {
            let options = json!({"preconditions": {"resourceVersion": seen.revision.to_string()}});
            world.call("DELETE", &path, JSON, &options).await
        }
    }
}

/// What the answer means to the model of a key.
fn outcome(op: Op, answer: &Answer) -> Outcome {
    match (op, answer.code) {
        (Op::Get, 200) => Outcome::Saw(Some(seen(&answer.body))),
        (Op::Get, 404) => Outcome::Saw(None),
        (Op::Delete(_), 200) => Outcome::Done(None),
        (Op::Put(_) | Op::Create(_) | Op::Replace(..), 200 | 201) => Outcome::Done(Some(seen(&answer.body).revision)),
        (Op::Replace(..) | Op::Delete(_), 404) => Outcome::Refused(Some(None)),
        (_, 409) => Outcome::Refused(None),
        (_, 429 | 500..) => Outcome::Unknown,
        (_, code) => panic!("{op:?} was answered with {code}: {:#}", answer.body),
    }
}

async fn read(world: &World, name: &str) -> Option<Seen> {
    let answer = world.get(&format!("{PATH}/{name}")).await;
    (answer.code == 200).then(|| seen(&answer.body))
}

fn config_map(name: &str, value: u64, expected: Option<Seen>) -> Value {
    let mut map = object("v1", "ConfigMap", name, &json!({"data": {"value": value.to_string()}}));
    if let Some(seen) = expected {
        map["metadata"]["resourceVersion"] = seen.revision.to_string().into();
    }
    map
}

fn seen(map: &Value) -> Seen {
    let number = |pointer| at(map, pointer).parse().expect("a number");
    Seen { value: number("/data/value"), revision: number("/metadata/resourceVersion") }
}

/// Watches from `known` on, breaks off now and then and goes on there, until the server dies or says that all is told.
async fn watcher(world: &World, recorder: &Recorder, rng: Rng, name: usize, known: &mut u64) {
    loop {
        let path = format!("{PATH}?watch=true&allowWatchBookmarks=true&resourceVersion={known}");
        let Some(mut watch) = world.try_watch(&path).await else { return };
        recorder.tell(name, Told::From(*known));
        for _ in 0..=rng.below(30) {
            let Some(event) = watch.next().await.filter(|event| event["type"] != "ERROR") else { return };
            let (key, revision) = (at(&event, "/object/metadata/name"), at(&event, "/object/metadata/resourceVersion"));
            *known = revision.parse().expect("a revision");
            recorder.tell(name, told(&event, &key, *known));
            if key == END {
                return;
            }
        }
    }
}

/// What an event says; bookmarks and the changes of others only say how far the world is.
fn told(event: &Value, key: &str, revision: u64) -> Told {
    let is_ours = (0..KEYS).any(|number| key == format!("k{number}"));
    if !is_ours {
        return Told::Progress(revision);
    }
    let value = (event["type"] != "DELETED").then(|| seen(&event["object"]).value);
    Told::Event { revision, key: key.to_owned(), value }
}

/// How the life of a server ends.
#[derive(Clone, Copy)]
enum End {
    /// When all clients have done their steps, and the watchers have been told everything.
    InOrder,
    /// After so many changes, whatever is going on.
    Crash(usize),
}

/// One life of a server, its clients and watchers; `known` is up to where each watcher knows everything.
async fn life(store: &Arc<dyn Store>, recorder: &Recorder, rng: &Rng, known: &mut [u64], end: End) {
    let world = &World::over(store.clone()).await;
    let steps = match end {
        End::InOrder => STEPS,
        // More than anybody does.
        End::Crash(_) => 1_000_000,
    };
    let clients = join_all((0..CLIENTS).map(|_| client(world, recorder, rng.split(), steps)));
    let watchers = known.iter_mut().enumerate().map(|(name, known)| watcher(world, recorder, rng.split(), name, known));
    let ending = async {
        match end {
            End::InOrder => {
                clients.await;
                Some(seen(&world.post(PATH, &config_map(END, 0, None)).await.is(201).body).revision)
            }
            End::Crash(changes) => {
                join(clients, crash(world, &**store, changes)).await;
                None
            }
        }
    };
    let (last, _) = join(ending, join_all(watchers)).await;
    world.crash();
    if let Some(last) = last {
        assert!(known.iter().all(|known| *known == last), "watchers were told all up to {last}: {known:?}");
    }
}

/// Takes the store away from the server after so many changes, in the middle of whatever it does.
async fn crash(world: &World, store: &dyn Store, changes: usize) {
    let mut watch = store.watch("/registry/core/configmaps/linear/", store.revision()).expect("open");
    let mut seen = 0;
    while seen < changes {
        let signal = watch.next().await.expect("goes on").expect("open");
        seen += usize::from(matches!(signal, Signal::Event(_)));
    }
    store.close().await.expect("closes");
    world.crash();
}

async fn story(seed: u64, crashes: usize) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let open = || Arc::new(RedbStore::open(&dir.path().join("store")).expect("the store opens")) as Arc<dyn Store>;
    let (rng, recorder) = (Rng::seeded(seed), Recorder::default());
    let store = open();
    let first = World::over(store.clone()).await;
    first.namespace("linear").await;
    let known = first.get(PATH).await.at("/metadata/resourceVersion").parse().expect("a revision");
    first.end().await;
    let mut known = [known; WATCHERS];
    store.close().await.expect("closes");
    for _ in 0..crashes {
        life(&open(), &recorder, &rng, &mut known, End::Crash(20 + rng.below(60))).await;
    }
    life(&open(), &recorder, &rng, &mut known, End::InOrder).await;
    assert!(recorder.calls() > CLIENTS * STEPS / 2, "everyone did something");
    if let Err(problem) = recorder.check() {
        panic!("seed {seed}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_linearizable() {
    for seed in 0..3 {
        story(seed, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_stays_linearizable_when_the_server_dies_and_comes_back() {
    for seed in 0..3 {
        story(seed, 3).await;
    }
}
