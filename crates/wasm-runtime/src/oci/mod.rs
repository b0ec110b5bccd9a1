//! Images: from a name to modules on disk, over the OCI distribution protocol.
//!
//! ```text
//!  reference, manifest, artifact, image   what is written where, and what of it is to be run          pure
//!  registries, login, policy              the node's files: places, credentials, who must have signed  pure
//!  registry                               the port; remote (HTTP) and layout (archives) are behind it
//!  puller -> unpack, rootfs -> store      documents, blobs and layers, verified before they are used
//! ```

pub mod artifact;
pub mod image;
pub mod layout;
pub mod login;
pub mod manifest;
pub mod policy;
pub mod puller;
pub mod pusher;
pub mod reference;
pub mod registries;
pub mod registry;
pub mod signature;
pub mod store;

mod digest;
mod key;
mod remote;
mod rootfs;
#[cfg(test)]
mod test_registry;
mod unpack;

pub use self::artifact::Problem;
pub use self::digest::Digest;
pub use self::image::{Image, Module};
pub use self::key::PublicKey;
pub use self::login::{Credentials, Keyring};
pub use self::policy::Policy;
pub use self::puller::{PullError, pull};
pub use self::pusher::{PushError, push};
pub use self::reference::Reference;
pub use self::registries::Registries;
pub use self::registry::{ByteStream, Registry, RegistryError, Transfer};
pub use self::remote::{Remote, Stray, is_loopback};
pub use self::store::Store;
