//! Every call in every state, on the fake network of the integration tests.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::net::fake::{FakeNetwork, POD};
use crate::net::sockets::SOCKETS_MAX;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn anywhere(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), port)
}

fn sockets(network: &FakeNetwork) -> Sockets {
    Sockets::new(Some(Arc::new(network.clone())))
}

fn socket(network: &FakeNetwork) -> TcpSocket {
    TcpSocket::new(&sockets(network), Family::V4).unwrap()
}

fn listening(network: &FakeNetwork, port: u16) -> TcpSocket {
    let mut socket = socket(network);
    socket.start_bind(anywhere(port)).unwrap();
    socket.finish_bind().unwrap();
    socket.start_listen().unwrap();
    socket.finish_listen().unwrap();
    socket
}

/// Brings a socket into a state by its name.
fn in_state(network: &FakeNetwork, state: &str) -> TcpSocket {
    let mut socket = socket(network);
    match state {
        "unbound" => {}
        "bind-started" => socket.start_bind(anywhere(0)).unwrap(),
        "bound" => {
            socket.start_bind(anywhere(0)).unwrap();
            socket.finish_bind().unwrap();
        }
        "listen-started" => socket.start_listen().unwrap(),
        "listening" => {
            socket.start_listen().unwrap();
            socket.finish_listen().unwrap();
        }
        "connecting" => socket.start_connect(address("10.0.0.66:80")).unwrap(),
        "connected" => {
            socket.start_connect(SocketAddr::new(POD, 80)).unwrap();
            while socket.finish_connect() == Err(Code::WouldBlock) {}
            assert!(socket.remote().is_ok());
        }
        "closed" => {
            socket.start_connect(SocketAddr::new(POD, 81)).unwrap();
            while socket.finish_connect() == Err(Code::WouldBlock) {}
        }
        other => panic!("{other}"),
    }
    socket
}

const STATES: [&str; 8] =
    ["unbound", "bind-started", "bound", "listen-started", "listening", "connecting", "connected", "closed"];

type Call = (&'static str, fn(&mut TcpSocket) -> Result<(), Code>);

const CALLS: [Call; 14] = [
    ("start-bind", |socket| socket.start_bind(anywhere(0))),
    ("finish-bind", TcpSocket::finish_bind),
    ("start-connect", |socket| socket.start_connect(address("10.0.0.66:80"))),
    ("finish-connect", TcpSocket::finish_connect),
    ("start-listen", TcpSocket::start_listen),
    ("finish-listen", TcpSocket::finish_listen),
    ("accept", |socket| socket.accept().map(drop)),
    ("local-address", |socket| socket.local().map(drop)),
    ("remote-address", |socket| socket.remote().map(drop)),
    ("set-backlog", |socket| socket.set_backlog(1)),
    ("options", |socket| socket.options().map(drop)),
    ("receive", |socket| socket.take_receiver().map(drop)),
    ("send", |socket| socket.take_sender().map(drop)),
    ("shutdown", |socket| socket.shut_down(Shutdown::Both)),
];

#[tokio::test]
async fn every_call_in_every_state() {
    let network = FakeNetwork::default();
    let _listener = listening(&network, 80);
    let mut table = String::new();
    for state in STATES {
        writeln!(table, "{state}").unwrap();
        for (name, call) in CALLS {
            let answer = match call(&mut in_state(&network, state)) {
                Ok(()) => String::from("ok"),
                Err(code) => format!("{code:?}"),
            };
            writeln!(table, "  {name:<15} {answer}").unwrap();
        }
    }
    assert_eq!(table, include_str!("tcp_table.txt"));
}

#[tokio::test]
async fn a_bind_that_failed_may_be_tried_again() {
    let network = FakeNetwork::default();
    let _taken = listening(&network, 80);
    let mut socket = socket(&network);
    assert_eq!(socket.start_bind(anywhere(80)), Err(NetError::InUse.into()));
    assert_eq!(socket.start_bind(address("8.8.8.8:80")), Err(NetError::NotBindable.into()));
    assert_eq!(socket.start_bind(anywhere(81)), Ok(()));
    assert_eq!(socket.local(), Ok(SocketAddr::new(POD, 81)));
}

#[tokio::test]
async fn a_failed_connection_leaves_nothing_but_dropping() {
    let network = FakeNetwork::default();
    let mut socket = socket(&network);
    socket.start_connect(SocketAddr::new(POD, 81)).unwrap();
    let code = loop {
        match socket.finish_connect() {
            Err(Code::WouldBlock) => {}
            other => break other,
        }
    };
    assert_eq!(code, Err(NetError::Refused.into()));
    assert_eq!(socket.start_connect(SocketAddr::new(POD, 81)), Err(Code::InvalidState));
    assert_eq!(socket.start_bind(anywhere(0)), Err(Code::InvalidState));
}

#[tokio::test]
async fn an_accepted_socket_inherits_the_options_of_its_listener() {
    let network = FakeNetwork::default();
    let mut listener = listening(&network, 80);
    listener.options().unwrap().set_hop_limit(7).unwrap();
    let client = network.dial(80).await;
    let mut accepted = listener.accept().unwrap();
    assert_eq!(accepted.options().unwrap().hop_limit(), 7);
    assert_eq!(accepted.remote(), Ok(client.local));
    assert_eq!(listener.accept().map(drop), Err(Code::WouldBlock));
}

#[tokio::test]
async fn readiness_wakes_up_whoever_waits_for_a_client() {
    let network = FakeNetwork::default();
    let mut listener = listening(&network, 80);
    let waiting = std::future::poll_fn(|context| listener.poll_ready(context));
    let (_client, ()) = tokio::join!(network.dial(80), waiting);
    assert!(listener.accept().is_ok());
}

#[tokio::test]
async fn dropping_a_listener_frees_the_port_and_refuses_who_comes() {
    let network = FakeNetwork::default();
    drop(listening(&network, 80));
    assert!(!network.is_taken(80));
    assert!(network.dial(80).now_or_never().is_none(), "nobody listens");
    assert_eq!(socket(&network).start_bind(anywhere(80)), Ok(()));
}

#[tokio::test]
async fn a_connection_waits_while_there_are_too_many_sockets() {
    let network = FakeNetwork::default();
    let mut listener = listening(&network, 80);
    let mut others: Vec<_> = (1..SOCKETS_MAX).map(|_| listener.sockets.slot().unwrap()).collect();
    let _client = network.dial(80).await;
    assert_eq!(listener.accept().map(drop), Err(NetError::TooMany.into()));
    others.pop();
    assert!(listener.accept().is_ok(), "it is still there");
}

#[tokio::test]
async fn a_direction_that_was_shut_down_ends_for_both_sides() {
    let network = FakeNetwork::default();
    let mut listener = listening(&network, 80);
    let mut client = network.dial(80).await;
    let mut accepted = listener.accept().unwrap();
    accepted.shut_down(Shutdown::Send).unwrap();
    accepted.shut_down(Shutdown::Send).unwrap();
    assert_eq!(accepted.sender().unwrap().lock().offer(b"more"), Err(None));
    assert_eq!(client.stream.read(&mut [0; 8]).await.unwrap(), 0);
    client.stream.write_all(b"still").await.unwrap();
    let receiver = accepted.receiver().unwrap();
    std::future::poll_fn(|context| receiver.lock().poll_ready(context)).await;
    assert_eq!(receiver.lock().take(8), "still");
    accepted.shut_down(Shutdown::Receive).unwrap();
    assert_eq!(receiver.lock().end(), Some(Ok(())));
}

#[test]
fn without_a_network_there_is_no_socket() {
    let refused = TcpSocket::new(&Sockets::new(None), Family::V4).map(drop);
    assert_eq!(refused, Err(NetError::Denied.into()));
}
