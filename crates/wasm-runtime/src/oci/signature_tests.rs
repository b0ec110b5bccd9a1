//! Signatures made here with fresh keys, in both forms, and what does not count as one.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;

use super::super::test_registry::World;
use super::*;

/// A key as `cosign generate-key-pair` makes one.
pub(in super::super) struct Signer {
    pair: EcdsaKeyPair,
}

impl Signer {
    pub(in super::super) fn new() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        Self { pair: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap() }
    }

    pub(in super::super) fn pem(&self) -> String {
        // SubjectPublicKeyInfo of a P-256 key, up to the point itself.
        let head = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
        let der = [&head[..], self.pair.public_key().as_ref()].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }

    fn key(&self) -> PublicKey {
        PublicKey::parse(&self.pem()).unwrap()
    }

    fn sign(&self, message: &[u8]) -> String {
        STANDARD.encode(self.pair.sign(&SystemRandom::new(), message).unwrap())
    }

    pub(in super::super) fn simple(&self, digest: &Digest) -> Signature {
        let payload = simple_payload(digest, SIMPLE_TYPE);
        Signature::simple(&payload, &self.sign(&payload))
    }

    fn bundle(&self, digest: &Digest, predicate: &str) -> Vec<u8> {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1", "predicateType": predicate,
            "subject": [{ "name": "", "digest": { "sha256": digest.hex() } }],
        });
        let payload = statement.to_string().into_bytes();
        let signature = self.sign(&envelope(&payload));
        let envelope = json!({
            "payload": STANDARD.encode(&payload), "payloadType": STATEMENT, "signatures": [{ "sig": signature }],
        });
        json!({ "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": envelope })
            .to_string()
            .into_bytes()
    }
}

fn simple_payload(digest: &Digest, kind: &str) -> Vec<u8> {
    let critical = json!({
        "identity": { "docker-reference": "r.io/app" }, "image": { "docker-manifest-digest": digest }, "type": kind,
    });
    json!({ "critical": critical, "optional": null }).to_string().into_bytes()
}

#[test]
fn a_simple_signature_counts_for_its_key_and_its_image_only() {
    let (signer, other) = (Signer::new(), Signer::new());
    let (image, another) = (Digest::of(b"image"), Digest::of(b"another"));
    let signature = signer.simple(&image);
    assert!(signature.is_by(&signer.key(), &[&image]));
    assert!(signature.is_by(&signer.key(), &[&another, &image]));
    assert!(!signature.is_by(&signer.key(), &[&another]));
    assert!(!signature.is_by(&other.key(), &[&image]));
}

#[test]
fn a_signed_document_of_another_kind_is_no_approval() {
    let signer = Signer::new();
    let image = Digest::of(b"image");
    let payload = simple_payload(&image, "something else");
    assert!(!Signature::simple(&payload, &signer.sign(&payload)).is_by(&signer.key(), &[&image]));
}

#[test]
fn a_changed_document_or_signature_is_none() {
    let signer = Signer::new();
    let image = Digest::of(b"image");
    let signature = signer.sign(&simple_payload(&Digest::of(b"other"), SIMPLE_TYPE));
    assert!(!Signature::simple(&simple_payload(&image, SIMPLE_TYPE), &signature).is_by(&signer.key(), &[&image]));
    for broken in ["", "%%%", "AAAA"] {
        assert!(!Signature::simple(&simple_payload(&image, SIMPLE_TYPE), broken).is_by(&signer.key(), &[&image]));
    }
}

#[test]
fn a_bundle_counts_if_it_is_about_signing() {
    let signer = Signer::new();
    let image = Digest::of(b"image");
    let signatures = Signature::in_bundle(&signer.bundle(&image, SIGN_PREDICATE));
    assert!(signatures[0].is_by(&signer.key(), &[&image]));
    assert!(!signatures[0].is_by(&Signer::new().key(), &[&image]));
    let provenance = Signature::in_bundle(&signer.bundle(&image, "https://slsa.dev/provenance/v1"));
    assert!(!provenance[0].is_by(&signer.key(), &[&image]));
    for other in [&b"{}"[..], b"", b"[]", br#"{"messageSignature":{}}"#] {
        assert!(Signature::in_bundle(other).is_empty());
    }
}

#[tokio::test]
async fn both_forms_are_found_in_a_registry() {
    let signer = Signer::new();
    let image = Digest::of(b"image");
    let mut world = World::new();
    let payload = simple_payload(&image, SIMPLE_TYPE);
    let mut layer = world.shelf.put(SIMPLE_SIGNING, &payload);
    layer["annotations"] = json!({ SIGNATURE: signer.sign(&payload) });
    world.shelf.put_manifest(&format!("sha256-{}.sig", image.hex()), &json!({ "layers": [layer] }));
    let bundle_type = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let layer = world.shelf.put(bundle_type, &signer.bundle(&image, SIGN_PREDICATE));
    let referrer = world.shelf.put_manifest("bundle", &json!({ "artifactType": bundle_type, "layers": [layer] }));
    let index = json!({ "manifests": [
        { "digest": Digest::of(b"sbom"), "size": 1, "artifactType": "application/spdx+json" },
        { "digest": referrer, "size": 1, "artifactType": bundle_type },
    ]});
    world.shelf.referrers.insert(image.clone(), index.to_string().into());
    let found = discover(&world.shelf, "app", &image).await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|signature| signature.is_by(&signer.key(), &[&image])));
}

#[tokio::test]
async fn an_image_without_signatures_has_none_and_that_is_no_error() {
    let world = World::new();
    assert_eq!(discover(&world.shelf, "app", &Digest::of(b"image")).await.unwrap(), []);
    *world.shelf.failures.lock() = 1;
    assert!(discover(&world.shelf, "app", &Digest::of(b"image")).await.is_err(), "but nobody knows without asking");
}

impl Signer {
    /// Puts a simple signature where cosign puts it.
    pub(in super::super) fn put_in(&self, world: &mut World, digest: &Digest) {
        let payload = simple_payload(digest, SIMPLE_TYPE);
        let mut layer = world.shelf.put(SIMPLE_SIGNING, &payload);
        layer["annotations"] = json!({ SIGNATURE: self.sign(&payload) });
        world.shelf.put_manifest(&format!("sha256-{}.sig", digest.hex()), &json!({ "layers": [layer] }));
    }
}
