//! The adapter against the real engine, with a scripted registry behind the client.

use serde_json::json;
use wkube_base::Clock;
use wkube_client::client::RequestBody;
use wkube_proxy::LocalPods;
use wkube_proxy::remote::ThroughApi;
use wkube_wasm_runtime::{EngineOptions, wat_to_wasm};

use super::*;
use crate::logs::{Logs, Query, path_of, reader::Reader};
use crate::runtime::PodRef;

/// Prints its first argument's bytes and exits with 3.
const PRINTS: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "done\n")
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 16))
        (i32.store (i32.const 4) (i32.const 5))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $exit (i32.const 3))))"#;

/// Runs for ever.
const LOOPS: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))"#;

/// A registry that has one image, `job:v1`.
fn registry(wat: &str) -> Client {
    let wasm = Bytes::from(wat_to_wasm(wat.as_bytes()).unwrap().into_owned());
    let digest = |bytes: &[u8]| Digest::of(bytes).as_str().to_owned();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.wasm.config.v0+json", "digest": digest(b"{}"), "size": 2 },
        "layers": [{ "mediaType": "application/wasm", "digest": digest(&wasm), "size": wasm.len() }],
    });
    let blob = format!("/v2/job/blobs/{}", digest(&wasm));
    let manifest = Bytes::from(manifest.to_string());
    Client::new(tower::service_fn(move |request: Request<RequestBody>| {
        let path = request.uri().path();
        let body =
            if path == "/v2/job/manifests/v1" { Some(manifest.clone()) } else { (path == blob).then(|| wasm.clone()) };
        let status = if body.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
        let mut response = Response::new(Full::from(body.unwrap_or_default()));
        *response.status_mut() = status;
        std::future::ready(Ok::<_, std::io::Error>(response))
    }))
}

struct World {
    dir: tempfile::TempDir,
    logs: Logs,
    runtime: WasmRuntime,
}

impl World {
    fn new(wat: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let client = registry(wat);
        let engine = Engine::new(EngineOptions::new(dir.path().join("compiled"))).unwrap();
        let proxy = Proxy::new(LocalPods::on_node("n1"), Arc::new(ThroughApi::new(client.clone())));
        let runtime = WasmRuntime::new(engine, &dir.path().join("images"), &client, None, proxy).unwrap();
        Self { dir, logs: Logs::new(&Clock::system()), runtime }
    }

    async fn pull(&self, image: &str) -> Result<Image, PullError> {
        self.runtime.pull_image(Pull { image: image.into(), ..Pull::default() }).await
    }

    async fn start(&self, image: Image) -> Result<Arc<dyn Guest>, StartError> {
        self.runtime
            .start(ContainerSpec {
                image,
                pod: PodRef::default(),
                name: "c".into(),
                args: vec!["c".into()],
                env: Vec::new(),
                mounts: Vec::new(),
                memory_bytes: None,
                log: Arc::new(self.logs.writer(self.dir.path(), 0)),
            })
            .await
    }

    async fn log(&self) -> String {
        let mut reader = Reader::open(&self.logs, &path_of(self.dir.path(), 0), Query::default()).await.unwrap();
        let mut all = Vec::new();
        while let Some(chunk) = reader.next().await.unwrap() {
            all.extend_from_slice(&chunk);
        }
        String::from_utf8(all).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_run_and_its_output_is_in_the_log() {
    let world = World::new(PRINTS);
    assert_eq!(world.runtime.find_image("job:v1").await, None);
    let image = world.pull("job:v1").await.unwrap();
    assert!(image.id.starts_with("job@sha256:"), "{}", image.id);
    assert_eq!(world.runtime.find_image("job:v1").await.as_ref(), Some(&image));
    assert_eq!(world.runtime.find_image(&image.id).await.as_ref(), Some(&image));
    let guest = world.start(image).await.unwrap();
    assert!(guest.backend().is_none());
    assert_eq!(guest.ended().await.code, 3);
    drop(guest);
    assert_eq!(world.log().await, "done\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_with_nothing_to_drain_stops_at_once_with_143() {
    let world = World::new(LOOPS);
    let guest = world.start(world.pull("job:v1").await.unwrap()).await.unwrap();
    let stopping = async {
        guest.stop(Duration::from_secs(30)).await;
        guest.ended().await
    };
    let exit = tokio::time::timeout(Duration::from_secs(10), stopping).await.expect("it does not use up its grace");
    assert_eq!(exit.code, 143);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_registry_the_message_names_the_image_and_the_next_step() {
    let world = World::new(PRINTS);
    let Err(PullError::Failed(message)) = world.pull("missing:v9").await else { panic!("it is not there") };
    assert!(
        message.contains("missing:v9 is not in the built-in registry") && message.contains("wkube push"),
        "{message}"
    );
    assert!(matches!(world.pull("UPPER CASE").await, Err(PullError::InvalidName { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_run_is_told_from_what_may_be_better_next_time() {
    let world = World::new("(module (func (export \"add\")))");
    let image = world.pull("job:v1").await.unwrap();
    let Err(StartError::Unrunnable(message)) = world.start(image).await.map(|_| ()) else { panic!("it has no _start") };
    assert!(message.contains("_start"), "{message}");
}
