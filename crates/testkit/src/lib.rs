//! Simulated clusters and fakes, for tests of parts that have to work together. Not shipped.
//!
//! ```text
//!  fake_runtime   a container runtime that runs nothing, after a script
//!  sim            a whole cluster in one thread from one seed: real components, paused time, faults, checks
//! ```

pub mod fake_runtime;
pub mod sim;
