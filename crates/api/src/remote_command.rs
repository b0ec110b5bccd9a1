//! What the API server and a node say to each other while a command runs: frames on channels, and how it ended. Pure.
//!
//! ```text
//!  frame:   channel (1 byte) | length (4 bytes, big-endian) | payload
//!  to the node:      0 stdin   4 resize {"Width":80,"Height":24}   255 close (payload: the channel that ended)
//!  from the node:    1 stdout  2 stderr                            3 how it ended (a Status, once, last)
//! ```
//! The channels are those of Kubernetes' `v5.channel.k8s.io` (`apimachinery/pkg/util/remotecommand`), so that most of
//! what a client sends passes through unchanged. The length is ours: a body of HTTP/2 has no messages.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Status;

/// The content type of a request between the pods of two nodes: its body and that of its answer are the two directions of one
/// connection.
pub const RAW: &str = "application/vnd.wkube.stream";

/// Longer payloads are split when written and refused when read, so that a peer costs bounded memory.
pub const PAYLOAD_MAX: usize = 64 * 1024;

const HEADER: usize = 5;

/// What a frame is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// What the command reads.
    Stdin,
    /// What the command writes.
    Stdout,
    /// What the command complains about.
    Stderr,
    /// How it ended: see [`Outcome`].
    Error,
    /// The terminal's new size: see [`TerminalSize`].
    Resize,
    /// A channel ended; the payload is its number.
    Close,
}

impl Channel {
    /// Returns the channel's number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Self::Stdin => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::Error => 3,
            Self::Resize => 4,
            Self::Close => 255,
        }
    }

    /// Returns the channel of a number, `None` for one that nobody knows.
    pub fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Stdin,
            1 => Self::Stdout,
            2 => Self::Stderr,
            3 => Self::Error,
            4 => Self::Resize,
            255 => Self::Close,
            _ => return None,
        })
    }
}

/// A piece of what is said on one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// About what.
    pub channel: Channel,
    /// What.
    pub payload: Bytes,
}

impl Frame {
    /// Returns a frame.
    pub fn new(channel: Channel, payload: impl Into<Bytes>) -> Self {
        Self { channel, payload: payload.into() }
    }

    /// Returns the frame that ends a channel, above all stdin.
    pub fn close(channel: Channel) -> Self {
        Self::new(Channel::Close, vec![channel.number()])
    }

    /// Returns which channel this frame ends; `None` if it ends none.
    pub fn closes(&self) -> Option<Channel> {
        let number = self.payload.first().filter(|_| self.channel == Channel::Close)?;
        Channel::of(*number)
    }

    /// Returns the frame as bytes. A payload over [`PAYLOAD_MAX`] becomes several frames of the same channel.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.payload.len() + HEADER);
        let mut rest = self.payload.as_ref();
        loop {
            let (piece, after) = rest.split_at(rest.len().min(PAYLOAD_MAX));
            out.put_u8(self.channel.number());
            out.put_u32(u32::try_from(piece.len()).expect("a piece is at most PAYLOAD_MAX long"));
            out.put_slice(piece);
            rest = after;
            if rest.is_empty() {
                return out.freeze();
            }
        }
    }
}

/// Why bytes are no frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A number that names no channel.
    #[error("channel {0} does not exist")]
    UnknownChannel(u8),
    /// A payload over the limit.
    #[error("a frame of {0} bytes is longer than {PAYLOAD_MAX}")]
    TooLong(usize),
    /// The bytes ended inside a frame.
    #[error("the stream ended inside a frame")]
    Truncated,
}

/// Finds the frames in bytes that arrive in any pieces. After an error nothing more can be read.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Takes in what arrived. Call [`Self::next_frame`] until it returns `None` before the next piece.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next whole frame; `None` if it is still arriving.
    ///
    /// # Errors
    /// The peer does not speak this language; end the stream.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(header) = self.buffer.get(..HEADER) else { return Ok(None) };
        let channel = Channel::of(header[0]).ok_or(FrameError::UnknownChannel(header[0]))?;
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if length > PAYLOAD_MAX {
            return Err(FrameError::TooLong(length));
        }
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        Ok(Some(Frame { channel, payload: self.buffer.split_to(length).freeze() }))
    }

    /// Checks that the bytes ended where a frame ended.
    ///
    /// # Errors
    /// `Truncated` if not.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.buffer.is_empty() { Ok(()) } else { Err(FrameError::Truncated) }
    }
}

/// The size of a terminal in characters (`client-go/tools/remotecommand/resize.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// How a command ended, as the last frame says it (`kubelet/pkg/cri/streaming/remotecommand/exec.go`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With exit code 0.
    Success,
    /// With another exit code, which is never 0.
    Exited(i32),
    /// It did not run to its end, or nobody knows how it ended.
    Failed(String),
}

impl Outcome {
    /// Returns the last frame.
    pub fn frame(&self) -> Frame {
        Frame::new(Channel::Error, self.to_json().to_string())
    }

    /// Returns the Status that clients read.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Success => json!({"metadata": {}, "status": "Success"}),
            Self::Exited(code) => json!({
                "metadata": {}, "status": "Failure",
                "message": format!("command terminated with non-zero exit code: exit status {code}"),
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Self::Failed(message) => {
                let mut status = Status::internal(message).to_json();
                if let Some(fields) = status.as_object_mut() {
                    // Kubernetes leaves the type out here.
                    fields.retain(|name, _| name != "kind" && name != "apiVersion");
                }
                status
            }
        }
    }
}

#[cfg(test)]
#[path = "remote_command_tests.rs"]
mod tests;
