//! Joins the certificates controller to the API server's certificate authority.

use std::time::Duration;

use wkube_apiserver::ApiServer;
use wkube_apiserver::tls::{CertificateAuthority, Purpose};
use wkube_controllers::{SignError, Signer, Subject};

/// Signs with the cluster's CA.
pub(crate) struct ClusterSigner(ApiServer);

impl ClusterSigner {
    pub(crate) fn new(server: ApiServer) -> Self {
        Self(server)
    }
}

impl Signer for ClusterSigner {
    fn subject(&self, request_pem: &str) -> Result<Subject, SignError> {
        let subject = CertificateAuthority::read_csr(request_pem).map_err(|error| SignError(error.to_string()))?;
        Ok(Subject {
            common_name: subject.common_name,
            organizations: subject.organizations,
            alternative_names: subject.alternative_names.len(),
        })
    }

    fn sign_client(&self, request_pem: &str, ttl: Duration) -> Result<String, SignError> {
        let authority = self.0.certificate_authority().ok_or_else(|| SignError("this server has no CA".to_owned()))?;
        authority.sign_csr(request_pem, Purpose::Client, ttl).map_err(|error| SignError(error.to_string()))
    }
}
