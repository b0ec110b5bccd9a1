//! `Latest`: the newest value of something, and waiting for it to become what one needs.
//!
//! `tokio::sync::watch` does the same but wakes its receivers in an order drawn by lot (`sync/watch.rs`, `BigNotify`), which no
//! seed of ours decides. This one wakes them in the order in which they began to wait, so that a simulation can be replayed.

use std::ops::Deref;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A value that changes, with those who wait for a change.
#[derive(Debug, Default)]
pub struct Latest<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T> Latest<T> {
    /// Returns a holder of `value`.
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Notify::new() }
    }

    /// Returns the value now, locked: for a short look at what is too large to be cloned.
    pub fn lock(&self) -> impl Deref<Target = T> {
        self.value.lock()
    }

    /// Changes the value and wakes all who wait.
    pub fn update(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.value.lock());
        self.changed.notify_waiters();
    }

    /// Changes the value in a way that nobody waits for.
    pub fn update_silently(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.value.lock());
    }

    /// Completes once `is_so`; looks again after every update. Cancel safe.
    pub async fn wait_until(&self, mut is_so: impl FnMut(&T) -> bool) {
        loop {
            // Made before the look: an update from here on is not missed.
            let changed = self.changed.notified();
            if is_so(&self.lock()) {
                return;
            }
            changed.await;
        }
    }
}

impl<T: Clone> Latest<T> {
    /// Returns the value now.
    pub fn get(&self) -> T {
        self.value.lock().clone()
    }

    /// Completes, with the value, once `is_so`; looks again after every update. Cancel safe.
    pub async fn wait_for(&self, mut is_so: impl FnMut(&T) -> bool) -> T {
        loop {
            // Made before the look: an update from here on is not missed.
            let changed = self.changed.notified();
            let value = self.get();
            if is_so(&value) {
                return value;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Tasks;

    #[tokio::test]
    async fn those_who_wait_are_woken_in_the_order_in_which_they_came() {
        let (latest, woken, tasks) = (Arc::new(Latest::new(0)), Arc::new(Mutex::new(Vec::new())), Tasks::new());
        let waiters: Vec<_> = (0..50)
            .map(|number| {
                let (latest, woken) = (Arc::clone(&latest), Arc::clone(&woken));
                tasks.spawn("waiter", async move {
                    latest.wait_for(|value| *value == 2).await;
                    woken.lock().push(number);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        latest.update(|value| *value = 1);
        tokio::task::yield_now().await;
        latest.update(|value| *value = 2);
        for waiter in waiters {
            waiter.await.expect("it ends");
        }
        assert_eq!(*woken.lock(), (0..50).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_is_so_already_is_not_waited_for() {
        assert_eq!(Latest::new(7).wait_for(|value| *value > 5).await, 7);
        Latest::new(7).wait_until(|value| *value > 5).await;
    }
}
