//! etcd with its default settings, and a client of its gRPC interface.

#[path = "../../../crates/store/src/etcd/proto.rs"]
#[allow(dead_code, reason = "the store needs more of it")]
mod proto;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use http::uri::PathAndQuery;
use prost::Message;
use tokio::process::{Child, Command};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use self::proto::{
    CompactionRequest, CompactionResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, StatusRequest,
    StatusResponse, WatchCreateRequest, WatchRequest, WatchResponse,
};
use crate::engine::{Engine, PREFIX};

/// As many connections as etcd's own benchmark has for so many clients.
const CONNECTIONS: usize = 8;
const START: Duration = Duration::from_secs(60);
/// The largest that etcd's documentation advises; the default of 2 GiB would be full before the end.
const QUOTA: &str = "8589934592";

/// A running etcd; it ends with this value.
pub struct Etcd {
    pub client: Client,
    process: Child,
    data: PathBuf,
}

/// A client.
#[derive(Clone)]
pub struct Client {
    channels: Arc<[Channel]>,
    turn: Arc<AtomicUsize>,
}

impl Etcd {
    /// Starts etcd on free ports and waits until it serves.
    pub async fn start(data: &Path) -> Result<Self> {
        let (client, peer) = (free_address()?, free_address()?);
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(data).args(["--quota-backend-bytes", QUOTA]);
        for (flag, address) in [
            ("--listen-client-urls", &client),
            ("--advertise-client-urls", &client),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
        ] {
            command.arg(flag).arg(format!("http://{address}"));
        }
        command.arg("--initial-cluster").arg(format!("default=http://{peer}"));
        command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let process = command.spawn().context("etcd does not start; is it in the PATH?")?;
        let client = Client::new(&client)?;
        let began = Instant::now();
        // A read through the log: it serves.
        while client.list(PREFIX.to_owned(), 1).await.is_err() {
            if began.elapsed() > START {
                bail!("etcd is not ready after {START:?}");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(Self { client, process, data: data.to_owned() })
    }

    /// Kills it, and starts it again on the same data.
    pub async fn crash(mut self) -> Result<Self> {
        self.process.kill().await?;
        Self::start(&self.data.clone()).await
    }

    /// Its process id.
    pub fn id(&self) -> Result<u32> {
        self.process.id().context("etcd has ended")
    }
}

impl Client {
    fn new(address: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
        let channels = (0..CONNECTIONS).map(|_| endpoint.connect_lazy()).collect();
        Ok(Self { channels, turn: Arc::default() })
    }

    async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc();
        grpc.ready().await?;
        let path = PathAndQuery::from_static(path);
        let answer = grpc.unary(tonic::Request::new(request), path, ProstCodec::default()).await?;
        Ok(answer.into_inner())
    }

    fn grpc(&self) -> Grpc<Channel> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % CONNECTIONS;
        Grpc::new(self.channels[turn].clone()).max_decoding_message_size(64 << 20)
    }

    /// Forgets all history.
    pub async fn compact(&self) -> Result<()> {
        let status: StatusResponse = self.call("/etcdserverpb.Maintenance/Status", StatusRequest {}).await?;
        let revision = status.header.context("no header")?.revision;
        let _: CompactionResponse = self.call("/etcdserverpb.KV/Compact", CompactionRequest { revision }).await?;
        Ok(())
    }

    /// Returns the size of the database.
    pub async fn bytes(&self) -> Result<u64> {
        let status: StatusResponse = self.call("/etcdserverpb.Maintenance/Status", StatusRequest {}).await?;
        Ok(u64::try_from(status.db_size)?)
    }
}

impl Engine for Client {
    async fn put(&self, key: String, value: Bytes) -> Result<()> {
        let _: PutResponse = self.call("/etcdserverpb.KV/Put", PutRequest { key: key.into(), value }).await?;
        Ok(())
    }

    async fn get(&self, key: String) -> Result<usize> {
        let request = RangeRequest { key: key.into(), ..RangeRequest::default() };
        let answer: RangeResponse = self.call("/etcdserverpb.KV/Range", request).await?;
        Ok(answer.kvs.first().context("not found")?.value.len())
    }

    async fn list(&self, key: String, limit: usize) -> Result<usize> {
        let (key, limit) = (key.into(), i64::try_from(limit)?);
        let request = RangeRequest { key, range_end: end(), limit, ..RangeRequest::default() };
        let answer: RangeResponse = self.call("/etcdserverpb.KV/Range", request).await?;
        Ok(answer.kvs.len())
    }

    async fn watch(&self) -> Result<BoxStream<'static, Result<()>>> {
        let create = WatchCreateRequest { key: PREFIX.into(), range_end: end(), start_revision: 0 };
        // The stream of requests stays open, or the watch would end.
        let requests = stream::iter([WatchRequest { create: Some(create) }]).chain(stream::pending());
        let mut grpc = self.grpc();
        grpc.ready().await?;
        let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        let answers = grpc.streaming(tonic::Request::new(requests), path, ProstCodec::default()).await?;
        let mut answers = answers.into_inner();
        let _created: WatchResponse = answers.message().await?.context("the watch ended")?;
        let events = answers.flat_map(|answer| match answer {
            Ok(answer) => stream::iter(answer.events.iter().map(|_| Ok(())).collect::<Vec<_>>()),
            Err(status) => stream::iter(vec![Err(status.into())]),
        });
        Ok(events.boxed())
    }
}

/// The first key after all those with the prefix.
fn end() -> Vec<u8> {
    let mut end = PREFIX.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
