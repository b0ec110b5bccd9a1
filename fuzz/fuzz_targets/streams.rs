//! Frames of SPDY and of remote commands, in pieces: what is read and written is read as the same again.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use spdy::frame::{Decoder, Encoder, Frame};
use wkube_api::remote_command;

/// The API server's own files: they are pure, and nobody else's business.
#[allow(dead_code)]
#[path = "."]
mod spdy {
    #[path = "../../crates/control/apiserver/src/streams/spdy/frame.rs"]
    pub mod frame;
    #[path = "../../crates/control/apiserver/src/streams/spdy/headers.rs"]
    pub mod headers;
}

fn read(pieces: [&[u8]; 2]) -> Vec<Frame> {
    let (mut decoder, mut frames) = (Decoder::default(), Vec::new());
    for piece in pieces {
        decoder.push(piece);
        while let Ok(Some(frame)) = decoder.next_frame() {
            frames.push(frame);
        }
    }
    frames
}

fn commands(pieces: [&[u8]; 2]) -> Vec<remote_command::Frame> {
    let (mut decoder, mut frames) = (remote_command::Decoder::default(), Vec::new());
    for piece in pieces {
        decoder.push(piece);
        while let Ok(Some(frame)) = decoder.next_frame() {
            frames.push(frame);
        }
    }
    frames
}

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let (first, second) = bytes.split_at(bytes.len().min(cut.into()));
    let frames = read([first, second]);
    let (mut encoder, mut written) = (Encoder::default(), BytesMut::new());
    for frame in &frames {
        encoder.encode(frame, &mut written);
    }
    assert_eq!(read([&written, b""]), frames);

    let frames = commands([first, second]);
    let written: Vec<u8> = frames.iter().flat_map(|frame| frame.encode()).collect();
    assert_eq!(commands([&written, b""]), frames);
});
