//! `wkube push`: stores a .wasm or .wat file in the cluster's registry.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use http::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;
use wkube_api::ObjectKey;
use wkube_client::{Api, Client};
use wkube_wasm_runtime::oci::{Credentials, Keyring, Reference, Registries, Remote, pusher};

use crate::args::Push;
use crate::connect::connect;
use crate::{manifest, print};

/// Where a cluster says which registry its nodes pull from (KEP-1755).
const HOSTING_NAMESPACE: &str = "kube-public";
const HOSTING_NAME: &str = "local-registry-hosting";
const HOSTING_KEY: &str = "localRegistryHosting.v1";
/// The tag of files that manifests name by path; they are pinned by digest anyway.
const LOCAL_TAG: &str = "local";
/// The tag of names without one.
const TAG_DEFAULT: &str = "latest";
/// The largest file that is pushed. Interpreters compiled to wasm have tens of megabytes.
const FILE_BYTES_MAX: u64 = 512 << 20;

pub(crate) async fn run(args: Push) -> Result<()> {
    let reference = named(&args.name)?;
    let wasm = read(&args.file)?;
    let pushed = if let Some(host) = reference.host() {
        push_elsewhere(&args, host, &reference, wasm).await
    } else {
        let client = connect(&args.connection).await?;
        let tag = reference.tag().unwrap_or(TAG_DEFAULT);
        Pusher::find(&client).await?.push(reference.name(), tag, wasm).await
    };
    let pinned = pushed.with_context(|| format!("failed to push {}", args.file.display()))?;
    print::line(pinned);
    Ok(())
}

/// Reads `[HOST/]NAME:TAG`.
fn named(text: &str) -> Result<Reference> {
    let reference: Reference = text.parse().with_context(|| format!("{text:?} is not of the form [HOST/]NAME:TAG"))?;
    if reference.digest().is_some() {
        bail!("{text:?} names a digest, which follows from the file; give a tag, such as hello:v1");
    }
    Ok(reference)
}

/// Pushes to a registry that is not the cluster's, with the credentials of `docker login`.
async fn push_elsewhere(args: &Push, host: &str, reference: &Reference, wasm: Bytes) -> Result<String> {
    let registries = args.registry_config.as_deref().map(Registries::load).transpose()?.unwrap_or_default();
    let source = registries.sources(host, reference).pop().expect("the registry itself is always the last");
    let credentials = logins()?.find(host, &source.name);
    let remote = Remote::new(source.endpoint, credentials)?;
    let tag = reference.tag().unwrap_or(TAG_DEFAULT);
    let digest = pusher::push(&remote, &source.name, tag, wasm).await?;
    Ok(format!("{host}/{}@{digest}", reference.name()))
}

/// Reads the files that `docker login` and `podman login` write.
fn logins() -> Result<Keyring> {
    let folder = |variable: &str, below: &str| std::env::var_os(variable).map(|dir| PathBuf::from(dir).join(below));
    let docker = folder("DOCKER_CONFIG", "config.json").or_else(|| folder("HOME", ".docker/config.json"));
    let podman = std::env::var_os("REGISTRY_AUTH_FILE").map(PathBuf::from);
    let podman = podman.or_else(|| folder("XDG_RUNTIME_DIR", "containers/auth.json"));
    let mut keyring = Keyring::default();
    for file in [docker, podman].into_iter().flatten() {
        let Ok(text) = std::fs::read(&file) else { continue };
        let found = Keyring::parse(&text).map_err(|problem| anyhow!("{} cannot be read: {problem}", file.display()))?;
        keyring.extend(found);
    }
    Ok(keyring)
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
        let remote = Remote::new(Registries::default().registry(&self.host), vec![credentials])?;
        let digest = pusher::push(&remote, name, tag, wasm).await?;
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
    fn a_name_may_have_a_host_and_has_no_digest() {
        assert_eq!(named("hello:v1").expect("fine").host(), None);
        assert_eq!(named("ghcr.io/team/hello").expect("fine").host(), Some("ghcr.io"));
        for (text, reason) in [
            ("BAD NAME:v1", "is not of the form [HOST/]NAME:TAG"),
            (&*format!("hello@sha256:{}", "0".repeat(64)), "give a tag"),
        ] {
            let message = named(text).expect_err(text).to_string();
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
