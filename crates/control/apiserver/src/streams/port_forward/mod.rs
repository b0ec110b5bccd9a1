//! `pods/portforward`: connections to a pod's ports, over SPDY, over SPDY in a WebSocket, or over a plain WebSocket.

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use wkube_api::{Object, ObjectKey, Status};

use super::channels::Encoding;
use super::negotiate::{self, Refused, Transport};
use super::node::{self, FromNode, ToNode};
use super::websocket::{self as ws, Tunnel};
use super::{limits, options, upgraded};
use crate::Api;
use crate::call::Call;
use crate::registry::Outcome;
use crate::respond::Body;
use crate::router::{self, Query};
use crate::tunnel::Nodes;

mod pairs;
mod spdy;
mod websocket;

/// The protocol inside SPDY.
const SPDY: &[&str] = &["portforward.k8s.io"];
/// SPDY inside a WebSocket, which kubectl 1.31 and later ask for.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// What a plain WebSocket may carry.
const PLAIN: [(&str, Encoding); 3] =
    [("", Encoding::Binary), ("v4.channel.k8s.io", Encoding::Binary), ("v4.base64.channel.k8s.io", Encoding::Base64)];

/// How a client's connections are framed.
#[derive(Debug)]
enum Framing {
    Spdy,
    Tunnel,
    Plain(Encoding, Vec<u16>),
}

/// Opens connections to the ports of one pod.
struct Forwarder {
    nodes: Nodes,
    node: String,
    namespace: String,
    pod: String,
    uid: String,
}

impl Forwarder {
    fn new(nodes: Nodes, node: &str, pod: &Object) -> Self {
        Self {
            nodes,
            node: node.to_owned(),
            namespace: pod.namespace().to_owned(),
            pod: pod.name().to_owned(),
            uid: pod.str_at(&["metadata", "uid"]).to_owned(),
        }
    }

    /// Returns both directions of a new connection.
    ///
    /// # Errors
    /// The sentence for the client.
    async fn open(&self, port: u16) -> Result<(ToNode, FromNode), String> {
        let path = format!("/portforward/{}/{}/{port}", router::encode(&self.namespace), router::encode(&self.pod));
        node::open(&self.nodes, &self.node, &path).await.map_err(|status| self.sentence(port, &status.message))
    }

    /// Says that a connection failed, as the kubelet does (`portforward/httpstream.go`).
    fn sentence(&self, port: u16, why: &str) -> String {
        format!("error forwarding port {port} to pod {}, uid {}: {why}", self.pod, self.uid)
    }
}

/// Answers a request for a port-forward.
pub(super) fn answer(api: &Arc<Api>, call: &Call, mut request: Request<Body>) -> Result<Outcome, Status> {
    let pod = api.registry.object(&call.resource, &ObjectKey::new(&call.namespace, &call.name))?;
    let node = options::node(&pod, "forward ports of")?;
    let (framing, response) = match framing(request.method(), request.headers(), &call.query) {
        Ok(agreed) => agreed,
        Err(refused) => return Ok(Outcome::Raw(refused.response())),
    };
    let forwarder = Forwarder::new(api.nodes.clone(), node, &pod);
    upgraded(api, "port-forward", &mut request, move |stream, stopping| async move {
        session(stream, framing, &forwarder, &stopping).await;
    });
    Ok(Outcome::Raw(response))
}

/// Agrees on a framing with the client.
fn framing(method: &Method, headers: &HeaderMap, query: &Query) -> Result<(Framing, Response<Body>), Refused> {
    match negotiate::transport(headers)? {
        Transport::Spdy => Ok((Framing::Spdy, negotiate::spdy(headers, SPDY)?.1)),
        Transport::WebSocket => {
            let [first, second, third] = PLAIN.map(|row| row.0);
            let (chosen, response) = negotiate::websocket(method, headers, &[TUNNEL, first, second, third])?;
            match PLAIN.iter().find(|row| row.0 == chosen) {
                None => Ok((Framing::Tunnel, response)),
                Some((_, encoding)) => {
                    Ok((Framing::Plain(*encoding, options::ports(query, limits::PORTS_MAX)?), response))
                }
            }
        }
    }
}

/// Forwards connections until the client is gone or the server stops.
async fn session<S>(stream: S, framing: Framing, forwarder: &Forwarder, stopping: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    match framing {
        Framing::Spdy => spdy::run(stream, forwarder, stopping).await,
        Framing::Tunnel => spdy::run(Tunnel::new(ws::open(stream).await), forwarder, stopping).await,
        Framing::Plain(encoding, ports) => websocket::run(stream, encoding, &ports, forwarder, stopping).await,
    }
}

#[cfg(test)]
mod tests;
