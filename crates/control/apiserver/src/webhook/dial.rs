//! Opens a connection to a target: through the cluster or over the network, with TLS or without.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use wkube_api::{Object, ObjectKey};

use super::target::Place;
use super::trust;
use crate::reach::{self, Reach, Stream};

/// The `appProtocol` of a service port behind which somebody speaks HTTP without TLS.
const PLAIN: &str = "http";

/// Whether TLS runs on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    /// As Kubernetes does it always.
    Tls,
    /// HTTP as it is. A guest that serves HTTP cannot end TLS; what runs between the API server and a node is
    /// authenticated and encrypted already, so a service may ask for this with `appProtocol: http`.
    Plain,
}

impl Transport {
    /// Returns what a service wants on one of its ports. Pure.
    pub(crate) fn of(service: &Object, port: u16) -> Self {
        let ports = service.at(&["spec", "ports"]).and_then(serde_json::Value::as_array).into_iter().flatten();
        // Whatever an external name points to is outside: nothing there is authenticated but by TLS.
        let is_inside =
            service.str_at(&["spec", "type"]) != "ExternalName" && service.at(&["spec", "selector"]).is_some();
        let is_plain = ports.into_iter().any(|one| one["port"] == port && one["appProtocol"] == PLAIN);
        if is_inside && is_plain { Self::Plain } else { Self::Tls }
    }
}

/// Why there is no connection, in the words of Go's `net` and `crypto/tls`, which people search for.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DialError(pub(crate) String);

/// A connection on which HTTP can be spoken.
pub(crate) struct Connected {
    /// The bytes.
    pub(crate) stream: Box<dyn Stream>,
    /// Whether the other side chose HTTP/2.
    pub(crate) is_http2: bool,
}

/// Connects; `tls` is used unless the transport is plain.
pub(super) async fn connect(
    reach: &Arc<dyn Reach>,
    place: &Place,
    transport: Transport,
    tls: &Arc<ClientConfig>,
) -> Result<Connected, DialError> {
    let stream: Box<dyn Stream> = match place {
        Place::Host { host, port } => Box::new(network(host, *port).await?),
        Place::Service { namespace, name, port } => {
            let service = ObjectKey::new(namespace, name);
            let target = match transport {
                // Without a certificate it is believed because it is a pod, and its node says so.
                Transport::Plain => reach::Target::PodsOf(service),
                Transport::Tls => reach::Target::Service(service),
            };
            let dialled = reach.dial(target, *port).await;
            dialled.map_err(|error| DialError(words(&error)))?
        }
    };
    if transport == Transport::Plain {
        return Ok(Connected { stream, is_http2: false });
    }
    let name = place.server_name();
    let name = ServerName::try_from(name).map_err(|error| DialError(format!("tls: {error}")))?;
    let secured = TlsConnector::from(tls.clone()).connect(name, stream).await;
    let stream = secured.map_err(|error| DialError(trust::handshake_words(&error)))?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Connected { stream: Box::new(stream), is_http2 })
}

async fn network(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let found = lookup_host((host, port)).await.map(Vec::from_iter).unwrap_or_default();
    let mut failure = DialError(format!("dial tcp: lookup {host}: no such host"));
    for address in found {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => failure = DialError(format!("dial tcp {address}: connect: {}", system_words(&error))),
        }
    }
    Err(failure)
}

/// Says what the C library says, which Go quotes.
fn system_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        _ => error.to_string(),
    }
}

fn words(error: &reach::Error) -> String {
    match error {
        reach::Error::NotFound { kind, key } => format!("{kind} {:?} not found", key.name),
        reach::Error::Connect { address, source } => format!("dial tcp {address}: connect: {}", system_words(source)),
        reach::Error::Node(source) => source.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(spec: &Value, port: u16, expected: Transport) {
        let service: Object = serde_json::from_value(json!({"spec": spec})).expect("an object");
        assert_eq!(Transport::of(&service, port), expected, "{spec}");
    }

    #[test]
    fn a_port_may_ask_for_plain_http() {
        let ports = json!([{"port": 80, "appProtocol": "http"}, {"port": 443, "appProtocol": "https"}, {"port": 1}]);
        let spec = json!({"selector": {"a": "b"}, "ports": ports});
        check(&spec, 80, Transport::Plain);
        check(&spec, 443, Transport::Tls);
        check(&spec, 1, Transport::Tls);
        check(&spec, 2, Transport::Tls);
    }

    #[test]
    fn what_is_outside_the_cluster_always_shows_a_certificate() {
        let ports = json!([{"port": 80, "appProtocol": "http"}]);
        check(&json!({"type": "ExternalName", "externalName": "a.b", "ports": ports}), 80, Transport::Tls);
        check(&json!({"ports": ports}), 80, Transport::Tls);
    }
}
