//! `wkube push`: stores a .wasm or .wat file in the cluster's registry.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use http::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;
use wkube_api::ObjectKey;
use wkube_client::{Api, Client};
use wkube_wasm_runtime::oci::{Credentials, pusher};

use crate::args::Push;
use crate::connect::connect;
use crate::{manifest, print};

/// Where a cluster says which registry its nodes pull from (KEP-1755).
const HOSTING_NAMESPACE: &str = "kube-public";
const HOSTING_NAME: &str = "local-registry-hosting";
const HOSTING_KEY: &str = "localRegistryHosting.v1";
/// The tag of files that manifests name by path; they are pinned by digest anyway.
const LOCAL_TAG: &str = "local";
/// The largest file that is pushed. Interpreters compiled to wasm have tens of megabytes.
const FILE_BYTES_MAX: u64 = 512 << 20;

pub(crate) async fn run(args: Push) -> Result<()> {
    let (name, tag) = args.name.rsplit_once(':').unwrap_or((&args.name, "latest"));
    if name.contains('@') || name.is_empty() {
        bail!("{:?} is not of the form NAME:TAG, such as hello:v1", args.name);
    }
    let wasm = read(&args.file)?;
    let client = connect(&args.connection).await?;
    let pinned = Pusher::find(&client).await?.push(name, tag, wasm).await?;
    print::line(pinned);
    Ok(())
}

/// A registry and the right to write to it.
pub(crate) struct Pusher {
    host: String,
    token: String,
}

impl Pusher {
    /// Asks the cluster for its registry and for a token to write to it.
    ///
    /// # Errors
    /// If the cluster has no registry, or the user may not push.
    pub(crate) async fn find(client: &Client) -> Result<Self> {
        let key = ObjectKey::new(HOSTING_NAMESPACE, HOSTING_NAME);
        let hosting = Api::<ConfigMap>::new(client).find(&key).await?;
        let text = hosting.and_then(|map| map.data?.remove(HOSTING_KEY));
        let text = text.ok_or_else(|| {
            anyhow!("the cluster names no registry: ConfigMap {key} has no {HOSTING_KEY}; push with another client")
        })?;
        let value: Value = serde_saphyr::from_str(&text).with_context(|| format!("ConfigMap {key} holds bad YAML"))?;
        let host = value["host"].as_str().ok_or_else(|| anyhow!("ConfigMap {key} names no host"))?.to_owned();
        let request = Request::post("/apis/wkube.dev/v1/registrytokens")
            .header("content-type", "application/json")
            .body(Bytes::from_static(b"{}"))?;
        let answer = client.call(request).await.context("failed to get a token for the registry")?;
        let answer: Value = serde_json::from_slice(&answer).context("the server's registry token is not JSON")?;
        let token = answer["token"].as_str().ok_or_else(|| anyhow!("the server's answer holds no registry token"))?;
        Ok(Self { host, token: token.to_owned() })
    }

    /// Pushes a file under its own name and returns the reference that pins it.
    pub(crate) async fn push_file(&self, file: &Path) -> Result<String> {
        let wasm = read(file)?;
        self.push(&manifest::image_name(file), LOCAL_TAG, wasm).await
    }

    /// Pushes a module and returns `NAME@sha256:…`, without a host: it is the same on every node.
    async fn push(&self, name: &str, tag: &str, wasm: Bytes) -> Result<String> {
        let credentials = Credentials::Bearer(self.token.clone());
        let digest = pusher::push(&self.host, name, tag, wasm, credentials).await?;
        Ok(format!("{name}@{digest}"))
    }
}

/// Reads a module; text format becomes binary.
fn read(file: &Path) -> Result<Bytes> {
    let size = std::fs::metadata(file).with_context(|| format!("failed to read {}", file.display()))?.len();
    if size > FILE_BYTES_MAX {
        bail!("{} has {} MiB; the largest is {}", file.display(), size >> 20, FILE_BYTES_MAX >> 20);
    }
    let bytes = std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
    let wasm = wkube_wasm_runtime::wat_to_wasm(&bytes).with_context(|| format!("{} cannot be used", file.display()))?;
    Ok(Bytes::from(wasm.into_owned()))
}
