//! What every part stands on: named tasks, wall time, chance, back-off and numbers for Prometheus.

pub mod backoff;
pub mod clock;
pub mod latest;
pub mod metrics;
pub mod rng;
pub mod tasks;

pub use backoff::Backoff;
pub use clock::Clock;
pub use latest::Latest;
pub use rng::Rng;
pub use tasks::Tasks;
