//! Guests as clients of TLS, over their sockets on a network in memory.

use std::future::poll_fn;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;
use wkube_wasm_runtime::{GuestSpec, Network as _, StdStream, TlsTrust};

use crate::network::{FakeNetwork, POD};
use crate::support::{Printed, args, run};

/// `NAME PORT SERVER-NAME LINE`: sends the line, prints the answer, or why there is none.
const CLIENT: &[u8] = include_bytes!("../../testdata/tls-p2.wasm");
const PORT: u16 = 8443;

/// An authority, and a server of it that calls itself `server.test`.
fn server() -> (CertificateDer<'static>, TlsAcceptor) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["server.test".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    (root.der().clone(), TlsAcceptor::from(Arc::new(config)))
}

/// Runs the client against a server that answers one connection with what it heard, in capitals.
async fn printed(acceptor: TlsAcceptor, trust: Option<TlsTrust>, server_name: &str, line: &str) -> String {
    let network = FakeNetwork::default();
    let port = network.bind_tcp((POD, PORT).into()).unwrap();
    let mut incoming = port.listen(1).unwrap();
    let serving = async {
        let connection = poll_fn(|cx| incoming.poll_accept(cx)).await.unwrap();
        // A client that does not trust us goes away.
        let Ok(mut stream) = acceptor.accept(connection.stream).await else { return };
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.unwrap();
        stream.write_all(heard.to_uppercase().as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let output = Printed::new();
    let words = ["tls", "pod", &PORT.to_string(), server_name, line];
    let spec = GuestSpec {
        network: Some(Arc::new(network.clone())),
        tls: trust,
        output: Some(output.clone()),
        ..args(&words)
    };
    let (exit, ()) = tokio::join!(run(CLIENT, spec), serving);
    assert_eq!(exit.code, 0, "{}\n{}", output.text(StdStream::Stderr), exit.message);
    output.text(StdStream::Stdout)
}

#[tokio::test]
async fn a_guest_talks_to_a_server_that_is_trusted() {
    let (root, acceptor) = server();
    let text = printed(acceptor, Some(TlsTrust::only([root])), "server.test", "hello").await;
    assert_eq!(text, "HELLO\n");
}

/// More than fits into a record, and into any buffer on the way.
#[tokio::test]
async fn nothing_of_a_long_line_is_lost() {
    let (root, acceptor) = server();
    let line = "abcdefgh".repeat(500);
    let text = printed(acceptor, Some(TlsTrust::only([root])), "server.test", &line).await;
    assert_eq!(text, line.to_uppercase() + "\n");
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_is_refused() {
    let (_, acceptor) = server();
    let text = printed(acceptor, None, "server.test", "hello").await;
    assert!(text.contains("failed: handshake") && text.contains("UnknownIssuer"), "{text}");
}

#[tokio::test]
async fn a_server_with_another_name_is_refused() {
    let (root, acceptor) = server();
    let text = printed(acceptor, Some(TlsTrust::only([root])), "other.test", "hello").await;
    assert!(text.contains("failed: handshake") && text.contains("not valid for name"), "{text}");
}

#[tokio::test]
async fn what_is_no_name_of_a_server_is_said_to_be_none() {
    let (root, acceptor) = server();
    let text = printed(acceptor, Some(TlsTrust::only([root])), "no name", "hello").await;
    assert!(text.contains(r#""no name" is no server's name"#), "{text}");
}
