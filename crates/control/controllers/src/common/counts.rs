//! Numbers as the API writes them.

/// Counts into the API's integer.
pub(crate) fn count<T>(items: impl Iterator<Item = T>) -> i32 {
    i32::try_from(items.count()).unwrap_or(i32::MAX)
}

/// Returns the number as a field that is left out when it is zero (`omitempty`), so that what we compute equals what
/// Kubernetes' clients expect to read.
pub(crate) fn nonzero(number: i32) -> Option<i32> {
    (number != 0).then_some(number)
}
