//! What the frames of remote commands promise.

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
    decoder.finish().map(|()| frames)
}

#[test]
fn a_frame_is_its_channel_its_length_and_its_payload() {
    assert_eq!(Frame::new(Channel::Stdout, "hi").encode(), b"\x01\0\0\0\x02hi"[..]);
    assert_eq!(Frame::close(Channel::Stdin).encode(), b"\xff\0\0\0\x01\0"[..]);
    assert_eq!(Frame::new(Channel::Stdin, "").encode(), b"\0\0\0\0\0"[..]);
}

#[test]
fn frames_survive_any_cut_of_the_stream() {
    let frames = [
        Frame::new(Channel::Stdin, "abc"),
        Frame::new(Channel::Stderr, ""),
        Frame::close(Channel::Stdin),
        Outcome::Exited(3).frame(),
    ];
    let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.encode().to_vec()).collect();
    for cut in 0..=bytes.len() {
        let (first, second) = bytes.split_at(cut);
        assert_eq!(decode(&[first, second]).as_deref(), Ok(&frames[..]), "cut at {cut}");
    }
}

#[test]
fn a_long_payload_is_split_and_arrives_whole() {
    let long = vec![b'x'; PAYLOAD_MAX * 2 + 1];
    let frames = decode(&[&Frame::new(Channel::Stdout, long.clone()).encode()]).expect("whole frames");
    assert_eq!(frames.iter().map(|frame| frame.payload.len()).collect::<Vec<_>>(), [PAYLOAD_MAX, PAYLOAD_MAX, 1]);
    assert_eq!(frames.iter().flat_map(|frame| frame.payload.to_vec()).collect::<Vec<_>>(), long);
}

#[test]
fn what_is_no_frame_is_refused_before_it_is_kept() {
    assert_eq!(decode(&[b"\x05\0\0\0\0"]), Err(FrameError::UnknownChannel(5)));
    assert_eq!(decode(&[b"\x00\x00\x01\x00\x01"]), Err(FrameError::TooLong(PAYLOAD_MAX + 1)));
    assert_eq!(decode(&[b"\x00\xff\xff\xff\xff"]), Err(FrameError::TooLong(u32::MAX as usize)));
    assert_eq!(decode(&[b"\x00\0\0\0\x02a"]), Err(FrameError::Truncated));
    assert_eq!(decode(&[b"\x00\0"]), Err(FrameError::Truncated));
}

#[test]
fn a_close_frame_names_the_channel_that_ended() {
    assert_eq!(Frame::close(Channel::Stdin).closes(), Some(Channel::Stdin));
    assert_eq!(Frame::new(Channel::Close, "").closes(), None);
    assert_eq!(Frame::new(Channel::Close, &b"\x09"[..]).closes(), None);
    assert_eq!(Frame::new(Channel::Stdin, &b"\0"[..]).closes(), None);
}

#[test]
fn a_terminals_size_has_gos_field_names() {
    let size: TerminalSize = serde_json::from_str(r#"{"Width":80,"Height":24}"#).expect("a size");
    assert_eq!(size, TerminalSize { width: 80, height: 24 });
    assert!(serde_json::from_str::<TerminalSize>(r#"{"Width":-1,"Height":24}"#).is_err());
}

#[test]
fn the_end_of_a_command_is_said_as_clients_expect() {
    assert_eq!(Outcome::Success.frame().payload, r#"{"metadata":{},"status":"Success"}"#);
    let exited = Outcome::Exited(3).to_json();
    assert_eq!(exited["reason"], "NonZeroExitCode");
    assert_eq!(exited["details"]["causes"], json!([{"reason": "ExitCode", "message": "3"}]));
    let failed = Outcome::Failed("the node is gone".to_owned()).to_json();
    assert_eq!(failed["message"], "Internal error occurred: the node is gone");
    assert_eq!((&failed["reason"], &failed["code"]), (&json!("InternalError"), &json!(500)));
    assert_eq!(failed.get("kind"), None);
}
