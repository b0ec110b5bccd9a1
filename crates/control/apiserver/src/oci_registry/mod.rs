//! The built-in image registry: OCI distribution 1.1 over the data directory, so that nothing else is needed.
//!
//! Reading is open to whoever reaches the router; writing needs a bearer token that [`RegistryTokens`] made.
//!
//! ```text
//!  GET /v2/            200 with a token, else 401 that names /v2/token (which gives strangers a reading token)
//!  POST, PATCH, PUT    upload: a file under uploads/, verified against its digest, then renamed into blobs/
//!  PUT manifest        refused unless everything it refers to is there
//! ```

mod error;
mod handlers;
mod path;
mod storage;
mod tokens;
mod uploads;

use std::io;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use wkube_base::Clock;

pub use tokens::RegistryTokens;

use storage::Storage;
use uploads::Uploads;

/// How clients reach a router, for the address of the token service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// The registry's own listener on the loopback interface.
    Http,
    /// The API server's port.
    Https,
}

/// The registry of one data directory. Routers share it.
pub struct OciRegistry {
    storage: Storage,
    uploads: Uploads,
    tokens: RegistryTokens,
}

impl OciRegistry {
    /// Opens `<data_dir>/registry/`, creating it if need be. Uploads that a crash left behind are removed.
    ///
    /// # Errors
    /// If the directory or the token secret cannot be read or written.
    pub fn open(data_dir: &Path, clock: Clock) -> io::Result<Arc<Self>> {
        let root = data_dir.join("registry");
        let storage = Storage::open(&root)?;
        let uploads = Uploads::open(&root.join("uploads"))?;
        let tokens = RegistryTokens::open(&root, clock)?;
        Ok(Arc::new(Self { storage, uploads, tokens }))
    }

    /// Returns what makes and checks write tokens.
    pub fn tokens(&self) -> &RegistryTokens {
        &self.tokens
    }

    /// Returns the routes under `/v2/`.
    pub fn router(self: &Arc<Self>, scheme: Scheme) -> Router {
        handlers::router(self.clone(), scheme)
    }
}

#[cfg(test)]
mod tests;
