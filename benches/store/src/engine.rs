//! What is measured, of either store.

use anyhow::Result;
use bytes::Bytes;
use futures::stream::BoxStream;

/// Where all keys are.
pub const PREFIX: &str = "/registry/pods/";

/// A client of a store. Clones share its connections.
pub trait Engine: Clone + Send + Sync + 'static {
    /// Returns once the value is on the disk.
    fn put(&self, key: String, value: Bytes) -> impl Future<Output = Result<()>> + Send;

    /// Reads the newest value, as of the call; fails if there is none.
    fn get(&self, key: String) -> impl Future<Output = Result<usize>> + Send;

    /// Reads the first `limit` objects from `key` on, values included, and returns how many there were.
    fn list(&self, key: String, limit: usize) -> impl Future<Output = Result<usize>> + Send;

    /// Watches everything from now on; an item for each event.
    fn watch(&self) -> impl Future<Output = Result<BoxStream<'static, Result<()>>>> + Send;
}
