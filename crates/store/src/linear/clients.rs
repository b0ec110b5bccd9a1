//! Clients of a store that do random things at the same time, each on a thread of its own, until they are done or the
//! store fails.

use std::collections::BTreeMap;
use std::pin::pin;
use std::thread;

use futures::executor::block_on;
use futures::future::{Either, select};
use futures::{FutureExt as _, StreamExt as _};
use tokio::runtime::Handle;
use wkube_base::{Latest, Rng};

use super::key::{Op, Outcome, Seen};
use super::recorder::Recorder;
use super::story::Told;
use crate::{Entry, Error, Key, Precondition, Range, Revision, Signal, Store, Txn};

/// Who takes part.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// How many clients call at the same time.
    pub clients: usize,
    /// How many watchers look on, which disconnect and come back now and then.
    pub watchers: usize,
    /// How many keys there are; few keys are much contention.
    pub keys: usize,
}

/// The clients' side of a store that may crash and be opened again: what they know outlives it.
#[derive(Debug)]
pub struct Session {
    /// What they asked and were told.
    pub recorder: Recorder,
    script: Script,
    rng: Rng,
    /// Up to where each watcher knows everything.
    known: Vec<Revision>,
}

/// Where clients' keys are.
const PREFIX: &str = "/linear/";
/// A key beside those of the clients, written last.
const END: &str = "end";
/// One write in so many is given up by its client before it is answered.
const ABANDONED: usize = 25;

impl Session {
    /// Returns clients of an empty store at revision `from`.
    pub fn new(script: Script, from: Revision, seed: u64) -> Self {
        let known = vec![from; script.watchers];
        Self { recorder: Recorder::default(), script, rng: Rng::seeded(seed), known }
    }

    /// Lets each client make so many calls, and returns when all are made or the store has failed, and all watchers have
    /// been told everything that there is to tell.
    pub fn run(&mut self, store: &dyn Store, steps: usize) {
        let (recorder, script, ended) = (&self.recorder, self.script, &Latest::new(false));
        let runtime = Handle::try_current().ok();
        let runtime = runtime.as_ref();
        thread::scope(|scope| {
            for (name, known) in self.known.iter_mut().enumerate() {
                let watcher = Watcher { store, recorder, rng: self.rng.split(), name };
                scope.spawn(move || on_thread(runtime, watcher.run(known, ended)));
            }
            let clients: Vec<_> = (0..script.clients)
                .map(|_| {
                    let client = Client { store, recorder, rng: self.rng.split(), script, seen: BTreeMap::new() };
                    scope.spawn(move || on_thread(runtime, client.run(steps)))
                })
                .collect();
            for client in clients {
                client.join().expect("clients do not panic");
            }
            // What was given up by its client has happened before this, or never will.
            let _ = on_thread(runtime, store.commit(Txn::put(path(END).into(), "0")));
            ended.update(|ended| *ended = true);
        });
    }
}

/// Runs a client to its end; engines with a network need the test's runtime.
fn on_thread<T>(runtime: Option<&Handle>, client: impl Future<Output = T>) -> T {
    let _entered = runtime.map(Handle::enter);
    block_on(client)
}

struct Client<'a> {
    store: &'a dyn Store,
    recorder: &'a Recorder,
    rng: Rng,
    script: Script,
    /// The last state of each key that this client has seen; others have moved on, now and then.
    seen: BTreeMap<String, Seen>,
}

impl Client<'_> {
    async fn run(mut self, steps: usize) {
        for _ in 0..steps {
            let key = format!("k{}", self.rng.below(self.script.keys));
            let went_well = match self.rng.below(10) {
                0 => self.list().await,
                1..4 => self.get(&key).await,
                _ => self.write(&key).await,
            };
            if !went_well {
                return;
            }
        }
    }

    async fn get(&mut self, key: &str) -> bool {
        let asked = self.recorder.ask(key, Op::Get);
        self.store.newest().await;
        let Ok(found) = self.store.get(&path(key)) else { return false };
        let found = found.as_ref().map(seen);
        self.learn(key, found);
        asked.answered(Outcome::Saw(found));
        true
    }

    /// Reads all keys at once, which is a read of each.
    async fn list(&mut self) -> bool {
        let keys: Vec<_> = (0..self.script.keys).map(|number| format!("k{number}")).collect();
        let asked: Vec<_> = keys.iter().map(|key| self.recorder.ask(key, Op::Get)).collect();
        self.store.newest().await;
        let Ok(listed) = self.store.list(&Range { prefix: path("k"), ..Range::default() }) else { return false };
        let found: BTreeMap<_, _> = listed.entries.iter().map(|entry| (name(&entry.key), seen(entry))).collect();
        for (key, asked) in keys.iter().zip(asked) {
            let found = found.get(key).copied();
            self.learn(key, found);
            asked.answered(Outcome::Saw(found));
        }
        let values = found.into_iter().map(|(key, seen)| (key, seen.value)).collect();
        self.recorder.list(listed.revision.0, values);
        true
    }

    /// Writes; whether it succeeds depends on how old this client's knowledge is.
    async fn write(&mut self, key: &str) -> bool {
        let (known, value) = (self.seen.get(key).copied(), self.recorder.number());
        let op = match (self.rng.below(8), known) {
            (0, _) => Op::Put(value),
            (1..3, Some(known)) => Op::Delete(known),
            (3..8, Some(known)) => Op::Replace(known, value),
            _ => Op::Create(value),
        };
        let asked = self.recorder.ask(key, op);
        let commit = self.store.commit(txn(&path(key).into(), op));
        let result = if self.rng.below(ABANDONED) == 0 { commit.now_or_never() } else { Some(commit.await) };
        match result {
            None => true,
            Some(Ok(revision)) => {
                let now = (!matches!(op, Op::Delete(_))).then_some(Seen { value, revision: revision.0 });
                self.learn(key, now);
                asked.answered(Outcome::Done(Some(revision.0)));
                true
            }
            Some(Err(Error::Conflict { current, .. })) => {
                let current = current.as_deref().map(seen);
                self.learn(key, current);
                asked.answered(Outcome::Refused(Some(current)));
                true
            }
            Some(Err(_)) => false,
        }
    }

    fn learn(&mut self, key: &str, now: Option<Seen>) {
        match now {
            Some(now) => drop(self.seen.insert(key.to_owned(), now)),
            None => drop(self.seen.remove(key)),
        }
    }
}

struct Watcher<'a> {
    store: &'a dyn Store,
    recorder: &'a Recorder,
    rng: Rng,
    name: usize,
}

impl Watcher<'_> {
    /// Watches, breaks off, and goes on from there, until `ended` and all is told.
    async fn run(self, known: &mut Revision, ended: &Latest<bool>) {
        loop {
            let mut watch = match self.store.watch(PREFIX, *known) {
                Err(Error::Closed) => return,
                watch => watch.expect("a watcher may go on where it was"),
            };
            self.recorder.tell(self.name, Told::From(known.0));
            for _ in 0..=self.rng.below(60) {
                // The watch is asked first: it has nothing to tell if the end is what answers.
                match select(watch.next(), pin!(ended.wait_for(|ended| *ended))).await {
                    Either::Left((Some(Ok(signal)), _)) => *known = self.note(&signal),
                    Either::Left((Some(Err(_)) | None, _)) | Either::Right(_) => return,
                }
            }
        }
    }

    /// Notes what the watch told, and returns up to where everything is known now.
    fn note(&self, signal: &Signal) -> Revision {
        let (revision, told) = match signal {
            Signal::Event(event) if name(&event.key) != END => {
                let (revision, key) = (event.revision.0, name(&event.key));
                (event.revision, Told::Event { revision, key, value: event.now.as_ref().map(|now| seen(now).value) })
            }
            Signal::Event(event) => (event.revision, Told::Progress(event.revision.0)),
            Signal::Progress(revision) => (*revision, Told::Progress(revision.0)),
        };
        self.recorder.tell(self.name, told);
        revision
    }
}

fn path(key: &str) -> String {
    format!("{PREFIX}{key}")
}

fn name(key: &Key) -> String {
    key.strip_prefix(PREFIX).unwrap_or(key).to_owned()
}

fn seen(entry: &Entry) -> Seen {
    let value = String::from_utf8_lossy(&entry.value).parse().expect("clients write numbers");
    Seen { value, revision: entry.modified.0 }
}

fn txn(key: &Key, op: Op) -> Txn {
    let key = key.clone();
    match op {
        Op::Get => Txn { preconditions: vec![Precondition::Absent(key)], ops: Vec::new() },
        Op::Put(value) => Txn::put(key, value.to_string()),
        Op::Create(value) => Txn::create(key, value.to_string()),
        Op::Replace(seen, value) => Txn::replace(key, Revision(seen.revision), value.to_string()),
        Op::Delete(seen) => Txn::delete(key, Revision(seen.revision)),
    }
}
