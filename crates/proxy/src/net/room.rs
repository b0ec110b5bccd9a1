//! Room for datagrams that wait: what is taken is given back when it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes wait somewhere, of how many. Clones are the same room.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<Bytes>);

#[derive(Debug)]
struct Bytes {
    taken: AtomicUsize,
    max: usize,
}

/// A part of a room.
#[derive(Debug)]
pub(super) struct Held {
    of: Room,
    bytes: usize,
}

impl Room {
    /// Returns room for so many bytes.
    pub(super) fn of(max: usize) -> Self {
        Self(Arc::new(Bytes { taken: AtomicUsize::new(0), max }))
    }

    /// Takes a part; `None` if there is not as much.
    pub(super) fn hold(&self, bytes: usize) -> Option<Held> {
        let held = Held { of: self.clone(), bytes };
        let before = self.0.taken.fetch_add(bytes, Ordering::Relaxed);
        (before + bytes <= self.0.max).then_some(held)
    }

    /// Returns how many bytes are taken.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.0.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
