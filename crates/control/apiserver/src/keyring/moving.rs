//! The keys of a cluster whose store moves: out of a data directory into a store that servers share, or the other way.

use std::path::{Path, PathBuf};

use wkube_base::Clock;
use wkube_store::Key;

use super::{Error, FILES, KEY, Ring, Token, install, make, opened, read, seal, token};

/// The keys of a cluster, on their way. Nothing is written before they are put down.
pub struct Moving {
    ring: Ring,
    token: Option<Token>,
}

impl Moving {
    /// The key of the store under which they are, sealed.
    pub const KEY: &str = KEY;

    /// Takes up the keys of the server whose data directory this is, which has its store for itself; `None` if it has none.
    ///
    /// # Errors
    /// If they cannot be read, or only some of those are there without which the others are of no use.
    pub fn from_dir(dir: &Path, clock: &Clock) -> Result<Option<Self>, Error> {
        for path in FILES {
            if read(&dir.join(path))?.is_some() {
                return Ok(Some(Self { ring: make(dir, clock)?, token: None }));
            }
        }
        Ok(None)
    }

    /// Takes up what a store holds at [`Self::KEY`]. Without `token`, the one in the data directory `dir` is tried.
    ///
    /// # Errors
    /// If there is no token, or it is not this one.
    pub fn from_store(sealed: &[u8], dir: &Path, token: Option<Token>) -> Result<Self, Error> {
        let token = match token {
            Some(token) => token,
            None => token::read(dir)?.ok_or(Error::NoToken)?,
        };
        Ok(Self { ring: opened(sealed, &token)?, token: Some(token) })
    }

    /// Makes sure that the data directory `dir` has no other keys.
    ///
    /// # Errors
    /// `OtherCluster` if it has.
    pub fn fits(&self, dir: &Path) -> Result<(), Error> {
        for (path, bytes) in self.files(dir) {
            if read(&path)?.is_some_and(|there| there != *bytes) {
                return Err(Error::OtherCluster { path });
            }
        }
        Ok(())
    }

    /// Writes the keys that the data directory `dir` lacks, and the token if they were sealed with one.
    ///
    /// # Errors
    /// If the disk refuses, or there are others.
    pub fn into_dir(self, dir: &Path) -> Result<(), Error> {
        install(dir, &self.ring)?;
        self.token.map_or(Ok(()), |token| Ok(token::keep(dir, &token)?))
    }

    /// Returns what goes into the store. Without `token`, it is sealed with the one in the data directory `dir`; if there is
    /// none, with a new one, which is kept there.
    ///
    /// # Errors
    /// If the token cannot be read or written.
    pub fn into_store(self, dir: &Path, token: Option<Token>) -> Result<(Key, Vec<u8>), Error> {
        let token = match token {
            Some(token) => token,
            None => token::read(dir)?.unwrap_or_else(Token::generate),
        };
        let sealed = seal(&self.ring, &token);
        token::keep(dir, &token)?;
        Ok((KEY.into(), sealed))
    }

    fn files<'a>(&'a self, dir: &'a Path) -> impl Iterator<Item = (PathBuf, &'a Vec<u8>)> {
        FILES.iter().filter_map(move |path| Some((dir.join(path), self.ring.get(*path)?)))
    }
}

#[cfg(test)]
mod tests {
    use wkube_store::{MemoryStore, Store as _};

    use super::super::{Sharing, share};
    use super::*;
    use crate::tls::CertificateAuthority;

    fn dir() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    fn keys(dir: &Path) -> Ring {
        FILES.iter().filter_map(|path| Some(((*path).to_owned(), read(&dir.join(path)).ok()??))).collect()
    }

    /// A data directory of a server that had its store for itself.
    fn served() -> tempfile::TempDir {
        let dir = dir();
        CertificateAuthority::load_or_create(dir.path(), Clock::system()).expect("a CA");
        dir
    }

    #[tokio::test]
    async fn there_and_back_again_a_cluster_keeps_its_keys() {
        let (before, shared, after) = (served(), dir(), dir());
        let moving = Moving::from_dir(before.path(), &Clock::system()).expect("readable").expect("there are keys");
        let (key, sealed) = moving.into_store(before.path(), None).expect("writable");
        // A server on the store, with the token that was made.
        let store = MemoryStore::new();
        store.commit(wkube_store::Txn::create(key, sealed.clone())).await.expect("empty");
        let token = token::read(before.path()).expect("readable");
        let sharing = Sharing { token: token.clone(), new_token: None };
        share(&store, shared.path(), &Clock::system(), &sharing).await.expect("the same token");
        assert_eq!(keys(shared.path()).len(), FILES.len());
        assert!(keys(before.path()).iter().all(|(path, bytes)| keys(shared.path()).get(path) == Some(bytes)));
        // And out of the store again.
        let moving = Moving::from_store(&sealed, after.path(), token).expect("opened");
        moving.fits(after.path()).expect("nothing is there");
        moving.into_dir(after.path()).expect("writable");
        assert_eq!(keys(after.path()), keys(shared.path()));
        assert_eq!(token::read(after.path()).expect("readable"), token::read(before.path()).expect("readable"));
    }

    #[test]
    fn a_directory_without_keys_has_none_to_move_and_gets_none() {
        let dir = dir();
        assert!(Moving::from_dir(dir.path(), &Clock::system()).expect("readable").is_none());
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
    }

    #[test]
    fn the_keys_of_another_cluster_are_never_replaced() {
        let (ours, theirs) = (served(), served());
        let moving = Moving::from_dir(ours.path(), &Clock::system()).expect("readable").expect("there are keys");
        let before = keys(theirs.path());
        assert!(matches!(moving.fits(theirs.path()), Err(Error::OtherCluster { .. })));
        assert!(matches!(moving.into_dir(theirs.path()), Err(Error::OtherCluster { .. })));
        assert_eq!(keys(theirs.path()), before);
    }

    #[test]
    fn without_the_token_they_stay_sealed() {
        let (before, after) = (served(), dir());
        let moving = Moving::from_dir(before.path(), &Clock::system()).expect("readable").expect("there are keys");
        let (_, sealed) = moving.into_store(before.path(), None).expect("writable");
        assert!(matches!(Moving::from_store(&sealed, after.path(), None), Err(Error::NoToken)));
        let wrong = Some(Token::generate());
        assert!(matches!(Moving::from_store(&sealed, after.path(), wrong), Err(Error::WrongToken)));
        Moving::from_store(&sealed, before.path(), None).map(drop).expect("where the token is, it is found");
    }
}
