//! `grpc` probes: `grpc.health.v1.Health/Check` by hand (`pkg/probe/grpc/grpc.go`). One string goes out, one number comes
//! back.

use std::net::SocketAddr;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use wkube_proxy::net::Stream;
use wkube_proxy::{Body, LocalPods};

const PATH: &str = "/grpc.health.v1.Health/Check";
/// The answer is one number.
const ANSWER_BYTES_MAX: usize = 4 * 1024;
/// The code of gRPC for a method that a server does not have.
const UNIMPLEMENTED: &str = "12";
const SERVING: u64 = 1;

/// Asks the pod at `at` how `service` is. The error is what a person reads.
pub(super) fn check(pods: &LocalPods, at: SocketAddr, service: &str) -> BoxFuture<'static, Result<(), String>> {
    let (opened, backend, request) = (pods.open(at), pods.get(at.ip(), at.port()), request(at, service));
    let no_connection = move |why: String| format!("timeout: failed to connect service \"{at}\": {why}");
    let asking = async move {
        let request = request?;
        let answer = match (opened, backend) {
            (Some(opened), _) => over(opened.map_err(|error| no_connection(error.to_string()))?, request).await?,
            (None, Some(backend)) => {
                let answer = backend.handle(request).await;
                collected(answer.map_err(|error| format!("error: health rpc probe failed: {error}"))?).await?
            }
            (None, None) => return Err(no_connection("connection refused".to_owned())),
        };
        judge(&answer)
    };
    asking.boxed()
}

fn request(at: SocketAddr, service: &str) -> Result<Request<Body>, String> {
    let body = Full::new(Bytes::from(question(service))).map_err(|never| match never {}).boxed_unsync();
    let request = Request::post(format!("http://{at}{PATH}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.37");
    request.body(body).map_err(|error| error.to_string())
}

/// A frame of gRPC with `HealthCheckRequest { string service = 1; }`.
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        varint(service.len(), &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

fn varint(mut number: usize, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    into.push(u8::try_from(number).unwrap_or_default());
}

/// What came back.
#[derive(Debug, Default)]
struct Answer {
    http: u16,
    /// `grpc-status`, in the headers or behind the body.
    code: String,
    message: String,
    body: Bytes,
}

async fn over(stream: Box<dyn Stream>, request: Request<Body>) -> Result<Answer, String> {
    let failed = |error: hyper::Error| format!("error: health rpc probe failed: {error}");
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(failed)?;
    let asking = async {
        let answer = sender.send_request(request).await.map_err(failed)?;
        collected(answer).await
    };
    tokio::select! {
        biased;
        answer = asking => answer,
        ended = connection => Err(ended.err().map_or_else(|| "error: connection closed".to_owned(), failed)),
    }
}

async fn collected<B>(answer: Response<B>) -> Result<Answer, String>
where
    B: http_body_util::BodyExt<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let (head, mut body) = answer.into_parts();
    let (mut bytes, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame.map_err(|error| format!("error: health rpc probe failed: {error}"))?.into_data() {
            Ok(data) if bytes.len() + data.len() <= ANSWER_BYTES_MAX => bytes.extend_from_slice(&data),
            Ok(_) => return Err("error: health rpc probe failed: the answer is too long".to_owned()),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    let text = |name: &str| {
        let value = trailers.get(name).or_else(|| head.headers.get(name));
        value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let (code, message) = (text("grpc-status"), text("grpc-message"));
    Ok(Answer { http: head.status.as_u16(), code, message, body: bytes.into() })
}

fn judge(answer: &Answer) -> Result<(), String> {
    match answer.code.as_str() {
        UNIMPLEMENTED => Err(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
            answer.message
        )),
        "0" => match status(&answer.body) {
            SERVING => Ok(()),
            other => Err(format!("service unhealthy (responded with \"{}\")", name(other))),
        },
        "" => Err(format!("error: health rpc probe failed: the answer is HTTP {} without a grpc-status", answer.http)),
        code => Err(format!("error: health rpc probe failed: code {code}: {}", answer.message)),
    }
}

/// Reads `HealthCheckResponse { ServingStatus status = 1; }` behind the head of its frame. What is not there is 0.
fn status(frame: &[u8]) -> u64 {
    let Some([0x08, number, ..]) = frame.get(5..) else { return 0 };
    u64::from(*number)
}

fn name(status: u64) -> &'static str {
    match status {
        0 => "UNKNOWN",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "none that is known",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: &str, body: &'static [u8]) -> Result<(), String> {
        judge(&Answer { http: 200, code: code.into(), message: "why".into(), body: Bytes::from_static(body) })
    }

    #[test]
    fn a_question_names_its_service() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("db"), [0, 0, 0, 0, 4, 0x0a, 2, b'd', b'b']);
        assert_eq!(question(&"x".repeat(200))[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
    }

    #[test]
    fn only_serving_is_well() {
        assert_eq!(check("0", &[0, 0, 0, 0, 2, 8, 1]), Ok(()));
        assert_eq!(
            check("0", &[0, 0, 0, 0, 2, 8, 2]).unwrap_err(),
            "service unhealthy (responded with \"NOT_SERVING\")"
        );
        assert_eq!(check("0", &[0, 0, 0, 0, 0]).unwrap_err(), "service unhealthy (responded with \"UNKNOWN\")");
        assert!(check("0", &[]).is_err());
    }

    #[test]
    fn what_is_no_health_server_says_so() {
        let unimplemented = check("12", &[]).unwrap_err();
        let expected = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): why";
        assert_eq!(unimplemented, expected);
        assert_eq!(check("5", &[]).unwrap_err(), "error: health rpc probe failed: code 5: why");
        let html = check("", b"<html>").unwrap_err();
        assert_eq!(html, "error: health rpc probe failed: the answer is HTTP 200 without a grpc-status");
    }
}
