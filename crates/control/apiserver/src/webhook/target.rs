//! Where a webhook is, read from a `clientConfig` (`apiserver/pkg/util/webhook/client.go`). Pure.

use std::fmt::{self, Write as _};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use serde_json::Value;

use super::trust::{Trust, Verification};

/// The port of a service reference that names none.
const PORT: u16 = 443;

/// What to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Place {
    /// An address on the network, as a URL has it.
    Host {
        /// A name or an address, the latter without brackets.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A service of this cluster.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// One of its ports.
        port: u16,
    },
}

impl Place {
    /// Returns the name for which a certificate must be valid.
    pub(crate) fn server_name(&self) -> String {
        match self {
            Self::Host { host, .. } => host.clone(),
            Self::Service { namespace, name, .. } => format!("{name}.{namespace}.svc"),
        }
    }
}

/// Writes `host:port`, as the authority of a URL.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Host { port, .. } | Self::Service { port, .. }) = self;
        match self {
            Self::Host { host, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            _ => write!(f, "{}:{port}", self.server_name()),
        }
    }
}

/// One webhook: where it is, what to ask it for, and whom to believe that it is it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// What to connect to.
    pub(crate) place: Place,
    /// With its query, and starting with `/`.
    pub(crate) path: String,
    /// Whom to believe.
    pub(crate) trust: Trust,
}

impl Target {
    /// Reads a `clientConfig`.
    ///
    /// # Errors
    /// Says what is wrong, in Kubernetes' words. Validation has refused most of it.
    pub(crate) fn parse(config: &Value) -> Result<Self, String> {
        let verification = match config["caBundle"].as_str().unwrap_or_default() {
            "" => Verification::System,
            text => {
                let pem =
                    STANDARD.decode(text).map_err(|error| format!("unable to load root certificates: {error}"))?;
                Verification::Bundle(pem)
            }
        };
        let (place, path) = match (config["url"].as_str().unwrap_or_default(), &config["service"]) {
            ("", Value::Object(_)) => service(&config["service"])?,
            ("", _) => return Err("webhook configuration must have either service or URL".to_owned()),
            (text, _) => url(text)?,
        };
        Ok(Self { trust: Trust { server_name: place.server_name(), verification }, place, path })
    }

    /// Returns the URL with which a call names its own timeout, so that the other side can give up, too.
    pub(crate) fn url(&self, timeout: Option<Duration>) -> String {
        let mut url = format!("https://{}{}", self.place, self.path);
        if let Some(timeout) = timeout {
            url.push(if self.path.contains('?') { '&' } else { '?' });
            let _ = write!(url, "timeout={}s", timeout.as_secs());
        }
        url
    }
}

fn service(service: &Value) -> Result<(Place, String), String> {
    let text = |field: &str| service[field].as_str().unwrap_or_default().to_owned();
    let (namespace, name, path) = (text("namespace"), text("name"), text("path"));
    if namespace.is_empty() || name.is_empty() {
        return Err("a service reference needs a namespace and a name".to_owned());
    }
    let port = service["port"].as_u64().map_or(Ok(PORT), u16::try_from).map_err(|error| error.to_string())?;
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    Ok((Place::Service { namespace, name, port }, path))
}

fn url(text: &str) -> Result<(Place, String), String> {
    let uri: Uri = text.parse().map_err(|error| format!("Unparsable URL: {error}"))?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("https"));
    let host = host.ok_or_else(|| format!("the URL {text} must begin with https:// and a host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok((Place::Host { host, port: uri.port_u16().unwrap_or(PORT) }, path))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(config: &Value, expected: Result<&str, &str>) {
        let target = Target::parse(config);
        let url = target.as_ref().map(|target| target.url(Some(Duration::from_secs(10))));
        assert_eq!(url.as_deref().map_err(|error| error.as_str()), expected, "{config}");
    }

    #[test]
    fn a_service_is_called_by_its_name_in_the_cluster() {
        let config = json!({"service": {"namespace": "d", "name": "hook", "path": "/mutate"}});
        check(&config, Ok("https://hook.d.svc:443/mutate?timeout=10s"));
        assert_eq!(Target::parse(&config).expect("valid").trust.server_name, "hook.d.svc");
        let config = json!({"service": {"namespace": "d", "name": "h", "port": 8443}});
        check(&config, Ok("https://h.d.svc:8443/?timeout=10s"));
    }

    #[test]
    fn a_url_keeps_its_query_and_its_port() {
        check(&json!({"url": "https://127.0.0.1:9443/a?b=c"}), Ok("https://127.0.0.1:9443/a?b=c&timeout=10s"));
        check(&json!({"url": "https://example.org"}), Ok("https://example.org:443/?timeout=10s"));
        let six = json!({"url": "https://[::1]:1/x"});
        check(&six, Ok("https://[::1]:1/x?timeout=10s"));
        assert_eq!(Target::parse(&six).expect("valid").trust.server_name, "::1");
    }

    #[test]
    fn what_is_no_https_address_is_refused() {
        check(&json!({"url": "http://a/"}), Err("the URL http://a/ must begin with https:// and a host"));
        check(&json!({}), Err("webhook configuration must have either service or URL"));
        check(&json!({"service": {"name": "h"}}), Err("a service reference needs a namespace and a name"));
    }

    #[test]
    fn a_bundle_is_base64() {
        let config = json!({"url": "https://a", "caBundle": "!"});
        assert!(Target::parse(&config).expect_err("refused").starts_with("unable to load root certificates"));
        let config = json!({"url": "https://a", "caBundle": "QQ=="});
        assert_eq!(Target::parse(&config).expect("valid").trust.verification, Verification::Bundle(b"A".to_vec()));
    }
}
