//! JSON web tokens signed with ES256 (RFC 7515, 7518), and the key that signs them, kept as `<data dir>/pki/sa.key`.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PublicKeyData as _};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::files;
use crate::tls::TlsError;

/// The one algorithm: small keys, small tokens. A token that names another, `none` first of all, is not ours.
pub const ALGORITHM: &str = "ES256";
/// Longer texts are no tokens of ours.
const TOKEN_MAX: usize = 16 * 1024;

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

/// The key that signs, and its public half.
pub struct Keys {
    pair: EcdsaKeyPair,
    id: String,
    random: SystemRandom,
}

impl Keys {
    /// Loads `<data_dir>/pki/sa.key`, or makes it.
    ///
    /// # Errors
    /// `TokenKey` if the file is there and cannot be used: a new key would end every token, so none is made silently.
    pub fn load_or_create(data_dir: &Path) -> Result<Self, TlsError> {
        let directory = data_dir.join("pki");
        let path = directory.join("sa.key");
        let failed = |step, source| TlsError::File { step, path: path.clone(), source };
        let key = match std::fs::read_to_string(&path) {
            Ok(pem) => KeyPair::from_pem(&pem).map_err(|_| TlsError::TokenKey { path: path.clone() })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = KeyPair::generate()?;
                files::create_private_dir(&directory).map_err(|error| failed("create", error))?;
                files::write_private(&path, key.serialize_pem().as_bytes()).map_err(|error| failed("write", error))?;
                key
            }
            Err(error) => return Err(failed("read", error)),
        };
        Self::of(&key).ok_or(TlsError::TokenKey { path })
    }

    /// Returns a key that lasts as long as this process, for servers in memory.
    ///
    /// # Panics
    /// If the operating system provides no randomness.
    pub fn ephemeral() -> Self {
        let key = KeyPair::generate().expect("the operating system provides randomness");
        Self::of(&key).expect("rcgen makes P-256 keys by default")
    }

    fn of(key: &KeyPair) -> Option<Self> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der(), &random).ok()?;
        // `keyIDFromPublicKey` in `pkg/serviceaccount/jwt.go`.
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(key.subject_public_key_info()));
        Some(Self { pair, id, random })
    }

    /// Returns the signed token.
    ///
    /// # Panics
    /// If the operating system provides no randomness.
    pub fn sign(&self, claims: &impl Serialize) -> String {
        let header = Header { alg: ALGORITHM.to_owned(), kid: self.id.clone() };
        let signed = format!("{}.{}", encoded(&header), encoded(claims));
        let signature = self.pair.sign(&self.random, signed.as_bytes());
        let signature = signature.expect("the operating system provides randomness");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Returns what a token says if this key has signed it. Whether it still holds is another question.
    pub fn verify<C: for<'de> Deserialize<'de>>(&self, token: &str) -> Option<C> {
        if token.len() > TOKEN_MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = decoded(header)?;
        if header.alg != ALGORITHM || header.kid != self.id {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key());
        public.verify(signed.as_bytes(), &signature).ok()?;
        decoded(claims)
    }

    /// Returns the public key as a JSON web key set.
    pub fn key_set(&self) -> Value {
        // Uncompressed: a byte 4, then both coordinates.
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": ALGORITHM,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }]})
    }
}

fn encoded(part: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(part).expect("a struct of text and numbers is JSON"))
}

fn decoded<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::token::Claims;
    use crate::auth::token::claims::tests::claims;

    #[test]
    fn what_was_signed_is_read_again() {
        let keys = Keys::ephemeral();
        let token = keys.sign(&claims());
        assert!(token.starts_with("eyJ"), "{token}");
        assert_eq!(keys.verify(&token), Some(claims()));
    }

    #[test]
    fn a_token_that_was_touched_or_signed_by_somebody_else_is_none() {
        let keys = Keys::ephemeral();
        let token = keys.sign(&claims());
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let other = Claims { sub: "system:serviceaccount:kube-system:root".into(), ..claims() };
        let header = signed.split_once('.').expect("two parts").0;
        let unsigned = encoded(&Header { alg: "none".into(), kid: keys.id.clone() });
        for (why, forged) in [
            ("other claims", format!("{header}.{}.{signature}", encoded(&other))),
            ("another key", Keys::ephemeral().sign(&claims())),
            ("no algorithm", format!("{unsigned}.{}.", encoded(&other))),
            ("no signature", format!("{signed}.")),
            ("two parts", signed.to_owned()),
            ("nothing", String::new()),
            ("too long", format!("{token}{}", "A".repeat(TOKEN_MAX))),
        ] {
            assert_eq!(keys.verify::<Claims>(&forged), None, "{why}");
        }
    }

    #[test]
    fn the_key_is_kept_and_a_damaged_one_is_not_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let token = Keys::load_or_create(directory.path()).expect("made").sign(&claims());
        let again = Keys::load_or_create(directory.path()).expect("loaded");
        assert_eq!(again.verify(&token), Some(claims()));
        std::fs::write(directory.path().join("pki/sa.key"), "garbage").expect("writable");
        let refused = Keys::load_or_create(directory.path()).err().expect("refused");
        assert!(matches!(refused, TlsError::TokenKey { .. }), "{refused}");
    }

    #[test]
    fn others_can_check_tokens_with_the_published_key() {
        let keys = Keys::ephemeral();
        let token = keys.sign(&claims());
        let published = &keys.key_set()["keys"][0];
        let part = |name: &str| URL_SAFE_NO_PAD.decode(published[name].as_str().expect("text")).expect("base64");
        let point = [vec![4], part("x"), part("y")].concat();
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        assert!(public.verify(signed.as_bytes(), &signature).is_ok());
    }
}
