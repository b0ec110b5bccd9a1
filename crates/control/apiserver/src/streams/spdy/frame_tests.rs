//! What SPDY's frames promise.

use super::*;

fn decode(pieces: &[&[u8]]) -> Result<Vec<Frame>, FrameError> {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

fn encode(frames: &[Frame]) -> BytesMut {
    let (mut encoder, mut out) = (Encoder::default(), BytesMut::new());
    for frame in frames {
        encoder.encode(frame, &mut out);
    }
    out
}

fn data(stream: u32, payload: &'static str, fin: bool) -> Frame {
    Frame::Data { stream, payload: payload.into(), fin }
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).expect("hexadecimal")
}

#[test]
fn frames_without_headers_have_their_bytes() {
    let check = |frame: Frame, expected: &str| {
        assert_eq!(encode(std::slice::from_ref(&frame)), bytes(expected), "{frame:?}");
        assert_eq!(decode(&[&bytes(expected)]), Ok(vec![frame]));
    };
    // The first is what kubectl sends first.
    check(Frame::Ping(1), "8003 0006 00 000004 00000001");
    check(Frame::Reset { stream: 3, status: 5 }, "8003 0003 00 000008 00000003 00000005");
    check(Frame::Settings, "8003 0004 00 000004 00000000");
    check(Frame::GoAway { last: 7, status: 0 }, "8003 0007 00 000008 00000007 00000000");
    check(Frame::WindowUpdate { stream: 0, delta: 4096 }, "8003 0009 00 000008 00000000 00001000");
    check(data(5, "hi", false), "00000005 00 000002 6869");
    check(data(5, "", true), "00000005 01 000000");
}

#[test]
fn the_streams_that_another_zlib_compressed_are_understood() {
    // Two SYN_STREAMs on one connection by C's zlib at level 9; the second says most by reference to the first.
    let first = "8003000100000 03c 00000001 00000000 0000 78f9e3c6a7c202253a703a2b294a4dcc85\
        1625aca9a0808614cb45a024cc64610024398b209198094adc8c0600000000ffff";
    let second = "80030001 00 000018 00000003 00000000 0000 c2aa15540a2512d209000000ffff";
    let headers = |kind| Headers::of(&[("streamType", kind), ("port", "80"), ("requestID", "0")]);
    let expected = vec![
        Frame::SynStream { stream: 1, headers: headers("error"), fin: false },
        Frame::SynStream { stream: 3, headers: headers("data"), fin: false },
    ];
    assert_eq!(decode(&[&bytes(first), &bytes(second)]), Ok(expected));
}

#[test]
fn frames_survive_any_cut_of_the_stream() {
    let frames = [
        Frame::SynStream { stream: 1, headers: Headers::of(&[("streamType", "stdin")]), fin: false },
        Frame::SynReply { stream: 1, headers: Headers::default(), fin: false },
        Frame::Headers { stream: 1, headers: Headers::of(&[("a", "")]), fin: true },
        Frame::Ping(2),
        Frame::Reset { stream: 1, status: 1 },
    ];
    let all = encode(&frames);
    for cut in 0..=all.len() {
        let (first, second) = all.split_at(cut);
        assert_eq!(decode(&[first, second]).as_deref(), Ok(&frames[..]), "cut at {cut}");
    }
}

#[test]
fn data_is_passed_on_as_it_arrives_and_ends_with_its_last_byte() {
    let all = encode(&[data(9, "hello", true), data(11, "x", false)]);
    let expected = vec![data(9, "he", false), data(9, "llo", true), data(11, "x", false)];
    assert_eq!(decode(&[&all[..HEAD + 2], &all[HEAD + 2..]]), Ok(expected));
    assert_eq!(decode(&[&all[..HEAD]]), Ok(vec![]));
}

#[test]
fn a_huge_data_frame_is_never_kept_as_a_whole() {
    let mut decoder = Decoder::default();
    decoder.push(&bytes("00000001 00 ffffff"));
    for _ in 0..100 {
        decoder.push(&[0; 1000]);
        let frame = decoder.next_frame().expect("a frame");
        assert!(matches!(frame, Some(Frame::Data { payload, fin: false, .. }) if payload.len() == 1000));
    }
    assert!(decoder.buffer.is_empty());
}

#[test]
fn control_frames_of_unknown_types_are_skipped() {
    let all = [bytes("8003 00ff 00 000003 010203"), bytes("8003 0006 00 000004 00000001")].concat();
    assert_eq!(decode(&[&all]), Ok(vec![Frame::Ping(1)]));
}

#[test]
fn what_is_no_spdy_is_refused() {
    let check = |text: &str, expected| assert_eq!(decode(&[&bytes(text)]), Err(expected), "{text}");
    check("8002 0006 00 000004 00000001", FrameError::Version(2));
    check("8003 0001 00 ffffff", FrameError::TooLong);
    check("8003 0006 00 000002 0001", FrameError::Malformed(PING));
    check("8003 0003 00 000008 00000000 00000001", FrameError::Malformed(RST_STREAM));
    check("8003 0001 00 000008 00000001 00000000", FrameError::Malformed(SYN_STREAM));
    check("8003 0002 00 000008 00000001 ffffffff", FrameError::Compression);
    check("00000000 00 000001 00", FrameError::StreamZero);
    assert_eq!(decode(&[b"GET / HTTP/1.1\r\n\r\n"]).map(|frames| frames.len()), Ok(1), "a data frame of a large id");
}

#[test]
fn any_bytes_end_in_frames_or_an_error() {
    // A small generator of bytes that look like frames often enough to get past the first checks.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..2_000 {
        let mut decoder = Decoder::default();
        for _ in 0..20 {
            let kind = u8::try_from(random() % 11).unwrap();
            let length = u8::try_from(random() % 40).unwrap();
            let mut frame = vec![if random() % 4 == 0 { 0 } else { 0x80 }, 3, 0, kind, 0, 0, 0, length];
            frame.extend((0..length).map(|_| random().to_le_bytes()[0]));
            decoder.push(&frame);
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
    }
}
