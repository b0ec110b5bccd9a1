use std::future::poll_fn;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1::{Pod, Service};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wkube_api::ObjectKey;

use super::*;
use crate::local::Ports;
use crate::local::tests::Says;
use crate::net::datagram::{Datagram, Datagrams};
use crate::remote::{Remote, RemoteError};
use crate::table::tests::{service, slice};
use crate::table::{Endpoint, RouteTable, ServiceRoute};
use crate::{Body, respond};

/// Other nodes, on which every pod says who connected to which address, and datagrams are told to the test.
struct OtherNodes(mpsc::UnboundedSender<(IpAddr, Bytes)>);

impl Remote for OtherNodes {
    fn send(&self, _: &Endpoint, _: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, RemoteError>> {
        async { Err(RemoteError::Failed("no HTTP here".into())) }.boxed()
    }

    fn connect(&self, from: SocketAddr, to: SocketAddr) -> BoxFuture<'static, Result<Box<dyn Stream>, NetError>> {
        async move {
            if to.ip().to_string().starts_with("10.42.0.") {
                // Our own range: the question comes back to us, and there is no such pod.
                return Err(NetError::Unreachable);
            }
            let (mut near, far) = tokio::io::duplex(1024);
            near.write_all(format!("{from} to {to}").as_bytes()).await.map_err(|_| NetError::Refused)?;
            Ok(Box::new(far) as Box<dyn Stream>)
        }
        .boxed()
    }

    fn carry(&self, to: IpAddr, mut datagrams: BoxStream<'static, Bytes>) -> BoxFuture<'static, Result<(), NetError>> {
        let told = self.0.clone();
        async move {
            while let Some(datagram) = datagrams.next().await {
                let _ = told.send((to, datagram));
            }
            Ok(())
        }
        .boxed()
    }
}

/// One node with pods 10.42.0.1, 10.42.0.2 and so on.
struct World {
    proxy: Proxy,
    tasks: Tasks,
    /// The datagrams that left the node, and to whom.
    left: mpsc::UnboundedReceiver<(IpAddr, Bytes)>,
}

impl World {
    fn new() -> Self {
        let (tell, left) = mpsc::unbounded_channel();
        Self { proxy: Proxy::new(LocalPods::on_node("here"), Arc::new(OtherNodes(tell))), tasks: Tasks::new(), left }
    }

    fn pod(&self, last: u8) -> PodNet {
        let ip = IpAddr::from([10, 42, 0, last]);
        let identity = Identity { ip, names: Names::of(&Pod::default(), ip), outside: Outside::default() };
        PodNet::join(self.proxy.clone(), identity, &self.tasks)
    }

    /// Makes service `web` at 10.43.0.7:80 with these endpoints on port 8080; those that are not 10.42.0.x are elsewhere.
    fn serve(&self, protocol: &str, addresses: &[&str]) {
        let ready: Vec<_> = addresses.iter().map(|address| (*address, true)).collect();
        let mut slice = slice("", 8080, &ready);
        for endpoint in slice.endpoints.iter_mut().flatten() {
            let is_here = endpoint.addresses[0].starts_with("10.42.0.");
            endpoint.node_name = Some(if is_here { "here" } else { "there" }.to_owned());
            endpoint.target_ref = Some(k8s_openapi::api::core::v1::ObjectReference {
                kind: Some("Pod".to_owned()),
                name: Some(format!("pod-{}", endpoint.addresses[0])),
                ..Default::default()
            });
        }
        let mut service: Service = service("web", &[("", 80)]);
        let spec = service.spec.as_mut().unwrap();
        spec.cluster_ip = Some("10.43.0.7".to_owned());
        spec.ports.as_mut().unwrap()[0].protocol = Some(protocol.to_owned());
        let mut table = RouteTable::default();
        table.set(&ObjectKey::new("default", "web"), Some(ServiceRoute::new(&service, &[slice])));
        self.proxy.table.store(Arc::new(table));
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn listen(pod: &PodNet, text: &str, backlog: usize) -> Incoming {
    pod.bind_tcp(at(text)).unwrap().listen(backlog).unwrap()
}

async fn connect(pod: &PodNet, to: &str) -> Result<Connection, NetError> {
    pod.bind_tcp(at("0.0.0.0:0"))?.connect(at(to)).await
}

async fn accept(incoming: &mut Incoming) -> Connection {
    poll_fn(|context| incoming.poll_accept(context)).await.unwrap()
}

async fn refused(pod: &PodNet, to: &str) -> NetError {
    connect(pod, to).await.err().unwrap_or_else(|| panic!("{to} answers"))
}

async fn read(connection: &mut Connection, count: usize) -> String {
    let mut bytes = vec![0; count];
    connection.stream.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn pods_of_a_node_talk_through_a_pipe() {
    let world = World::new();
    let (server, client) = (world.pod(1), world.pod(2));
    let mut incoming = listen(&server, "0.0.0.0:8080", 8);
    let mut here = connect(&client, "10.42.0.1:8080").await.unwrap();
    let mut there = accept(&mut incoming).await;
    assert_eq!((here.remote, there.local), (at("10.42.0.1:8080"), at("10.42.0.1:8080")));
    assert_eq!((here.local, there.remote), (at("10.42.0.2:32768"), at("10.42.0.2:32768")));
    here.stream.write_all(b"ping").await.unwrap();
    assert_eq!(read(&mut there, 4).await, "ping");
    there.stream.write_all(b"pong").await.unwrap();
    there.stream.shutdown().await.unwrap();
    let mut all = String::new();
    here.stream.read_to_string(&mut all).await.unwrap();
    assert_eq!(all, "pong", "our end still takes what we write: only theirs is shut");
    here.stream.write_all(b"more").await.unwrap();
    assert_eq!(read(&mut there, 4).await, "more");
}

#[tokio::test]
async fn a_writer_waits_for_its_reader() {
    let world = World::new();
    let (server, client) = (world.pod(1), world.pod(2));
    let mut incoming = listen(&server, "0.0.0.0:80", 8);
    let mut here = connect(&client, "10.42.0.1:80").await.unwrap();
    let mut there = accept(&mut incoming).await;
    let whole = vec![7; PIPE_BYTES + 1];
    let mut writing = Box::pin(here.stream.write_all(&whole));
    assert!(futures::poll!(&mut writing).is_pending(), "the pipe has an end");
    assert_eq!(there.stream.read_u8().await.unwrap(), 7);
    writing.await.unwrap();
}

#[tokio::test]
async fn what_is_dropped_is_ended_for_the_other() {
    let world = World::new();
    let (server, client) = (world.pod(1), world.pod(2));
    let mut incoming = listen(&server, "0.0.0.0:80", 8);
    let mut here = connect(&client, "10.42.0.1:80").await.unwrap();
    drop(accept(&mut incoming).await);
    assert_eq!(here.stream.read(&mut [0; 8]).await.unwrap(), 0);
    assert!(here.stream.write_all(b"x").await.is_err());
}

#[tokio::test]
async fn nobody_listens_nobody_answers() {
    let world = World::new();
    let (server, client) = (world.pod(1), world.pod(2));
    let port = server.bind_tcp(at("0.0.0.0:80")).unwrap();
    assert_eq!(refused(&client, "10.42.0.1:80").await, NetError::Refused, "bound is not listening");
    let incoming = port.listen(1).unwrap();
    assert!(port.listen(1).is_err(), "once is enough");
    assert!(connect(&client, "10.42.0.1:80").await.is_ok());
    assert_eq!(refused(&client, "10.42.0.1:81").await, NetError::Refused);
    drop(incoming);
    assert_eq!(refused(&client, "10.42.0.1:80").await, NetError::Refused);
    assert_eq!(refused(&client, "10.42.0.99:80").await, NetError::Unreachable, "no such pod");
    assert_eq!(refused(&client, "192.0.2.1:80").await, NetError::Unreachable, "outside, which is not granted");
}

#[tokio::test]
async fn a_full_backlog_refuses_until_one_is_accepted() {
    let world = World::new();
    let (server, client) = (world.pod(1), world.pod(2));
    let mut incoming = listen(&server, "0.0.0.0:80", 2);
    let _waiting = (connect(&client, "10.42.0.1:80").await.unwrap(), connect(&client, "10.42.0.1:80").await.unwrap());
    assert_eq!(refused(&client, "10.42.0.1:80").await, NetError::Refused);
    let _first = accept(&mut incoming).await;
    assert!(connect(&client, "10.42.0.1:80").await.is_ok());
}

#[tokio::test]
async fn containers_of_a_pod_share_its_ports_and_loopback() {
    let world = World::new();
    let (pod, other) = (world.pod(1), world.pod(2));
    let sidecar = pod.clone();
    let mut incoming = listen(&pod, "127.0.0.1:9000", 8);
    assert_eq!(sidecar.bind_tcp(at("0.0.0.0:9000")).err(), Some(NetError::InUse));
    let here = connect(&sidecar, "127.0.0.1:9000").await.unwrap();
    assert_eq!(here.local.ip(), IpAddr::from([127, 0, 0, 1]));
    assert_eq!(accept(&mut incoming).await.remote, here.local);
    assert_eq!(refused(&other, "10.42.0.1:9000").await, NetError::Refused, "loopback is the pod's own");
    assert_eq!(refused(&other, "127.0.0.1:9000").await, NetError::Refused);
    assert!(other.bind_tcp(at("0.0.0.0:9000")).is_ok(), "ports are the pod's own, too");
}

#[tokio::test]
async fn a_port_is_taken_as_long_as_a_connection_uses_it() {
    let world = World::new();
    let (server, client) = (world.pod(1), world.pod(2));
    let _incoming = listen(&server, "0.0.0.0:80", 8);
    let connection = client.bind_tcp(at("0.0.0.0:7000")).unwrap().connect(at("10.42.0.1:80")).await.unwrap();
    assert_eq!(client.bind_tcp(at("0.0.0.0:7000")).err(), Some(NetError::InUse));
    drop(connection);
    assert!(client.bind_tcp(at("0.0.0.0:7000")).is_ok());
}

#[tokio::test]
async fn a_service_leads_to_its_pods_on_this_node_and_others() {
    let world = World::new();
    let (server, client) = (world.pod(1), world.pod(2));
    world.serve("TCP", &["10.42.0.1", "10.42.1.1"]);
    let mut incoming = listen(&server, "0.0.0.0:8080", 8);
    let here = connect(&client, "10.43.0.7:80").await.unwrap();
    assert_eq!(here.remote, at("10.43.0.7:80"), "the client sees whom it asked");
    assert_eq!(accept(&mut incoming).await.local, at("10.42.0.1:8080"));
    let mut there = connect(&client, "10.43.0.7:80").await.unwrap();
    assert_eq!(read(&mut there, 33).await, "10.42.0.2:32769 to 10.42.1.1:8080");
    let mut by_address = connect(&client, "10.128.7.7:9").await.unwrap();
    assert_eq!(read(&mut by_address, 31).await, "10.42.0.2:32770 to 10.128.7.7:9", "without a Service, too");
    assert_eq!(refused(&client, "10.43.0.7:81").await, NetError::Refused);
    world.serve("TCP", &[]);
    assert_eq!(refused(&client, "10.43.0.7:80").await, NetError::Refused);
}

#[tokio::test]
async fn names_lead_to_services_and_to_nobody_else() {
    let world = World::new();
    let pod = world.pod(1);
    world.serve("TCP", &[]);
    let service = Ok(vec![IpAddr::from([10, 43, 0, 7])]);
    for name in ["web", "web.default", "WEB.default.svc", "web.default.svc.cluster.local."] {
        assert_eq!(pod.resolve(name).await, service, "{name}");
    }
    assert_eq!(pod.resolve("localhost").await.unwrap()[0], IpAddr::from([127, 0, 0, 1]));
    assert_eq!(pod.resolve("192.0.2.1").await, Ok(vec![[192, 0, 2, 1].into()]));
    for name in ["db", "web.other", "example.com", "web.", ""] {
        assert_eq!(pod.resolve(name).await, Err(NetError::NoName), "{name}");
    }
}

#[tokio::test]
async fn an_http_guest_answers_those_who_connect() {
    let world = World::new();
    let client = world.pod(2);
    let ip = IpAddr::from([10, 42, 0, 1]);
    let _web = world.proxy.local().register(ip, Ports::These(vec![8080]), Arc::new(Says("hello")));
    let mut connection = connect(&client, "10.42.0.1:8080").await.unwrap();
    connection.stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    connection.stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"), "{answer}");
    assert_eq!(refused(&client, "10.42.0.1:8081").await, NetError::Refused);
}

#[tokio::test]
async fn a_guest_that_listens_answers_http_requests() {
    let world = World::new();
    let server = world.pod(1);
    let ip = IpAddr::from([10, 42, 0, 1]);
    assert!(world.proxy.local().get(ip, 8080).is_none());
    let mut incoming = listen(&server, "0.0.0.0:8080", 8);
    world.tasks.spawn("guest", async move {
        let mut connection = accept(&mut incoming).await;
        let mut head = [0; 1024];
        let count = connection.stream.read(&mut head).await.unwrap();
        assert!(head[..count].starts_with(b"GET /path HTTP/1.1\r\n"));
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        connection.stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let backend = world.proxy.local().get(ip, 8080).expect("it listens");
    let answer = backend.handle(Request::get("http://web/path").body(respond::full("")).unwrap()).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hi");
}

#[tokio::test]
async fn who_is_inside_reaches_loopback() {
    let world = World::new();
    let pod = world.pod(1);
    let mut incoming = listen(&pod, "127.0.0.1:9000", 8);
    let to = at("10.42.0.1:9000");
    assert!(world.proxy.local().dial(at("0.0.0.0:0"), to, &world.tasks).is_err());
    assert!(world.proxy.local().dial_within(to, &world.tasks).is_ok());
    assert_eq!(accept(&mut incoming).await.local, at("127.0.0.1:9000"));
    assert!(world.proxy.local().dial_within(at("10.42.0.1:9001"), &world.tasks).is_err());
}

#[tokio::test]
async fn a_pod_that_has_left_is_not_there() {
    let world = World::new();
    let (server, client) = (world.pod(1), world.pod(2));
    let incoming = listen(&server, "0.0.0.0:80", 8);
    drop(server);
    assert!(connect(&client, "10.42.0.1:80").await.is_ok(), "a socket keeps its pod");
    drop(incoming);
    assert_eq!(refused(&client, "10.42.0.1:80").await, NetError::Unreachable);
    let again = world.pod(1);
    let old = again.clone();
    drop((again, old));
    assert!(!world.proxy.local().has([10, 42, 0, 1].into()));
}

#[tokio::test]
async fn datagrams_go_between_pods_and_are_lost_without_a_word() {
    let world = World::new();
    let (server, client) = (world.pod(1), world.pod(2));
    let (here, there) = (client.bind_udp(at("0.0.0.0:0")).unwrap(), server.bind_udp(at("0.0.0.0:53")).unwrap());
    let receive = |port: &UdpPort| poll_fn(|context| port.poll_receive(context)).now_or_never();
    here.send(&Bytes::from_static(b"question"), at("10.42.0.1:53")).unwrap();
    let (question, from) = receive(&there).expect("it is there").unwrap();
    assert_eq!((&question[..], from), (&b"question"[..], at("10.42.0.2:32768")));
    there.send(&Bytes::from_static(b"answer"), from).unwrap();
    assert_eq!(receive(&here).expect("it is there").unwrap().1, at("10.42.0.1:53"));
    here.send(&Bytes::new(), at("10.42.0.1:54")).unwrap();
    assert!(receive(&there).is_none() && receive(&here).is_none());
    assert_eq!(here.send(&Bytes::from(vec![0; 65_508]), at("10.42.0.1:53")), Err(NetError::TooLarge));
    assert_eq!(here.send(&Bytes::new(), at("192.0.2.1:53")), Err(NetError::Unreachable));
    for _ in 0..1_000 {
        here.send(&Bytes::from_static(b"flood"), at("10.42.0.1:53")).unwrap();
    }
    assert_eq!(std::iter::from_fn(|| receive(&there)).count(), 64, "what nobody reads is lost");
    assert_eq!(server.bind_udp(at("127.0.0.1:53")).err(), Some(NetError::InUse));
    drop(there);
    assert!(server.bind_udp(at("127.0.0.1:53")).is_ok());
}

#[tokio::test]
async fn answers_of_a_service_come_from_its_address() {
    let world = World::new();
    let (first, second, client) = (world.pod(1), world.pod(2), world.pod(3));
    world.serve("UDP", &["10.42.0.1", "10.42.0.2"]);
    let ports = [first.bind_udp(at("0.0.0.0:8080")).unwrap(), second.bind_udp(at("0.0.0.0:8080")).unwrap()];
    let here = client.bind_udp(at("0.0.0.0:0")).unwrap();
    let receive = |port: &UdpPort| poll_fn(|context| port.poll_receive(context)).now_or_never();
    for _ in 0..4 {
        here.send(&Bytes::from_static(b"x"), at("10.43.0.7:80")).unwrap();
    }
    let counts = ports.each_ref().map(|port| std::iter::from_fn(|| receive(port)).count());
    assert!(counts == [4, 0] || counts == [0, 4], "one endpoint has the whole flow: {counts:?}");
    let asked = usize::from(counts[0] == 0);
    ports[asked].send(&Bytes::from_static(b"y"), at("10.42.0.3:32768")).unwrap();
    assert_eq!(receive(&here).expect("it is there").unwrap().1, at("10.43.0.7:80"));
    ports[1 - asked].send(&Bytes::from_static(b"z"), at("10.42.0.3:32768")).unwrap();
    let other = if asked == 0 { "10.42.0.2:8080" } else { "10.42.0.1:8080" };
    assert_eq!(receive(&here).expect("it is there").unwrap().1, at(other), "who was not asked speaks for itself");
}

#[tokio::test(start_paused = true)]
async fn datagrams_go_to_pods_of_other_nodes_and_their_answers_come_back() {
    let mut world = World::new();
    let client = world.pod(1);
    world.serve("UDP", &["10.42.1.1", "10.42.1.2"]);
    let here = client.bind_udp(at("0.0.0.0:0")).unwrap();
    for to in ["10.43.0.7:80", "10.43.0.7:80", "10.128.7.7:9"] {
        here.send(&Bytes::from_static(b"question"), at(to)).unwrap();
    }
    let mut asked = Vec::new();
    for _ in 0..3 {
        let (to, bytes) = world.left.recv().await.unwrap();
        let question = Datagrams::of(&bytes[..]).next().await.unwrap().unwrap();
        assert_eq!((question.from, &question.bytes[..]), (at("10.42.0.1:32768"), &b"question"[..]));
        asked.push(SocketAddr::new(to, question.port));
    }
    asked.sort();
    assert_eq!((asked[0], asked[2]), (asked[1], at("10.128.7.7:9")), "one endpoint has the whole flow");
    let answers: Vec<u8> = asked[1..]
        .iter()
        .flat_map(|from| Datagram { from: *from, port: 32768, bytes: Bytes::from_static(b"answer") }.encode())
        .collect();
    world.proxy.local().receive([10, 42, 0, 1].into(), &answers[..]).await.unwrap();
    let receive = || poll_fn(|context| here.poll_receive(context)).now_or_never();
    let from: Vec<_> = std::iter::from_fn(receive).map(|received| received.unwrap().1).collect();
    assert_eq!(
        from,
        [at("10.43.0.7:80"), at("10.128.7.7:9")],
        "whoever was asked by a Service's address answers from it"
    );

    // The endpoint goes; the flow moves to the other.
    let other = if asked[0] == at("10.42.1.1:8080") { "10.42.1.2" } else { "10.42.1.1" };
    world.serve("UDP", &[other]);
    here.send(&Bytes::from_static(b"again"), at("10.43.0.7:80")).unwrap();
    assert_eq!(world.left.recv().await.unwrap().0.to_string(), other);
}
