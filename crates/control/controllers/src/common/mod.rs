//! What several controllers share: ownership, pods, labels, and performing many actions at once.

pub(crate) mod children;
pub(crate) mod claim;
pub(crate) mod counts;
pub(crate) mod hash;
pub(crate) mod history;
pub(crate) mod meta;
pub(crate) mod perform;
pub(crate) mod pods;
pub(crate) mod request;
pub(crate) mod selector;
pub(crate) mod served;

pub(crate) use claim::Claim;
pub(crate) use meta::ObjectRef;
