//! The reverse connection: this node dials, and then is the HTTP/2 server on what it dialed. So a node behind NAT can
//! be asked for logs, and be sent requests for its pods.

use std::io;
use std::sync::Arc;

use axum::Router;
use futures::future::BoxFuture;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use wkube_base::Backoff;

/// Anything to speak over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A port: opens the reverse connection, in process or over TLS.
pub trait Reverse: Send + Sync + 'static {
    /// Returns a stream on which the API server is the HTTP/2 client.
    fn dial(&self) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;
}

impl<F> Reverse for F
where
    F: Fn() -> BoxFuture<'static, io::Result<Box<dyn Stream>>> + Send + Sync + 'static,
{
    fn dial(&self) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        self()
    }
}

/// How many requests the API server may have open at once: every `logs -f` of the node is one.
const STREAMS_MAX: u32 = 1_000;

/// What may wait here of one request's body that nobody reads, such as the input of a command that does not. The
/// connection as a whole has no limit of its own, or one such command would hold up the input of all others.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// How long a connection must last to count as healthy, so that the next re-dial is quick.
const HEALTHY_AFTER: std::time::Duration = std::time::Duration::from_secs(10);

/// Keeps the connection up for ever.
pub async fn keep(reverse: Arc<dyn Reverse>, routes: Router) {
    let mut failures = 0;
    loop {
        let began = tokio::time::Instant::now();
        match serve(&*reverse, routes.clone()).await {
            Ok(()) => tracing::debug!("the API server closed the reverse connection"),
            Err(error) => tracing::debug!(%error, "reverse connection lost"),
        }
        failures = if began.elapsed() >= HEALTHY_AFTER { 1 } else { failures + 1 };
        tokio::time::sleep(Backoff::RECONNECT.after(failures)).await;
    }
}

async fn serve(reverse: &dyn Reverse, routes: Router) -> io::Result<()> {
    let stream = reverse.dial().await?;
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    connection.await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use http_body_util::{BodyExt as _, Empty};
    use tokio::sync::mpsc;
    use wkube_base::Tasks;

    use super::*;

    /// Hands the other end of each dialed stream to the test.
    struct InProcess(mpsc::Sender<tokio::io::DuplexStream>);

    impl Reverse for InProcess {
        fn dial(&self) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
            let (near, far) = tokio::io::duplex(64 * 1024);
            let sender = self.0.clone();
            Box::pin(async move {
                sender.send(far).await.map_err(|_| io::Error::other("the test is over"))?;
                Ok(Box::new(near) as Box<dyn Stream>)
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_node_answers_on_what_it_dialed_and_dials_again() {
        let (sender, mut dialed) = mpsc::channel(1);
        let tasks = Tasks::new();
        let routes = Router::new().route("/healthz", get(|| async { "ok" }));
        tasks.spawn("tunnel", keep(Arc::new(InProcess(sender)), routes));
        for _ in 0..2 {
            let far = dialed.recv().await.unwrap();
            let (mut client, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(far)).await.unwrap();
            let driver = tasks.spawn("client", async { drop(connection.await) });
            let request = http::Request::get("http://node/healthz").body(Empty::<bytes::Bytes>::new()).unwrap();
            let answer = client.send_request(request).await.unwrap();
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
            driver.abort();
        }
    }

    #[tokio::test]
    async fn input_that_nobody_reads_does_not_hold_up_others() {
        let (sender, mut dialed) = mpsc::channel(1);
        let tasks = Tasks::new();
        let echo = post(|request: axum::extract::Request| async { request.into_body() });
        let deaf = post(|request: axum::extract::Request| async {
            let _unread = request;
            std::future::pending::<()>().await;
        });
        tasks.spawn(
            "tunnel",
            keep(Arc::new(InProcess(sender)), Router::new().route("/echo", echo).route("/deaf", deaf)),
        );
        let far = dialed.recv().await.unwrap();
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(far)).await.unwrap();
        tasks.spawn("client", async { drop(connection.await) });
        for _ in 0..8 {
            let body = http_body_util::Full::new(bytes::Bytes::from(vec![0; 1 << 20]));
            let unanswered = client.send_request(http::Request::post("http://node/deaf").body(body).unwrap());
            tasks.spawn("deaf", async { drop(unanswered.await) });
        }
        // Each has sent what its window takes before this one begins.
        let body = http_body_util::Full::new(bytes::Bytes::from(vec![0; 64 << 10]));
        let answer = client.send_request(http::Request::post("http://node/echo").body(body).unwrap());
        let echoed = tokio::time::timeout(std::time::Duration::from_secs(30), async {
            answer.await.unwrap().into_body().collect().await.unwrap().to_bytes().len()
        });
        assert_eq!(echoed.await.expect("in time"), 64 << 10);
    }
}
