//! Uses every interface of `wasi:sockets` 0.2; the first argument says for what.
wit_bindgen::generate!({ path: "wit", world: "wasi:cli/command@0.2.12", generate_all, default_bindings_module: "crate" });

use wasi::io::streams::{InputStream, OutputStream, StreamError};
use wasi::sockets::instance_network::instance_network;
use wasi::sockets::ip_name_lookup::resolve_addresses;
use wasi::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use wasi::sockets::tcp::{ShutdownType, TcpSocket};
use wasi::sockets::tcp_create_socket::create_tcp_socket;
use wasi::sockets::udp::{OutgoingDatagram, UdpSocket};
use wasi::sockets::udp_create_socket::create_udp_socket;

struct Program;
type Address = (u8, u8, u8, u8);

fn at(address: Address, port: u16) -> IpSocketAddress {
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address })
}

fn look_up(name: &str) -> Result<Address, ErrorCode> {
    let answers = resolve_addresses(&instance_network(), name)?;
    let pollable = answers.subscribe();
    loop {
        match answers.resolve_next_address() {
            Ok(Some(IpAddress::Ipv4(address))) => return Ok(address),
            Ok(Some(_)) => {}
            Ok(None) => return Err(ErrorCode::NameUnresolvable),
            Err(ErrorCode::WouldBlock) => pollable.block(),
            Err(code) => return Err(code),
        }
    }
}

fn bound(port: u16) -> Result<TcpSocket, ErrorCode> {
    let socket = create_tcp_socket(IpAddressFamily::Ipv4)?;
    socket.start_bind(&instance_network(), at((0, 0, 0, 0), port))?;
    socket.finish_bind()?;
    Ok(socket)
}

fn listening(port: u16) -> Result<TcpSocket, ErrorCode> {
    let socket = bound(port)?;
    socket.start_listen()?;
    socket.finish_listen()?;
    Ok(socket)
}

fn accept(socket: &TcpSocket) -> Result<(TcpSocket, InputStream, OutputStream), ErrorCode> {
    loop {
        match socket.accept() {
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            accepted => return accepted,
        }
    }
}

fn connect(name: &str, port: u16) -> Result<(TcpSocket, InputStream, OutputStream), ErrorCode> {
    let socket = create_tcp_socket(IpAddressFamily::Ipv4)?;
    socket.start_connect(&instance_network(), at(look_up(name)?, port))?;
    let pollable = socket.subscribe();
    loop {
        match socket.finish_connect() {
            Ok((input, output)) => return Ok((socket, input, output)),
            Err(ErrorCode::WouldBlock) => pollable.block(),
            Err(code) => return Err(code),
        }
    }
}

/// Reads until the end.
fn read(input: &InputStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Ok(bytes) = input.blocking_read(64 << 10) {
        all.extend(bytes);
    }
    all
}

fn write(output: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    while !bytes.is_empty() {
        let (now, later) = bytes.split_at(bytes.len().min(4096));
        output.blocking_write_and_flush(now)?;
        bytes = later;
    }
    Ok(())
}

fn echo(port: u16, connections: usize) -> Result<(), ErrorCode> {
    let socket = listening(port)?;
    for _ in 0..connections {
        let (_accepted, input, output) = accept(&socket)?;
        while let Ok(bytes) = input.blocking_read(64 << 10) {
            let _ = write(&output, &bytes);
        }
    }
    Ok(())
}

fn client(name: &str, port: u16, text: &str) -> Result<(), ErrorCode> {
    let (socket, input, output) = connect(name, port)?;
    let (IpSocketAddress::Ipv4(local), IpSocketAddress::Ipv4(remote)) = (socket.local_address()?, socket.remote_address()?)
    else {
        return Err(ErrorCode::NotSupported);
    };
    println!("{:?} to {:?}:{}", local.address, remote.address, remote.port);
    write(&output, text.as_bytes()).unwrap();
    socket.shutdown(ShutdownType::Send)?;
    socket.shutdown(ShutdownType::Send)?;
    println!("after shutdown: {:?}", output.check_write().unwrap_err());
    println!("{}", String::from_utf8_lossy(&read(&input)));
    println!("after the end: {:?}", input.read(1).unwrap_err());
    socket.shutdown(ShutdownType::Both)
}

/// Writes more than fits and ends without looking back.
fn leave(name: &str, port: u16) -> Result<(), ErrorCode> {
    let (_socket, _input, output) = connect(name, port)?;
    let room = output.check_write().unwrap() as usize;
    output.write(&vec![b'x'; room]).unwrap();
    println!("{room}");
    Ok(())
}

fn blast(name: &str, port: u16) -> Result<(), ErrorCode> {
    let (_socket, _input, output) = connect(name, port)?;
    println!("connected");
    while output.blocking_write_and_flush(&[b'x'; 4096]).is_ok() {}
    println!("ended");
    Ok(())
}

fn udp(port: u16) -> Result<UdpSocket, ErrorCode> {
    let socket = create_udp_socket(IpAddressFamily::Ipv4)?;
    socket.start_bind(&instance_network(), at((0, 0, 0, 0), port))?;
    socket.finish_bind()?;
    Ok(socket)
}

fn datagram(data: &[u8], remote_address: Option<IpSocketAddress>) -> [OutgoingDatagram; 1] {
    [OutgoingDatagram { data: data.to_vec(), remote_address }]
}

fn udp_echo(port: u16, mut datagrams: usize) -> Result<(), ErrorCode> {
    let socket = udp(port)?;
    let (incoming, outgoing) = socket.stream(None)?;
    let (arrived, room) = (incoming.subscribe(), outgoing.subscribe());
    while datagrams > 0 {
        arrived.block();
        for received in incoming.receive(8)? {
            room.block();
            assert!(outgoing.check_send()? > 0);
            assert_eq!(outgoing.send(&datagram(&received.data, Some(received.remote_address)))?, 1);
            datagrams -= 1;
        }
    }
    Ok(())
}

fn udp_client(name: &str, port: u16) -> Result<(), ErrorCode> {
    let to = at(look_up(name)?, port);
    let socket = udp(0)?;
    println!("unconnected: {:?}", socket.remote_address().unwrap_err());
    let (incoming, outgoing) = socket.stream(None)?;
    println!("room for {}", outgoing.check_send()?);
    println!("to nobody: {:?}", outgoing.send(&datagram(b"?", None)).unwrap_err());
    outgoing.check_send()?;
    println!("a megabyte: {:?}", outgoing.send(&datagram(&vec![0; 1 << 20], Some(to))).unwrap_err());
    println!("nothing yet: {}", incoming.receive(8)?.len());
    drop((incoming, outgoing));
    let (incoming, outgoing) = socket.stream(Some(to))?;
    outgoing.check_send()?;
    println!("to another: {:?}", outgoing.send(&datagram(b"?", Some(at((10, 9, 9, 9), 1)))).unwrap_err());
    outgoing.check_send()?;
    let both = [datagram(b"one", None), datagram(b"two", Some(to))].concat();
    println!("sent {}", outgoing.send(&both)?);
    let mut answers = Vec::new();
    while answers.len() < 2 {
        incoming.subscribe().block();
        answers.extend(incoming.receive(8)?.into_iter().map(|answer| String::from_utf8(answer.data).unwrap()));
    }
    println!("{answers:?}");
    Ok(())
}

/// What the documents say about calls at the wrong time or with the wrong address.
fn states() -> Result<(), ErrorCode> {
    let network = instance_network();
    let socket = create_tcp_socket(IpAddressFamily::Ipv4)?;
    let v6 = IpSocketAddress::Ipv6(Ipv6SocketAddress { port: 80, flow_info: 0, address: (0, 0, 0, 0, 0, 0, 0, 1), scope_id: 0 });
    println!("finish what was not begun: {:?} {:?}", socket.finish_bind().unwrap_err(), socket.finish_connect().unwrap_err());
    println!("listen unbound: {:?}", socket.start_listen().unwrap_err());
    println!("address unbound: {:?} {:?}", socket.local_address().unwrap_err(), socket.remote_address().unwrap_err());
    println!("another family: {:?}", socket.start_bind(&network, v6).unwrap_err());
    println!("somebody else's address: {:?}", socket.start_bind(&network, at((8, 8, 8, 8), 80)).unwrap_err());
    socket.start_bind(&network, at((0, 0, 0, 0), 7000))?;
    println!("two at once: {:?}", socket.start_connect(&network, at((10, 0, 0, 1), 80)).unwrap_err());
    socket.finish_bind()?;
    println!("bound again: {:?}", socket.start_bind(&network, at((0, 0, 0, 0), 7001)).unwrap_err());
    println!("the port is taken: {:?}", bound(7000).unwrap_err());
    println!("to port 0: {:?}", socket.start_connect(&network, at((10, 0, 0, 1), 0)).unwrap_err());
    println!("shut down unconnected: {:?}", socket.shutdown(ShutdownType::Both).unwrap_err());
    socket.set_listen_backlog_size(7)?;
    println!("zero: {:?} {:?}", socket.set_hop_limit(0).unwrap_err(), socket.set_listen_backlog_size(0).unwrap_err());
    socket.set_hop_limit(9)?;
    socket.set_keep_alive_enabled(true)?;
    socket.start_listen()?;
    socket.finish_listen()?;
    println!("listening: {} {:?}", socket.is_listening(), socket.set_listen_backlog_size(9).unwrap_err());
    println!("nobody came: {:?}", socket.accept().unwrap_err());
    println!("options: {} {}", socket.hop_limit()?, socket.keep_alive_enabled()?);
    drop(socket);
    println!("free again: {:?}", bound(7000)?.is_listening());
    println!("nobody listens: {:?}", connect("10.0.0.9", 1).unwrap_err());
    println!("no name: {:?} {:?}", look_up("nosuch").unwrap_err(), look_up("no such").unwrap_err());
    let udp = create_udp_socket(IpAddressFamily::Ipv4)?;
    println!("udp unbound: {:?} {:?}", udp.local_address().unwrap_err(), udp.stream(None).unwrap_err());
    Ok(())
}

/// As many sockets as there may be.
fn many() -> Result<(), ErrorCode> {
    let mut sockets = Vec::new();
    let code = loop {
        match create_tcp_socket(IpAddressFamily::Ipv4) {
            Ok(socket) => sockets.push(socket),
            Err(code) => break code,
        }
    };
    println!("{} {code:?}", sockets.len());
    sockets.pop();
    create_udp_socket(IpAddressFamily::Ipv4).map(drop)
}

impl exports::wasi::cli::run::Guest for Program {
    fn run() -> Result<(), ()> {
        let args = wasi::cli::environment::get_arguments();
        let number = |at: usize| args[at].parse::<u16>().unwrap();
        let result = match args[1].as_str() {
            "echo" => echo(number(2), number(3).into()),
            "accept" => listening(number(2)).and_then(|socket| accept(&socket)).map(drop),
            "client" => client(&args[2], number(3), &args[4]),
            "leave" => leave(&args[2], number(3)),
            "blast" => blast(&args[2], number(3)),
            "udp-echo" => udp_echo(number(2), number(3).into()),
            "udp-client" => udp_client(&args[2], number(3)),
            "states" => states(),
            "many" => many(),
            _ => Err(ErrorCode::Unknown),
        };
        result.map_err(|code| println!("failed: {code:?}"))
    }
}
export!(Program);
