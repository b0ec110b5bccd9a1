//! Who is woken by which change. Watches of one prefix share a topic; an event finds the topics of its key, however many
//! others there are.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::Revision;
use crate::history::History;

/// What the watches of one prefix share.
#[derive(Debug)]
pub(crate) struct Topic {
    prefix: String,
    /// The newest revision that changed something under the prefix, or a newer one.
    changed: AtomicU64,
    /// The newest of them that has left the window. A watch that slept through the changes of others has lost nothing.
    lost: AtomicU64,
    /// Wakes the watches, in the order in which they began to wait.
    news: Notify,
}

impl Topic {
    fn new(prefix: &str, now: &History) -> Self {
        let topic = Self { prefix: prefix.to_owned(), changed: 0.into(), lost: 0.into(), news: Notify::new() };
        topic.start_at(now);
        topic
    }

    /// Starts anew: whatever happened before may have concerned it.
    fn start_at(&self, now: &History) {
        self.changed.store(now.revision().0, Ordering::Release);
        self.lost.store(now.compacted().0, Ordering::Release);
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn changed(&self) -> Revision {
        Revision(self.changed.load(Ordering::Acquire))
    }

    pub(crate) fn lost(&self) -> Revision {
        Revision(self.lost.load(Ordering::Acquire))
    }

    /// Returns what completes at the next change after this call.
    pub(crate) fn news(&self) -> Notified<'_> {
        self.news.notified()
    }

    pub(crate) fn wake(&self) {
        self.news.notify_waiters();
    }
}

/// All topics that somebody listens to, by prefix.
#[derive(Debug, Default)]
pub(crate) struct Topics(Mutex<ByPrefix>);

impl Topics {
    /// Returns the topics for as long as nobody else may add one: while something new is published.
    pub(crate) fn lock(&self) -> MutexGuard<'_, ByPrefix> {
        self.0.lock()
    }

    /// Joins those who listen to a prefix. `now` is looked at while nothing is published.
    pub(crate) fn join(self: &Arc<Self>, prefix: &str, now: impl FnOnce() -> Arc<History>) -> Listener {
        let mut topics = self.lock();
        let known = topics.0.get(prefix).cloned();
        let topic = known.unwrap_or_else(|| {
            let topic = Arc::new(Topic::new(prefix, &now()));
            topics.0.insert(prefix.to_owned(), topic.clone());
            topic
        });
        Listener { topic, topics: self.clone() }
    }

    /// Returns up to where anything under the prefix may have changed, if somebody listens to it.
    pub(crate) fn changed(&self, prefix: &str) -> Option<Revision> {
        self.lock().0.get(prefix).map(|topic| topic.changed())
    }

    /// Wakes everyone.
    pub(crate) fn wake(&self) {
        self.lock().0.values().for_each(|topic| topic.wake());
    }
}

/// One of those who listen to a topic, which ends with the last of them.
pub(crate) struct Listener {
    pub(crate) topic: Arc<Topic>,
    topics: Arc<Topics>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut topics = self.topics.lock();
        // The map's and this one's: others only appear under the lock.
        if Arc::strong_count(&self.topic) == 2 {
            topics.0.remove(self.topic.prefix());
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct ByPrefix(BTreeMap<String, Arc<Topic>>);

impl ByPrefix {
    /// Notes what `next` adds to `known`, and what it has forgotten; returns whom to wake once it is published. Whoever
    /// sees a state must see the notes of it, so this comes first.
    pub(crate) fn note(&self, known: &History, next: &History) -> Vec<Arc<Topic>> {
        if next.compacted() > known.revision() {
            // The engine had to load everything anew, and nobody can tell what happened in between.
            return self.0.values().inspect(|topic| topic.start_at(next)).cloned().collect();
        }
        for event in known.events(known.compacted(), next.compacted()) {
            self.concerned(&event.key).for_each(|topic| topic.lost.store(event.revision.0, Ordering::Release));
        }
        let mut woken = Vec::new();
        for event in next.events(known.revision(), next.revision()) {
            for topic in self.concerned(&event.key) {
                let before = topic.changed.swap(event.revision.0, Ordering::AcqRel);
                if before <= known.revision().0 {
                    woken.push(topic.clone());
                }
            }
        }
        woken
    }

    /// Returns the topics that a key is about, the longest prefix first. Looks at one entry of the map for each, and at few
    /// more: the next shorter prefix of the key, if there is one, is the last entry that is not greater than it.
    fn concerned<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Arc<Topic>> {
        let mut longest = Some(key);
        std::iter::from_fn(move || {
            loop {
                let range = (Bound::Unbounded, Bound::Included(longest?));
                let (prefix, topic) = self.0.range::<str, _>(range).next_back()?;
                let shared = prefix.bytes().zip(key.bytes()).take_while(|(one, other)| one == other).count();
                if shared == prefix.len() {
                    longest = shared.checked_sub(1).map(|shorter| &key[..key.floor_char_boundary(shorter)]);
                    return Some(topic);
                }
                longest = Some(&key[..key.floor_char_boundary(shared)]);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Txn;

    fn topics(prefixes: &[&str]) -> (Arc<Topics>, Vec<Listener>) {
        let topics = Arc::new(Topics::default());
        let listeners = prefixes.iter().map(|prefix| topics.join(prefix, Arc::default)).collect();
        (topics, listeners)
    }

    fn check(prefixes: &[&str], key: &str, expected: &[&str]) {
        let (topics, _listeners) = topics(prefixes);
        let topics = topics.lock();
        let concerned: Vec<_> = topics.concerned(key).map(|topic| topic.prefix()).collect();
        assert_eq!(concerned, expected, "{key}");
    }

    #[test]
    fn a_key_concerns_every_prefix_of_it_and_nothing_else() {
        let prefixes = ["", "/", "/p/", "/p/a", "/p/a/", "/p/b/", "/q/", "/p/a/xy", "/p/é"];
        check(&prefixes, "/p/a/x", &["/p/a/", "/p/a", "/p/", "/", ""]);
        check(&prefixes, "/p/b", &["/p/", "/", ""]);
        check(&prefixes, "/p/è", &["/p/", "/", ""]);
        check(&prefixes, "/p/éa", &["/p/é", "/p/", "/", ""]);
        check(&prefixes, "z", &[""]);
        check(&["/p/a/", "/q/"], "/p/b/x", &[]);
        check(&[], "/p", &[]);
    }

    fn put(history: &History, keys: &[&str]) -> History {
        let mut next = history.clone();
        for key in keys {
            next.apply(&Txn::put((*key).into(), "1")).expect("no conditions");
        }
        next
    }

    fn woken(topics: &Topics, known: &History, next: &History) -> Vec<String> {
        topics.lock().note(known, next).iter().map(|topic| topic.prefix().to_owned()).collect()
    }

    #[test]
    fn only_those_are_woken_whom_a_change_concerns_and_each_once() {
        let (topics, listeners) = topics(&["/p/", "/q/", "/p/a/"]);
        let empty = History::default();
        let first = put(&empty, &["/p/a/x", "/p/b/x", "/r/x", "/p/a/y"]);
        assert_eq!(woken(&topics, &empty, &first), ["/p/a/", "/p/"]);
        let changed: Vec<_> = listeners.iter().map(|listener| listener.topic.changed().0).collect();
        assert_eq!(changed, [5, 1, 5]);
        let second = put(&first, &["/q/x"]);
        assert_eq!(woken(&topics, &first, &second), ["/q/"]);
        assert_eq!(topics.changed("/p/"), Some(Revision(5)));
        assert_eq!(topics.changed("/r/"), None, "nobody listens");
    }

    #[test]
    fn what_is_forgotten_is_lost_only_to_those_whom_it_concerned() {
        let (topics, listeners) = topics(&["/p/", "/q/"]);
        let empty = History::default();
        let written = put(&empty, &["/p/x", "/q/x", "/q/y"]);
        woken(&topics, &empty, &written);
        let mut compacted = written.clone();
        compacted.compact(Revision(3)).expect("in the window");
        assert!(woken(&topics, &written, &compacted).is_empty());
        let lost: Vec<_> = listeners.iter().map(|listener| listener.topic.lost().0).collect();
        assert_eq!(lost, [2, 3]);
    }

    #[test]
    fn a_history_that_does_not_go_on_from_the_known_one_concerns_everybody() {
        let (topics, listeners) = topics(&["/p/", "/q/"]);
        let known = put(&History::default(), &["/p/x"]);
        let loaded = put(&History::starting_at(Revision(90)), &["/r/x"]);
        assert_eq!(woken(&topics, &known, &loaded), ["/p/", "/q/"]);
        let seen = listeners.iter().map(|listener| (listener.topic.changed().0, listener.topic.lost().0));
        assert_eq!(seen.collect::<Vec<_>>(), [(91, 90), (91, 90)]);
    }

    #[test]
    fn a_topic_ends_with_its_last_listener() {
        let (topics, mut listeners) = topics(&["/p/", "/p/", "/q/"]);
        listeners.remove(0);
        assert_eq!(topics.lock().0.len(), 2);
        listeners.remove(0);
        assert_eq!(topics.lock().0.keys().collect::<Vec<_>>(), ["/q/"]);
    }
}
