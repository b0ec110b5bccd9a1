//! A guest does not see where its network is: what holds for the pod's network itself holds through a worker, too.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::{Builder, Runtime};
use wkube_base::Tasks;
use wkube_proxy::remote::{Remote, RemoteError};
use wkube_proxy::{Body, BoxError, Endpoint, LocalPods, Proxy};
use wkube_wasm_runtime::{Connection, Incoming, NetError, Network, Outbound, TcpPort};

use super::super::{channel, host};
use super::{NodeNetwork, Ports};
use crate::network::Networks;

/// Neither another node nor anything that answers HTTP.
struct Nobody;

impl Remote for Nobody {
    fn send(&self, _: &Endpoint, _: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, RemoteError>> {
        async { Err(RemoteError::Failed("nobody".into())) }.boxed()
    }
}

impl Outbound for Nobody {
    fn send(&self, _: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
        async { Err("nobody".into()) }.boxed()
    }
}

/// How the tested pod reaches its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Through {
    Nothing,
    Worker,
}

/// Pod 10.42.0.1, which is tested, and its neighbour 10.42.0.2.
struct World {
    pod: Arc<dyn Network>,
    neighbour: Arc<dyn Network>,
    /// The network that the worker's is made of, and the node's half of it.
    direct: Arc<dyn Network>,
    ports: Arc<Ports>,
    tasks: Tasks,
    /// Both processes: what waits with all of its thread must not wait for itself.
    processes: Option<Runtime>,
}

impl World {
    fn new(through: Through) -> Self {
        let processes = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let tasks = Tasks::new().on(processes.handle().clone());
        let networks = Networks::new(Some(Proxy::new(LocalPods::on_node("here"), Arc::new(Nobody))), &tasks);
        let pod = |last: u8| {
            let mut pod = Pod::default();
            pod.metadata.uid = Some(format!("uid-{last}"));
            networks.of(&pod, [10, 42, 0, last].into()).unwrap().unwrap()
        };
        let (direct, neighbour) = (pod(1), pod(2));
        let ports = Ports::new(Some(Arc::clone(&direct)), tasks.clone());
        let reached: Arc<dyn Network> = match through {
            Through::Nothing => Arc::clone(&direct),
            Through::Worker => Arc::new(worker(&processes, &tasks, Arc::clone(&ports))),
        };
        Self { pod: reached, neighbour, direct, ports, tasks, processes: Some(processes) }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks.cancel();
        if let Some(processes) = self.processes.take() {
            processes.shutdown_background();
        }
    }
}

/// Joins the two halves.
fn worker(processes: &Runtime, tasks: &Tasks, ports: Arc<Ports>) -> NodeNetwork {
    let (near, far) = tokio::io::duplex(4_096);
    tasks.spawn("node", host::serve_requests(far, Arc::new(Nobody), ports));
    let (node, connection) = std::thread::scope(|threads| {
        let joining = || processes.block_on(channel::client().handshake(TokioIo::new(near))).unwrap();
        threads.spawn(joining).join().unwrap()
    });
    tasks.spawn("worker", async move { drop(connection.await) });
    NodeNetwork::open(node, tasks.clone())
}

/// Tests the pod's network itself, and then as guests in a worker have it.
async fn on_both(test: impl AsyncFn(&World)) {
    for through in [Through::Nothing, Through::Worker] {
        test(&World::new(through)).await;
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn listen(network: &Arc<dyn Network>, on: &str) -> (Box<dyn TcpPort>, Box<dyn Incoming>) {
    let port = network.bind_tcp(at(on)).unwrap();
    let incoming = port.listen(8).unwrap();
    (port, incoming)
}

async fn connect(network: &Arc<dyn Network>, to: &str) -> Result<Connection, NetError> {
    let port = network.bind_tcp(at("0.0.0.0:0"))?;
    port.connect(at(to)).await
}

async fn accept(incoming: &mut Box<dyn Incoming>) -> Connection {
    poll_fn(|context| incoming.poll_accept(context)).await.unwrap()
}

async fn read(connection: &mut Connection, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    connection.stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

/// Waits until the node has heard what it was told without an answer.
fn settle(network: &Arc<dyn Network>) {
    drop(network.bind_tcp(at("127.0.0.1:0")).unwrap());
}

#[tokio::test]
async fn a_guest_connects_to_a_neighbour() {
    on_both(async |world| {
        let (_port, mut incoming) = listen(&world.neighbour, "0.0.0.0:8080");
        let mut here = connect(&world.pod, "10.42.0.2:8080").await.unwrap();
        let mut there = accept(&mut incoming).await;
        assert_eq!((here.remote, there.local), (at("10.42.0.2:8080"), at("10.42.0.2:8080")));
        assert_eq!((here.local, here.local.ip()), (there.remote, IpAddr::from([10, 42, 0, 1])));
        here.stream.write_all(b"question").await.unwrap();
        assert_eq!(read(&mut there, 8).await, b"question");
        there.stream.write_all(b"answer").await.unwrap();
        assert_eq!(read(&mut here, 6).await, b"answer");
    })
    .await;
}

#[tokio::test]
async fn a_guest_is_connected_to_by_a_neighbour_and_by_its_own_pod() {
    on_both(async |world| {
        let (port, mut incoming) = listen(&world.pod, "0.0.0.0:8080");
        assert_eq!(port.local(), at("0.0.0.0:8080"));
        for (from, to) in [(&world.neighbour, "10.42.0.1:8080"), (&world.pod, "127.0.0.1:8080")] {
            let mut client = connect(from, to).await.unwrap();
            let mut server = accept(&mut incoming).await;
            assert_eq!((server.local, server.remote), (at(to), client.local));
            server.stream.write_all(b"welcome").await.unwrap();
            assert_eq!(read(&mut client, 7).await, b"welcome");
        }
    })
    .await;
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    on_both(async |world| {
        let (_port, mut incoming) = listen(&world.pod, "0.0.0.0:8080");
        let mut client = connect(&world.neighbour, "10.42.0.1:8080").await.unwrap();
        let mut server = accept(&mut incoming).await;
        client.stream.write_all(b"all").await.unwrap();
        client.stream.shutdown().await.unwrap();
        let mut all = Vec::new();
        server.stream.read_to_end(&mut all).await.unwrap();
        server.stream.write_all(b"heard ").await.unwrap();
        server.stream.write_all(&all).await.unwrap();
        server.stream.shutdown().await.unwrap();
        let mut heard = Vec::new();
        client.stream.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"heard all");
    })
    .await;
}

#[tokio::test]
async fn nothing_is_lost_if_the_writer_goes_before_the_reader_comes() {
    on_both(async |world| {
        let (_port, mut incoming) = listen(&world.neighbour, "0.0.0.0:8080");
        let mut here = connect(&world.pod, "10.42.0.2:8080").await.unwrap();
        let mut there = accept(&mut incoming).await;
        // More than the pipes hold: some of it is still on its way when the writer has gone.
        let writing = async move { here.stream.write_all(&vec![7; 300_000]).await };
        let mut all = Vec::new();
        let (written, read) = tokio::join!(writing, there.stream.read_to_end(&mut all));
        assert!(written.is_ok() && read.is_ok());
        assert_eq!((all.len(), all.iter().all(|byte| *byte == 7)), (300_000, true));
    })
    .await;
}

#[tokio::test]
async fn a_writer_waits_for_its_reader_and_nobody_else_does() {
    on_both(async |world| {
        let (_port, mut incoming) = listen(&world.pod, "0.0.0.0:8080");
        let mut stuck = Vec::new();
        for _ in 0..20 {
            let mut client = connect(&world.neighbour, "10.42.0.1:8080").await.unwrap();
            let unread = accept(&mut incoming).await;
            let writing = async move { drop(client.stream.write_all(&vec![1; 4 << 20]).await) };
            stuck.push((unread, world.tasks.spawn("writing", writing)));
        }
        let mut client = connect(&world.neighbour, "10.42.0.1:8080").await.unwrap();
        let mut server = accept(&mut incoming).await;
        let sent = vec![1; 1 << 20];
        let (written, received) = tokio::join!(client.stream.write_all(&sent), read(&mut server, 1 << 20));
        assert_eq!((written.is_ok(), received.len()), (true, 1 << 20));
        assert!(stuck.iter().all(|(_, writing)| !writing.is_finished()), "what is on its way is bounded");
    })
    .await;
}

#[tokio::test]
async fn who_writes_to_somebody_who_has_gone_hears_of_it() {
    on_both(async |world| {
        let (_port, mut incoming) = listen(&world.neighbour, "0.0.0.0:8080");
        let mut here = connect(&world.pod, "10.42.0.2:8080").await.unwrap();
        drop(accept(&mut incoming).await);
        assert_eq!(here.stream.read(&mut [0; 8]).await.unwrap(), 0);
        while here.stream.write_all(&[0; 1_000]).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_port_belongs_to_one_and_is_free_the_moment_it_is_let_go() {
    on_both(async |world| {
        for _ in 0..100 {
            let (_port, _incoming) = listen(&world.pod, "0.0.0.0:8080");
            assert_eq!(world.pod.bind_tcp(at("127.0.0.1:8080")).err(), Some(NetError::InUse));
        }
        assert_eq!(world.pod.bind_tcp(at("10.42.0.2:80")).err(), Some(NetError::NotBindable));
        let any = world.pod.bind_tcp(at("0.0.0.0:0")).unwrap();
        assert_ne!(any.local().port(), 0);
    })
    .await;
}

#[tokio::test]
async fn nobody_listens_any_more_is_refused() {
    on_both(async |world| {
        assert_eq!(connect(&world.pod, "10.42.0.2:8080").await.err(), Some(NetError::Refused));
        let (port, mut incoming) = listen(&world.pod, "0.0.0.0:8080");
        // Somebody waits for the next one when it ends.
        assert!(poll_fn(|context| incoming.poll_accept(context)).now_or_never().is_none());
        drop(incoming);
        settle(&world.pod);
        assert_eq!(connect(&world.neighbour, "10.42.0.1:8080").await.err(), Some(NetError::Refused));
        let mut again = port.listen(8).unwrap();
        let _client = connect(&world.neighbour, "10.42.0.1:8080").await.unwrap();
        assert_eq!(accept(&mut again).await.local, at("10.42.0.1:8080"));
    })
    .await;
}

#[tokio::test]
async fn datagrams_go_both_ways() {
    on_both(async |world| {
        let (here, there) = (world.pod.bind_udp(at("0.0.0.0:53")).unwrap(), world.neighbour.bind_udp(at("0.0.0.0:0")));
        let there = there.unwrap();
        let question = Bytes::from(vec![7; 65_507]);
        poll_fn(|context| there.poll_send(context, &question, at("10.42.0.1:53"))).await.unwrap();
        let (heard, from) = poll_fn(|context| here.poll_receive(context)).await.unwrap();
        assert_eq!((heard, from.ip()), (question, IpAddr::from([10, 42, 0, 2])));
        poll_fn(|context| here.poll_send(context, &Bytes::new(), from)).await.unwrap();
        let (heard, from) = poll_fn(|context| there.poll_receive(context)).await.unwrap();
        assert_eq!((heard, from), (Bytes::new(), at("10.42.0.1:53")));
        let huge = Bytes::from(vec![0; 65_508]);
        let sent = poll_fn(|context| here.poll_send(context, &huge, from)).await;
        assert_eq!(sent, Err(NetError::TooLarge));
        assert_eq!(world.pod.bind_udp(at("0.0.0.0:53")).err(), Some(NetError::InUse));
        drop(here);
        assert!(world.pod.bind_udp(at("0.0.0.0:53")).is_ok());
    })
    .await;
}

#[tokio::test]
async fn a_datagram_that_leads_nowhere_is_heard_of_by_the_next_at_the_latest() {
    on_both(async |world| {
        let port = world.pod.bind_udp(at("0.0.0.0:0")).unwrap();
        let send = || poll_fn(|context| port.poll_send(context, &Bytes::from_static(b"?"), at("192.0.2.1:53")));
        let error = loop {
            match send().await {
                Ok(()) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        };
        assert_eq!(error, NetError::Unreachable);
    })
    .await;
}

#[tokio::test]
async fn names_are_looked_up_as_the_pod_does() {
    on_both(async |world| {
        assert_eq!(world.pod.resolve("localhost").await.unwrap()[0], IpAddr::from([127, 0, 0, 1]));
        assert_eq!(world.pod.resolve("nobody").await, Err(NetError::NoName));
        assert_eq!(world.pod.resolve("no\nname").await, Err(NetError::NoName));
    })
    .await;
}

#[tokio::test]
async fn thousands_of_connections_are_refused_and_not_held() {
    let world = World::new(Through::Worker);
    let (_port, mut incoming) = listen(&world.neighbour, "0.0.0.0:8080");
    let mut open = Vec::new();
    let refused = loop {
        match connect(&world.pod, "10.42.0.2:8080").await {
            Ok(connection) => open.push((connection, accept(&mut incoming).await)),
            Err(error) => break error,
        }
    };
    assert_eq!((open.len(), refused), (channel::CONNECTIONS_MAX as usize, NetError::TooMany));
    assert!(world.pod.bind_tcp(at("0.0.0.0:0")).is_ok(), "what is asked in between does not wait for them");
}

#[tokio::test]
async fn guests_that_give_up_cost_nobody_else_the_connection_to_the_node() {
    let world = World::new(Through::Worker);
    let (port, mut incoming) = listen(&world.neighbour, "0.0.0.0:8080");
    world.tasks.spawn("server", async move {
        let _port = port;
        loop {
            let mut client = accept(&mut incoming).await;
            // Whether anybody takes it or not.
            drop(client.stream.write_all(&[1; 10_000]).await);
        }
    });
    for _ in 0..1_500 {
        // Before it is answered, and in the middle of the answer. Refused if the server has too many of them.
        drop(connect(&world.pod, "10.42.0.2:8080").now_or_never());
        if let Ok(mut client) = connect(&world.pod, "10.42.0.2:8080").await {
            assert_eq!(read(&mut client, 1).await, [1]);
        }
    }
    let mut client = loop {
        match connect(&world.pod, "10.42.0.2:8080").await {
            Ok(client) => break client,
            Err(error) => assert_eq!(error, NetError::Refused),
        }
    };
    assert_eq!(read(&mut client, 10_000).await.len(), 10_000);
}

#[tokio::test]
async fn the_ports_of_a_worker_that_has_gone_are_free_at_once() {
    let world = World::new(Through::Worker);
    let (_port, mut incoming) = listen(&world.pod, "0.0.0.0:8080");
    let waiting = poll_fn(|context| incoming.poll_accept(context)).now_or_never();
    assert!(waiting.is_none());
    world.ports.close();
    assert!(world.direct.bind_tcp(at("0.0.0.0:8080")).is_ok());
    assert_eq!(world.pod.bind_tcp(at("0.0.0.0:81")).err(), Some(NetError::Unreachable));
}

#[tokio::test]
async fn guests_do_not_wait_for_a_node_that_has_gone() {
    let world = World::new(Through::Worker);
    assert!(world.pod.bind_tcp(at("0.0.0.0:81")).is_ok());
    world.tasks.cancel();
    while world.pod.bind_tcp(at("0.0.0.0:82")).is_ok() {}
    assert_eq!(world.pod.bind_tcp(at("0.0.0.0:82")).err(), Some(NetError::Unreachable));
    assert_eq!(world.pod.resolve("localhost").await, Err(NetError::Unreachable));
}

#[tokio::test]
async fn a_pod_without_a_network_has_no_sockets() {
    let world = World::new(Through::Nothing);
    let none = Ports::new(None, world.tasks.clone());
    let network = worker(world.processes.as_ref().unwrap(), &world.tasks, none);
    assert_eq!(network.bind_tcp(at("0.0.0.0:80")).err(), Some(NetError::Denied));
    assert_eq!(network.resolve("localhost").await, Err(NetError::Denied));
}
