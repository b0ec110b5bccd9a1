//! What is said on the wire: documents, kinds, rules. No I/O, no clock, no chance.

pub mod discovery;
pub mod kinds;
pub mod object;
pub mod resource;
pub mod status;

pub use object::{Object, ObjectKey};
pub use resource::{Resource, Scope};
pub use status::Status;
