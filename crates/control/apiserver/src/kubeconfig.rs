//! The administrator's kubeconfig.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::auth::MASTERS;
use crate::files;
use crate::tls::{CertificateAuthority, Identity, TlsError};

/// As kubeadm's `admin.conf`.
pub const ADMIN: &str = "kubernetes-admin";
/// The certificate is made anew at every start, so that a cluster in use never locks its owner out.
const LIFETIME: Duration = Duration::from_hours(365 * 24);

/// Writes a kubeconfig with the cluster, context and user `wkube` for the server at `url`, with mode 0600.
///
/// # Errors
/// `File` if it cannot be written.
pub fn write_admin(path: &Path, url: &str, authority: &CertificateAuthority) -> Result<(), TlsError> {
    let identity = authority.issue_client(ADMIN, &[MASTERS], LIFETIME)?;
    let file = |step| {
        let path: PathBuf = path.to_owned();
        move |source| TlsError::File { step, path, source }
    };
    if let Some(parent) = path.parent() {
        files::create_private_dir(parent).map_err(file("create the directory of"))?;
    }
    files::write_private(path, render(url, authority.ca_pem(), &identity).as_bytes()).map_err(file("write"))
}

/// Returns the document. Its values need no quoting: URLs without spaces, and base64.
pub fn render(url: &str, ca_pem: &str, identity: &Identity) -> String {
    let (ca, certificate, key) =
        (STANDARD.encode(ca_pem), STANDARD.encode(&identity.certificate_pem), STANDARD.encode(&identity.key_pem));
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: wkube
  cluster:
    server: {url}
    certificate-authority-data: {ca}
users:
- name: wkube
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: wkube
  context:
    cluster: wkube
    user: wkube
current-context: wkube
preferences: {{}}
"
    )
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    use serde_json::Value;
    use wkube_base::Clock;

    use super::*;
    use crate::auth::User;
    use crate::tls::user_of_certificate;

    #[test]
    fn the_admin_kubeconfig_is_private_and_names_the_admin() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let authority = CertificateAuthority::load_or_create(directory.path(), Clock::system()).expect("a CA");
        let path = directory.path().join("kubeconfig");
        write_admin(&path, "https://127.0.0.1:6443", &authority).expect("written");
        let config: Value = serde_saphyr::from_str(&std::fs::read_to_string(&path).expect("readable")).expect("YAML");
        assert_eq!(config["current-context"], "wkube");
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://127.0.0.1:6443");
        let decoded = |value: &Value| STANDARD.decode(value.as_str().expect("a string")).expect("base64");
        assert_eq!(
            decoded(&config["clusters"][0]["cluster"]["certificate-authority-data"]),
            authority.ca_pem().as_bytes()
        );
        let certificate = decoded(&config["users"][0]["user"]["client-certificate-data"]);
        let certificate = CertificateDer::from_pem_slice(&certificate).expect("PEM");
        let user = user_of_certificate(&certificate).expect("a user");
        assert_eq!((user.name, user.groups), (ADMIN.to_owned(), User::known(ADMIN, [MASTERS]).groups));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).expect("exists").permissions().mode() & 0o777, 0o600);
        }
    }
}
