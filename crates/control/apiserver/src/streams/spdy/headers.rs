//! The headers of a stream: names and values, compressed with SPDY/3's dictionary (draft 3.1, section 2.6.10). Pure.

use std::sync::LazyLock;

use bytes::{Buf as _, BufMut as _, Bytes};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::frame::FrameError;

/// All headers of one stream, decompressed. Kubernetes' clients send less than a hundred bytes.
const BLOCK_MAX: usize = 16 * 1024;

/// The words that senders are most likely to use, most likely last: the dictionary has each with its length before it.
#[rustfmt::skip] // one word per line would hide the code
const WORDS: [&str; 65] = [
    "options", "head", "post", "put", "delete", "trace", "accept", "accept-charset", "accept-encoding",
    "accept-language", "accept-ranges", "age", "allow", "authorization", "cache-control", "connection",
    "content-base", "content-encoding", "content-language", "content-length", "content-location", "content-md5",
    "content-range", "content-type", "date", "etag", "expect", "expires", "from", "host", "if-match",
    "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "location",
    "max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "range", "referer", "retry-after",
    "server", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "vary", "via", "warning",
    "www-authenticate", "method", "get", "status", "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie",
    "keep-alive", "origin",
];

/// What follows the words, without lengths.
const VALUES: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
    203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden\
    404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug \
    Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
    application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch\
    charset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut dictionary = Vec::new();
    for word in WORDS {
        put_text(&mut dictionary, word);
    }
    dictionary.extend_from_slice(VALUES.as_bytes());
    dictionary
});

/// A stream's headers, in order. Names are in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers(Vec<(String, String)>);

impl Headers {
    /// Returns headers of these names and values.
    #[cfg(test)]
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())).collect())
    }

    /// Returns the value of a name in lower case, or `""`.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    fn encode(&self) -> Vec<u8> {
        let mut block = Vec::new();
        block.put_u32(length(self.0.len()));
        for (name, value) in &self.0 {
            put_text(&mut block, name);
            put_text(&mut block, value);
        }
        block
    }

    fn decode(mut block: Bytes) -> Result<Self, FrameError> {
        let count = block.try_get_u32().map_err(|_| FrameError::Headers)?;
        let mut headers = Self::default();
        // Each takes eight bytes at least, so a lie about the number ends with the block.
        for _ in 0..count {
            let (name, value) = (take_text(&mut block)?, take_text(&mut block)?);
            let twice = headers.0.iter().any(|(known, _)| *known == name);
            if name.is_empty() || twice || name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                return Err(FrameError::Headers);
            }
            headers.0.push((name, value));
        }
        if block.is_empty() { Ok(headers) } else { Err(FrameError::Headers) }
    }
}

fn put_text(block: &mut Vec<u8>, text: &str) {
    block.put_u32(length(text.len()));
    block.put_slice(text.as_bytes());
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("headers are short")
}

fn take_text(block: &mut Bytes) -> Result<String, FrameError> {
    let length = block.try_get_u32().map_err(|_| FrameError::Headers)? as usize;
    if length > block.len() {
        return Err(FrameError::Headers);
    }
    String::from_utf8(block.split_to(length).to_vec()).map_err(|_| FrameError::Headers)
}

/// Compresses the headers that one side of a connection sends; each block continues the one before.
pub(super) struct Compressor(Compress);

impl Default for Compressor {
    fn default() -> Self {
        let mut zlib = Compress::new(Compression::fast(), true);
        zlib.set_dictionary(&DICTIONARY).expect("a new stream takes a dictionary");
        Self(zlib)
    }
}

impl Compressor {
    /// Returns the next block.
    pub(super) fn compress(&mut self, headers: &Headers) -> Vec<u8> {
        let block = headers.encode();
        let (mut out, before) = (Vec::with_capacity(block.len() + 64), self.0.total_in());
        loop {
            let taken = usize::try_from(self.0.total_in() - before).unwrap_or(block.len());
            let pushed = self.0.compress_vec(&block[taken..], &mut out, FlushCompress::Sync);
            pushed.expect("deflate takes any bytes");
            // Room that is left over says that the flush is complete.
            if out.len() < out.capacity() {
                return out;
            }
            out.reserve(64);
        }
    }
}

/// Reads the blocks that the other side sends.
pub(super) struct Decompressor(Decompress);

impl Default for Decompressor {
    fn default() -> Self {
        Self(Decompress::new(true))
    }
}

impl Decompressor {
    /// Reads the next block. After an error nothing more can be read.
    pub(super) fn decompress(&mut self, mut block: &[u8]) -> Result<Headers, FrameError> {
        let mut out = Vec::with_capacity(BLOCK_MAX + 1);
        while !block.is_empty() {
            let before = self.0.total_in();
            let result = self.0.decompress_vec(block, &mut out, FlushDecompress::Sync);
            let taken = usize::try_from(self.0.total_in() - before).unwrap_or(block.len());
            block = &block[taken..];
            match result {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).map_err(|_| FrameError::Compression)?;
                }
                Err(_) => return Err(FrameError::Compression),
                Ok(_) if out.len() > BLOCK_MAX => return Err(FrameError::TooLong),
                // Nothing moves any more: the stream has ended, which a connection's may not.
                Ok(_) if taken == 0 => return Err(FrameError::Compression),
                Ok(_) => {}
            }
        }
        Headers::decode(out.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(pairs: &[&[(&str, &str)]]) {
        let (mut compressor, mut decompressor) = (Compressor::default(), Decompressor::default());
        for pairs in pairs {
            let headers = Headers::of(pairs);
            assert_eq!(decompressor.decompress(&compressor.compress(&headers)), Ok(headers));
        }
    }

    /// Deflates without looking at what.
    fn deflated(block: &[u8]) -> Vec<u8> {
        let mut zlib = Compress::new(Compression::fast(), true);
        zlib.set_dictionary(&DICTIONARY).expect("a dictionary");
        let mut out = Vec::with_capacity(block.len() + 128);
        zlib.compress_vec(block, &mut out, FlushCompress::Sync).expect("deflated");
        out
    }

    #[test]
    fn the_dictionary_is_the_one_of_the_protocol() {
        let mut sum = (1_u32, 0_u32);
        for byte in DICTIONARY.iter() {
            sum.0 = (sum.0 + u32::from(*byte)) % 65_521;
            sum.1 = (sum.1 + sum.0) % 65_521;
        }
        // Every compressed stream names its dictionary by this checksum.
        assert_eq!((DICTIONARY.len(), sum.1 << 16 | sum.0), (1423, 0xe3c6_a7c2));
    }

    #[test]
    fn headers_survive_compression_block_after_block() {
        both(&[&[("streamType", "error"), ("port", "80"), ("requestID", "0")], &[], &[("streamType", "data")]]);
        let long = "x".repeat(BLOCK_MAX - 100);
        both(&[&[("long", &long)], &[("long", &long)]]);
    }

    #[test]
    fn what_is_no_headers_is_refused() {
        let check = |block: &[u8], expected| {
            assert_eq!(Decompressor::default().decompress(&deflated(block)), Err(expected), "{block:?}");
        };
        check(b"\0\0", FrameError::Headers);
        check(b"\0\0\0\x01\0\0\0\x02a", FrameError::Headers);
        check(b"\0\0\0\x01\0\0\0\0\0\0\0\0", FrameError::Headers);
        check(b"\0\0\0\x01\0\0\0\x01A\0\0\0\0", FrameError::Headers);
        check(b"\xff\xff\xff\xff\0\0\0\x01a\0\0\0\0", FrameError::Headers);
        check(b"\0\0\0\0more", FrameError::Headers);
        check(&vec![0; BLOCK_MAX * 1000], FrameError::TooLong);
    }

    #[test]
    fn what_is_not_compressed_with_the_dictionary_is_refused() {
        assert_eq!(Decompressor::default().decompress(b"no zlib"), Err(FrameError::Compression));
        let mut other = Compress::new(Compression::fast(), true);
        other.set_dictionary(b"another").expect("a dictionary");
        let mut out = Vec::with_capacity(100);
        other.compress_vec(b"\0\0\0\0", &mut out, FlushCompress::Sync).expect("deflated");
        assert_eq!(Decompressor::default().decompress(&out), Err(FrameError::Compression));
    }
}
