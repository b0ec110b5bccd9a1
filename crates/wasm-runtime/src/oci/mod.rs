//! Images: from a name to the bytes of a module, over the OCI distribution protocol.

pub mod artifact;
pub mod puller;
pub mod pusher;
pub mod reference;
pub mod store;

mod digest;
mod remote;

pub use self::artifact::Problem;
pub use self::digest::Digest;
pub use self::puller::{Descriptor, PullError, Pulled, Registry, pull};
pub use self::pusher::{PushError, push};
pub use self::reference::Reference;
pub use self::remote::{Credentials, Remote, is_loopback};
pub use self::store::Store;
