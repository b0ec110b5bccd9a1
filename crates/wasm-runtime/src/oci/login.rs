//! Who we are at which registry: Docker's config files, and the longest match among their entries. Pure.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// How we present ourselves to a registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Not at all.
    #[default]
    Anonymous,
    /// With a user's name and password.
    Basic {
        /// The user.
        user: String,
        /// The password or access token.
        password: String,
    },
    /// With a token that the registry itself takes.
    Bearer(String),
    /// With a token that is exchanged for one that the registry takes (`docker login` with single sign-on).
    Identity(String),
}

/// Secrets stay out of logs.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic { .. } => "Basic",
            Self::Bearer(_) => "Bearer",
            Self::Identity(_) => "Identity",
        })
    }
}

/// Credentials of many registries, in the order in which they are tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keyring {
    /// The longest place first.
    entries: Vec<(Place, Credentials)>,
}

/// Where credentials are good: a host whose labels may be globs, a port and a path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    labels: Vec<String>,
    port: Option<String>,
    path: String,
    /// As written, for the order.
    text: String,
}

/// The names under which Docker Hub's credentials are kept (`credentialprovider/keyring.go`, `BasicDockerKeyring`).
const DOCKER_HUB: &[&str] = &["index.docker.io", "registry-1.docker.io"];

impl Keyring {
    /// Reads a `.dockerconfigjson`, `.dockercfg` or `config.json`. Entries that cannot be used are left out.
    ///
    /// # Errors
    /// If the text is no JSON object.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let document: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let document = document.as_object().ok_or("it is not an object")?;
        // The older form has no `auths` around the hosts.
        let auths = match document.get("auths") {
            Some(auths) => auths.as_object(),
            None if document.values().any(|entry| entry.get("auth").is_some() || entry.get("username").is_some()) => {
                Some(document)
            }
            None => None,
        };
        let mut keyring = Self::default();
        for (place, entry) in auths.into_iter().flatten() {
            if let (Some(place), Some(credentials)) = (Place::parse(place), credentials(entry)) {
                keyring.add(place, credentials);
            }
        }
        Ok(keyring)
    }

    /// Returns a keyring with credentials for one place.
    pub fn of(place: &str, credentials: Credentials) -> Self {
        let mut keyring = Self::default();
        if let Some(place) = Place::parse(place) {
            keyring.add(place, credentials);
        }
        keyring
    }

    /// Adds what another has; among equals, what was there first stays first.
    pub fn extend(&mut self, other: Self) {
        for (place, credentials) in other.entries {
            self.add(place, credentials);
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the credentials for an image, the best match first.
    pub fn find(&self, host: &str, name: &str) -> Vec<Credentials> {
        let host = if host == "docker.io" { DOCKER_HUB[0] } else { host };
        let matching = self.entries.iter().filter(|(place, _)| place.matches(host, name));
        let mut found: Vec<Credentials> = Vec::new();
        for (_, credentials) in matching {
            if !found.contains(credentials) {
                found.push(credentials.clone());
            }
        }
        found
    }

    fn add(&mut self, place: Place, credentials: Credentials) {
        let at = self.entries.partition_point(|(other, _)| other.text.len() >= place.text.len());
        self.entries.insert(at, (place, credentials));
    }
}

impl Place {
    /// Reads what people write as a key: with or without scheme, with `/v1/` or `/v2/` behind (`ParseSchemelessURL`).
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let text = text.trim_end_matches('/');
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        let path = path.strip_prefix("v1").or_else(|| path.strip_prefix("v2")).map_or(path, |rest| {
            // Only the API's version, not a repository that begins like it.
            if rest.is_empty() || rest.starts_with('/') { rest.trim_start_matches('/') } else { path }
        });
        if host.is_empty() {
            return None;
        }
        let host = if host == "docker.io" || DOCKER_HUB.contains(&host) { DOCKER_HUB[0] } else { host };
        let (labels, port) = split(host);
        let text = if path.is_empty() { host.to_owned() } else { format!("{host}/{path}") };
        Some(Self { labels, port, path: path.to_owned(), text })
    }

    fn matches(&self, host: &str, name: &str) -> bool {
        let (labels, port) = split(host);
        // A plain prefix, as kubelet has it, not whole parts.
        name.starts_with(self.path.as_str())
            && self.port == port
            && self.labels.len() == labels.len()
            && self.labels.iter().zip(&labels).all(|(pattern, label)| glob(pattern.as_bytes(), label.as_bytes()))
    }
}

/// Splits a host at its dots. An IPv6 address is one label.
fn split(host: &str) -> (Vec<String>, Option<String>) {
    if let Some((address, rest)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (vec![address.to_owned()], rest.strip_prefix(':').map(str::to_owned));
    }
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port.to_owned())));
    (name.to_ascii_lowercase().split('.').map(str::to_owned).collect(), port)
}

/// `*` is any run of characters within a label (`URLsMatch`).
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=text.len()).any(|taken| glob(rest, &text[taken..])),
        (Some((wanted, pattern)), Some((found, text))) => wanted == found && glob(pattern, text),
        _ => false,
    }
}

/// Reads an entry: `auth`, or `username` and `password`, or a token.
fn credentials(entry: &Value) -> Option<Credentials> {
    let field = |name: &str| entry[name].as_str().filter(|text| !text.is_empty());
    if let Some(token) = field("identitytoken") {
        return Some(Credentials::Identity(token.to_owned()));
    }
    if let Some(token) = field("registrytoken") {
        return Some(Credentials::Bearer(token.to_owned()));
    }
    if let Some(auth) = field("auth") {
        return basic(auth);
    }
    let (user, password) = (field("username")?.to_owned(), field("password")?.to_owned());
    Some(Credentials::Basic { user, password })
}

/// Reads base64 of `user:password`.
pub(super) fn basic(auth: &str) -> Option<Credentials> {
    let decoded = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    // Docker pads with zeroes.
    let password = password.trim_end_matches('\0');
    Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(name: &str) -> Credentials {
        Credentials::Basic { user: name.to_owned(), password: "p".to_owned() }
    }

    /// A keyring whose users are called like the places they are for.
    fn keyring(places: &[&str]) -> Keyring {
        let entry = |place: &&str| ((*place).to_owned(), json!({ "username": place, "password": "p" }));
        let auths: serde_json::Map<_, _> = places.iter().map(entry).collect();
        Keyring::parse(json!({ "auths": auths }).to_string().as_bytes()).unwrap()
    }

    fn check(places: &[&str], host: &str, name: &str, expected: &[&str]) {
        let expected: Vec<_> = expected.iter().map(|name| user(name)).collect();
        assert_eq!(keyring(places).find(host, name), expected, "{host}/{name} in {places:?}");
    }

    #[test]
    fn a_host_is_found_however_it_is_written() {
        for place in ["ghcr.io", "https://ghcr.io", "http://ghcr.io/", "https://ghcr.io/v1/", "ghcr.io/v2", "GHCR.io"] {
            check(&[place], "ghcr.io", "team/app", &[place]);
            check(&[place], "example.com", "team/app", &[]);
        }
    }

    #[test]
    fn the_longest_match_comes_first() {
        let places = ["r.io", "r.io/team/app", "r.io/team"];
        check(&places, "r.io", "team/app", &["r.io/team/app", "r.io/team", "r.io"]);
        check(&places, "r.io", "team/other", &["r.io/team", "r.io"]);
        check(&places, "r.io", "elsewhere", &["r.io"]);
    }

    #[test]
    fn a_path_is_a_prefix() {
        check(&["r.io/team"], "r.io", "teamwork/app", &["r.io/team"]);
        check(&["r.io/team/"], "r.io", "tea/app", &[]);
        check(&["r.io/v2ray"], "r.io", "v2ray/app", &["r.io/v2ray"]);
    }

    #[test]
    fn ports_must_be_equal() {
        check(&["r.io:5000"], "r.io:5000", "app", &["r.io:5000"]);
        check(&["r.io:5000"], "r.io", "app", &[]);
        check(&["r.io"], "r.io:5000", "app", &[]);
        check(&["[::1]:5000"], "[::1]:5000", "app", &["[::1]:5000"]);
    }

    #[test]
    fn stars_stand_for_parts_of_a_label() {
        check(&["*.r.io"], "eu.r.io", "app", &["*.r.io"]);
        check(&["*.r.io"], "r.io", "app", &[]);
        check(&["*.r.io"], "a.b.r.io", "app", &[]);
        check(&["eu-*.r.io"], "eu-west.r.io", "app", &["eu-*.r.io"]);
        check(&["*.*.io"], "a.r.io", "app", &["*.*.io"]);
    }

    #[test]
    fn docker_hub_has_several_names() {
        for place in ["docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"] {
            check(&[place], "docker.io", "library/app", &[place]);
        }
    }

    #[test]
    fn every_form_of_an_entry_is_read() {
        let credentials = |entry: Value| {
            Keyring::parse(json!({ "auths": { "r": entry } }).to_string().as_bytes()).unwrap().find("r", "a").pop()
        };
        let auth = STANDARD.encode("u:p:with:colons");
        let basic = Credentials::Basic { user: "u".into(), password: "p:with:colons".into() };
        assert_eq!(credentials(json!({ "auth": auth })), Some(basic));
        assert_eq!(
            credentials(json!({ "auth": STANDARD.encode("u:p\0\0") })).unwrap(),
            Credentials::Basic { user: "u".into(), password: "p".into() }
        );
        assert_eq!(credentials(json!({ "identitytoken": "t" })), Some(Credentials::Identity("t".into())));
        assert_eq!(credentials(json!({ "registrytoken": "t" })), Some(Credentials::Bearer("t".into())));
        for bad in [json!({}), json!({ "auth": "%" }), json!({ "auth": STANDARD.encode("none") }), json!("x")] {
            assert_eq!(credentials(bad.clone()), None, "{bad}");
        }
    }

    #[test]
    fn the_older_form_and_what_is_no_file_at_all() {
        let old = json!({ "https://r.io": { "auth": STANDARD.encode("u:p"), "email": "e" } }).to_string();
        assert_eq!(Keyring::parse(old.as_bytes()).unwrap().find("r.io", "a"), [user("u")]);
        assert!(Keyring::parse(br#"{"credsStore":"desktop"}"#).unwrap().is_empty());
        for bad in [&b""[..], b"[]", b"auths: {}"] {
            assert!(Keyring::parse(bad).is_err());
        }
    }

    #[test]
    fn keyrings_are_joined_and_never_shown() {
        let mut keyring = Keyring::of("r.io", user("first"));
        keyring.extend(Keyring::of("r.io", user("second")));
        keyring.extend(Keyring::of("r.io", user("first")));
        keyring.extend(Keyring::of("r.io/app", user("closer")));
        assert_eq!(keyring.find("r.io", "app"), [user("closer"), user("first"), user("second")]);
        assert!(!format!("{keyring:?}").contains("\"p\""));
    }
}
