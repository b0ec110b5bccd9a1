//! A client by `wasi:tls`: connects to a name and port, sends a line, prints the answer, or why there is none.
wit_bindgen::generate!({
    path: "wit",
    world: "wasmtime:wasi/tls-client",
    features: ["tls"],
    generate_all,
    default_bindings_module: "crate"
});

use wasi::io::streams::{InputStream, OutputStream};
use wasi::sockets::instance_network::instance_network;
use wasi::sockets::ip_name_lookup::resolve_addresses;
use wasi::sockets::network::{ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasi::sockets::tcp::TcpSocket;
use wasi::sockets::tcp_create_socket::create_tcp_socket;
use wasi::tls::types::ClientHandshake;

struct Program;

fn connect(name: &str, port: u16) -> Result<(TcpSocket, InputStream, OutputStream), ErrorCode> {
    let network = instance_network();
    let answers = resolve_addresses(&network, name)?;
    let address = loop {
        match answers.resolve_next_address() {
            Ok(Some(IpAddress::Ipv4(address))) => break address,
            Ok(Some(_)) => {}
            Ok(None) => return Err(ErrorCode::NameUnresolvable),
            Err(ErrorCode::WouldBlock) => answers.subscribe().block(),
            Err(code) => return Err(code),
        }
    };
    let socket = create_tcp_socket(IpAddressFamily::Ipv4)?;
    socket.start_connect(&network, IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address }))?;
    loop {
        match socket.finish_connect() {
            Ok((input, output)) => return Ok((socket, input, output)),
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            Err(code) => return Err(code),
        }
    }
}

fn talk(host: &str, port: u16, server_name: &str, line: &str) -> Result<String, String> {
    let (_socket, input, output) = connect(host, port).map_err(|code| format!("connect: {code:?}"))?;
    let handshake = ClientHandshake::finish(ClientHandshake::new(server_name, input, output));
    handshake.subscribe().block();
    let finished = handshake.get().expect("it is ready").expect("it is taken once");
    let (connection, input, output) = finished.map_err(|error| format!("handshake: {}", error.to_debug_string()))?;
    output.blocking_write_and_flush(line.as_bytes()).map_err(|error| format!("write: {error:?}"))?;
    connection.close_output();
    let mut answer = Vec::new();
    while let Ok(bytes) = input.blocking_read(4096) {
        answer.extend(bytes);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

impl exports::wasi::cli::run::Guest for Program {
    fn run() -> Result<(), ()> {
        let args = wasi::cli::environment::get_arguments();
        match talk(&args[1], args[2].parse().unwrap(), &args[3], &args[4]) {
            Ok(answer) => println!("{answer}"),
            Err(problem) => println!("failed: {problem}"),
        }
        Ok(())
    }
}
export!(Program);
