//! Datagrams on their way to another node: one after the other in a stream of bytes, whose other end is known to be one
//! pod's.
//!
//! ```text
//!  length of the rest: u32 | 4 or 6: u8 | sender's address: 4 or 16 | its port: u16 | to port: u16 | bytes
//! ```

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::AsyncRead;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

/// What one datagram carries over IPv4.
pub(super) const BYTES_MAX: usize = 65_507;
/// Family, sender and port.
const HEAD_MAX: usize = 1 + 16 + 2 + 2;

/// A datagram for a port of a pod that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Datagram {
    /// Who sent it.
    pub(crate) from: SocketAddr,
    /// The pod's port.
    pub(crate) port: u16,
    /// What it says.
    pub(crate) bytes: Bytes,
}

impl Datagram {
    /// Writes it as it travels.
    pub(super) fn encode(&self) -> Bytes {
        let mut rest = BytesMut::with_capacity(HEAD_MAX + self.bytes.len());
        match self.from.ip() {
            IpAddr::V4(ip) => {
                rest.put_u8(4);
                rest.put_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                rest.put_u8(6);
                rest.put_slice(&ip.octets());
            }
        }
        rest.put_u16(self.from.port());
        rest.put_u16(self.port);
        rest.put_slice(&self.bytes);
        let mut whole = BytesMut::with_capacity(4 + rest.len());
        whole.put_u32(u32::try_from(rest.len()).unwrap_or(u32::MAX));
        whole.put(rest);
        whole.freeze()
    }

    fn decode(mut rest: BytesMut) -> Result<Self, bytes::TryGetError> {
        let ip: IpAddr = match rest.try_get_u8()? {
            4 => Ipv4Addr::from_bits(rest.try_get_u32()?).into(),
            _ => Ipv6Addr::from_bits(rest.try_get_u128()?).into(),
        };
        let from = SocketAddr::new(ip, rest.try_get_u16()?);
        Ok(Self { from, port: rest.try_get_u16()?, bytes: rest.freeze() })
    }
}

/// The datagrams in a stream of bytes.
pub(crate) struct Datagrams<R>(FramedRead<R, LengthDelimitedCodec>);

impl<R: AsyncRead + Unpin> Datagrams<R> {
    /// Reads them from `stream`.
    pub(crate) fn of(stream: R) -> Self {
        let codec = LengthDelimitedCodec::builder().max_frame_length(HEAD_MAX + BYTES_MAX).new_codec();
        Self(FramedRead::new(stream, codec))
    }

    /// Returns the next; `None` after the last.
    ///
    /// # Errors
    /// `InvalidData` if the stream has something else, after which there is no way to go on.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Datagram>> {
        use futures::StreamExt as _;
        let Some(rest) = self.0.next().await.transpose()? else { return Ok(None) };
        let datagram = Datagram::decode(rest).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Some(datagram))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> io::Result<Vec<Datagram>> {
        let (mut datagrams, mut all) = (Datagrams::of(bytes), Vec::new());
        while let Some(datagram) = datagrams.next().await? {
            all.push(datagram);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn datagrams_keep_their_ends_and_senders_in_a_stream() {
        let datagram = |from: &str, size: usize| Datagram {
            from: from.parse().unwrap(),
            port: 53,
            bytes: Bytes::from(vec![7; size]),
        };
        let sent = [datagram("10.42.0.2:9", 0), datagram("[fd00::2]:65535", 3), datagram("10.42.0.3:1", BYTES_MAX)];
        let stream: Vec<u8> = sent.iter().flat_map(Datagram::encode).collect();
        assert_eq!(read(&stream).await.unwrap(), sent);
    }

    #[tokio::test]
    async fn what_is_no_datagram_ends_the_stream() {
        let huge = u32::try_from(HEAD_MAX + BYTES_MAX + 1).unwrap().to_be_bytes();
        let short = [0, 0, 0, 3, 4, 10, 42];
        for wrong in [&huge[..], &short[..], &[0, 0, 0, 9, 4][..]] {
            assert!(read(wrong).await.is_err(), "{wrong:?}");
        }
    }
}
