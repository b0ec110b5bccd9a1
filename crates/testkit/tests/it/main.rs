//! The parts together: simulated clusters, real nodes in one process, and what the workspace promises about itself.

mod layering;
mod simulation;
