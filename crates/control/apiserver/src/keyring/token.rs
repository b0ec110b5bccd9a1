//! The server token: what one server of a cluster gives another so that it can read the cluster's keys.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ring::rand::{SecureRandom as _, SystemRandom};

use crate::files;

/// In the data directory, once the server has used it.
const FILE: &str = "token";
/// What protects every key of the cluster is not guessed.
const LENGTH_MIN: usize = 16;

/// The server token. Nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub(super) String);

/// Why a token is none.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It could be guessed.
    #[error("a server token has at least {LENGTH_MIN} characters; `openssl rand -hex 16` prints one")]
    Short,
    /// Its file could not be read or written.
    #[error("could not {step} the server token in {}", .path.display())]
    File {
        /// `read`, `write` or `remove`.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl Token {
    /// Returns a new one.
    ///
    /// # Panics
    /// If the operating system provides no randomness.
    pub fn generate() -> Self {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).expect("the operating system provides randomness");
        Self(hex::encode(bytes))
    }

    /// Returns its text, for another process of this server's.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Reads a file whose only content it is, space around it aside.
    ///
    /// # Errors
    /// If the file cannot be read, or the token is too short.
    pub fn from_file(path: &Path) -> Result<Self, TokenError> {
        fs::read_to_string(path).map_err(failed("read", path))?.parse()
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.chars().count() < LENGTH_MIN { Err(TokenError::Short) } else { Ok(Self(text.to_owned())) }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Returns the token that this data directory's server used before.
pub(super) fn read(dir: &Path) -> Result<Option<Token>, TokenError> {
    match Token::from_file(&dir.join(FILE)) {
        Err(TokenError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// Keeps the token for the next start, and for people who add a server.
pub(super) fn keep(dir: &Path, token: &Token) -> Result<(), TokenError> {
    if read(dir).is_ok_and(|kept| kept.as_ref() == Some(token)) {
        return Ok(());
    }
    let path = dir.join(FILE);
    files::write_private(&path, format!("{}\n", token.0).as_bytes()).map_err(failed("write", &path))
}

/// Removes a token that opens nothing.
pub(super) fn forget(dir: &Path) -> Result<(), TokenError> {
    let path = dir.join(FILE);
    fs::remove_file(&path).map_err(failed("remove", &path))
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TokenError {
    let path = path.to_owned();
    move |source| TokenError::File { step, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_could_be_guessed_is_refused() {
        let error = "secret".parse::<Token>().expect_err("six characters").to_string();
        assert!(error.contains("16 characters") && error.contains("openssl rand"), "{error}");
        assert!(" \n0123456789abcdef\n".parse::<Token>().is_ok());
        assert!("0123456789abcde   \n".parse::<Token>().is_err());
    }

    #[test]
    fn a_token_is_not_printed() {
        let token = Token::generate();
        assert!(!format!("{token:?}").contains(&token.0));
        assert_ne!(token, Token::generate());
    }

    #[test]
    fn the_directory_keeps_the_newest_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(read(dir.path()).expect("readable"), None);
        for token in [Token::generate(), Token::generate()] {
            keep(dir.path(), &token).expect("writable");
            assert_eq!(read(dir.path()).expect("readable"), Some(token));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(dir.path().join(FILE)).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let error = Token::from_file(Path::new("/nowhere/token")).expect_err("not there").to_string();
        assert!(error.contains("/nowhere/token"), "{error}");
    }
}
