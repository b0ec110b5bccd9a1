//! What Kubernetes' conformance tests demand of an API server with its controllers, through the real API:
//! `docs/conformance.md` names, for each of them, the test here or elsewhere that checks the same.

mod accounts;
mod budgets;
mod custom_kinds;
mod daemons;
mod discovery;
mod garbage;
mod life;
mod lists;
mod lives;
mod namespaces;
mod networks;
mod pods;
mod policies;
mod preemption;
mod replication;
mod running;
mod scheduling;
mod stateful;
mod volumes;
pub(crate) mod world;
