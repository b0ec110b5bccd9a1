//! Everything is read as it was written, and nothing else is.

use super::*;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn calls_are_read_as_they_were_written() {
    let calls = [
        Call::Orders,
        Call::Connect { port: u64::MAX, to: at("[fe80::1]:65535") },
        Call::Accept { port: 0 },
        Call::Datagrams { port: 7 },
        Call::Resolve { name: "web.shop.svc.cluster.local.".to_owned() },
    ];
    for call in calls {
        assert_eq!(call.to_string().parse(), Ok(call));
    }
    let ends = Ends { local: at("10.42.0.2:80"), remote: at("[::1]:9") };
    assert_eq!(ends.to_string().parse(), Ok(ends));
}

#[test]
fn calls_that_make_no_sense_are_refused() {
    for text in ["", "order", "connect 1", "connect x 10.0.0.1:80", "connect 1 host:80", "accept -1", "resolve a b"] {
        assert!(text.parse::<Call>().is_err(), "{text}");
    }
    assert!("10.0.0.1:80".parse::<Ends>().is_err());
}

#[test]
fn every_refusal_has_a_name_of_its_own() {
    for (name, error) in REFUSALS {
        assert_eq!(Refusal(error).to_string(), name);
        assert_eq!(name.parse(), Ok(Refusal(error)));
    }
    assert!("".parse::<Refusal>().is_err());
}

#[test]
fn lines_come_out_as_they_went_in_however_the_bytes_are_cut() {
    let orders = [
        Order::BindTcp { port: 1, local: at("0.0.0.0:0") },
        Order::BindUdp { port: 2, local: at("[::]:53") },
        Order::Listen { port: 1, backlog: usize::MAX },
        Order::Hush { port: 1 },
        Order::Close { port: 2 },
    ];
    let bytes: Vec<u8> = orders.iter().flat_map(line).collect();
    for size in [1, 2, 7, bytes.len()] {
        let (mut lines, mut read) = (Lines::default(), Vec::<Order>::new());
        for piece in bytes.chunks(size) {
            lines.push(piece);
            while let Some(order) = lines.next().unwrap() {
                read.push(order);
            }
        }
        assert_eq!(read, orders, "in pieces of {size}");
    }
}

#[test]
fn answers_carry_the_address_or_the_refusal() {
    let mut lines = Lines::default();
    for answer in [Ok(at("10.42.0.2:80")), Err(Refusal(NetError::InUse))] {
        lines.push(&line(&answer));
        assert_eq!(lines.next::<Answer>(), Ok(Some(answer)));
    }
}

#[test]
fn a_line_without_an_end_costs_no_memory() {
    let mut lines = Lines::default();
    lines.push(&[b' '; LINE_MAX]);
    assert!(lines.next::<Order>().is_err());
}

#[test]
fn pieces_come_out_as_they_went_in_however_the_bytes_are_cut() {
    let pieces = [&vec![7; 65_535][..], b"x", b"", b"after the end"];
    let bytes: Vec<u8> = pieces.iter().flat_map(|bytes| piece(bytes)).collect();
    for size in [1, 2, 3, 4_096, bytes.len()] {
        let (mut decoder, mut read) = (Pieces::default(), Vec::new());
        for cut in bytes.chunks(size) {
            decoder.push(cut);
            read.extend(std::iter::from_fn(|| decoder.next()));
        }
        assert_eq!(read, pieces, "in pieces of {size}");
    }
}

#[test]
fn packets_come_out_as_they_went_in_however_the_bytes_are_cut() {
    let packets = [
        Packet::Datagram(Bytes::from(vec![7; 65_507]), at("10.42.0.2:53")),
        Packet::Datagram(Bytes::new(), at("[fd00::1]:53")),
        Packet::Refused(Refusal(NetError::Unreachable), at("192.0.2.1:53")),
    ];
    let bytes: Vec<u8> = packets.iter().flat_map(Packet::encode).collect();
    for size in [1, 3, 4_096, bytes.len()] {
        let (mut decoder, mut read) = (Packets::default(), Vec::new());
        for piece in bytes.chunks(size) {
            decoder.push(piece);
            while let Some(packet) = decoder.next().unwrap() {
                read.push(packet);
            }
        }
        assert_eq!(read, packets, "in pieces of {size}");
    }
}

#[test]
fn packets_that_make_no_sense_are_refused() {
    let unknown = [9, 9, 0, 0, b'1', b'.', b'1', b'.', b'1', b'.', b'1', b':', b'1'];
    for bytes in [&[0, 255, 0, 0][..], &[0, 1, 0, 0, b'?'], &[0, 1, 0, 0, 0xff], &unknown] {
        let mut packets = Packets::default();
        packets.push(bytes);
        assert!(packets.next().is_err(), "{bytes:?}");
    }
}
