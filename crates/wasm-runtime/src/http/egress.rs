//! A guest's outgoing HTTP, through the host's port and nowhere else.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::guest::{BoxError, Outbound};

/// A guest may wish for less, not for more.
const FIRST_BYTE_MAX: Duration = Duration::from_mins(10);

type Sent = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

/// Sends what a guest sends.
pub(crate) struct Egress(Option<Arc<dyn Outbound>>);

impl Egress {
    pub(crate) fn new(outbound: Option<Arc<dyn Outbound>>) -> Self {
        Self(outbound)
    }
}

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let Some(outbound) = self.0.clone() else {
            return Box::new(async { Err(Error::HttpRequestDenied) });
        };
        let wish = options.and_then(|options| options.first_byte_timeout);
        let wait = wish.unwrap_or(FIRST_BYTE_MAX).min(FIRST_BYTE_MAX);
        Box::new(async move {
            let request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
            let sent = tokio::time::timeout(wait, outbound.send(request)).await;
            let response = sent.map_err(|_| Error::ConnectionReadTimeout)?.map_err(to_wasi_error)?;
            let response = response.map(|body| body.map_err(to_wasi_error).boxed_unsync());
            let nothing_left: Box<dyn Future<Output = Result<(), Error>> + Send> = Box::new(async { Ok(()) });
            Ok((response, nothing_left))
        })
    }
}

/// Finds the closest word of `wasi:http` for an error of the host.
pub(super) fn to_wasi_error(error: BoxError) -> Error {
    let error = match error.downcast::<Error>() {
        Ok(error) => return *error,
        Err(error) => error,
    };
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&*error);
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<io::Error>() {
            match io.kind() {
                io::ErrorKind::ConnectionRefused => return Error::ConnectionRefused,
                io::ErrorKind::TimedOut => return Error::ConnectionTimeout,
                io::ErrorKind::PermissionDenied => return Error::HttpRequestDenied,
                io::ErrorKind::QuotaExceeded => return Error::ConnectionLimitReached,
                io::ErrorKind::HostUnreachable => return Error::DestinationUnavailable,
                io::ErrorKind::NotFound => {
                    return Error::DnsError { rcode: Some(current.to_string()), info_code: None };
                }
                io::ErrorKind::InvalidData => return Error::TlsCertificateError,
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
                    return Error::ConnectionTerminated;
                }
                _ => {}
            }
        }
        cause = current.source();
    }
    Error::InternalError(Some(error.to_string()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::future::BoxFuture;
    use http_body_util::{Empty, Full};

    use super::*;
    use crate::guest::Body;

    /// Answers with the absolute URI that it was asked for.
    struct Echo;

    impl Outbound for Echo {
        fn send(&self, request: http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, BoxError>> {
            let text = format!("{} {}", request.method(), request.uri());
            let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
            Box::pin(async move { Ok(http::Response::new(body)) })
        }
    }

    /// Never answers.
    struct Silent;

    impl Outbound for Silent {
        fn send(&self, _: http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, BoxError>> {
            Box::pin(std::future::pending())
        }
    }

    async fn send(outbound: Option<Arc<dyn Outbound>>, first_byte: Option<Duration>) -> Result<String, Error> {
        let body: WasiBody = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = http::Request::get("http://other.default.svc/path").body(body).unwrap();
        let options = RequestOptions { first_byte_timeout: first_byte, ..RequestOptions::default() };
        let sent = Egress::new(outbound).send_request(request, Some(options), Box::new(async { Ok(()) }));
        let (response, _) = Box::into_pin(sent).await?;
        let body = response.into_body().collect().await?.to_bytes();
        Ok(String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn requests_leave_through_the_hosts_port_or_not_at_all() {
        assert_eq!(send(Some(Arc::new(Echo)), None).await.unwrap(), "GET http://other.default.svc/path");
        assert!(matches!(send(None, None).await, Err(Error::HttpRequestDenied)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_may_wait_less_than_the_host_allows_but_not_for_ever() {
        let start = tokio::time::Instant::now();
        let result = send(Some(Arc::new(Silent)), Some(Duration::from_secs(3))).await;
        assert!(matches!(result, Err(Error::ConnectionReadTimeout)));
        assert_eq!(start.elapsed().as_secs(), 3);
        let result = send(Some(Arc::new(Silent)), Some(Duration::MAX)).await;
        assert!(matches!(result, Err(Error::ConnectionReadTimeout)));
        assert_eq!(start.elapsed().as_secs(), 603);
    }

    #[test]
    fn the_cause_of_a_failed_request_is_found_in_the_chain() {
        #[derive(Debug, thiserror::Error)]
        #[error("send")]
        struct Send(#[source] io::Error);

        let refused = Send(io::ErrorKind::ConnectionRefused.into());
        assert!(matches!(to_wasi_error(refused.into()), Error::ConnectionRefused));
        assert!(matches!(to_wasi_error(BoxError::from(Error::LoopDetected)), Error::LoopDetected));
        let of = |kind: io::ErrorKind| to_wasi_error(io::Error::new(kind, "x: no such name").into());
        assert!(matches!(of(io::ErrorKind::PermissionDenied), Error::HttpRequestDenied));
        assert!(matches!(of(io::ErrorKind::HostUnreachable), Error::DestinationUnavailable));
        assert!(matches!(of(io::ErrorKind::InvalidData), Error::TlsCertificateError));
        let unknown = of(io::ErrorKind::NotFound);
        assert!(matches!(unknown, Error::DnsError { rcode: Some(why), .. } if why == "x: no such name"));
        let other = to_wasi_error("no endpoint".into());
        assert!(matches!(other, Error::InternalError(Some(text)) if text == "no endpoint"));
    }
}
