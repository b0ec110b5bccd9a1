//! Uses every interface of `wasi:sockets` 0.3; the first argument says for what.
wit_bindgen::generate!({ path: "wit", world: "wasi:cli/command@0.3.0", generate_all, default_bindings_module: "crate" });

use wasi::sockets::ip_name_lookup::resolve_addresses;
use wasi::sockets::types::*;

struct Program;
type Address = (u8, u8, u8, u8);

fn at(address: Address, port: u16) -> IpSocketAddress {
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address })
}

async fn look_up(name: &str) -> Result<Address, ErrorCode> {
    match resolve_addresses(name.to_owned()).await {
        Ok(addresses) => match addresses[0] {
            IpAddress::Ipv4(address) => Ok(address),
            IpAddress::Ipv6(_) => Err(ErrorCode::NotSupported),
        },
        Err(code) => {
            println!("no address: {code:?}");
            Err(ErrorCode::RemoteUnreachable)
        }
    }
}

async fn echo(port: u16, connections: usize) -> Result<(), ErrorCode> {
    let socket = TcpSocket::create(IpAddressFamily::Ipv4)?;
    socket.bind(at((0, 0, 0, 0), port))?;
    let mut accepted = socket.listen()?;
    for _ in 0..connections {
        let Some(connection) = accepted.next().await else { break };
        let (mut input, end) = connection.receive();
        let (mut output, bytes) = wit_stream::new::<u8>();
        let sent = connection.send(bytes);
        loop {
            let (_, bytes) = input.read(Vec::with_capacity(1024)).await;
            if bytes.is_empty() {
                break;
            }
            output.write_all(bytes).await;
        }
        end.await?;
        drop(output);
        sent.await?;
    }
    Ok(())
}

async fn client(name: &str, port: u16, text: &str) -> Result<(), ErrorCode> {
    let to = at(look_up(name).await?, port);
    let socket = TcpSocket::create(IpAddressFamily::Ipv4)?;
    socket.connect(to).await?;
    println!("connected again: {:?}", socket.connect(to).await.unwrap_err());
    let (mut output, bytes) = wit_stream::new::<u8>();
    let sent = socket.send(bytes);
    let (mut input, end) = socket.receive();
    output.write_all(text.as_bytes().to_vec()).await;
    drop(output);
    let mut answer = Vec::new();
    loop {
        let (_, bytes) = input.read(Vec::with_capacity(64 << 10)).await;
        if bytes.is_empty() {
            break;
        }
        answer.extend(bytes);
    }
    println!("{}", String::from_utf8_lossy(&answer));
    println!("ends: {:?} {:?}", sent.await, end.await);
    let (_, again) = socket.receive();
    println!("received again: {:?}", again.await.unwrap_err());
    Ok(())
}

fn udp(port: u16) -> Result<UdpSocket, ErrorCode> {
    let socket = UdpSocket::create(IpAddressFamily::Ipv4)?;
    socket.bind(at((0, 0, 0, 0), port))?;
    Ok(socket)
}

async fn udp_echo(port: u16, datagrams: usize) -> Result<(), ErrorCode> {
    let socket = udp(port)?;
    for _ in 0..datagrams {
        let (data, from) = socket.receive().await?;
        socket.send(data, Some(from)).await?;
    }
    Ok(())
}

async fn udp_client(name: &str, port: u16) -> Result<(), ErrorCode> {
    let to = at(look_up(name).await?, port);
    let socket = UdpSocket::create(IpAddressFamily::Ipv4)?;
    println!("receive unbound: {:?}", socket.receive().await.unwrap_err());
    println!("to nobody: {:?}", socket.send(vec![1], None).await.unwrap_err());
    println!("a megabyte: {:?}", socket.send(vec![0; 1 << 20], Some(to)).await.unwrap_err());
    socket.send(b"one".to_vec(), Some(to)).await?;
    println!("{:?}", String::from_utf8(socket.receive().await?.0));
    socket.connect(to)?;
    println!("to another: {:?}", socket.send(vec![1], Some(at((10, 9, 9, 9), 1))).await.unwrap_err());
    socket.send(b"two".to_vec(), None).await?;
    println!("{:?}", String::from_utf8(socket.receive().await?.0));
    socket.disconnect()?;
    println!("disconnected again: {:?}", socket.disconnect().unwrap_err());
    Ok(())
}

async fn states() -> Result<(), ErrorCode> {
    let socket = TcpSocket::create(IpAddressFamily::Ipv4)?;
    println!("address unbound: {:?}", socket.get_local_address().unwrap_err());
    let (_, end) = socket.receive();
    println!("receive unconnected: {:?}", end.await.unwrap_err());
    println!("to port 0: {:?}", socket.connect(at((10, 0, 0, 1), 0)).await.unwrap_err());
    println!("nobody listens: {:?}", socket.connect(at((10, 0, 0, 9), 1)).await.unwrap_err());
    println!("a failed socket: {:?}", socket.connect(at((10, 0, 0, 9), 1)).await.unwrap_err());
    let socket = TcpSocket::create(IpAddressFamily::Ipv4)?;
    println!("zero: {:?}", socket.set_keep_alive_count(0).unwrap_err());
    let accepted = socket.listen()?;
    println!("listening: {} {:?}", socket.get_is_listening(), socket.listen().map(drop).unwrap_err());
    let IpSocketAddress::Ipv4(local) = socket.get_local_address()? else { return Err(ErrorCode::NotSupported) };
    let another = TcpSocket::create(IpAddressFamily::Ipv4)?;
    println!("the port is taken: {:?}", another.bind(at((0, 0, 0, 0), local.port)).unwrap_err());
    drop((accepted, socket));
    another.bind(at((0, 0, 0, 0), local.port))?;
    println!("free again");
    let _ = look_up("nosuch").await;
    let _ = look_up("no such").await;
    Ok(())
}

impl exports::wasi::cli::run::Guest for Program {
    async fn run() -> Result<(), ()> {
        let args = wasi::cli::environment::get_arguments();
        let number = |at: usize| args[at].parse::<u16>().unwrap();
        let result = match args[1].as_str() {
            "echo" => echo(number(2), number(3).into()).await,
            "client" => client(&args[2], number(3), &args[4]).await,
            "udp-echo" => udp_echo(number(2), number(3).into()).await,
            "udp-client" => udp_client(&args[2], number(3)).await,
            "states" => states().await,
            _ => Err(ErrorCode::Other(None)),
        };
        result.map_err(|code| println!("failed: {code:?}"))
    }
}
export!(Program);
