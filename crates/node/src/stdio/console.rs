//! A container's own output: to its log, and to whoever is attached.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::Attached;
use crate::logs::LogWriter;
use crate::logs::entry::Stream;
use crate::runtime::Output;

/// Where a container prints. Dropped when it has ended, which ends its log and its clients' queues.
#[derive(Debug)]
pub struct Console {
    log: LogWriter,
    attached: Arc<Attached>,
}

impl Console {
    /// Returns the console of one attempt.
    pub fn new(log: LogWriter, attached: Arc<Attached>) -> Self {
        Self { log, attached }
    }
}

impl Output for Console {
    fn write(&self, stream: Stream, bytes: &[u8]) {
        self.log.write(stream, bytes);
        self.attached.write(stream, bytes);
    }

    fn room(&self) -> Option<BoxFuture<'static, ()>> {
        self.attached.room()
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.attached.end();
    }
}
