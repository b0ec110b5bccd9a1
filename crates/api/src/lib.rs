//! What is said on the wire: documents, kinds, rules. No I/O, no clock, no chance.

pub mod cel;
pub mod cidr;
pub mod conditions;
pub mod cron;
pub mod decode;
pub mod discovery;
pub mod fence;
pub mod intstr;
pub mod jsonpath;
pub mod kinds;
pub mod meta;
pub mod object;
pub mod openapi;
pub mod patch;
pub mod placement;
pub mod protobuf;
pub mod quantity;
pub mod remote_command;
pub mod resource;
pub mod schema;
pub mod selector;
pub mod stats;
pub mod status;

pub use fence::Fence;
pub use object::{Object, ObjectKey};
pub use resource::{Resource, Scope};
pub use status::Status;
