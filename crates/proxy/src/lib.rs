//! In-process service routing: which endpoint answers for a name, and how the request gets there.

use bytes::Bytes;

/// An error of any kind.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// An HTTP body; the same type as the runtime's.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;
