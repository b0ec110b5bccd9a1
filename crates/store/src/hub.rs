//! Publishing: one current snapshot that everyone reads, and watches that pull from it.
//!
//! A watch is a cursor into the shared window, not a queue of its own: a slow watcher costs nothing, blocks nobody, and
//! is told `Compacted` if the window leaves it behind. (Per-watcher queues are where etcd's lost-event bugs lived.) It
//! sleeps until something changes under its prefix (`topics`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use futures::StreamExt as _;
use futures::stream;
use wkube_base::Latest;

use crate::history::{self, History, Position};
use crate::metrics::Watching;
use crate::topics::{Listener, Topics};
use crate::{Entry, Error, Event, Health, Listed, Range, Revision, Signal, Watch};

/// How many events a watch takes from the window at once; enough to amortize the look-up, small in memory.
const PULL_MAX: usize = 64;

/// The reading half of every engine.
#[derive(Debug)]
pub(crate) struct Hub {
    current: ArcSwap<History>,
    /// The newest revision, set after `current`.
    newest: Latest<Revision>,
    topics: Arc<Topics>,
    closed: AtomicBool,
}

impl Hub {
    pub(crate) fn new(history: History) -> Arc<Self> {
        let newest = Latest::new(history.revision());
        let (current, topics) = (ArcSwap::from_pointee(history), Arc::default());
        Arc::new(Self { current, newest, topics, closed: AtomicBool::new(false) })
    }

    /// Returns the newest published state.
    pub(crate) fn snapshot(&self) -> Arc<History> {
        self.current.load_full()
    }

    /// Makes `history` what everyone sees. Only the engine's one writer calls this, after the commit is durable.
    pub(crate) fn publish(&self, history: History) {
        let (known, newest) = (self.snapshot(), history.revision());
        debug_assert!(newest >= known.revision(), "history does not run backwards");
        let topics = self.topics.lock();
        let woken = topics.note(&known, &history);
        self.current.store(Arc::new(history));
        drop(topics);
        for topic in &woken {
            topic.wake();
        }
        self.newest.update(|revision| *revision = newest);
    }

    /// Returns up to where anything under the prefix may have changed: exact while somebody watches this very prefix.
    pub(crate) fn changed(&self, prefix: &str) -> Revision {
        self.topics.changed(prefix).unwrap_or_else(|| self.current.load().revision())
    }

    /// Completes once `revision` is published, or the store closed.
    pub(crate) async fn reach(&self, revision: Revision) {
        self.newest.wait_for(|newest| *newest >= revision || self.closed.load(Ordering::Acquire)).await;
    }

    /// Ends all watches and refuses further reads.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.newest.update(|_| {});
        self.topics.wake();
    }

    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    pub(crate) fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        self.check_open()?;
        Ok(self.current.load().get(key).map(|entry| Entry::clone(entry)))
    }

    pub(crate) fn list(&self, range: &Range) -> Result<Listed, Error> {
        self.check_open()?;
        self.snapshot().list(range)
    }

    /// Returns the state for health checks; `bytes` is what the engine uses on disk.
    pub(crate) fn health(&self, bytes: u64) -> Health {
        let history = self.current.load();
        Health {
            revision: history.revision(),
            compacted: history.compacted(),
            keys: history.keys(),
            live_bytes: history.live_bytes() as u64,
            bytes,
        }
    }

    pub(crate) fn watch(self: &Arc<Self>, prefix: &str, after: Revision) -> Result<Watch, Error> {
        self.check_open()?;
        self.snapshot().check_window(after)?;
        let watcher = Watcher {
            hub: self.clone(),
            listener: self.topics.join(prefix, || self.snapshot()),
            cursor: history::after(after),
            pulled: VecDeque::new(),
            told: after,
            _counted: Watching::begin(),
        };
        Ok(stream::unfold(Some(watcher), step).boxed())
    }
}

struct Watcher {
    hub: Arc<Hub>,
    listener: Listener,
    cursor: Position,
    pulled: VecDeque<Arc<Event>>,
    /// The newest revision up to which the consumer knows everything.
    told: Revision,
    _counted: Watching,
}

/// Produces the next signal; an error is the last one.
async fn step(watcher: Option<Watcher>) -> Option<(Result<Signal, Error>, Option<Watcher>)> {
    let mut watcher = watcher?;
    match watcher.next().await {
        Ok(signal) => Some((Ok(signal), Some(watcher))),
        Err(error) => Some((Err(error), None)),
    }
}

impl Watcher {
    async fn next(&mut self) -> Result<Signal, Error> {
        loop {
            if let Some(event) = self.pulled.pop_front() {
                return Ok(Signal::Event(event));
            }
            let topic = &self.listener.topic;
            // Made before the look: what is published from here on is not missed.
            let news = topic.news();
            self.hub.check_open()?;
            let history = self.hub.snapshot();
            if topic.changed() >= self.cursor.0 {
                self.pulled = history.pull(&mut self.cursor, topic.prefix(), topic.lost(), PULL_MAX)?.into();
            } else {
                self.cursor = history::after(history.revision());
            }
            let caught_up = self.cursor == history::after(history.revision());
            if self.pulled.is_empty() && caught_up {
                if history.revision() > self.told {
                    self.told = history.revision();
                    return Ok(Signal::Progress(self.told));
                }
                news.await;
            }
        }
    }
}
