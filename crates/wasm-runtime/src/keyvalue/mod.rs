//! `wasi:keyvalue` (`store`, `atomics`, `batch`) in the two drafts that guests are built with: `0.2.0-draft` (wasmtime,
//! wasmCloud) and `0.2.0-draft2` (Spin). A guest opens the buckets that it was granted, by name.

mod bucket;
mod linked;

pub use self::bucket::{Bucket, BucketError, Buckets};
pub(crate) use self::linked::add_to_components;
