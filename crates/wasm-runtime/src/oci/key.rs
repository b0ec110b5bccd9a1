//! Public keys of those who sign images: PEM files as `cosign generate-key-pair` and `openssl` write them. Pure.

use std::fmt;

use ring::signature::{
    self, ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::digest::Digest;

/// A key that verifies signatures.
#[derive(Clone)]
pub struct PublicKey {
    algorithm: Algorithm,
    bytes: Vec<u8>,
    fingerprint: Digest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    P256,
    P384,
    Ed25519,
    Rsa,
}

impl PublicKey {
    /// Reads a `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    /// Says what it is instead.
    pub fn parse(pem: &str) -> Result<Self, String> {
        let first = Pem::iter_from_buffer(pem.as_bytes()).next();
        let pem = first.and_then(Result::ok).ok_or("it is not in PEM form")?;
        if pem.label != "PUBLIC KEY" {
            return Err(format!("it is a {} instead of a PUBLIC KEY", pem.label));
        }
        let (_, info) = SubjectPublicKeyInfo::from_der(&pem.contents).map_err(|error| error.to_string())?;
        let (kind, parameters) = (&info.algorithm.algorithm, info.algorithm.parameters.as_ref());
        let algorithm = if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY {
            match parameters.and_then(|curve| curve.as_oid().ok()) {
                Some(curve) if curve == OID_EC_P256 => Algorithm::P256,
                Some(curve) if curve == OID_NIST_EC_P384 => Algorithm::P384,
                _ => return Err("its curve is neither P-256 nor P-384".to_owned()),
            }
        } else if *kind == OID_SIG_ED25519 {
            Algorithm::Ed25519
        } else if *kind == OID_PKCS1_RSAENCRYPTION {
            Algorithm::Rsa
        } else {
            return Err(format!("its algorithm {kind} is not one of ECDSA, Ed25519 and RSA"));
        };
        let bytes = info.subject_public_key.data.to_vec();
        Ok(Self { algorithm, bytes, fingerprint: Digest::of(&pem.contents) })
    }

    /// Reports whether this key's owner signed `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self.algorithm {
            Algorithm::P256 => &ECDSA_P256_SHA256_ASN1,
            Algorithm::P384 => &ECDSA_P384_SHA384_ASN1,
            Algorithm::Ed25519 => &ED25519,
            Algorithm::Rsa => &RSA_PKCS1_2048_8192_SHA256 as &signature::RsaParameters,
        };
        UnparsedPublicKey::new(algorithm, &self.bytes).verify(message, signature).is_ok()
    }

    /// Returns the digest of the key as it is written in its file.
    pub fn fingerprint(&self) -> &Digest {
        &self.fingerprint
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.algorithm, self.fingerprint)
    }
}
