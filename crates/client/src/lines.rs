//! A body as lines: watches are one JSON document per line.

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;

use crate::client::ResponseBody;
use crate::error::Error;

/// The longest line: an object of etcd's limit (1.5 MiB) in JSON, several times over.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Cuts a body into lines without the line breaks.
pub(crate) struct Lines {
    body: ResponseBody,
    buffer: BytesMut,
    /// How much of the buffer has no line break.
    searched: usize,
}

impl Lines {
    pub(crate) fn new(body: ResponseBody) -> Self {
        Self { body, buffer: BytesMut::new(), searched: 0 }
    }

    /// Returns the next line that is not empty, or `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(line) = self.cut() {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Ok(Some(line));
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(Error::Transport(format!("a line of more than {LINE_BYTES_MAX} bytes").into()));
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame.map_err(Error::Transport)?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                // What is left is the start of a line whose rest never came: the connection was cut in it.
                None => return Ok(None),
            }
        }
    }

    fn cut(&mut self) -> Option<Bytes> {
        let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(self.searched + at).freeze();
        self.buffer.advance(1);
        self.searched = 0;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tower::BoxError;

    use super::*;

    async fn lines_of(chunks: &[&'static str]) -> Vec<String> {
        let chunks: Vec<&'static str> = chunks.to_vec();
        let frames = futures::stream::iter(chunks).map(|chunk| Ok::<_, BoxError>(Frame::data(Bytes::from(chunk))));
        let mut lines = Lines::new(StreamBody::new(frames).boxed_unsync());
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.expect("no error") {
            all.push(String::from_utf8(line.to_vec()).expect("text"));
        }
        all
    }

    #[tokio::test]
    async fn a_line_may_come_in_pieces_and_several_in_one_piece() {
        assert_eq!(lines_of(&["ab", "c\nd", "ef\ng\n"]).await, ["abc", "def", "g"]);
    }

    #[tokio::test]
    async fn empty_lines_and_a_line_that_was_cut_off_do_not_count() {
        assert_eq!(lines_of(&["a\n\n\r\nb\n{\"half\":"]).await, ["a", "b"]);
    }
}
