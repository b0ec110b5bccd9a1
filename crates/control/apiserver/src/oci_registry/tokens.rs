//! Short-lived tokens: `wkr1.<payload>.<HMAC-SHA256>`, checked without any look-up.

use std::io;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::hmac;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wkube_base::Clock;

use crate::files;

const PREFIX: &str = "wkr1.";

/// Makes and checks tokens. Their secret lives in the data directory; removing the file revokes them all.
#[derive(Clone)]
pub struct RegistryTokens {
    key: hmac::Key,
    clock: Clock,
}

#[derive(Serialize, Deserialize)]
struct Payload {
    /// Empty for strangers, who may only read.
    user: String,
    /// Unix seconds.
    expires: i64,
}

impl RegistryTokens {
    /// Loads the secret from `<directory>/token.key`, or makes it.
    pub(crate) fn open(directory: &Path, clock: Clock) -> io::Result<Self> {
        let path = directory.join("token.key");
        let secret = match std::fs::read(&path) {
            Ok(secret) if secret.len() >= 32 => secret,
            // A cut-off file, which our own writing never leaves, is as good as none.
            Ok(_) => make_secret(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_secret(&path)?,
            Err(error) => return Err(error),
        };
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &secret), clock })
    }

    /// Makes a token with which `user` may push until `ttl` is over.
    pub fn mint(&self, user: &str, ttl: Duration) -> String {
        let end = self.clock.now().checked_add(ttl).unwrap_or(Timestamp::MAX);
        let payload = Payload { user: user.to_owned(), expires: end.as_second() };
        let payload =
            URL_SAFE_NO_PAD.encode(serde_json::to_vec(&payload).expect("a struct of text and numbers is JSON"));
        let signature = hmac::sign(&self.key, format!("{PREFIX}{payload}").as_bytes());
        format!("{PREFIX}{payload}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Returns whom a token that still holds was made for; the empty name may only read.
    pub fn verify(&self, token: &str) -> Option<String> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        hmac::verify(&self.key, signed.as_bytes(), &signature).ok()?;
        let payload = URL_SAFE_NO_PAD.decode(signed.strip_prefix(PREFIX)?).ok()?;
        let payload: Payload = serde_json::from_slice(&payload).ok()?;
        (payload.expires > self.clock.now().as_second()).then_some(payload.user)
    }
}

fn make_secret(path: &Path) -> io::Result<Vec<u8>> {
    // Four v4 UUIDs are 488 bits from the operating system.
    let secret: Vec<u8> = (0..4).flat_map(|_| Uuid::new_v4().into_bytes()).collect();
    files::write_private(path, &secret)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn a_token_holds_for_its_user_until_its_end() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let tokens = RegistryTokens::open(directory.path(), clock.clone()).expect("opens");
        let token = tokens.mint("jane", HOUR);
        let again = RegistryTokens::open(directory.path(), clock.clone()).expect("opens");
        assert_eq!(again.verify(&token).as_deref(), Some("jane"));
        clock.set(Timestamp::from_second(3600).expect("in range"));
        assert_eq!(tokens.verify(&token), None);
    }

    #[test]
    fn no_changed_token_is_believed() {
        let (one, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let tokens = RegistryTokens::open(one.path(), Clock::system()).expect("opens");
        let token = tokens.mint("jane", HOUR);
        for at in 0..token.len() {
            let mut bad = token.clone().into_bytes();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            let bad = String::from_utf8(bad).expect("ASCII");
            // The last character carries bits that base64 does not use; strict decoding refuses them.
            assert_eq!(tokens.verify(&bad), None, "changed at {at}");
        }
        let foreign = RegistryTokens::open(other.path(), Clock::system()).expect("opens").mint("jane", HOUR);
        for bad in ["", "wkr1", "wkr1..", &foreign, &token[..token.len() - 1]] {
            assert_eq!(tokens.verify(bad), None, "{bad}");
        }
    }
}
