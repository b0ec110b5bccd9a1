//! What every part stands on: named tasks, wall time, chance and back-off.

pub mod backoff;
pub mod clock;
pub mod latest;
pub mod rng;
pub mod tasks;

pub use backoff::Backoff;
pub use clock::Clock;
pub use latest::Latest;
pub use rng::Rng;
pub use tasks::Tasks;
