//! Signatures of images as cosign makes them, and whether a key made one. Nobody is asked: no log, no authority.
//!
//! Two forms are in use. Cosign 1 and 2 put a small document that names the image's digest, with the signature as an
//! annotation, under the tag `sha256-<hex>.sig`; cosign 3 attaches a sigstore bundle with a signed statement as a referrer
//! (OCI 1.1). Both are accepted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::digest::Digest;
use super::key::PublicKey;
use super::manifest;
use super::registry::{ByteStream, Registry, RegistryError};

/// A layer that holds the document of a simple signature.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Where its signature is.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// A layer that holds a bundle, in any version.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// What the document says it is.
const SIMPLE_TYPE: &str = "cosign container image signature";
/// What the statement in a bundle must be about: others attest how an image was built, not that it may run.
const SIGN_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";
const STATEMENT: &str = "application/vnd.in-toto+json";

/// Signatures are small; so many of one image are an attack.
const SIGNATURES_MAX: usize = 50;
const SIGNATURE_BYTES_MAX: u64 = 1 << 20;

/// A signature, whoever made it: bytes that were signed, and what was made of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Signature {
    /// What the signed bytes are.
    form: Form,
    /// The document or statement, in base64.
    payload: String,
    /// What was made of it, in base64.
    #[serde(rename = "signature")]
    made: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Form {
    /// The document itself is signed.
    Simple,
    /// The statement is signed within its envelope (DSSE).
    Statement,
}

impl Signature {
    /// Makes one of a simple signature's document and the annotation beside it.
    pub fn simple(payload: &[u8], signature: &str) -> Self {
        Self { form: Form::Simple, payload: STANDARD.encode(payload), made: signature.trim().to_owned() }
    }

    /// Reads the signatures in a sigstore bundle; one that is made by another method has none for us.
    pub fn in_bundle(bundle: &[u8]) -> Vec<Self> {
        let bundle: Value = serde_json::from_slice(bundle).unwrap_or_default();
        let envelope = &bundle["dsseEnvelope"];
        if envelope["payloadType"] != STATEMENT {
            return Vec::new();
        }
        let Some(payload) = envelope["payload"].as_str() else { return Vec::new() };
        let signatures = envelope["signatures"].as_array().into_iter().flatten();
        let made = |signature: &Value| {
            let made = signature["sig"].as_str()?.to_owned();
            Some(Self { form: Form::Statement, payload: payload.to_owned(), made })
        };
        signatures.filter_map(made).take(SIGNATURES_MAX).collect()
    }

    /// Reports whether `key` signed an image that has one of these digests.
    pub fn is_by(&self, key: &PublicKey, digests: &[&Digest]) -> bool {
        let (Ok(payload), Ok(signature)) = (STANDARD.decode(&self.payload), STANDARD.decode(&self.made)) else {
            return false;
        };
        // What is said counts only after it is known who says it.
        let is_signed = match self.form {
            Form::Simple => key.verifies(&payload, &signature),
            Form::Statement => key.verifies(&envelope(&payload), &signature),
        };
        is_signed && subjects(self.form, &payload).iter().any(|subject| digests.contains(&subject))
    }
}

/// The bytes that are signed of an envelope (DSSE, "PAE").
fn envelope(payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {STATEMENT} {} ", STATEMENT.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// The digests that a signed document is about.
fn subjects(form: Form, payload: &[u8]) -> Vec<Digest> {
    let document: Value = serde_json::from_slice(payload).unwrap_or_default();
    match form {
        Form::Simple => {
            let critical = &document["critical"];
            let digest = critical["image"]["docker-manifest-digest"].as_str().and_then(|digest| digest.parse().ok());
            digest.filter(|_| critical["type"] == SIMPLE_TYPE).into_iter().collect()
        }
        Form::Statement if document["predicateType"] == SIGN_PREDICATE => {
            let subjects = document["subject"].as_array().into_iter().flatten();
            subjects.filter_map(|one| format!("sha256:{}", one["digest"]["sha256"].as_str()?).parse().ok()).collect()
        }
        Form::Statement => Vec::new(),
    }
}

/// Fetches what signatures a registry has of a manifest, in both forms.
///
/// # Errors
/// If the registry fails. Having none is no failure.
pub(super) async fn discover(
    registry: &dyn Registry,
    name: &str,
    digest: &Digest,
) -> Result<Vec<Signature>, RegistryError> {
    let mut found = Vec::new();
    let tag = format!("{}.sig", digest.to_string().replace(':', "-"));
    if let Some(manifest) = if_there(registry.manifest(name, &tag).await)? {
        read(registry, name, &manifest, &mut found).await?;
    }
    let Some(index) = if_there(registry.referrers(name, digest).await)? else { return Ok(found) };
    let referrers = manifest::parse(&index).ok().and_then(|index| index.manifests).unwrap_or_default();
    for referrer in referrers.iter().take(SIGNATURES_MAX) {
        let kind = referrer.artifact_type.as_deref().unwrap_or_default();
        if !kind.is_empty() && !kind.starts_with(BUNDLE) && !kind.contains("cosign") {
            continue;
        }
        let manifest = if_there(registry.manifest(name, referrer.digest.as_str()).await)?;
        // A referrer counts only if it is what the index says.
        if let Some(manifest) = manifest.filter(|manifest| referrer.digest.matches(manifest)) {
            read(registry, name, &manifest, &mut found).await?;
        }
    }
    Ok(found)
}

/// Reads the signatures in the layers of a manifest.
async fn read(
    registry: &dyn Registry,
    name: &str,
    manifest: &[u8],
    found: &mut Vec<Signature>,
) -> Result<(), RegistryError> {
    let Ok(manifest) = manifest::parse(manifest) else { return Ok(()) };
    for layer in manifest.layers.iter().filter(|layer| layer.size <= SIGNATURE_BYTES_MAX) {
        let is_simple = layer.media_type == SIMPLE_SIGNING;
        if found.len() >= SIGNATURES_MAX || !(is_simple || layer.media_type.starts_with(BUNDLE)) {
            continue;
        }
        let Some(transfer) = if_there(registry.blob(name, &layer.digest, 0).await)? else { continue };
        let bytes = collect(transfer.bytes, layer.size).await?;
        if !layer.digest.matches(&bytes) {
            continue;
        }
        match layer.annotations.get(SIGNATURE) {
            Some(signature) if is_simple => found.push(Signature::simple(&bytes, signature)),
            _ => found.extend(Signature::in_bundle(&bytes)),
        }
    }
    Ok(())
}

async fn collect(mut chunks: ByteStream, size: u64) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk.map_err(|error| RegistryError::Unavailable(error.into()))?);
        if bytes.len() as u64 > size {
            return Err(RegistryError::TooLarge(size));
        }
    }
    Ok(bytes)
}

fn if_there<T>(answer: Result<T, RegistryError>) -> Result<Option<T>, RegistryError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        // Some registries say 400 to names of tags that they find strange.
        Err(RegistryError::NotFound | RegistryError::Said(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "signature_tests.rs"]
pub(super) mod tests;
