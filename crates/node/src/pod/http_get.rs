//! The HTTP requests of probes.

use std::net::IpAddr;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Empty};
use tokio::time::Instant;
use wkube_proxy::{Body, LocalPods};

/// As much of an answer as is read (`maxRespBodyLength` of `pkg/probe/http/http.go`).
const BODY_BYTES_MAX: usize = 10 << 10;

fn request(authority: &str, path: &str, headers: &[(String, String)]) -> Result<Request<Body>, String> {
    let mut request = Request::get(format!("http://{authority}{path}"))
        .header(header::USER_AGENT, "kube-probe/1.37")
        .header(header::ACCEPT, "*/*");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header(header::HOST, authority);
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(Empty::new().map_err(|never| match never {}).boxed_unsync()).map_err(|error| error.to_string())
}

/// Asks a container of a pod of this node.
pub(super) async fn ask_pod(
    pods: &LocalPods,
    ip: IpAddr,
    port: u16,
    path: &str,
    headers: &[(String, String)],
    deadline: Option<Instant>,
) -> Result<(), String> {
    let url = format!("http://{ip}:{port}{path}");
    let Some(backend) = pods.get(ip, port) else {
        return Err(format!("Get \"{url}\": dial tcp {ip}:{port}: connect: connection refused"));
    };
    let response = backend.handle(request(&format!("{ip}:{port}"), path, headers)?).await;
    judge(response.map_err(|error| format!("Get \"{url}\": {error}"))?, deadline).await
}

/// Asks somebody else.
pub(super) async fn ask_host(
    host: &str,
    port: u16,
    path: &str,
    headers: &[(String, String)],
    deadline: Option<Instant>,
) -> Result<(), String> {
    let url = format!("http://{host}:{port}{path}");
    let failed = |error: &dyn std::fmt::Display| format!("Get \"{url}\": {error}");
    let stream = tokio::net::TcpStream::connect((host, port)).await.map_err(|error| failed(&error))?;
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(|error| failed(&error))?;
    let mut request = request(&format!("{host}:{port}"), path, headers)?;
    *request.uri_mut() = path.parse().map_err(|error| failed(&error))?;
    let answer = async {
        let answer = sender.send_request(request).await;
        judge(answer.map_err(|error| failed(&error))?, deadline).await
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        judged = &mut answer => judged,
        _ = connection => answer.await, // what has arrived is still there
    }
}

/// Judges the status once the body has come, as far as a kubelet reads it: an answer that stops in the middle is none.
/// Without a deadline the head is enough: a body may have no end.
async fn judge<B>(answer: Response<B>, deadline: Option<Instant>) -> Result<(), String>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let (head, mut body) = answer.into_parts();
    let reading = async {
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            read += frame.map_err(|error| error.to_string())?.data_ref().map_or(0, Bytes::len);
            if read > BODY_BYTES_MAX {
                break;
            }
        }
        Ok(())
    };
    let late = "context deadline exceeded (Client.Timeout or context cancellation while reading body)";
    if let Some(deadline) = deadline {
        tokio::time::timeout_at(deadline, reading).await.unwrap_or_else(|_| Err(late.to_owned()))?;
    }
    let status = head.status.as_u16();
    if (200..400).contains(&status) { Ok(()) } else { Err(format!("HTTP probe failed with statuscode: {status}")) }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    async fn judged(
        code: u16,
        body: impl hyper::body::Body<Data = Bytes, Error = Infallible> + Unpin,
    ) -> Result<(), String> {
        // A deadline that is over: what has arrived counts, nothing is waited for.
        judge(Response::builder().status(code).body(body).unwrap(), Some(Instant::now())).await
    }

    #[tokio::test]
    async fn only_two_and_three_hundreds_are_well() {
        for (code, is_well) in [(199, false), (200, true), (399, true), (400, false), (503, false)] {
            assert_eq!(judged(code, Full::new(Bytes::from("ok"))).await.is_ok(), is_well, "{code}");
        }
    }

    #[tokio::test]
    async fn an_answer_whose_body_does_not_come_is_none() {
        let hangs = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        assert!(judged(200, hangs).await.unwrap_err().ends_with("while reading body)"));
    }

    #[tokio::test]
    async fn without_a_deadline_the_head_is_enough() {
        let hangs = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        assert_eq!(judge(Response::new(hangs), None).await, Ok(()));
    }

    #[tokio::test]
    async fn an_answer_without_end_is_read_as_far_as_a_kubelet_does() {
        let frame = || Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'x'; 4 << 10])));
        let endless = StreamBody::new(stream::repeat_with(frame));
        assert_eq!(judged(200, endless).await, Ok(()));
    }
}
