//! Where etcd is and how one gets in: addresses, certificates, a user.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use super::ConnectError;
use super::client::Endpoint;

/// What an address of this engine starts with.
const SCHEME: &str = "etcd://";
/// Where etcd listens for clients.
const DEFAULT_PORT: &str = "2379";
/// A member that does not take a connection within this is passed over.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How a dead connection is noticed (client-go's etcd3 storage: 30 s and 10 s; etcd allows pings every 5 s).
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_MAX: Duration = Duration::from_secs(5);

/// Where etcd is and how one gets in.
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    /// `etcd://host:2379,host:2379`.
    pub address: String,
    /// Below which all keys are; clusters with different prefixes share one etcd.
    pub prefix: String,
    /// The CA that signed etcd's certificate. With it, connections use TLS.
    pub ca_file: Option<PathBuf>,
    /// This client's certificate.
    pub certificate_file: Option<PathBuf>,
    /// The key of `certificate_file`.
    pub key_file: Option<PathBuf>,
    /// A user of etcd's, if it asks for one.
    pub credentials: Option<Credentials>,
    /// A file in which this server notes how far it has seen etcd, so that it knows after a restart if etcd went back.
    pub mark_file: Option<PathBuf>,
}

impl EtcdOptions {
    /// Returns options for an etcd without TLS and users, with keys below `/wkube`.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            prefix: "/wkube".to_owned(),
            ca_file: None,
            certificate_file: None,
            key_file: None,
            credentials: None,
            mark_file: None,
        }
    }

    /// Returns the endpoints, not connected yet.
    pub(super) fn endpoints(&self) -> Result<Vec<Endpoint>, ConnectError> {
        let tls = self.tls()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let endpoint = |name: String| {
            let mut channel = Channel::from_shared(format!("{scheme}://{name}"))
                .map_err(|error| ConnectError::Address { address: self.address.clone(), reason: error.to_string() })?
                .connect_timeout(CONNECT_MAX)
                .http2_keep_alive_interval(PING_EVERY)
                .keep_alive_timeout(PING_MAX)
                .keep_alive_while_idle(true)
                .tcp_nodelay(true);
            if let Some(tls) = &tls {
                channel = channel.tls_config(tls.clone()).map_err(|error| ConnectError::Certificates {
                    reason: error.to_string(),
                    source: Some(Box::new(error)),
                })?;
            }
            Ok(Endpoint { channel: channel.connect_lazy(), name })
        };
        names(&self.address)?.into_iter().map(endpoint).collect()
    }

    fn tls(&self) -> Result<Option<ClientTlsConfig>, ConnectError> {
        let incomplete = |reason: &str| ConnectError::Certificates { reason: reason.to_owned(), source: None };
        let identity = match (&self.certificate_file, &self.key_file) {
            (Some(certificate), Some(key)) => Some(Identity::from_pem(read(certificate)?, read(key)?)),
            (None, None) => None,
            _ => return Err(incomplete("a client certificate needs its key, and a key its certificate")),
        };
        let Some(ca) = &self.ca_file else {
            return match identity {
                Some(_) => Err(incomplete("a client certificate is of use only with TLS, which needs etcd's CA")),
                None => Ok(None),
            };
        };
        let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
        Ok(Some(match identity {
            Some(identity) => config.identity(identity),
            None => config,
        }))
    }
}

/// A user of etcd's.
#[derive(Clone)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Tells if `address` names this engine.
pub fn is_etcd(address: &str) -> bool {
    address.starts_with(SCHEME)
}

/// Returns the endpoints in an address, each with a port.
fn names(address: &str) -> Result<Vec<String>, ConnectError> {
    let wrong = |reason: &str| ConnectError::Address { address: address.to_owned(), reason: reason.to_owned() };
    let list = address.strip_prefix(SCHEME).ok_or_else(|| wrong("it does not start with etcd://"))?;
    let mut names = Vec::new();
    for name in list.trim_end_matches('/').split(',').map(str::trim) {
        if name.is_empty() {
            return Err(wrong("an endpoint is empty"));
        }
        if name.contains('/') || name.contains('@') {
            return Err(wrong("an endpoint is a host and a port, nothing else"));
        }
        // Brackets end an IPv6 address without a port.
        let has_port = name.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        names.push(if has_port { name.to_owned() } else { format!("{name}:{DEFAULT_PORT}") });
    }
    Ok(names)
}

fn read(path: &Path) -> Result<Vec<u8>, ConnectError> {
    std::fs::read(path).map_err(|source| ConnectError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_lists_endpoints() {
        assert_eq!(names("etcd://a:2379,b:1").expect("valid"), ["a:2379", "b:1"]);
        assert_eq!(names("etcd://a, [::1],[::1]:5/").expect("valid"), ["a:2379", "[::1]:2379", "[::1]:5"]);
    }

    #[test]
    fn a_wrong_address_is_refused_with_a_reason() {
        for (address, reason) in [
            ("http://a", "does not start with etcd://"),
            ("etcd://", "is empty"),
            ("etcd://a,,b", "is empty"),
            ("etcd://user:secret@a:2379", "nothing else"),
            ("etcd://a:2379/path", "nothing else"),
        ] {
            let error = names(address).expect_err("refused").to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn half_a_client_certificate_is_refused() {
        let options = EtcdOptions { certificate_file: Some("x".into()), ..EtcdOptions::new("etcd://a") };
        let error = options.endpoints().expect_err("no key").to_string();
        assert!(error.contains("a client certificate needs its key"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let options = EtcdOptions { ca_file: Some("/nowhere/ca.pem".into()), ..EtcdOptions::new("etcd://a") };
        assert!(options.endpoints().expect_err("no file").to_string().contains("/nowhere/ca.pem"));
    }

    #[test]
    fn a_password_is_not_printed() {
        let credentials = Credentials { user: "root".to_owned(), password: "secret".to_owned() };
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}
