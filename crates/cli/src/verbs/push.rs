//! `wkube push`: stores a .wasm or .wat file in the cluster's registry.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use http::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;
use wkube_api::ObjectKey;
use wkube_client::{Api, Client};
use wkube_wasm_runtime::oci::{Credentials, Reference, pusher};

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
    let (name, tag) = name_and_tag(&args.name)?;
    let wasm = read(&args.file)?;
    let client = connect(&args.connection).await?;
    let pushed = Pusher::find(&client).await?.push(&name, &tag, wasm).await;
    let pinned = pushed.with_context(|| format!("failed to push {}", args.file.display()))?;
    print::line(pinned);
    Ok(())
}

/// Splits `NAME:TAG` and refuses what could not be pulled again under that name.
fn name_and_tag(text: &str) -> Result<(String, String)> {
    let reference: Reference = text.parse().with_context(|| format!("{text:?} is not of the form NAME:TAG"))?;
    if reference.digest().is_some() {
        bail!("{text:?} names a digest, which follows from the file; give a tag, such as hello:v1");
    }
    if let Some(host) = reference.host() {
        bail!("{text:?} names the registry {host}, but push stores in the cluster's own; leave the host out");
    }
    Ok((reference.name().to_owned(), reference.tag().unwrap_or("latest").to_owned()))
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

/// Whether the first thing that is neither space nor comment opens a parenthesis.
fn is_text_form(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let code = text.lines().map(str::trim_start).find(|line| !line.is_empty() && !line.starts_with(";;"));
    code.is_some_and(|line| line.starts_with('('))
}

/// Reads a module; text format becomes binary.
fn read(file: &Path) -> Result<Bytes> {
    let size = std::fs::metadata(file).with_context(|| format!("failed to read {}", file.display()))?.len();
    if size > FILE_BYTES_MAX {
        bail!("{} has {} MiB; the largest is {}", file.display(), size >> 20, FILE_BYTES_MAX >> 20);
    }
    let bytes = std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
    if !bytes.starts_with(b"\0asm") && !is_text_form(&bytes) {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(16)]).into_owned();
        let found = if start.is_empty() { "it is empty".to_owned() } else { format!("it starts with {start:?}") };
        bail!(
            "{} is neither WebAssembly nor its text form: {found}; build for wasm32-wasip1 or wasm32-wasip2",
            file.display()
        );
    }
    let wasm = wkube_wasm_runtime::wat_to_wasm(&bytes).with_context(|| format!("{} cannot be used", file.display()))?;
    Ok(Bytes::from(wasm.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_tag_and_no_host() {
        assert_eq!(name_and_tag("hello:v1").expect("fine"), ("hello".to_owned(), "v1".to_owned()));
        assert_eq!(name_and_tag("team/hello").expect("fine"), ("team/hello".to_owned(), "latest".to_owned()));
        for (text, reason) in [
            ("BAD NAME:v1", "is not of the form NAME:TAG"),
            ("ghcr.io/team/hello:v1", "leave the host out"),
            (&*format!("hello@sha256:{}", "0".repeat(64)), "give a tag"),
        ] {
            let message = name_and_tag(text).expect_err(text).to_string();
            assert!(message.contains(reason), "{message}");
        }
    }

    #[test]
    fn the_text_form_may_begin_with_comments() {
        for text in ["(module)", "\n ;; a comment\n\n(component)", "(; block ;) (module)"] {
            assert!(is_text_form(text.as_bytes()), "{text}");
        }
        for text in ["", "not wasm", ";; nothing else", "#!/bin/sh\n(module)"] {
            assert!(!is_text_form(text.as_bytes()), "{text}");
        }
    }
}
