//! The node's file about registries, in the form of k3s and RKE2 (`registries.yaml`): mirrors, certificates, credentials.
//! Pure, but for [`Registries::load`].
//!
//! ```yaml
//! mirrors:
//!   docker.io:                      # or "*": every host that has no entry of its own
//!     endpoint: ["https://mirror.lan:5000", "http://old.lan"]
//!     rewrite: { "^library/(.*)": "hub/$1" }
//! configs:
//!   mirror.lan:5000:
//!     auth: { username: u, password: p }
//!     tls: { ca_file: /etc/ssl/lan.pem, cert_file: …, key_file: …, insecure_skip_verify: false }
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde::Deserialize;

use super::login::{self, Credentials};
use super::reference::Reference;
use super::remote::is_loopback;

/// A file that is larger was not written by a person.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Docker Hub serves its API under another name than that of its images.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_API: &str = "registry-1.docker.io";

/// What a node knows about registries.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    mirrors: BTreeMap<String, Mirror>,
    configs: BTreeMap<String, Settings>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("use the registry configuration {path}: {reason}")]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

#[derive(Debug, Clone, Default)]
struct Mirror {
    endpoints: Vec<Endpoint>,
    rewrites: Vec<(Regex, String)>,
}

/// Where a registry is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `http` or `https`, host, port and path, without a slash at the end.
    pub url: String,
    /// The host with its port, as `configs` and messages name it.
    pub host: String,
    /// Certificates.
    pub tls: Tls,
    /// Credentials of the node, which count only if the pod brings none that fit.
    pub credentials: Credentials,
}

/// Which certificates count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// A file of CA certificates that count beside those of the machine.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// Whether any certificate will do. Whoever sets this trusts the network.
    pub insecure_skip_verify: bool,
}

/// Where an image is looked for: the endpoint, and the repository's name there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The repository.
    pub name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    mirrors: Option<BTreeMap<String, Option<FileMirror>>>,
    #[serde(default)]
    configs: Option<BTreeMap<String, Settings>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileMirror {
    #[serde(alias = "endpoints")]
    endpoint: Vec<String>,
    rewrite: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    auth: Option<Auth>,
    tls: Option<Tls>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Auth {
    username: String,
    password: String,
    #[serde(rename = "auth")]
    encoded: String,
    identity_token: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Auth {
    fn credentials(&self) -> Result<Credentials, String> {
        if !self.identity_token.is_empty() {
            return Ok(Credentials::Identity(self.identity_token.clone()));
        }
        if !self.encoded.is_empty() {
            return login::basic(&self.encoded).ok_or_else(|| "`auth` is not base64 of user:password".to_owned());
        }
        if self.username.is_empty() {
            return Ok(Credentials::Anonymous);
        }
        Ok(Credentials::Basic { user: self.username.clone(), password: self.password.clone() })
    }
}

impl Registries {
    /// Reads the file.
    ///
    /// # Errors
    /// Names the file and what is wrong with it; unknown fields are errors, a typing mistake must not open a door.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let failed = |reason: String| ConfigError { path: path.to_owned(), reason };
        let size = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
        if size > FILE_BYTES_MAX {
            return Err(failed(format!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let registries = Self::parse(&text).map_err(failed)?;
        for tls in registries.configs.values().filter_map(|settings| settings.tls.as_ref()) {
            for file in [&tls.ca_file, &tls.cert_file, &tls.key_file].into_iter().flatten() {
                std::fs::metadata(file).map_err(|error| failed(format!("{}: {error}", file.display())))?;
            }
        }
        Ok(registries)
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        let file: File = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let configs = file.configs.unwrap_or_default();
        for (host, settings) in &configs {
            let auth = settings.auth.as_ref().map_or(Ok(Credentials::Anonymous), Auth::credentials);
            auth.map_err(|reason| format!("configs[{host:?}].auth: {reason}"))?;
        }
        let mut registries = Self { mirrors: BTreeMap::new(), configs };
        for (host, mirror) in file.mirrors.unwrap_or_default() {
            let mirror = registries.mirror(mirror.unwrap_or_default());
            registries.mirrors.insert(host.clone(), mirror.map_err(|why| format!("mirrors[{host:?}]: {why}"))?);
        }
        Ok(registries)
    }

    fn mirror(&self, file: FileMirror) -> Result<Mirror, String> {
        let endpoints = file.endpoint.iter().map(|url| self.endpoint_of(url)).collect::<Result<_, _>>()?;
        let rewrite = |(pattern, to): (String, String)| {
            let regex = Regex::new(&pattern).map_err(|error| format!("rewrite {pattern:?}: {error}"))?;
            Ok::<_, String>((regex, to))
        };
        Ok(Mirror { endpoints, rewrites: file.rewrite.into_iter().map(rewrite).collect::<Result<_, _>>()? })
    }

    /// Reads `http[s]://host[:port][/path]`; containerd's `/v2` at the end is ours to add.
    fn endpoint_of(&self, url: &str) -> Result<Endpoint, String> {
        let trimmed = url.trim_end_matches('/');
        let trimmed = trimmed.strip_suffix("/v2").unwrap_or(trimmed);
        let rest = trimmed.strip_prefix("https://").or_else(|| trimmed.strip_prefix("http://"));
        let host = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
        if host.is_empty() || host.contains(['@', '?', '#', ' ']) {
            return Err(format!("endpoint {url:?} is not of the form http[s]://HOST[:PORT][/PATH]"));
        }
        Ok(self.endpoint(host, trimmed.to_owned()))
    }

    fn endpoint(&self, host: &str, url: String) -> Endpoint {
        let settings = self.settings(host);
        let credentials = settings.and_then(|settings| settings.auth.as_ref()?.credentials().ok());
        Endpoint {
            url,
            host: host.to_owned(),
            tls: settings.and_then(|settings| settings.tls.clone()).unwrap_or_default(),
            credentials: credentials.unwrap_or_default(),
        }
    }

    fn settings(&self, host: &str) -> Option<&Settings> {
        self.configs.get(host).or_else(|| if host == DOCKER_HUB_API { self.configs.get(DOCKER_HUB) } else { None })
    }

    /// Returns the registry itself: by HTTPS, or by plain HTTP if it is on this machine and has no certificates
    /// configured (Docker's rule for insecure registries).
    pub fn registry(&self, host: &str) -> Endpoint {
        let host = if host == DOCKER_HUB { DOCKER_HUB_API } else { host };
        let has_tls = self.settings(host).is_some_and(|settings| settings.tls.is_some());
        let scheme = if is_loopback(host) && !has_tls { "http" } else { "https" };
        self.endpoint(host, format!("{scheme}://{host}"))
    }

    /// Returns where an image of the registry `host` is looked for: the mirrors in their order, then the registry.
    pub fn sources(&self, host: &str, reference: &Reference) -> Vec<Source> {
        let name = reference.name();
        // Docker Hub's own images have a namespace that nobody writes.
        let name = if host == DOCKER_HUB && !name.contains('/') { format!("library/{name}") } else { name.to_owned() };
        let own = self.registry(host);
        let mut sources: Vec<Source> = Vec::new();
        if let Some(mirror) = self.mirrors.get(host).or_else(|| self.mirrors.get("*")) {
            let rewrite = mirror.rewrites.iter().find(|(pattern, _)| pattern.is_match(&name));
            let there =
                rewrite.map_or_else(|| name.clone(), |(pattern, to)| pattern.replace(&name, to.as_str()).into_owned());
            sources.extend(
                mirror.endpoints.iter().map(|endpoint| Source { endpoint: endpoint.clone(), name: there.clone() }),
            );
        }
        // A mirror of itself is how a registry is told to be plain HTTP: it replaces the default.
        if !sources.iter().any(|source| source.endpoint.host == own.host) {
            sources.push(Source { endpoint: own, name });
        }
        sources
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Registries {
        Registries::parse(text).unwrap()
    }

    /// The URLs, with the names there, at which an image is looked for.
    fn places(registries: &Registries, image: &str) -> Vec<String> {
        let reference: Reference = image.parse().unwrap();
        let sources = registries.sources(reference.host().unwrap(), &reference);
        sources.into_iter().map(|source| format!("{} {}", source.endpoint.url, source.name)).collect()
    }

    #[test]
    fn without_a_file_registries_are_asked_by_https_and_this_machine_by_http() {
        let none = Registries::default();
        assert_eq!(places(&none, "ghcr.io/a/b"), ["https://ghcr.io a/b"]);
        assert_eq!(places(&none, "localhost:5050/a"), ["http://localhost:5050 a"]);
        assert_eq!(places(&none, "127.0.0.1:5050/a"), ["http://127.0.0.1:5050 a"]);
    }

    #[test]
    fn docker_hub_is_asked_under_its_other_name() {
        let none = Registries::default();
        assert_eq!(places(&none, "docker.io/busybox"), ["https://registry-1.docker.io library/busybox"]);
        assert_eq!(places(&none, "docker.io/team/app"), ["https://registry-1.docker.io team/app"]);
    }

    #[test]
    fn mirrors_come_first_and_the_registry_last() {
        let registries =
            parse("mirrors:\n  ghcr.io:\n    endpoint: [\"https://m1.lan:5000/v2/\", \"http://m2.lan/cache\"]\n");
        assert_eq!(
            places(&registries, "ghcr.io/a/b"),
            ["https://m1.lan:5000 a/b", "http://m2.lan/cache a/b", "https://ghcr.io a/b"]
        );
        assert_eq!(places(&registries, "quay.io/a/b"), ["https://quay.io a/b"]);
    }

    #[test]
    fn a_mirror_of_itself_makes_a_registry_plain_http() {
        let registries = parse("mirrors:\n  r.lan:5000:\n    endpoint: [\"http://r.lan:5000\"]\n");
        assert_eq!(places(&registries, "r.lan:5000/a"), ["http://r.lan:5000 a"]);
    }

    #[test]
    fn a_star_is_for_every_other_host() {
        let registries =
            parse("mirrors:\n  \"*\":\n    endpoint: [\"https://cache\"]\n  quay.io:\n    endpoint: [\"https://q\"]\n");
        assert_eq!(places(&registries, "ghcr.io/a")[0], "https://cache a");
        assert_eq!(places(&registries, "quay.io/a")[0], "https://q a");
    }

    #[test]
    fn names_are_rewritten_for_mirrors_but_not_for_the_registry() {
        let registries = parse(
            "mirrors:\n  docker.io:\n    endpoint: [\"https://m\"]\n    rewrite: { \"^library/(.*)\": \"hub/$1\" }\n",
        );
        assert_eq!(
            places(&registries, "docker.io/app"),
            ["https://m hub/app", "https://registry-1.docker.io library/app"]
        );
        assert_eq!(places(&registries, "docker.io/team/app")[0], "https://m team/app");
    }

    #[test]
    fn certificates_and_credentials_belong_to_the_endpoints_host() {
        let registries = parse(
            "mirrors:\n  ghcr.io:\n    endpoint: [\"https://m.lan\"]\n\
             configs:\n  m.lan:\n    auth: { username: u, password: p }\n    tls: { ca_file: /ca.pem }\n  \
             docker.io:\n    auth: { auth: dTpw }\n",
        );
        let user = Credentials::Basic { user: "u".into(), password: "p".into() };
        let mirror = &registries.sources("ghcr.io", &"ghcr.io/a".parse().unwrap())[0].endpoint;
        assert_eq!((&mirror.credentials, mirror.tls.ca_file.as_deref()), (&user, Some(Path::new("/ca.pem"))));
        assert_eq!(registries.registry("docker.io").credentials, user);
        assert_eq!(registries.registry("ghcr.io").credentials, Credentials::Anonymous);
    }

    #[test]
    fn a_registry_on_this_machine_with_a_certificate_is_asked_by_https() {
        let registries = parse("configs:\n  localhost:5001:\n    tls: { ca_file: /ca.pem }\n");
        assert_eq!(registries.registry("localhost:5001").url, "https://localhost:5001");
        assert_eq!(registries.registry("localhost:5002").url, "http://localhost:5002");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("mirror: {}", "mirror"),
            ("configs: { r: { tls: { cafile: /x } } }", "cafile"),
            ("configs: { r: { auth: { auth: \"%\" } } }", "base64"),
            ("mirrors: { r: { endpoint: [\"r.lan\"] } }", "http[s]://"),
            ("mirrors: { r: { endpoint: [\"https://u:p@r\"] } }", "http[s]://"),
            ("mirrors: { r: { rewrite: { \"(\": x } } }", "rewrite"),
            ("[]", ""),
        ] {
            let reason = Registries::parse(text).unwrap_err();
            assert!(reason.contains(part), "{text}: {reason}");
        }
        for empty in ["", "# nothing\n", "mirrors:\n", "configs: {}\n"] {
            assert!(Registries::parse(empty).is_ok(), "{empty:?}");
        }
    }

    #[test]
    fn a_file_that_is_missing_or_names_missing_files_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("registries.yaml");
        assert!(Registries::load(&file).unwrap_err().to_string().contains("registries.yaml"));
        std::fs::write(&file, "configs: { r: { tls: { ca_file: /does/not/exist.pem } } }").unwrap();
        assert!(Registries::load(&file).unwrap_err().reason.contains("/does/not/exist.pem"));
    }
}
