//! What goes in and out of containers while they run: to their logs, and to whoever is attached.
//!
//! ```text
//!  guest ─ Console ─┬─> LogWriter                        stdin of attached clients ─> Attached ─> guest
//!                   └─> Attached ─> one queue per client
//! ```

mod attached;
mod console;
mod queue;

pub use self::attached::{Attached, StdinMode};
pub use self::console::Console;
pub use self::queue::{Chunk, QueueReader, QueueWriter, queue};
