//! One object in a cache: whole, where many read it, or packed, where there are many of them and few who read.

use std::sync::Arc;

use crate::kind::Kind;
use crate::packed::Packed;

/// How a cache keeps its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// As they are used: to read one is to clone an `Arc`.
    Whole,
    /// As text, which takes a fifth of the memory; every reader decodes an object of its own.
    Packed,
}

pub(crate) enum Slot<K> {
    Whole(Arc<K>),
    Packed(Packed<K>),
}

impl<K: Kind> Slot<K> {
    pub(crate) fn new(object: &Arc<K>, room: Room) -> Self {
        match room {
            Room::Whole => Self::Whole(Arc::clone(object)),
            Room::Packed => Self::Packed(Packed::of(object)),
        }
    }

    pub(crate) fn get(&self) -> Arc<K> {
        match self {
            Self::Whole(object) => Arc::clone(object),
            Self::Packed(packed) => Arc::new(packed.open()),
        }
    }
}
