//! What a node and the worker process of a pod say to each other. Pure.
//!
//! ```text
//!  stdin   a socket: first the Setup (its length in 4 bytes, then JSON), then HTTP/2; the node calls
//!            POST /guests              Start -> Made          a container is ready to run
//!            POST /guests/ID/commands  Command -> Made        so is a command beside it
//!            POST /guests/ID/run       frames -> frames       it runs: input there, output, usage and exit back
//!            POST /guests/ID/resize    Amounts -> 204         it may use other amounts from now on
//!            POST /guests/ID/stop      Stop -> 204            it shall end within the grace period
//!            anything with `wkube-guest: ID`                  a request that the guest answers
//!  stdout  a socket: HTTP/2; the worker calls
//!            anything with `wkube-socket`                     what a guest does with sockets (`sockets/words.rs`)
//!            anything else                                    a request that a guest sends
//! ```
//! A refusal is 422 (this can never run) or 500 (it may be better next time), with the reason as text.

use std::path::PathBuf;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use wkube_api::stats::Usage;

use crate::grants::Grants;
use crate::runtime::{Exit, Mount, PodRef, Program, Share};

/// Names the guest that a request is for.
pub(super) const GUEST: &str = "wkube-guest";
/// Longer frames are not made and not read.
pub(super) const PAYLOAD_MAX: usize = 64 << 10;
/// What a worker is told first is not longer.
pub(super) const SETUP_MAX: usize = 1 << 20;

const HEADER: usize = 5;

/// What confines a worker; it hears this before it does anything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Setup {
    /// Where compiled code is; only read.
    pub(super) compiled: PathBuf,
    /// What guests may read.
    pub(super) readable: Vec<PathBuf>,
    /// What guests may read and write.
    pub(super) writable: Vec<PathBuf>,
    /// What the process may allocate, in bytes.
    pub(super) memory_bytes: u64,
}

/// A container to make.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Start {
    /// The digest of the compiled module.
    pub(super) module: String,
    pub(super) pod: PodRef,
    pub(super) name: String,
    pub(super) args: Vec<String>,
    pub(super) command: Option<String>,
    pub(super) grants: Grants,
    pub(super) env: Vec<(String, String)>,
    pub(super) mounts: Vec<Mount>,
    pub(super) working_dir: Option<String>,
    pub(super) trusts: Option<String>,
    pub(super) memory_bytes: Option<u64>,
    pub(super) cpu_millis: Option<u32>,
    pub(super) share: Share,
    /// The TCP ports that it declares.
    pub(super) ports: Vec<u16>,
    /// Whether the pod is on a network.
    pub(super) has_network: bool,
    pub(super) has_stdin: bool,
}

/// A command to make beside a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Command {
    pub(super) args: Vec<String>,
    pub(super) program: Option<Program>,
    pub(super) has_stdin: bool,
}

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    /// How it is called from now on.
    pub(super) id: u64,
    /// Whether it answers HTTP requests.
    pub(super) is_handler: bool,
}

/// An order to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stop {
    pub(super) grace_millis: u64,
}

/// A piece of what is said while a guest runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// Input for the guest. The end of the body is the end of the input.
    Stdin(Bytes),
    Stdout(Bytes),
    Stderr(Bytes),
    Usage(Usage),
    /// The last.
    Exit(Exit),
}

/// Why a frame cannot be read: the other side is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the worker process said something that makes no sense: {0}")]
pub(super) struct Nonsense(String);

impl Frame {
    /// Writes the frame: its kind in one byte, its length in four, what it says.
    pub(super) fn encode(&self) -> Bytes {
        let (kind, payload) = match self {
            Self::Stdin(bytes) => (0, bytes.clone()),
            Self::Stdout(bytes) => (1, bytes.clone()),
            Self::Stderr(bytes) => (2, bytes.clone()),
            Self::Usage(usage) => (3, json(usage)),
            Self::Exit(exit) => (4, json(exit)),
        };
        let mut encoded = BytesMut::with_capacity(HEADER + payload.len());
        encoded.put_u8(kind);
        encoded.put_u32(u32::try_from(payload.len()).expect("split to PAYLOAD_MAX by who makes it"));
        encoded.extend_from_slice(&payload);
        encoded.freeze()
    }
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("numbers and text").into()
}

/// Finds the frames in bytes that come in pieces.
#[derive(Debug, Default)]
pub(super) struct Decoder(BytesMut);

impl Decoder {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Returns the next frame; `None` if more bytes are needed.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, Nonsense> {
        let Some(header) = self.0.first_chunk::<HEADER>() else { return Ok(None) };
        let [kind, length @ ..] = *header;
        let length = u32::from_be_bytes(length) as usize;
        if length > PAYLOAD_MAX {
            return Err(Nonsense(format!("a frame of {length} bytes")));
        }
        if self.0.len() < HEADER + length {
            return Ok(None);
        }
        self.0.advance(HEADER);
        let payload = self.0.split_to(length).freeze();
        let bad = |error: serde_json::Error| Nonsense(error.to_string());
        Ok(Some(match kind {
            0 => Frame::Stdin(payload),
            1 => Frame::Stdout(payload),
            2 => Frame::Stderr(payload),
            3 => Frame::Usage(serde_json::from_slice(&payload).map_err(bad)?),
            4 => Frame::Exit(serde_json::from_slice(&payload).map_err(bad)?),
            _ => return Err(Nonsense(format!("a frame of kind {kind}"))),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Cause;

    fn every_kind() -> Vec<Frame> {
        let exit = Exit { code: 134, cause: Cause::Trapped, message: "wasm trap".to_owned() };
        vec![
            Frame::Stdin(Bytes::from_static(b"in")),
            Frame::Stdout(Bytes::from(vec![0; PAYLOAD_MAX])),
            Frame::Stderr(Bytes::new()),
            Frame::Usage(Usage { cpu_nanos: 7, memory_bytes: u64::MAX }),
            Frame::Exit(exit),
        ]
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_the_bytes_are_cut() {
        let bytes: Vec<u8> = every_kind().iter().flat_map(Frame::encode).collect();
        for size in [1, 2, 5, 7, 4_096, bytes.len()] {
            let (mut decoder, mut frames) = (Decoder::default(), Vec::new());
            for piece in bytes.chunks(size) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, every_kind(), "in pieces of {size}");
        }
    }

    #[test]
    fn a_worker_that_was_taken_over_costs_the_node_no_memory() {
        let mut decoder = Decoder::default();
        decoder.push(&[1, 0xff, 0xff, 0xff, 0xff]);
        assert!(decoder.next_frame().is_err());
    }

    #[test]
    fn unknown_kinds_and_bad_documents_are_refused() {
        for bytes in [&[9, 0, 0, 0, 0][..], &[3, 0, 0, 0, 1, b'?'], &[4, 0, 0, 0, 2, b'{', b'}']] {
            let mut decoder = Decoder::default();
            decoder.push(bytes);
            assert!(decoder.next_frame().is_err(), "{bytes:?}");
        }
    }
}
