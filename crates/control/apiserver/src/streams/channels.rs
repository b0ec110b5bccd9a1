//! WebSocket messages as channels: one byte says which, the rest is what (`streaming/pkg/httpstream/wsstream/conn.go`).
//! Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Deserializer, Value};
use tokio_tungstenite::tungstenite::Message;
use wkube_api::remote_command::{Channel, Frame, TerminalSize};

/// How a channel's bytes look in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// The channel's number as a byte, and the bytes.
    Binary,
    /// The channel's number as a digit, and the bytes in base64, as text: for clients that cannot send bytes.
    Base64,
}

impl Encoding {
    /// Returns the channel and the bytes of a message; `None` for one without either.
    pub(crate) fn decode(self, message: Message) -> Option<(u8, Bytes)> {
        let mut data = match message {
            // Which of the two a client sends does not matter to Kubernetes either.
            Message::Binary(data) => data,
            Message::Text(text) => text.into(),
            _ => return None,
        };
        let first = *data.first()?;
        let rest = data.split_off(1);
        match self {
            Self::Binary => Some((first, rest)),
            Self::Base64 => Some((first.checked_sub(b'0')?, STANDARD.decode(rest).ok()?.into())),
        }
    }

    /// Returns the message that carries bytes on a channel.
    pub(crate) fn encode(self, channel: u8, payload: &[u8]) -> Message {
        match self {
            Self::Binary => Message::binary([&[channel], payload].concat()),
            Self::Base64 => Message::text(format!("{}{}", char::from(b'0' + channel), STANDARD.encode(payload))),
        }
    }
}

/// The versions of remote commands (`apimachinery/pkg/util/remotecommand/constants.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// Says how a command failed in plain words, and nothing else.
    V1,
    /// Ends each stream.
    V2,
    /// Knows the size of the terminal.
    V3,
    /// Says how a command ended as a Status.
    V4,
    /// Knows the end of stdin over WebSocket, too.
    V5,
}

/// The protocols of remote commands over WebSocket. Kubernetes' kubelet knows no v2 and v3 there; they do no harm.
pub(crate) const WEBSOCKET: [(&str, Version, Encoding); 11] = [
    ("", Version::V1, Encoding::Binary),
    ("v5.channel.k8s.io", Version::V5, Encoding::Binary),
    ("v4.channel.k8s.io", Version::V4, Encoding::Binary),
    ("v3.channel.k8s.io", Version::V3, Encoding::Binary),
    ("v2.channel.k8s.io", Version::V2, Encoding::Binary),
    ("channel.k8s.io", Version::V1, Encoding::Binary),
    ("v5.base64.channel.k8s.io", Version::V5, Encoding::Base64),
    ("v4.base64.channel.k8s.io", Version::V4, Encoding::Base64),
    ("v3.base64.channel.k8s.io", Version::V3, Encoding::Base64),
    ("v2.base64.channel.k8s.io", Version::V2, Encoding::Base64),
    ("base64.channel.k8s.io", Version::V1, Encoding::Base64),
];

/// The protocols of remote commands over SPDY, where v5 changes nothing.
pub(crate) const SPDY: [&str; 5] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

/// Returns the version of a protocol's name.
pub(crate) fn version(protocol: &str) -> Version {
    WEBSOCKET.iter().find(|(name, ..)| *name == protocol).map_or(Version::V1, |(_, version, _)| *version)
}

/// Returns what a client's message says, in the language of nodes.
pub(crate) fn frame(version: Version, encoding: Encoding, message: Message) -> Option<Frame> {
    let (number, payload) = encoding.decode(message)?;
    match Channel::of(number)? {
        channel @ (Channel::Stdin | Channel::Resize) => Some(Frame { channel, payload }),
        // Only v5 knows it; before, 255 was a channel that did not exist.
        Channel::Close if version >= Version::V5 => Some(Frame { channel: Channel::Close, payload }),
        Channel::Close | Channel::Stdout | Channel::Stderr | Channel::Error => None,
    }
}

/// Returns how a client of this version is told how its command ended; `None` if it is not told at all.
pub(crate) fn outcome(version: Version, status: &Bytes) -> Option<Bytes> {
    if version >= Version::V4 {
        return Some(status.clone());
    }
    // `v1WriteStatusFunc` of the kubelet: silence is success.
    let status: Value = serde_json::from_slice(status).unwrap_or_default();
    (status["status"] != "Success")
        .then(|| status["message"].as_str().unwrap_or("the command failed").to_owned().into())
}

/// The sizes of a terminal: JSON documents on a channel, in any pieces. Ends for good with the first that is none.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    text: Vec<u8>,
    broken: bool,
}

/// A size is a tenth of this.
const SIZE_MAX: usize = 512;

impl Sizes {
    /// Takes in a piece and returns the newest size that is complete.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Option<TerminalSize> {
        if self.broken {
            return None;
        }
        self.text.extend_from_slice(piece);
        let mut documents = Deserializer::from_slice(&self.text).into_iter::<TerminalSize>();
        let mut newest = None;
        self.broken = loop {
            match documents.next() {
                Some(Ok(size)) => newest = Some(size),
                Some(Err(error)) => break !error.is_eof(),
                None => break false,
            }
        };
        let used = documents.byte_offset();
        self.text.drain(..used);
        self.broken |= self.text.len() > SIZE_MAX;
        newest
    }
}

#[cfg(test)]
mod tests {
    use wkube_api::remote_command::Outcome;

    use super::*;

    #[test]
    fn a_message_is_its_channel_and_its_bytes() {
        assert_eq!(Encoding::Binary.encode(1, b"hi"), Message::binary(&b"\x01hi"[..]));
        assert_eq!(Encoding::Base64.encode(1, b"hi"), Message::text("1aGk="));
        assert_eq!(Encoding::Binary.encode(1, b""), Message::binary(&b"\x01"[..]));
        assert_eq!(Encoding::Base64.encode(1, b""), Message::text("1"));
    }

    #[test]
    fn every_byte_survives_both_encodings() {
        let all: Vec<u8> = (0..=255).collect();
        for encoding in [Encoding::Binary, Encoding::Base64] {
            for channel in 0..10 {
                let message = encoding.encode(channel, &all);
                assert_eq!(encoding.decode(message), Some((channel, all.clone().into())));
            }
        }
    }

    #[test]
    fn text_is_bytes_too_and_nothing_is_nothing() {
        assert_eq!(Encoding::Binary.decode(Message::text("\0abc")), Some((0, "abc".into())));
        assert_eq!(Encoding::Binary.decode(Message::binary(Bytes::new())), None);
        assert_eq!(Encoding::Binary.decode(Message::Ping(Bytes::new())), None);
        assert_eq!(Encoding::Base64.decode(Message::text("0***")), None);
        assert_eq!(Encoding::Base64.decode(Message::binary(&b"\x01aGk="[..])), None);
    }

    #[test]
    fn clients_speak_on_their_own_channels_only() {
        let channel = |version, bytes: &'static [u8]| {
            frame(version, Encoding::Binary, Message::binary(bytes)).map(|frame| frame.channel)
        };
        assert_eq!(channel(Version::V1, b"\0x"), Some(Channel::Stdin));
        assert_eq!(channel(Version::V4, b"\x04{}"), Some(Channel::Resize));
        assert_eq!(channel(Version::V5, b"\xff\0"), Some(Channel::Close));
        assert_eq!(channel(Version::V4, b"\xff\0"), None);
        for foreign in [b"\x01x", b"\x02x", b"\x03x", b"\x09x"] {
            assert_eq!(channel(Version::V5, foreign), None);
        }
        let end = frame(Version::V5, Encoding::Binary, Message::binary(&b"\xff\0"[..]));
        assert_eq!(end.and_then(|frame| frame.closes()), Some(Channel::Stdin));
    }

    #[test]
    fn old_versions_hear_failures_in_words_and_success_not_at_all() {
        let (success, exited) = (Outcome::Success.frame().payload, Outcome::Exited(3).frame().payload);
        assert_eq!(outcome(Version::V4, &success), Some(success.clone()));
        assert_eq!(outcome(Version::V5, &exited), Some(exited.clone()));
        for version in [Version::V1, Version::V2, Version::V3] {
            assert_eq!(outcome(version, &success), None);
            let words = "command terminated with non-zero exit code: exit status 3";
            assert_eq!(outcome(version, &exited), Some(words.into()));
        }
    }

    #[test]
    fn versions_have_kubernetes_names() {
        assert_eq!(version("v5.channel.k8s.io"), Version::V5);
        assert_eq!(version("v4.base64.channel.k8s.io"), Version::V4);
        assert_eq!((version("channel.k8s.io"), version("")), (Version::V1, Version::V1));
    }

    #[test]
    fn sizes_arrive_in_any_pieces_and_the_newest_counts() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.push(br#"{"Width":80,"#), None);
        assert_eq!(sizes.push(b"\"Height\":24}\n"), Some(TerminalSize { width: 80, height: 24 }));
        let two = br#"{"Width":1,"Height":2}{"Width":3,"Height":4}"#;
        assert_eq!(sizes.push(two), Some(TerminalSize { width: 3, height: 4 }));
        assert_eq!(sizes.push(b"\n"), None);
    }

    #[test]
    fn sizes_end_with_the_first_that_is_none() {
        for broken in [&br#"{"Width":"wide"}"#[..], b"nonsense", &[b' '; SIZE_MAX + 1], &[b'['; SIZE_MAX + 1]] {
            let mut sizes = Sizes::default();
            assert_eq!(sizes.push(broken), None);
            let after = sizes.push(br#"{"Width":1,"Height":2}"#);
            // Spaces between documents are no document.
            assert_eq!(after.is_some(), broken[0] == b' ');
        }
    }
}
