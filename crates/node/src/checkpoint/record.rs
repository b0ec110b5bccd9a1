//! How one thing is written into one file: a line with the SHA-256 of what follows, then JSON. Pure.
//!
//! A person reads it with `tail -n +2 FILE | jq`; a file that was cut off or that a disk has spoiled is told apart.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

const PREFIX: &[u8] = b"sha256:";
/// `sha256:`, 64 digits and the end of the line.
const HEADER_BYTES: usize = 7 + 64 + 1;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The first line is no checksum.
    #[error("it does not begin with a checksum")]
    NoChecksum,
    /// The content is not what was written.
    #[error("its content does not match its checksum")]
    Checksum,
    /// The content is whole, and not what this version of the agent understands.
    #[error("its content cannot be read")]
    Content(#[from] serde_json::Error),
}

/// Writes `value` as a file's content.
pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = vec![0; HEADER_BYTES];
    serde_json::to_writer(&mut bytes, value)?;
    let sum = hex::encode(Sha256::digest(&bytes[HEADER_BYTES..]));
    bytes[..PREFIX.len()].copy_from_slice(PREFIX);
    bytes[PREFIX.len()..HEADER_BYTES - 1].copy_from_slice(sum.as_bytes());
    bytes[HEADER_BYTES - 1] = b'\n';
    Ok(bytes)
}

/// Reads what `encode` wrote.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let (header, content) = bytes.split_at_checked(HEADER_BYTES).ok_or(Error::NoChecksum)?;
    let sum = header.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(b"\n")).ok_or(Error::NoChecksum)?;
    if hex::encode(Sha256::digest(content)).as_bytes() != sum {
        return Err(Error::Checksum);
    }
    Ok(serde_json::from_slice(content)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_reads_back() {
        let bytes = encode(&vec!["a", "b"]).unwrap();
        assert_eq!(decode::<Vec<String>>(&bytes).unwrap(), ["a", "b"]);
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.lines().nth(1), Some(r#"["a","b"]"#), "a person finds plain JSON after the first line");
    }

    #[test]
    fn every_spoiled_byte_and_every_cut_is_noticed() {
        let whole = encode(&"secret").unwrap();
        for index in 0..whole.len() {
            assert!(decode::<String>(&whole[..index]).is_err(), "cut at {index}");
            let mut spoiled = whole.clone();
            spoiled[index] ^= 1;
            assert!(decode::<String>(&spoiled).is_err(), "spoiled at {index}");
        }
    }

    #[test]
    fn what_another_version_wrote_is_told_apart_from_damage() {
        let bytes = encode(&"text").unwrap();
        assert!(matches!(decode::<u64>(&bytes), Err(Error::Content(_))));
    }
}
