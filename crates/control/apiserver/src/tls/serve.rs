//! The server's side of TLS.

use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::auth::{CREDENTIAL_ID, User};

use super::ca::{self, Identity, TlsError};

/// Whether the server asks who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// A client may show a certificate; a wrong one ends the connection.
    MayIdentify,
    /// Nobody is asked.
    Anonymous,
}

/// Returns the TLS configuration for HTTP/2 and HTTP/1.1.
pub fn server_config(identity: &Identity, ca_pem: &str, clients: Clients) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match clients {
        Clients::Anonymous => builder.with_no_client_auth(),
        Clients::MayIdentify => {
            let mut roots = RootCertStore::empty();
            roots.add(certificate(ca_pem)?)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| TlsError::Refused(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())
        .map_err(|error| TlsError::Refused(error.to_string()))?;
    let mut config = builder.with_single_cert(vec![certificate(&identity.certificate_pem)?], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificate(pem: &str) -> Result<CertificateDer<'static>, TlsError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| TlsError::Refused(error.to_string()))
}

/// Returns the user of a connection whose client showed a certificate. rustls has verified it.
pub fn peer_user(connection: &ServerConnection) -> Option<User> {
    user_of_certificate(connection.peer_certificates()?.first()?)
}

/// Returns whom a verified certificate names: the common name is the user, the organizations are the groups
/// (`authentication/request/x509`), and its digest says by which credential. `None` without a name.
pub fn user_of_certificate(der: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let (name, groups) = ca::subject_of(certificate.subject());
    let mut user = User::known(name.filter(|name| !name.is_empty())?, groups);
    let digest = hex::encode(Sha256::digest(der));
    user.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={digest}")]);
    Some(user)
}
