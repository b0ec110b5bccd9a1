//! Bytes sealed with a server token: nobody reads or changes them without it. AES-256-GCM under a key that PBKDF2 makes of
//! the token, for people choose tokens, too.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::pbkdf2;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use super::Token;

/// What is sealed, and how; authenticated with it.
const FORMAT: &str = "wkube keys 1";
/// OWASP's advice for PBKDF2 with HMAC-SHA-256. Paid once per start, but not in every test.
pub(super) const ITERATIONS: NonZeroU32 = NonZeroU32::new(if cfg!(test) { 600 } else { 600_000 }).expect("not zero");
/// More would only be a way to keep servers from starting.
const ITERATIONS_MAX: u32 = 10_000_000;
const SALT_LEN: usize = 16;

/// As it is stored, in JSON. All bytes are base64.
#[derive(Serialize, Deserialize)]
struct Sealed {
    format: String,
    salt: String,
    iterations: NonZeroU32,
    nonce: String,
    content: String,
}

/// Why something cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// It has another form.
    Format,
    /// It was sealed with another token, or changed since.
    Token,
}

/// Seals `content`. The same twice is different bytes.
///
/// # Panics
/// If the operating system provides no randomness.
pub(super) fn seal(content: &[u8], token: &Token, iterations: NonZeroU32) -> Vec<u8> {
    let random = SystemRandom::new();
    let (mut salt, mut nonce) = ([0; SALT_LEN], [0; NONCE_LEN]);
    for bytes in [&mut salt[..], &mut nonce[..]] {
        random.fill(bytes).expect("the operating system provides randomness");
    }
    let mut sealed = content.to_vec();
    let key = key(token, &salt, iterations);
    let done =
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(FORMAT.as_bytes()), &mut sealed);
    done.expect("a few files are shorter than AES-GCM's 64 GiB");
    let sealed = Sealed {
        format: FORMAT.to_owned(),
        salt: STANDARD.encode(salt),
        iterations,
        nonce: STANDARD.encode(nonce),
        content: STANDARD.encode(sealed),
    };
    serde_json::to_vec(&sealed).expect("a struct of text and numbers is JSON")
}

/// Opens what [`seal`] made.
pub(super) fn open(sealed: &[u8], token: &Token) -> Result<Vec<u8>, Closed> {
    let stored: Sealed = serde_json::from_slice(sealed).map_err(|_| Closed::Format)?;
    if stored.format != FORMAT || stored.iterations.get() > ITERATIONS_MAX {
        return Err(Closed::Format);
    }
    let bytes = |text: &str| STANDARD.decode(text).map_err(|_| Closed::Format);
    let (salt, nonce, mut content) = (bytes(&stored.salt)?, bytes(&stored.nonce)?, bytes(&stored.content)?);
    let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(|_| Closed::Format)?;
    let key = key(token, &salt, stored.iterations);
    let opened = key.open_in_place(nonce, Aad::from(FORMAT.as_bytes()), &mut content);
    let length = opened.map_err(|_| Closed::Token)?.len();
    content.truncate(length);
    Ok(content)
}

fn key(token: &Token, salt: &[u8], iterations: NonZeroU32) -> LessSafeKey {
    let mut key = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, token.0.as_bytes(), &mut key);
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("the key has AES-256's length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: NonZeroU32 = NonZeroU32::new(2).expect("not zero");

    fn token(text: &str) -> Token {
        text.parse().expect("long enough")
    }

    #[test]
    fn what_was_sealed_is_opened_with_the_same_token_only() {
        let (ours, other) = (token("0123456789abcdef"), token("0123456789abcdeg"));
        let sealed = seal(b"secret", &ours, FEW);
        assert_eq!(open(&sealed, &ours), Ok(b"secret".to_vec()));
        assert_eq!(open(&sealed, &other), Err(Closed::Token));
    }

    #[test]
    fn the_same_twice_is_different_bytes_and_shows_nothing() {
        let ours = token("0123456789abcdef");
        let (one, other) = (seal(b"secret", &ours, FEW), seal(b"secret", &ours, FEW));
        assert_ne!(one, other);
        let plain = STANDARD.encode("secret");
        for text in [one, other] {
            let text = String::from_utf8(text).expect("JSON");
            assert!(!text.contains("secret") && !text.contains(&plain), "{text}");
        }
    }

    #[test]
    fn no_changed_byte_is_believed() {
        let ours = token("0123456789abcdef");
        let sealed = seal(b"secret", &ours, FEW);
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(open(&bad, &ours).is_err(), "{}", String::from_utf8_lossy(&bad));
        }
    }

    #[test]
    fn another_form_is_told_from_another_token() {
        let ours = token("0123456789abcdef");
        let forms = ["", "{}", r#"{"format":"wkube keys 2","salt":"","iterations":1,"nonce":"","content":""}"#];
        for form in forms {
            assert_eq!(open(form.as_bytes(), &ours), Err(Closed::Format), "{form}");
        }
        let slow = format!(r#"{{"format":"{FORMAT}","salt":"","iterations":4000000000,"nonce":"","content":""}}"#);
        assert_eq!(open(slow.as_bytes(), &ours), Err(Closed::Format));
    }
}
