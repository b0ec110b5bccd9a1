//! Ingress rules as a pure table: host and path to a service and port (`networking/v1`, Ingress).

use k8s_openapi::api::networking::v1::{Ingress, IngressBackend};
use wkube_api::ObjectKey;

/// The port that a backend names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendPort {
    /// By number.
    Number(u16),
    /// By the service port's name.
    Name(String),
}

/// Where a rule leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The service, in the Ingress' namespace.
    pub service: ObjectKey,
    /// Its port.
    pub port: BackendPort,
}

/// All rules, the most specific first.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct IngressTable {
    rules: Vec<Rule>,
}

#[derive(Debug, PartialEq, Eq)]
struct Rule {
    host: HostMatch,
    path: PathMatch,
    target: Target,
}

/// Ordered from specific to general.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum HostMatch {
    Exact(String),
    /// `*.example.com`, kept as `.example.com`: stands for exactly one label.
    Wildcard(String),
    Any,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PathMatch {
    Exact(String),
    /// Element-wise: `/a` matches `/a` and `/a/b`, not `/ab`.
    Prefix(String),
    /// The default backend of an Ingress: after every rule.
    Default,
}

impl IngressTable {
    /// Builds the table. Later Ingresses lose against earlier ones with the same host and path.
    pub fn new<'i>(ingresses: impl IntoIterator<Item = &'i Ingress>) -> Self {
        let mut rules: Vec<Rule> = ingresses.into_iter().flat_map(rules_of).collect();
        // Stable: among equals the order of the Ingresses decides.
        rules.sort_by(|a, b| a.host.cmp(&b.host).then_with(|| a.path.rank().cmp(&b.path.rank())));
        Self { rules }
    }

    /// Returns where a request goes whose host a rule names, exactly or by wildcard.
    pub fn by_host(&self, host: &str, path: &str) -> Option<&Target> {
        self.find(host, path, |host| *host != HostMatch::Any)
    }

    /// Returns where a request goes that only rules without a host match.
    pub fn any_host(&self, path: &str) -> Option<&Target> {
        self.find("", path, |host| *host == HostMatch::Any)
    }

    /// Returns the hosts that rules name, for messages.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter_map(|rule| match &rule.host {
            HostMatch::Exact(host) => Some(host.as_str()),
            HostMatch::Wildcard(_) | HostMatch::Any => None,
        })
    }

    fn find(&self, host: &str, path: &str, wanted: impl Fn(&HostMatch) -> bool) -> Option<&Target> {
        let hit = |rule: &&Rule| wanted(&rule.host) && rule.host.matches(host) && rule.path.matches(path);
        self.rules.iter().find(hit).map(|rule| &rule.target)
    }
}

impl HostMatch {
    fn new(host: Option<&str>) -> Self {
        match host.unwrap_or_default() {
            "" | "*" => Self::Any,
            host => match host.strip_prefix('*') {
                Some(suffix) => Self::Wildcard(suffix.to_ascii_lowercase()),
                None => Self::Exact(host.to_ascii_lowercase()),
            },
        }
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(wanted) => wanted == host,
            Self::Wildcard(suffix) => {
                host.strip_suffix(suffix.as_str()).is_some_and(|label| !label.is_empty() && !label.contains('.'))
            }
            Self::Any => true,
        }
    }
}

impl PathMatch {
    fn new(kind: &str, path: Option<&str>) -> Self {
        let path = path.filter(|path| !path.is_empty()).unwrap_or("/").to_owned();
        // ImplementationSpecific is ours to define: as Prefix, like most controllers.
        if kind == "Exact" { Self::Exact(path) } else { Self::Prefix(path) }
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(wanted) => wanted == path,
            Self::Prefix(prefix) => {
                let prefix = prefix.trim_end_matches('/');
                path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Default => true,
        }
    }

    /// The longest path first; an exact one before a prefix of the same length; default backends last.
    fn rank(&self) -> (usize, u8) {
        match self {
            Self::Exact(path) => (usize::MAX - path.len(), 0),
            Self::Prefix(path) => (usize::MAX - path.len(), 1),
            Self::Default => (usize::MAX, 2),
        }
    }
}

fn rules_of(ingress: &Ingress) -> Vec<Rule> {
    let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
    let Some(spec) = &ingress.spec else { return Vec::new() };
    let mut rules = Vec::new();
    for rule in spec.rules.iter().flatten() {
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            if let Some(target) = target_of(&path.backend, namespace) {
                let host = HostMatch::new(rule.host.as_deref());
                rules.push(Rule { host, path: PathMatch::new(&path.path_type, path.path.as_deref()), target });
            }
        }
    }
    if let Some(target) = spec.default_backend.as_ref().and_then(|backend| target_of(backend, namespace)) {
        rules.push(Rule { host: HostMatch::Any, path: PathMatch::Default, target });
    }
    rules
}

fn target_of(backend: &IngressBackend, namespace: &str) -> Option<Target> {
    let service = backend.service.as_ref()?;
    let port = service.port.as_ref()?;
    let port = match (&port.name, port.number) {
        (Some(name), _) => BackendPort::Name(name.clone()),
        (None, number) => BackendPort::Number(u16::try_from(number?).ok()?),
    };
    Some(Target { service: ObjectKey::new(namespace, service.name.clone()), port })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::networking::v1::{
        HTTPIngressPath, HTTPIngressRuleValue, IngressRule, IngressServiceBackend, IngressSpec, ServiceBackendPort,
    };
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn backend(service: &str) -> IngressBackend {
        IngressBackend {
            resource: None,
            service: Some(IngressServiceBackend {
                name: service.into(),
                port: Some(ServiceBackendPort { name: None, number: Some(80) }),
            }),
        }
    }

    fn ingress(rules: &[(&str, &str, &str, &str)], default: Option<&str>) -> Ingress {
        let rule = |&(host, kind, path, service): &(&str, &str, &str, &str)| IngressRule {
            host: Some(host.to_owned()).filter(|host| !host.is_empty()),
            http: Some(HTTPIngressRuleValue {
                paths: vec![HTTPIngressPath {
                    backend: backend(service),
                    path: Some(path.into()),
                    path_type: kind.into(),
                }],
            }),
        };
        Ingress {
            metadata: ObjectMeta { namespace: Some("default".into()), ..ObjectMeta::default() },
            spec: Some(IngressSpec {
                rules: Some(rules.iter().map(rule).collect()),
                default_backend: default.map(backend),
                ..IngressSpec::default()
            }),
            status: None,
        }
    }

    fn goes(table: &IngressTable, host: &str, path: &str) -> Option<String> {
        let target = table.by_host(host, path).or_else(|| table.any_host(path));
        target.map(|target| target.service.name.clone())
    }

    #[test]
    fn prefixes_match_whole_elements_and_the_longest_wins() {
        let rules = [
            ("a.test", "Prefix", "/", "root"),
            ("a.test", "Prefix", "/foo", "foo"),
            ("a.test", "Exact", "/foo", "exact"),
        ];
        let table = IngressTable::new(&[ingress(&rules, None)]);
        let cases = [("/", "root"), ("/foo", "exact"), ("/foo/", "foo"), ("/foo/bar", "foo"), ("/foobar", "root")];
        for (path, service) in cases {
            assert_eq!(goes(&table, "a.test", path).as_deref(), Some(service), "{path}");
        }
        assert_eq!(goes(&table, "b.test", "/"), None);
    }

    #[test]
    fn a_wildcard_stands_for_one_label_and_loses_to_an_exact_host() {
        let rules = [("*.foo.com", "Prefix", "/", "wild"), ("bar.foo.com", "Prefix", "/", "exact")];
        let table = IngressTable::new(&[ingress(&rules, None)]);
        assert_eq!(goes(&table, "bar.foo.com", "/").as_deref(), Some("exact"));
        assert_eq!(goes(&table, "baz.foo.com", "/").as_deref(), Some("wild"));
        assert_eq!(goes(&table, "baz.bar.foo.com", "/"), None);
        assert_eq!(goes(&table, "foo.com", "/"), None);
    }

    #[test]
    fn the_default_backend_comes_last() {
        let table = IngressTable::new(&[ingress(&[("", "Prefix", "/app", "app")], Some("rest"))]);
        assert_eq!(goes(&table, "any.test", "/app/x").as_deref(), Some("app"));
        assert_eq!(goes(&table, "any.test", "/other").as_deref(), Some("rest"));
    }
}
