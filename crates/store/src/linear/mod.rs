//! Proof that a store keeps its word to clients that call it at the same time: pure checks of what they saw.
//!
//! ```text
//!  clients (clients.rs) ──calls──> Recorder ──> search.rs + key.rs: could all of it have happened one after another?
//!  watchers ──────────────told───> Recorder ──> story.rs: each event once, in order, and none left out?
//! ```
//! Nothing here measures time or waits for it: calls are ordered by a counter that every beginning and end takes a number
//! from. A call that was never answered (a crash, a lost connection) may have happened at any later moment, or never.

mod clients;
mod key;
mod recorder;
mod search;
mod story;

pub use self::clients::{Script, Session};
pub use self::key::{Held, Op, Outcome, Seen, Step, next};
pub use self::recorder::Recorder;
pub use self::search::{Call, Stuck, check};
pub use self::story::{Told, Wrote, check_story};
