//! What a worker and its node say about sockets. Pure.
//!
//! A call names itself in a header (`wkube-socket`):
//! ```text
//!  orders              a line of JSON for each Order; a line for each that is answered, in the same order
//!  connect PORT TO     a connection, once it is open: pieces both ways
//!  accept PORT         the next connection of a listening port, once there is one
//!  datagrams PORT      packets both ways
//!  resolve NAME        addresses as JSON
//! ```
//! The worker chooses the numbers of ports. A refusal is a header of the answer (`wkube-refused`).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wkube_wasm_runtime::NetError;

/// Says what a call about sockets is about.
pub(in super::super) const SOCKET: &str = "wkube-socket";
/// In an answer: why there is no other.
pub(super) const REFUSED: &str = "wkube-refused";
/// In the answer that opens a connection: both ends.
pub(super) const ENDS: &str = "wkube-ends";

/// No line is longer.
const LINE_MAX: usize = 1 << 10;
/// Its kind, the length of its address, the length of what it carries.
const PACKET_HEADER: usize = 4;
/// The length of what follows.
const PIECE_HEADER: usize = 2;
/// The longest address in text: one of IPv6 with a scope and a port.
const ADDRESS_MAX: usize = 64;

/// The refusals of a network, and their names.
const REFUSALS: [(&str, NetError); 12] = [
    ("denied", NetError::Denied),
    ("not-bindable", NetError::NotBindable),
    ("in-use", NetError::InUse),
    ("refused", NetError::Refused),
    ("unreachable", NetError::Unreachable),
    ("timed-out", NetError::TimedOut),
    ("reset", NetError::Reset),
    ("no-name", NetError::NoName),
    ("name-unavailable", NetError::NameUnavailable),
    ("too-large", NetError::TooLarge),
    ("too-many", NetError::TooMany),
    ("unsupported", NetError::Unsupported),
];

/// Why the other side cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("what was said about a socket makes no sense: {0}")]
pub(super) struct Nonsense(pub(super) String);

/// A refusal, on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct Refusal(pub(super) NetError);

/// What a call is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    Orders,
    Connect { port: u64, to: SocketAddr },
    Accept { port: u64 },
    Datagrams { port: u64 },
    Resolve { name: String },
}

/// What is asked of the node that does not wait for anybody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    /// Take a TCP port. Answered.
    BindTcp { port: u64, local: SocketAddr },
    /// Take a UDP port. Answered.
    BindUdp { port: u64, local: SocketAddr },
    /// Listen. Answered.
    Listen { port: u64, backlog: usize },
    /// Listen no more.
    Hush { port: u64 },
    /// Let go of the port.
    Close { port: u64 },
}

/// The answer to an order: the address that is bound.
pub(super) type Answer = Result<SocketAddr, Refusal>;

/// What goes over a UDP port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Packet {
    /// To, or from, an address.
    Datagram(Bytes, SocketAddr),
    /// What was sent there last was refused.
    Refused(Refusal, SocketAddr),
}

/// The two ends of a connection, our own first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = REFUSALS.iter().find(|(_, error)| *error == self.0);
        out.write_str(named.map_or("unsupported", |(name, _)| name))
    }
}

impl FromStr for Refusal {
    type Err = Nonsense;

    fn from_str(name: &str) -> Result<Self, Nonsense> {
        let named = REFUSALS.iter().find(|(known, _)| *known == name);
        named.map(|(_, error)| Self(*error)).ok_or_else(|| Nonsense(format!("the refusal {name:?}")))
    }
}

impl From<Refusal> for String {
    fn from(refusal: Refusal) -> Self {
        refusal.to_string()
    }
}

impl TryFrom<String> for Refusal {
    type Error = Nonsense;

    fn try_from(name: String) -> Result<Self, Nonsense> {
        name.parse()
    }
}

impl fmt::Display for Call {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Orders => out.write_str("orders"),
            Self::Connect { port, to } => write!(out, "connect {port} {to}"),
            Self::Accept { port } => write!(out, "accept {port}"),
            Self::Datagrams { port } => write!(out, "datagrams {port}"),
            Self::Resolve { name } => write!(out, "resolve {name}"),
        }
    }
}

impl FromStr for Call {
    type Err = Nonsense;

    fn from_str(text: &str) -> Result<Self, Nonsense> {
        let none = || Nonsense(format!("the call {text:?}"));
        let number = |text: &str| text.parse().map_err(|_| none());
        let words: Vec<&str> = text.split(' ').collect();
        match words.as_slice() {
            ["orders"] => Ok(Self::Orders),
            ["connect", port, to] => Ok(Self::Connect { port: number(port)?, to: to.parse().map_err(|_| none())? }),
            ["accept", port] => Ok(Self::Accept { port: number(port)? }),
            ["datagrams", port] => Ok(Self::Datagrams { port: number(port)? }),
            ["resolve", name] => Ok(Self::Resolve { name: (*name).to_owned() }),
            _ => Err(none()),
        }
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.local, self.remote)
    }
}

impl FromStr for Ends {
    type Err = Nonsense;

    fn from_str(text: &str) -> Result<Self, Nonsense> {
        let ends = text.split_once(' ').and_then(|(local, remote)| {
            let (local, remote) = (local.parse().ok()?, remote.parse().ok()?);
            Some(Self { local, remote })
        });
        ends.ok_or_else(|| Nonsense(format!("the ends {text:?}")))
    }
}

/// Writes a line.
pub(super) fn line(said: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(said).expect("numbers and text");
    line.push(b'\n');
    line.into()
}

/// Finds the lines in bytes that come in pieces.
#[derive(Debug, Default)]
pub(super) struct Lines(BytesMut);

impl Lines {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Returns what the next line says; `None` if more bytes are needed.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Nonsense> {
        let Some(end) = self.0.iter().take(LINE_MAX).position(|byte| *byte == b'\n') else {
            return if self.0.len() < LINE_MAX { Ok(None) } else { Err(Nonsense("a line without an end".to_owned())) };
        };
        let line = self.0.split_to(end + 1);
        serde_json::from_slice(&line).map(Some).map_err(|error| Nonsense(error.to_string()))
    }
}

/// Writes a piece of a connection, its length first. An empty one is the end of its direction.
pub(super) fn piece(bytes: &[u8]) -> Bytes {
    let mut piece = BytesMut::with_capacity(PIECE_HEADER + bytes.len());
    piece.put_u16(u16::try_from(bytes.len()).expect("read into less"));
    piece.extend_from_slice(bytes);
    piece.freeze()
}

/// Finds the pieces in bytes that are cut otherwise.
#[derive(Debug, Default)]
pub(super) struct Pieces(BytesMut);

impl Pieces {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Returns the next piece; `None` if more bytes are needed.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let length = usize::from(u16::from_be_bytes(*self.0.first_chunk()?));
        if self.0.len() < PIECE_HEADER + length {
            return None;
        }
        self.0.advance(PIECE_HEADER);
        Some(self.0.split_to(length).freeze())
    }
}

impl Packet {
    /// Writes the packet: its kind, the length of its address in text, the length of the rest in two bytes, both.
    pub(super) fn encode(&self) -> Bytes {
        let (kind, address, rest) = match self {
            Self::Datagram(bytes, address) => (0, address, bytes.clone()),
            Self::Refused(refusal, address) => (1, address, refusal.to_string().into()),
        };
        let address = address.to_string();
        let mut encoded = BytesMut::with_capacity(PACKET_HEADER + address.len() + rest.len());
        encoded.put_u8(kind);
        encoded.put_u8(u8::try_from(address.len()).expect("addresses are short"));
        encoded.put_u16(u16::try_from(rest.len()).expect("no datagram is longer, who sends them says so"));
        encoded.extend_from_slice(address.as_bytes());
        encoded.extend_from_slice(&rest);
        encoded.freeze()
    }
}

/// Finds the packets in bytes that come in pieces.
#[derive(Debug, Default)]
pub(super) struct Packets(BytesMut);

impl Packets {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Returns the next packet; `None` if more bytes are needed.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, Nonsense> {
        let Some([kind, address, rest @ ..]) = self.0.first_chunk::<PACKET_HEADER>().copied() else { return Ok(None) };
        let (address, rest) = (usize::from(address), usize::from(u16::from_be_bytes(rest)));
        if address > ADDRESS_MAX {
            return Err(Nonsense(format!("an address of {address} bytes")));
        }
        if self.0.len() < PACKET_HEADER + address + rest {
            return Ok(None);
        }
        self.0.advance(PACKET_HEADER);
        let address = text(&self.0.split_to(address))?.parse();
        let address = address.map_err(|_| Nonsense("an address that is none".to_owned()))?;
        let rest = self.0.split_to(rest).freeze();
        match kind {
            0 => Ok(Some(Packet::Datagram(rest, address))),
            1 => Ok(Some(Packet::Refused(text(&rest)?.parse()?, address))),
            _ => Err(Nonsense(format!("a packet of kind {kind}"))),
        }
    }
}

fn text(bytes: &[u8]) -> Result<&str, Nonsense> {
    std::str::from_utf8(bytes).map_err(|error| Nonsense(error.to_string()))
}

/// Reads the answer to a look-up.
pub(super) fn addresses(document: &[u8]) -> Result<Vec<IpAddr>, Nonsense> {
    serde_json::from_slice(document).map_err(|error| Nonsense(error.to_string()))
}

#[cfg(test)]
#[path = "words_tests.rs"]
mod tests;
