//! An order to end: by when, and with which exit code. Orders only get more urgent.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The exit code of a guest that was stopped on request (128 + SIGTERM).
pub(crate) const STOPPED: i32 = 143;
/// The exit code of a guest that was killed (128 + SIGKILL).
pub(crate) const KILLED: i32 = 137;

/// When a guest has to be gone, and the code that it ends with if it is not by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) at: Instant,
    pub(crate) code: i32,
}

impl Order {
    /// Ends the guest now.
    pub(crate) fn now(code: i32) -> Self {
        Self { at: Instant::now(), code }
    }

    /// Lets the guest end by itself for `grace`, then kills it.
    pub(crate) fn after(grace: Duration) -> Self {
        let now = Instant::now();
        // A grace too long to represent is a day: nobody waits for it, and the guest may still end by itself.
        Self { at: now.checked_add(grace).unwrap_or(now + Duration::from_hours(24)), code: KILLED }
    }
}

/// Gives orders to whoever supervises the guest.
#[derive(Debug)]
pub(crate) struct Orders(watch::Sender<Option<Order>>);

impl Orders {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Gives an order, unless an earlier end has already been ordered.
    pub(crate) fn give(&self, order: Order) {
        self.0.send_if_modified(|current| {
            let is_earlier = current.is_none_or(|current| order.at < current.at);
            if is_earlier {
                *current = Some(order);
            }
            is_earlier
        });
    }

    /// Completes with the exit code once the ordered end has come.
    pub(crate) fn due(&self) -> impl Future<Output = i32> + Send + use<> {
        let mut orders = self.0.subscribe();
        async move {
            loop {
                let current = *orders.borrow_and_update();
                tokio::select! {
                    biased;
                    changed = orders.changed() => if changed.is_err() { return KILLED },
                    code = end(current) => return code,
                }
            }
        }
    }
}

async fn end(order: Option<Order>) -> i32 {
    match order {
        None => pending().await,
        // A timer fires only when a thread looks at the clock, which threads full of guests do late.
        Some(order) if order.at <= Instant::now() => order.code,
        Some(order) => {
            tokio::time::sleep_until(order.at).await;
            order.code
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_later_order_never_prolongs_the_life() {
        let orders = Orders::new();
        let due = orders.due();
        let start = Instant::now();
        orders.give(Order::after(Duration::from_secs(5)));
        orders.give(Order::after(Duration::from_mins(1)));
        assert_eq!(due.await, KILLED);
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_order_replaces_a_later_one() {
        let orders = Orders::new();
        let due = orders.due();
        let start = Instant::now();
        orders.give(Order::after(Duration::from_mins(1)));
        orders.give(Order::now(STOPPED));
        assert_eq!(due.await, STOPPED);
        assert_eq!(start.elapsed().as_secs(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_whose_owner_is_gone_is_killed() {
        let orders = Orders::new();
        let due = orders.due();
        drop(orders);
        assert_eq!(due.await, KILLED);
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_grace_does_not_overflow() {
        let orders = Orders::new();
        orders.give(Order::after(Duration::MAX));
        assert!(tokio::time::timeout(Duration::from_mins(1), orders.due()).await.is_err());
    }
}
