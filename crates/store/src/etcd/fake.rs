//! An etcd that is not one: it says how it is, as it is told to, and nothing else. For what no real one would say.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::net::TcpListener;
use wkube_base::Tasks;

use super::proto::{ResponseHeader, StatusResponse};

/// A member that runs `version` in the cluster of this ID.
pub(super) struct Fake {
    /// Where it listens.
    pub(super) name: String,
    /// What it was asked.
    pub(super) asked: Arc<Mutex<Vec<String>>>,
    _tasks: Tasks,
}

impl Fake {
    /// Starts it.
    pub(super) async fn start(version: &str, cluster_id: u64) -> Self {
        let header = Some(ResponseHeader { cluster_id, revision: 1 });
        let status = StatusResponse { header, version: version.to_owned(), db_size: 1, errors: Vec::new() };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let name = listener.local_addr().expect("bound").to_string();
        let (tasks, asked) = (Tasks::new(), Arc::<Mutex<Vec<String>>>::default());
        let (connections, log) = (tasks.clone(), asked.clone());
        tasks.spawn("fake", async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (status, log) = (status.clone(), log.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    log.lock().push(request.uri().path().to_owned());
                    let answer = answer(request.uri().path(), &status);
                    async move { Ok::<_, Infallible>(answer) }
                });
                connections.spawn("connection", async move {
                    let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    // How it ends is the client's business.
                    let _ = http.serve_connection(TokioIo::new(connection), service).await;
                });
            }
        });
        Self { name, asked, _tasks: tasks }
    }
}

type Frames = StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

fn answer(path: &str, status: &StatusResponse) -> Response<Frames> {
    let (known, unimplemented) = (path.ends_with("Maintenance/Status"), "12");
    let mut frames = Vec::new();
    if known {
        // No compression, a length, and the message.
        let mut data = BytesMut::new();
        data.put_u8(0);
        data.put_u32(u32::try_from(status.encoded_len()).expect("short"));
        status.encode(&mut data).expect("a buffer that grows");
        frames.push(Ok(Frame::data(data.freeze())));
    }
    let code = HeaderValue::from_static(if known { "0" } else { unimplemented });
    frames.push(Ok(Frame::trailers(HeaderMap::from_iter([("grpc-status".parse().expect("a name"), code)]))));
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(StreamBody::new(stream::iter(frames))).expect("a response")
}
