//! Shorthands for the transactions that everyone writes.

use bytes::Bytes;

use crate::{Entry, Key, Op, Precondition, Revision, Txn};

impl Txn {
    /// Creates `key`, which must not exist.
    pub fn create(key: Key, value: impl Into<Bytes>) -> Self {
        Self { preconditions: vec![Precondition::Absent(key.clone())], ops: vec![Op::Put(key, value.into())] }
    }

    /// Creates `key` or replaces whatever it holds.
    pub fn put(key: Key, value: impl Into<Bytes>) -> Self {
        Self { preconditions: Vec::new(), ops: vec![Op::Put(key, value.into())] }
    }

    /// Replaces `key`, whose last write must be `modified`.
    pub fn replace(key: Key, modified: Revision, value: impl Into<Bytes>) -> Self {
        Self {
            preconditions: vec![Precondition::Modified(key.clone(), modified)],
            ops: vec![Op::Put(key, value.into())],
        }
    }

    /// Deletes `key`, whose last write must be `modified`.
    pub fn delete(key: Key, modified: Revision) -> Self {
        Self { preconditions: vec![Precondition::Modified(key.clone(), modified)], ops: vec![Op::Delete(key)] }
    }

    /// Returns both transactions as one, all or nothing.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.preconditions.extend(other.preconditions);
        self.ops.extend(other.ops);
        self
    }

    /// Returns about how many bytes this adds to the log.
    pub(crate) fn weight(&self) -> usize {
        self.ops.iter().map(Op::weight).sum()
    }
}

impl Precondition {
    /// Returns the key that is looked at.
    pub fn key(&self) -> &Key {
        match self {
            Self::Absent(key) | Self::Modified(key, _) => key,
        }
    }

    /// Tells if the condition holds for a key in this state.
    pub fn holds(&self, current: Option<&Entry>) -> bool {
        match self {
            Self::Absent(_) => current.is_none(),
            Self::Modified(_, revision) => current.is_some_and(|now| now.modified == *revision),
        }
    }
}

impl Op {
    /// Returns the key that is written.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Put(key, value) => key.len() + value.len(),
            Self::Delete(key) => key.len(),
        }
    }
}
