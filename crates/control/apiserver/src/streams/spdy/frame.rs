//! SPDY/3.1's frames as bytes (draft 3.1, sections 2.2 and 2.6; `moby/spdystream/spdy`). Pure.
//!
//! ```text
//!  control:  1 | version 3 (15 bits) | type (16) || flags (8) | length (24) || fields
//!  data:     0 | stream (31 bits)                || flags (8) | length (24) || payload
//! ```

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::headers::{Compressor, Decompressor, Headers};

const VERSION: u16 = 3;
const CONTROL: u32 = 1 << 31;
const HEAD: usize = 8;
const FIN: u8 = 1;
/// A control frame of at most this is read at once. Headers are short, and settings few.
const CONTROL_MAX: usize = 64 * 1024;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// Why a stream is reset, as far as we say it.
pub(super) mod reset {
    /// The peer broke a rule of the protocol.
    pub(in super::super) const PROTOCOL_ERROR: u32 = 1;
    /// The stream is not wanted.
    pub(in super::super) const REFUSED: u32 = 3;
    /// The stream is not needed any more.
    pub(in super::super) const CANCEL: u32 = 5;
}

/// One frame. A long data frame arrives as several short ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Opens a stream.
    SynStream {
        /// Odd if the client opens it.
        stream: u32,
        /// What it is for.
        headers: Headers,
        /// Whether nothing follows from this side.
        fin: bool,
    },
    /// Accepts a stream.
    SynReply {
        /// Which.
        stream: u32,
        /// Empty in Kubernetes.
        headers: Headers,
        /// Whether nothing follows from this side.
        fin: bool,
    },
    /// Ends a stream in both directions.
    Reset {
        /// Which.
        stream: u32,
        /// Why.
        status: u32,
    },
    /// What the peer would like; nothing here depends on it.
    Settings,
    /// To be sent back, if the peer made the number.
    Ping(u32),
    /// No streams will be accepted any more.
    GoAway {
        /// The last one that was.
        last: u32,
        /// Why; 0 for no special reason.
        status: u32,
    },
    /// More headers of a stream.
    Headers {
        /// Which.
        stream: u32,
        /// Which.
        headers: Headers,
        /// Whether nothing follows from this side.
        fin: bool,
    },
    /// The peer can take more; stream 0 is the connection.
    WindowUpdate {
        /// Which.
        stream: u32,
        /// How many bytes more.
        delta: u32,
    },
    /// A piece of a stream.
    Data {
        /// Which.
        stream: u32,
        /// What.
        payload: Bytes,
        /// Whether nothing follows from this side.
        fin: bool,
    },
}

/// Why bytes are no frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// Another protocol, or none.
    #[error("version {0} is not SPDY/3")]
    Version(u16),
    /// Something is longer than we take.
    #[error("a frame is too long")]
    TooLong,
    /// A field is missing or has a forbidden value.
    #[error("a frame of type {0} is malformed")]
    Malformed(u16),
    /// A header block is not what the protocol says.
    #[error("the headers of a stream are malformed")]
    Headers,
    /// A header block cannot be decompressed.
    #[error("the headers of a stream cannot be decompressed")]
    Compression,
    /// Data of the stream that no stream has.
    #[error("data of stream 0")]
    StreamZero,
}

/// Finds frames in bytes that arrive in any pieces. After an error nothing more can be read.
#[derive(Default)]
pub(crate) struct Decoder {
    buffer: BytesMut,
    data: Option<Data>,
    headers: Decompressor,
}

/// A data frame that is still arriving.
struct Data {
    stream: u32,
    left: usize,
    fin: bool,
}

impl Decoder {
    /// Takes in what arrived. Call [`Self::next_frame`] until it returns `None` before the next piece.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next frame; `None` if it is still arriving.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            if self.data.is_some() {
                return Ok(self.next_data());
            }
            let Some(mut head) = self.buffer.get(..HEAD) else { return Ok(None) };
            let (first, flags) = (head.get_u32(), head[0]);
            let length = (head.get_u32() & 0xff_ffff) as usize;
            let fin = flags & FIN != 0;
            if first & CONTROL == 0 {
                if first == 0 {
                    return Err(FrameError::StreamZero);
                }
                self.buffer.advance(HEAD);
                self.data = Some(Data { stream: first, left: length, fin });
                continue;
            }
            let [_, _, kind @ ..] = first.to_be_bytes();
            let version = u16::try_from((first & !CONTROL) >> 16).unwrap_or_default();
            if version != VERSION {
                return Err(FrameError::Version(version));
            }
            if length > CONTROL_MAX {
                return Err(FrameError::TooLong);
            }
            if self.buffer.len() < HEAD + length {
                return Ok(None);
            }
            self.buffer.advance(HEAD);
            let fields = self.buffer.split_to(length).freeze();
            if let Some(frame) = self.control(u16::from_be_bytes(kind), fin, fields)? {
                return Ok(Some(frame));
            }
        }
    }

    /// Returns as much as is there of the data frame that is arriving.
    fn next_data(&mut self) -> Option<Frame> {
        let data = self.data.as_mut()?;
        let piece = self.buffer.len().min(data.left);
        if piece == 0 && data.left > 0 {
            return None;
        }
        data.left -= piece;
        let (stream, fin) = (data.stream, data.fin && data.left == 0);
        if data.left == 0 {
            self.data = None;
        }
        Some(Frame::Data { stream, payload: self.buffer.split_to(piece).freeze(), fin })
    }

    /// Reads a control frame; one of an unknown type is skipped, as the protocol says.
    fn control(&mut self, kind: u16, fin: bool, mut fields: Bytes) -> Result<Option<Frame>, FrameError> {
        let malformed = FrameError::Malformed(kind);
        let number = |fields: &mut Bytes| fields.try_get_u32().map_err(|_| malformed);
        let stream = |fields: &mut Bytes| match number(fields)? & !CONTROL {
            0 => Err(malformed),
            stream => Ok(stream),
        };
        let frame = match kind {
            SYN_STREAM => {
                let stream = stream(&mut fields)?;
                // The stream that it belongs to, its priority, and a slot for credentials: nobody uses them.
                if fields.len() < 6 {
                    return Err(malformed);
                }
                fields.advance(6);
                Frame::SynStream { stream, headers: self.headers.decompress(&fields)?, fin }
            }
            SYN_REPLY => {
                Frame::SynReply { stream: stream(&mut fields)?, headers: self.headers.decompress(&fields)?, fin }
            }
            HEADERS => Frame::Headers { stream: stream(&mut fields)?, headers: self.headers.decompress(&fields)?, fin },
            RST_STREAM => Frame::Reset { stream: stream(&mut fields)?, status: number(&mut fields)? },
            SETTINGS => Frame::Settings,
            PING => Frame::Ping(number(&mut fields)?),
            GOAWAY => Frame::GoAway { last: number(&mut fields)? & !CONTROL, status: number(&mut fields)? },
            WINDOW_UPDATE => {
                Frame::WindowUpdate { stream: number(&mut fields)? & !CONTROL, delta: number(&mut fields)? & !CONTROL }
            }
            _ => return Ok(None),
        };
        Ok(Some(frame))
    }
}

/// Turns frames into bytes. The order matters: each header block continues the one before.
#[derive(Default)]
pub(crate) struct Encoder {
    headers: Compressor,
}

impl Encoder {
    /// Appends a frame.
    pub(crate) fn encode(&mut self, frame: &Frame, out: &mut BytesMut) {
        match frame {
            Frame::SynStream { stream, headers, fin } => {
                let block = self.headers.compress(headers);
                control(out, SYN_STREAM, *fin, 10 + block.len());
                out.put_u32(*stream);
                out.put_bytes(0, 6);
                out.put_slice(&block);
            }
            Frame::SynReply { stream, headers, fin } => self.headers(SYN_REPLY, *stream, headers, *fin, out),
            Frame::Headers { stream, headers, fin } => self.headers(HEADERS, *stream, headers, *fin, out),
            Frame::Reset { stream, status } => pair(out, RST_STREAM, *stream, *status),
            Frame::Settings => {
                control(out, SETTINGS, false, 4);
                out.put_u32(0);
            }
            Frame::Ping(id) => {
                control(out, PING, false, 4);
                out.put_u32(*id);
            }
            Frame::GoAway { last, status } => pair(out, GOAWAY, *last, *status),
            Frame::WindowUpdate { stream, delta } => pair(out, WINDOW_UPDATE, *stream, *delta),
            Frame::Data { stream, payload, fin } => {
                out.put_u32(*stream);
                put_length(out, *fin, payload.len());
                out.put_slice(payload);
            }
        }
    }

    fn headers(&mut self, kind: u16, stream: u32, headers: &Headers, fin: bool, out: &mut BytesMut) {
        let block = self.headers.compress(headers);
        control(out, kind, fin, 4 + block.len());
        out.put_u32(stream);
        out.put_slice(&block);
    }
}

fn pair(out: &mut BytesMut, kind: u16, first: u32, second: u32) {
    control(out, kind, false, 8);
    out.put_u32(first);
    out.put_u32(second);
}

fn control(out: &mut BytesMut, kind: u16, fin: bool, length: usize) {
    out.put_u32(CONTROL | u32::from(VERSION) << 16 | u32::from(kind));
    put_length(out, fin, length);
}

fn put_length(out: &mut BytesMut, fin: bool, length: usize) {
    out.put_u8(if fin { FIN } else { 0 });
    let length = u32::try_from(length).ok().filter(|length| *length <= 0xff_ffff);
    out.put_uint(length.expect("pieces are far below 16 MiB").into(), 3);
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
