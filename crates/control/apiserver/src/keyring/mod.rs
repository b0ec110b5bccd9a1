//! The keys of a cluster whose servers share a store: sealed in the store, copied to the data directory of each server.
//!
//! ```text
//! store: /registry/keys  --opened with the server token-->  pki/, registry/token.key  (missing: written, different: refused)
//!        is not there    <--sealed with the server token--  the same files, made if they are missing
//! ```
//! Everything else reads the files, as it does where one server has the store for itself. So a data directory from before
//! keeps its cluster's keys: the first server that finds none in the store puts its own there.

mod moving;
mod seal;
mod token;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tracing::info;
use wkube_base::Clock;
use wkube_store::{Entry, Key, Revision, Store, Txn};

use crate::apiservices::front_proxy::FrontProxy;
use crate::auth::token::Keys;
use crate::files;
use crate::oci_registry::RegistryTokens;
use crate::tls::{CertificateAuthority, TlsError};
use seal::Closed;

pub use moving::Moving;
pub use token::{Token, TokenError};

/// Where the keys are in the store.
const KEY: &str = "/registry/keys";
/// Below the data directory; keys before their certificates: a certificate without its key looks like a lost key.
const FILES: [&str; 6] = [
    "pki/ca.key",
    "pki/ca.crt",
    "pki/sa.key",
    "pki/front-proxy/ca.key",
    "pki/front-proxy/ca.crt",
    "registry/token.key",
];
/// Where new ones are made until it is known that nobody else made some.
const WORKSHOP: &str = ".keys.new";

/// How this server gets at the keys that it shares.
#[derive(Debug, Clone, Default)]
pub struct Sharing {
    /// `--token`, `--token-file`; `None` for the file `token` in the data directory.
    pub token: Option<Token>,
    /// `--new-token-file`: with what the keys are sealed from now on.
    pub new_token: Option<Token>,
}

/// Why there are no keys. Each message says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are keys, and nothing to open them with.
    #[error(
        "the store holds this cluster's keys, sealed with a server token; give it with --token-file FILE or \
         $WKUBE_SERVER_TOKEN: it is in the file `token` in the data directory of every server of the cluster"
    )]
    NoToken,
    /// Another token than that of the cluster.
    #[error(
        "the server token is not the one that this cluster's keys in the store are sealed with; if it was changed, give \
         the new one with --token-file FILE: it is in the file `token` in the data directory of a server that runs"
    )]
    WrongToken,
    /// Something else is where the keys should be.
    #[error("the cluster's keys in the store, at {KEY}, have a form that this wkube does not know; use a newer wkube")]
    Unknown,
    /// The data directory is another cluster's.
    #[error(
        "{} is not the key of the cluster in the store: the data directory has served another cluster; choose another with \
         --data-dir DIR, or another part of the store with --etcd-prefix", .path.display()
    )]
    OtherCluster {
        /// The file that differs.
        path: PathBuf,
    },
    /// The token could not be read.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Two servers changed the token at the same time.
    #[error("another server has changed the server token just now; start again with that one in --token-file")]
    Raced,
    /// A file could not be read or written.
    #[error("could not keep the cluster's keys in {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The keys could not be made, or those that are there are of no use.
    #[error("make the cluster's keys")]
    Tls(#[from] TlsError),
    /// The store refused.
    #[error("read and write the cluster's keys")]
    Store(#[from] wkube_store::Error),
}

/// The files by their path below the data directory.
type Ring = BTreeMap<String, Vec<u8>>;

/// Makes sure that the data directory has the keys of the cluster whose objects are in `store`.
///
/// # Errors
/// If there is no token or the wrong one, or the data directory has another cluster's keys. Nothing is changed then.
pub(crate) async fn share(store: &dyn Store, dir: &Path, clock: &Clock, sharing: &Sharing) -> Result<(), Error> {
    store.newest().await;
    let token = match &sharing.token {
        Some(token) => Some(token.clone()),
        None => token::read(dir)?,
    };
    let (token, entry) = match store.get(KEY)? {
        Some(entry) => (token.ok_or(Error::NoToken)?, entry),
        None => begin(store, dir, clock, token).await?,
    };
    install(dir, &opened(&entry.value, &token)?)?;
    let token = match &sharing.new_token {
        Some(new) => change_token(store, &entry, &token, new).await?,
        None => token,
    };
    token::keep(dir, &token).map_err(Error::Token)
}

/// Puts the keys into a store that has none, and returns what is there then: perhaps another server was faster.
async fn begin(store: &dyn Store, dir: &Path, clock: &Clock, token: Option<Token>) -> Result<(Token, Entry), Error> {
    let given = token.is_some();
    let token = token.unwrap_or_else(Token::generate);
    let sealed = seal(&make(dir, clock)?, &token);
    // Before the store has something that only this token opens.
    token::keep(dir, &token)?;
    match store.commit(Txn::create(KEY.into(), sealed.clone())).await {
        Ok(created) => {
            info!("the cluster's keys are in the store, sealed with the server token");
            let entry = Entry { key: KEY.into(), value: sealed.into(), created, modified: created, version: 1 };
            Ok((token, entry))
        }
        Err(wkube_store::Error::Conflict { current: Some(theirs), .. }) => {
            if !given {
                token::forget(dir)?;
                return Err(Error::NoToken);
            }
            Ok((token, *theirs))
        }
        Err(error) => Err(error.into()),
    }
}

async fn change_token(store: &dyn Store, entry: &Entry, old: &Token, new: &Token) -> Result<Token, Error> {
    let sealed = seal(&opened(&entry.value, old)?, new);
    match replace(store, entry.modified, sealed).await {
        Ok(_) => {
            info!("the server token is changed; other servers need the new one when they start next");
            Ok(new.clone())
        }
        Err(wkube_store::Error::Conflict { .. }) => Err(Error::Raced),
        Err(error) => Err(error.into()),
    }
}

async fn replace(store: &dyn Store, modified: Revision, sealed: Vec<u8>) -> Result<Revision, wkube_store::Error> {
    store.commit(Txn::replace(Key::from(KEY), modified, sealed)).await
}

fn seal(ring: &Ring, token: &Token) -> Vec<u8> {
    let texts: BTreeMap<&str, String> =
        ring.iter().map(|(path, bytes)| (path.as_str(), STANDARD.encode(bytes))).collect();
    let content = serde_json::to_vec(&texts).expect("a map of texts is JSON");
    seal::seal(&content, token, seal::ITERATIONS)
}

fn opened(sealed: &[u8], token: &Token) -> Result<Ring, Error> {
    let content = seal::open(sealed, token).map_err(|closed| match closed {
        Closed::Format => Error::Unknown,
        Closed::Token => Error::WrongToken,
    })?;
    let texts: BTreeMap<String, String> = serde_json::from_slice(&content).map_err(|_| Error::Unknown)?;
    let decoded = texts.into_iter().map(|(path, text)| Ok((path, STANDARD.decode(text).map_err(|_| Error::Unknown)?)));
    decoded.collect()
}

/// Returns the data directory's keys, and new ones for what is missing there; the directory stays as it is.
fn make(dir: &Path, clock: &Clock) -> Result<Ring, Error> {
    let workshop = dir.join(WORKSHOP);
    clear(&workshop)?;
    for path in FILES {
        if let Some(bytes) = read(&dir.join(path))? {
            write(&workshop.join(path), &bytes)?;
        }
    }
    CertificateAuthority::load_or_create(&workshop, clock.clone())?;
    Keys::load_or_create(&workshop)?;
    FrontProxy::load_or_create(&workshop, clock)?;
    let registry = workshop.join("registry");
    let failed = |source| Error::File { path: registry.clone(), source };
    files::create_private_dir(&registry).map_err(failed)?;
    RegistryTokens::open(&registry, clock.clone()).map_err(failed)?;
    let mut ring = Ring::new();
    for path in FILES {
        ring.extend(read(&workshop.join(path))?.map(|bytes| (path.to_owned(), bytes)));
    }
    clear(&workshop)?;
    Ok(ring)
}

/// Writes the keys that the data directory lacks.
fn install(dir: &Path, ring: &Ring) -> Result<(), Error> {
    let mut missing = Vec::new();
    for (path, bytes) in FILES.iter().filter_map(|path| Some((dir.join(path), ring.get(*path)?))) {
        match read(&path)? {
            Some(there) if there == *bytes => {}
            Some(_) => return Err(Error::OtherCluster { path }),
            None => missing.push((path, bytes)),
        }
    }
    missing.into_iter().try_for_each(|(path, bytes)| write(&path, bytes))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { path: path.to_owned(), source }),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let written = path.parent().map_or(Ok(()), files::create_private_dir);
    let written = written.and_then(|()| files::write_private(path, bytes));
    written.map_err(|source| Error::File { path: path.to_owned(), source })
}

fn clear(workshop: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(workshop) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::File { path: workshop.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
