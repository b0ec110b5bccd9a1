//! The life of one pod: a pure machine (`phase`), its public face (`status`) and the task that drives it (`worker`).

pub mod attempt;
pub mod backoff;
pub mod container;
pub mod effect;
mod grpc;
mod http_get;
pub mod input;
pub mod isolation;
pub mod life;
pub mod live;
pub mod phase;
pub mod probes;
pub mod qos;
pub mod remembered;
pub mod resize;
pub mod restart;
pub mod setup;
pub mod spec;
pub mod status;
pub mod termination;
pub mod view;
pub mod worker;

pub use container::{Container, Ended, Role, State};
pub use phase::{Effect, Input, Kill, Phase, Report};
