//! A stack of undo steps: whoever acquires something pushes how to give it back.

use futures::future::BoxFuture;

/// One way back.
type Step = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// What has been acquired so far. Undone from last to first.
#[derive(Default)]
pub struct Undo {
    steps: Vec<(&'static str, Step)>,
}

impl Undo {
    /// Remembers how to give back what was just acquired.
    pub fn push(&mut self, what: &'static str, step: impl FnOnce() -> BoxFuture<'static, ()> + Send + 'static) {
        self.steps.push((what, Box::new(step)));
    }

    /// Gives everything back, the newest first. Calling it again does nothing.
    pub async fn run(&mut self) {
        while let Some((what, step)) = self.steps.pop() {
            tracing::trace!(what, "undo");
            step().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[tokio::test]
    async fn undoes_from_last_to_first_and_only_once() {
        let done = Arc::new(Mutex::new(Vec::new()));
        let mut undo = Undo::default();
        for what in ["address", "volumes", "routes"] {
            let done = Arc::clone(&done);
            undo.push(what, move || {
                done.lock().push(what);
                Box::pin(std::future::ready(()))
            });
        }
        undo.run().await;
        undo.run().await;
        assert_eq!(*done.lock(), ["routes", "volumes", "address"]);
    }
}
