//! Sockets of all three generations of guests on a network in memory.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wkube_wasm_runtime::{Access, Connection, Error, GuestSpec, Mount, NetError, Network as _, Running, StdStream};

use crate::network::{FakeNetwork, PIPE_BYTES, POD};
use crate::support::{PATIENCE, Printed, args, ended, engine, eventually, load, run, start};

/// `echo`, `poll`, `shutdown`, `file`, `peek` on the descriptors it was given.
const SOCKETS_MODULE: &[u8] = include_bytes!("../../testdata/sockets-p1.wasm");
/// `echo`, `client`, `udp-echo`, `udp-client`, `states`, `many` …
const SOCKETS_0_2: &[u8] = include_bytes!("../../testdata/sockets-p2.wasm");
/// The same by WASI 0.3.
const SOCKETS_0_3: &[u8] = include_bytes!("../../testdata/sockets-p3.wasm");
/// The generations that open their own sockets.
const COMPONENTS: [(&str, &[u8]); 2] = [("0.2", SOCKETS_0_2), ("0.3", SOCKETS_0_3)];

fn on(network: &FakeNetwork, words: &[&str]) -> GuestSpec {
    let words: Vec<&str> = std::iter::once("sockets").chain(words.iter().copied()).collect();
    GuestSpec { network: Some(Arc::new(network.clone())), ..args(&words) }
}

fn listening(network: &FakeNetwork, words: &[&str]) -> GuestSpec {
    GuestSpec { listen: vec![8080], ..on(network, words) }
}

/// Runs a guest that must succeed, and returns what it printed.
async fn printed(bytes: &[u8], spec: GuestSpec) -> String {
    let output = Printed::new();
    let exit = run(bytes, GuestSpec { output: Some(output.clone()), ..spec }).await;
    let text = output.text(StdStream::Stdout);
    assert_eq!(exit.code, 0, "{text}\n{}\n{}", output.text(StdStream::Stderr), exit.message);
    text
}

/// Leaves only the names of the error codes: 0.2 prints them with what they mean.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, code)) = rest.split_once("ErrorCode { ") {
        let (_, name) = code.split_once("name: \"").unwrap();
        let (name, after) = name.split_once('"').unwrap();
        plain.extend([before, name]);
        rest = after.split_once("\" }").unwrap().1;
    }
    (plain + rest).replace("ErrorCode::", "")
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("it takes for ever: {what}"))
}

/// Sends `text` and the end, and returns what comes back until the other ends.
async fn talk(mut connection: Connection, text: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let talking = async {
        let (mut reader, mut writer) = tokio::io::split(connection.stream.as_mut());
        let sending = async {
            writer.write_all(text).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let ((), read) = tokio::join!(sending, reader.read_to_end(&mut answer));
        read.unwrap();
    };
    within("an answer", talking).await;
    answer
}

/// More than all buffers on the way hold together.
fn plenty() -> Vec<u8> {
    (0..=250).cycle().take(300_000).collect()
}

#[tokio::test]
async fn components_listen_and_echo_more_than_fits_into_any_buffer() {
    for (version, bytes) in COMPONENTS {
        let network = FakeNetwork::default();
        let server = start(bytes, on(&network, &["echo", "8080", "2"])).await;
        for _ in 0..2 {
            assert!(talk(network.dial(8080).await, &plenty()).await == plenty(), "{version}");
        }
        assert_eq!(ended(&server).await.code, 0, "{version}");
        assert!(!network.is_taken(8080), "{version}: the port is free again");
    }
}

#[tokio::test]
async fn components_of_both_versions_talk_to_each_other_by_name() {
    for (version, server) in COMPONENTS {
        let network = FakeNetwork::default();
        let server = start(server, on(&network, &["echo", "8080", "2"])).await;
        eventually("it listens", || network.is_taken(8080)).await;
        let old = printed(SOCKETS_0_2, on(&network, &["client", "pod", "8080", "hello"])).await;
        let new = printed(SOCKETS_0_3, on(&network, &["client", "pod", "8080", "hello"])).await;
        assert_eq!(
            old,
            "(10, 0, 0, 9) to (10, 0, 0, 9):8080\nafter shutdown: StreamError::Closed\nhello\n\
             after the end: StreamError::Closed\n",
            "to {version}"
        );
        assert_eq!(
            new,
            "connected again: ErrorCode::InvalidState\nhello\nends: Ok(()) Ok(())\n\
             received again: ErrorCode::InvalidState\n",
            "to {version}"
        );
        assert_eq!(ended(&server).await.code, 0);
    }
}

#[tokio::test]
async fn datagrams_come_and_go_in_batches_and_one_by_one() {
    for (version, server) in COMPONENTS {
        let network = FakeNetwork::default();
        let server = start(server, on(&network, &["udp-echo", "5353", "4"])).await;
        eventually("it is bound", || network.is_taken_by_udp(5353)).await;
        let old = printed(SOCKETS_0_2, on(&network, &["udp-client", "pod", "5353"])).await;
        let new = printed(SOCKETS_0_3, on(&network, &["udp-client", "pod", "5353"])).await;
        assert_eq!(
            plain(&old),
            "unconnected: invalid-state\nroom for 16\nto nobody: invalid-argument\n\
             a megabyte: datagram-too-large\nnothing yet: 0\nto another: invalid-argument\nsent 2\n\
             [\"one\", \"two\"]\n",
            "to {version}"
        );
        assert_eq!(
            plain(&new),
            "receive unbound: InvalidState\nto nobody: InvalidArgument\n\
             a megabyte: DatagramTooLarge\nOk(\"one\")\nto another: InvalidArgument\nOk(\"two\")\n\
             disconnected again: InvalidState\n",
            "to {version}"
        );
        assert_eq!(ended(&server).await.code, 0);
    }
}

#[tokio::test]
async fn calls_at_the_wrong_time_get_the_codes_of_the_documents() {
    let text = printed(SOCKETS_0_2, on(&FakeNetwork::default(), &["states"])).await;
    assert_eq!(plain(&text), include_str!("states-p2.txt"));
    let text = printed(SOCKETS_0_3, on(&FakeNetwork::default(), &["states"])).await;
    assert_eq!(plain(&text), include_str!("states-p3.txt"));
}

#[tokio::test]
async fn a_guest_has_a_thousand_sockets_and_no_more() {
    let text = printed(SOCKETS_0_2, on(&FakeNetwork::default(), &["many"])).await;
    assert_eq!(plain(&text), "1024 new-socket-limit\n");
}

#[tokio::test]
async fn without_a_network_every_socket_is_refused() {
    for (version, bytes) in COMPONENTS {
        let output = Printed::new();
        let spec = GuestSpec { output: Some(output.clone()), ..args(&["sockets", "echo", "8080", "1"]) };
        assert_eq!(run(bytes, spec).await.code, 1, "{version}");
        let text = plain(&output.text(StdStream::Stdout));
        assert_eq!(text.replace("access-denied", "AccessDenied"), "failed: AccessDenied\n", "{version}");
    }
    let refused = load(SOCKETS_MODULE).await.start(GuestSpec { listen: vec![8080], ..args(&["sockets", "echo", "1"]) });
    assert!(matches!(refused, Err(Error::Listen { port: 8080, source: NetError::Denied })));
}

#[tokio::test]
async fn a_module_echoes_on_the_descriptor_that_it_was_given() {
    let network = FakeNetwork::default();
    let server = start(SOCKETS_MODULE, listening(&network, &["echo", "2"])).await;
    for _ in 0..2 {
        assert!(talk(network.dial(8080).await, &plenty()).await == plenty());
    }
    assert_eq!(ended(&server).await.code, 0);
    assert!(!network.is_taken(8080));
}

#[tokio::test]
async fn a_module_waits_for_clients_and_clocks_at_once() {
    let network = FakeNetwork::default();
    let output = Printed::new();
    let spec = GuestSpec { output: Some(output.clone()), ..listening(&network, &["poll", "8"]) };
    let server = start(SOCKETS_MODULE, spec).await;
    eventually("the clock ends the first wait", || output.text(StdStream::Stdout) == "polling\n").await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(network.dial(8080).await);
    }
    let answers = join_all(clients.into_iter().map(|client| talk(client, b"hello"))).await;
    assert!(answers.iter().all(|answer| answer == b"hello"));
    let exit = ended(&server).await;
    assert_eq!(exit.code, 0, "{}{}", output.text(StdStream::Stderr), exit.message);
}

#[tokio::test]
async fn a_module_ends_one_direction_after_the_other() {
    let network = FakeNetwork::default();
    let client = network.clone();
    let (answer, text) = tokio::join!(
        async move { talk(client.dial(8080).await, b"all").await },
        printed(SOCKETS_MODULE, listening(&network, &["shutdown"])),
    );
    assert_eq!((answer.as_slice(), text.as_str()), (&b"all"[..], "BrokenPipe\nclosed: 8\n"));
}

#[tokio::test]
async fn a_module_peeks_fills_its_buffers_and_moves_descriptors() {
    let network = FakeNetwork::default();
    let client = network.clone();
    let (answer, text) = tokio::join!(
        async move { talk(client.dial(8080).await, b"abcdef").await },
        printed(SOCKETS_MODULE, listening(&network, &["peek"])),
    );
    assert_eq!((answer.as_slice(), text.as_str()), (&b"moved"[..], "0 0 ab\n0 6 abcdef\n58\n0\n"));
}

#[tokio::test]
async fn a_module_finds_its_directories_behind_its_sockets() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("motto"), "hello").unwrap();
    let mount = Mount { host: directory.path().to_owned(), guest: String::from("/data"), access: Access::ReadWrite };
    let spec = GuestSpec { mounts: vec![mount], ..listening(&FakeNetwork::default(), &["file", "/data/motto"]) };
    assert_eq!(printed(SOCKETS_MODULE, spec).await, "hello");
}

#[tokio::test]
async fn a_module_is_not_started_if_its_port_is_taken() {
    let network = FakeNetwork::default();
    let _port = network.bind_tcp(SocketAddr::new(POD, 8080)).unwrap();
    let refused = load(SOCKETS_MODULE).await.start(listening(&network, &["echo", "1"]));
    assert!(matches!(refused, Err(Error::Listen { port: 8080, source: NetError::InUse })));
}

#[tokio::test]
async fn what_a_guest_wrote_before_it_ended_arrives_and_then_the_end() {
    let network = FakeNetwork::default();
    let port = network.bind_tcp(SocketAddr::new(POD, 9000)).unwrap();
    let mut incoming = port.listen(1).unwrap();
    let room = printed(SOCKETS_0_2, on(&network, &["leave", "pod", "9000"])).await;
    let room: usize = room.trim().parse().unwrap();
    assert!(room > PIPE_BYTES, "some of it was still on its way");
    let connection = within("the connection", std::future::poll_fn(|context| incoming.poll_accept(context))).await;
    assert_eq!(talk(connection.unwrap(), b"").await.len(), room);
}

/// Kills a guest that waits for ever, and checks that it is gone and its port free.
async fn kill(running: &Running, network: &FakeNetwork) {
    running.kill();
    assert_eq!(ended(running).await.code, 137);
    eventually("its port is free", || !network.is_taken(8080)).await;
}

#[tokio::test]
async fn a_guest_that_waits_for_clients_dies_at_once() {
    let network = FakeNetwork::default();
    for (version, bytes) in COMPONENTS {
        let running = start(bytes, on(&network, &["echo", "8080", "1"])).await;
        eventually(version, || network.is_taken(8080)).await;
        kill(&running, &network).await;
    }
    for words in [["echo", "1"], ["poll", "1"]] {
        let running = start(SOCKETS_MODULE, listening(&network, &words)).await;
        kill(&running, &network).await;
    }
}

#[tokio::test]
async fn the_peer_of_a_killed_guest_sees_the_end() {
    let network = FakeNetwork::default();
    let module = (SOCKETS_MODULE, listening(&network, &["echo", "1"]));
    let [old, new] = COMPONENTS.map(|(_, bytes)| (bytes, on(&network, &["echo", "8080", "1"])));
    for (bytes, spec) in [module, old, new] {
        let running = start(bytes, spec).await;
        let mut peer = network.dial(8080).await;
        let mut echoed = [0; 2];
        within("the echo", async {
            peer.stream.write_all(b"hi").await.unwrap();
            peer.stream.read_exact(&mut echoed).await.unwrap();
        })
        .await;
        kill(&running, &network).await;
        assert_eq!(within("the end", peer.stream.read(&mut echoed)).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_writer_whose_peer_never_reads_waits_and_can_be_killed() {
    let network = FakeNetwork::default();
    let port = network.bind_tcp(SocketAddr::new(POD, 9000)).unwrap();
    let mut incoming = port.listen(1).unwrap();
    let output = Printed::new();
    let spec = GuestSpec { output: Some(output.clone()), ..on(&network, &["blast", "pod", "9000"]) };
    let running = start(SOCKETS_0_2, spec).await;
    let connection = within("the connection", std::future::poll_fn(|context| incoming.poll_accept(context))).await;
    eventually("it writes", || output.text(StdStream::Stdout) == "connected\n").await;
    running.kill();
    assert_eq!(ended(&running).await.code, 137);
    let mut got = Vec::new();
    within("the end", connection.unwrap().stream.read_to_end(&mut got)).await.unwrap();
    assert!(got.len() <= PIPE_BYTES + (64 << 10), "no more was taken from it than the buffers hold");
}

#[tokio::test]
async fn guests_that_wait_for_a_connection_hold_no_thread() {
    let network = FakeNetwork::default();
    let waiting = join_all((0..16).map(|_| start(SOCKETS_0_2, on(&network, &["blast", "silent", "1"])))).await;
    eventually("all of them wait", || network.connecting() == 16).await;
    // The engine of these tests has two threads.
    let text = printed(SOCKETS_0_2, on(&FakeNetwork::default(), &["many"])).await;
    assert!(text.starts_with("1024"));
    for running in &waiting {
        running.kill();
    }
    for running in &waiting {
        assert_eq!(ended(running).await.code, 137);
    }
    assert!(engine().slots_free() > 0);
}

#[tokio::test]
async fn components_that_import_an_unknown_version_are_told_which_are_offered() {
    let text = r#"(component (import "wasi:sockets/tcp@0.4.0" (instance)) (export "wasi:cli/run@0.2.0" (instance 0)))"#;
    let error = crate::support::try_load(engine(), text.as_bytes()).await.err().unwrap();
    let refusal = std::error::Error::source(&error).unwrap().to_string();
    assert!(refusal.contains("`wasi:sockets/tcp@0.4.0` (offered in 0.2.x)"), "{refusal}");
}
