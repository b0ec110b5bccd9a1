//! `pods/exec` and `pods/attach`: a command's streams between a client, in whichever framing, and its node.
//!
//! ```text
//!  WebSocket ---.    frames of v5     bridge     frames with lengths
//!  SPDY --------+--- over channels ---+--+------ over HTTP/2 --------- node
//! ```

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wkube_api::remote_command::Frame;
use wkube_api::{ObjectKey, Status};

use self::bridge::{Client, Command};
use super::channels::{self, Encoding, Version};
use super::negotiate::{self, Refused, Transport};
use super::node;
use super::options::{self, Stdio};
use super::{limits, upgraded};
use crate::Api;
use crate::call::Call;
use crate::registry::Outcome;
use crate::respond::Body;
use crate::sub::log::container;

mod bridge;
mod spdy;
mod websocket;

/// How a client's streams are framed.
#[derive(Debug, Clone, Copy)]
enum Framing {
    WebSocket(Version, Encoding),
    Spdy(Version),
}

/// What the framing's side of a session holds.
struct Ends {
    /// What the client sends; dropping it says that the client is gone.
    from_client: mpsc::Sender<Frame>,
    /// What the client gets; after the last it wants to be told goodbye.
    to_client: mpsc::Receiver<Frame>,
}

/// Answers a request for a remote command.
pub(super) async fn answer(api: &Arc<Api>, call: &Call, mut request: Request<Body>) -> Result<Outcome, Status> {
    let pod = api.registry.object(&call.resource, &ObjectKey::new(&call.namespace, &call.name))?;
    let container = container(&pod, call.query.get("container"))?;
    let (path, stdio, node) = if call.subresource == "exec" {
        let node = options::node(&pod, "exec into a container in")?;
        let stdio = Stdio::parse(&call.query)?;
        (options::exec_path(&pod, &container, &call.query, stdio)?, stdio, node)
    } else {
        let node = options::node(&pod, "attach a container in")?;
        let stdio = Stdio::parse(&call.query)?;
        (options::attach_path(&pod, &container, stdio), stdio, node)
    };
    let (framing, response) = match framing(request.method(), request.headers()) {
        Ok(agreed) => agreed,
        Err(refused) => return Ok(Outcome::Raw(refused.response())),
    };
    // The node comes first: what it refuses is an answer of its own, and not a broken stream.
    let (to_node, from_node) = node::open(&api.nodes, node, &path).await?;
    let node = node.to_owned();
    upgraded(api, "remote-command", &mut request, move |stream, stopping| async move {
        let command = Command { node: &node, to_node, from_node };
        session(stream, framing, stdio, command, &stopping).await;
    });
    Ok(Outcome::Raw(response))
}

/// Agrees on a framing with the client.
fn framing(method: &Method, headers: &HeaderMap) -> Result<(Framing, Response<Body>), Refused> {
    match negotiate::transport(headers)? {
        Transport::WebSocket => {
            let (chosen, response) = negotiate::websocket(method, headers, &channels::WEBSOCKET.map(|row| row.0))?;
            let row = channels::WEBSOCKET.iter().find(|row| row.0 == chosen);
            let (_, version, encoding) = row.expect("one of these was chosen");
            Ok((Framing::WebSocket(*version, *encoding), response))
        }
        Transport::Spdy => {
            let (chosen, response) = negotiate::spdy(headers, &channels::SPDY)?;
            Ok((Framing::Spdy(channels::version(chosen)), response))
        }
    }
}

/// Runs until the command has ended and the client knows, or until one of them is gone. A server that stops says so.
async fn session<S>(stream: S, framing: Framing, stdio: Stdio, command: Command<'_>, stopping: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (from_client, incoming) = mpsc::channel(limits::PIECES);
    let (outgoing, to_client) = mpsc::channel(limits::PIECES);
    let ends = Ends { from_client, to_client };
    let bridging = bridge::run(Client { incoming, outgoing }, stdio, command, stopping);
    match framing {
        Framing::WebSocket(version, encoding) => {
            tokio::join!(bridging, websocket::run(stream, version, encoding, stdio, ends));
        }
        Framing::Spdy(version) => {
            tokio::join!(bridging, spdy::run(stream, version, stdio, ends));
        }
    }
}

#[cfg(test)]
mod tests;
