//! Chooses a node for every pod that has none.
//!
//! ```text
//!   informers --> Snapshot (nodes, what is requested on them, assumed pods)
//!        |             |
//!        `--> PodQueue -+--> schedule(pod, snapshot, profile) --> Ok(node): assume, bind, confirm or forget
//!               ^                                            `--> Err(Unschedulable): preempt(): make others go,
//!               |                                                  or say why and park
//!               `---- woken by the events that the rejecting filters name, by back-off, or after five minutes
//! ```
//! [`schedule()`](schedule::schedule()) is pure; so are [`preempt()`](preempt::preempt()), the queue and the snapshot. The shell in `scheduler` only moves things between
//! them and the API. The names and messages are kube-scheduler's.

pub mod framework;
pub mod plugins;
pub mod pod;
pub mod preempt;
pub mod queue;
pub mod resources;
pub mod schedule;
mod scheduler;
pub mod snapshot;
mod trial;

#[cfg(test)]
mod build;

pub use framework::{Profile, default_profile};
pub use preempt::{Preemption, preempt};
pub use schedule::{Unschedulable, schedule};
pub use scheduler::start;
pub use snapshot::{NodeName, Snapshot};
