//! Sends an HTTP request to a service: look up, pick, call; another endpoint if the first is just gone.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use http::header::{HOST, HeaderValue};
use http::{Request, Response};
use wkube_api::ObjectKey;

use crate::balance::Pick;
use crate::ingress::{BackendPort, Target};
use crate::local::LocalPods;
use crate::net::links::Links;
use crate::remote::{Remote, RemoteError};
use crate::table::{Endpoint, PortRoute, RouteTable, ServiceRoute};
use crate::{Body, BoxError, name};

/// How many hosts an error message lists.
const HOSTS_LISTED_MAX: usize = 20;
/// How many endpoints one request tries. Only endpoints that vanished between the look-up and the call are passed
/// over, so that a few are plenty.
const ENDPOINTS_TRIED_MAX: usize = 4;
/// How many endpoints one request looks at, those of nodes that it has found out of reach included.
const ENDPOINTS_SEEN_MAX: usize = 256;

/// Why a request reached no pod.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nothing has this name.
    #[error("no service or Ingress has the host \"{host}\"; known hosts: {known}")]
    UnknownHost {
        /// The name that was asked for.
        host: String,
        /// What there is, comma-separated.
        known: String,
    },
    /// The request has no host at all.
    #[error("the request has no Host header; set it to <service>.<namespace>.localhost")]
    MissingHost,
    /// The service has no such port.
    #[error("service \"{service}\" has no port {port}; its ports: {known}")]
    NoPort {
        /// The service.
        service: ObjectKey,
        /// The number or name.
        port: String,
        /// What there is.
        known: String,
    },
    /// Nothing answers for the service.
    #[error("service \"{service}\" has no ready endpoints: {why}")]
    NoEndpoint {
        /// The service.
        service: ObjectKey,
        /// What is the matter with its selector or its pods.
        why: String,
    },
    /// Nothing runs and waking is not wired yet.
    #[error("service \"{service}\" is asleep")]
    Asleep {
        /// The service.
        service: ObjectKey,
    },
    /// The service stands for a name outside the cluster.
    #[error("service \"{service}\" is of type ExternalName ({name}), which the proxy does not follow")]
    External {
        /// The service.
        service: ObjectKey,
        /// The name.
        name: String,
    },
    /// The pod was called and failed without an answer.
    #[error("the request to service \"{service}\" failed")]
    Failed {
        /// The service.
        service: ObjectKey,
        /// What went wrong.
        #[source]
        source: BoxError,
    },
}

/// The service proxy. Clones share the route table.
#[derive(Clone)]
pub struct Proxy {
    pub(crate) table: Arc<ArcSwap<RouteTable>>,
    local: LocalPods,
    remote: Arc<dyn Remote>,
    links: Links,
}

impl Proxy {
    /// Returns a proxy without routes; [`Proxy::follow`] fills them.
    pub fn new(local: LocalPods, remote: Arc<dyn Remote>) -> Self {
        Self { table: Arc::default(), local, remote, links: Links::default() }
    }

    /// Returns the pods of this process.
    pub fn local(&self) -> &LocalPods {
        &self.local
    }

    /// Returns the way to other nodes.
    pub(crate) fn remote(&self) -> &Arc<dyn Remote> {
        &self.remote
    }

    /// Returns the way of datagrams to other nodes.
    pub(crate) fn links(&self) -> &Links {
        &self.links
    }

    /// Returns the routes as they are now.
    pub fn table(&self) -> Arc<RouteTable> {
        self.table.load_full()
    }

    /// Sends a request that came in at the gateway, by its `Host` header and path.
    pub async fn send_from_outside(&self, request: Request<Body>) -> Result<Response<Body>, SendError> {
        let host = host_of(&request).ok_or(SendError::MissingHost)?;
        let table = self.table.load_full();
        let path = request.uri().path();
        if let Some(target) = table.ingress.by_host(&host, path) {
            let target = target.clone();
            return self.send_to_target(&table, &target, request).await;
        }
        if let Some(key) = name::of_gateway(&host)
            && let Some(service) = table.service(&key)
        {
            let port = service.web_port().ok_or_else(|| no_port(service, "80".into()))?;
            return self.send_to(service, port, request).await;
        }
        if let Some(target) = table.ingress.any_host(path) {
            let target = target.clone();
            return self.send_to_target(&table, &target, request).await;
        }
        Err(SendError::UnknownHost { known: known_hosts(&table), host })
    }

    /// Whether the proxy itself answers for the host of a guest's request: a service of pods. Others stand for what is
    /// elsewhere, and so do addresses.
    pub fn serves(&self, namespace: &str, request: &Request<Body>) -> bool {
        let table = self.table.load();
        let key = host_of(request).and_then(|host| name::of_guest(&host, namespace));
        let service = key.and_then(|key| table.service(&key));
        service.is_some_and(|service| service.external_name.is_none() && !service.selector.is_empty())
    }

    /// Sends a guest's outgoing request to the service that its authority names as seen from `namespace`.
    ///
    /// # Errors
    /// `UnknownHost` if it names no service; whether a guest may leave the cluster is not for the proxy to decide.
    pub fn send_from_guest(
        &self,
        namespace: &str,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, SendError>> {
        let proxy = self.clone();
        let namespace = namespace.to_owned();
        Box::pin(async move {
            let host = host_of(&request).ok_or(SendError::MissingHost)?;
            let table = proxy.table.load_full();
            let service = name::of_guest(&host, &namespace).and_then(|key| table.service(&key));
            let service = service.ok_or_else(|| SendError::UnknownHost { known: known_services(&table), host })?;
            let number = request.uri().port_u16().unwrap_or(80);
            let port = service.port(number).ok_or_else(|| no_port(service, number.to_string()))?;
            proxy.send_to(service, port, request).await
        })
    }

    async fn send_to_target(
        &self,
        table: &RouteTable,
        target: &Target,
        request: Request<Body>,
    ) -> Result<Response<Body>, SendError> {
        let service = table.service(&target.service).ok_or_else(|| SendError::NoEndpoint {
            service: target.service.clone(),
            why: "an Ingress names it, but the Service does not exist".into(),
        })?;
        let (port, asked) = match &target.port {
            BackendPort::Number(number) => (service.port(*number), number.to_string()),
            BackendPort::Name(name) => (service.port_named(name), name.clone()),
        };
        let port = port.ok_or_else(|| no_port(service, asked))?;
        self.send_to(service, port, request).await
    }

    async fn send_to(
        &self,
        service: &ServiceRoute,
        port: &PortRoute,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, SendError> {
        if let Some(name) = &service.external_name {
            return Err(SendError::External { service: service.key.clone(), name: name.clone() });
        }
        let failed = |source| SendError::Failed { service: service.key.clone(), source };
        let turn = port.next_turn();
        let mut tried = 0;
        let mut lost: Option<(&str, BoxError)> = None;
        for skip in 0..ENDPOINTS_SEEN_MAX {
            let endpoint = match port.pick(service.may_wake, turn, skip) {
                Pick::Endpoint(endpoint) => endpoint,
                Pick::MayWake => return Err(SendError::Asleep { service: service.key.clone() }),
                Pick::Nothing => break,
            };
            if lost.as_ref().is_some_and(|(node, _)| endpoint.node.as_deref() == Some(*node)) {
                continue;
            }
            tried += 1;
            if tried > ENDPOINTS_TRIED_MAX {
                break;
            }
            if let Some(backend) = self.local.get(endpoint.address, endpoint.port) {
                return backend.handle(request).await.map_err(failed);
            }
            if self.is_gone(endpoint) {
                continue;
            }
            match self.remote.send(endpoint, request).await {
                Ok(response) => return Ok(response),
                Err(RemoteError::Failed(source)) => return Err(failed(source)),
                Err(RemoteError::Unreached { request: back, source }) => {
                    request = *back;
                    lost = Some((endpoint.node.as_deref().unwrap_or_default(), source));
                }
            }
        }
        Err(lost.map_or_else(|| no_endpoint(service, port), |(_, source)| failed(source)))
    }

    /// Whether a pod of this process has stopped listening on that port (its slice is not updated yet) or never did.
    fn is_gone(&self, endpoint: &Endpoint) -> bool {
        self.local.has(endpoint.address) || self.local.is_node(endpoint.node.as_deref())
    }
}

/// Returns the host that a request is for, without its port.
fn host_of(request: &Request<Body>) -> Option<String> {
    let header = request.headers().get(HOST).and_then(|host: &HeaderValue| host.to_str().ok());
    let authority = request.uri().authority().map(http::uri::Authority::as_str).or(header)?;
    Some(name::bare_host(authority)).filter(|host| !host.is_empty())
}

fn known_hosts(table: &RouteTable) -> String {
    let services = table.services().map(|service| name::for_gateway(&service.key));
    listed(table.ingress.hosts().map(str::to_owned).chain(services).collect())
}

fn known_services(table: &RouteTable) -> String {
    listed(table.services().map(|service| format!("{}.{}", service.key.name, service.key.namespace)).collect())
}

fn listed(mut hosts: Vec<String>) -> String {
    hosts.dedup();
    let left = hosts.len().saturating_sub(HOSTS_LISTED_MAX);
    hosts.truncate(HOSTS_LISTED_MAX);
    match (hosts.is_empty(), left) {
        (true, _) => "none".to_owned(),
        (false, 0) => hosts.join(", "),
        (false, left) => format!("{} and {left} more", hosts.join(", ")),
    }
}

fn no_port(service: &ServiceRoute, port: String) -> SendError {
    let known: Vec<String> = service.ports.iter().map(|port| port.port.to_string()).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    SendError::NoPort { service: service.key.clone(), port, known }
}

fn no_endpoint(service: &ServiceRoute, port: &PortRoute) -> SendError {
    let why = match (port.endpoints.len(), service.selector.as_str()) {
        (0, "") => "it has no selector and no endpoints were added by hand".to_owned(),
        (0, selector) => {
            format!("its selector {selector} matches no running pod; see `kubectl get pods -l {selector}`")
        }
        (count, selector) => {
            format!("{count} pod(s) match its selector, none is ready; see `kubectl describe pods -l {selector}`")
        }
    };
    SendError::NoEndpoint { service: service.key.clone(), why }
}

#[cfg(test)]
pub(crate) mod tests {
    use futures::FutureExt as _;
    use http::Method;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::local::Ports;
    use crate::local::tests::Says;
    use crate::respond;
    use crate::table::tests::{service, slice};

    pub(crate) struct Nowhere;

    impl Remote for Nowhere {
        fn send(
            &self,
            _: &Endpoint,
            request: Request<Body>,
        ) -> BoxFuture<'static, Result<Response<Body>, RemoteError>> {
            let source: BoxError = "the other node does not answer".into();
            let answer = match *request.method() {
                Method::GET => RemoteError::Unreached { request: Box::new(request), source },
                _ => RemoteError::Failed(source),
            };
            async { Err(answer) }.boxed()
        }
    }

    fn proxy(addresses: &[(&str, bool)]) -> Proxy {
        spread(addresses, |_| "here")
    }

    /// Returns a proxy whose endpoints are on the nodes that `node_of` names by their index.
    fn spread(addresses: &[(&str, bool)], node_of: impl Fn(usize) -> &'static str) -> Proxy {
        let proxy = Proxy::new(LocalPods::on_node("here"), Arc::new(Nowhere));
        let mut table = RouteTable::default();
        let mut slices = [slice("", 8080, addresses)];
        for (index, endpoint) in slices[0].endpoints.iter_mut().flatten().enumerate() {
            endpoint.node_name = Some(node_of(index).into());
        }
        let route = ServiceRoute::new(&service("web", &[("", 80)]), &slices);
        table.set(&ObjectKey::new("default", "web"), Some(route));
        proxy.table.store(Arc::new(table));
        proxy
    }

    fn request(uri: &str, host: &str) -> Request<Body> {
        Request::builder().uri(uri).header(HOST, host).body(respond::full("")).expect("a request")
    }

    async fn answer(result: Result<Response<Body>, SendError>) -> String {
        let response = result.unwrap_or_else(|error| respond::error(&error));
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        format!("{status} {}", String::from_utf8_lossy(&body).trim())
    }

    #[tokio::test]
    async fn requests_reach_local_pods_in_turn_and_pass_over_those_just_gone() {
        let proxy = proxy(&[("10.42.0.2", true), ("10.42.0.3", true), ("10.42.0.4", true)]);
        let _a = proxy.local().register([10, 42, 0, 2].into(), Ports::Any, Arc::new(Says("a")));
        let _b = proxy.local().register([10, 42, 0, 3].into(), Ports::These(vec![8080]), Arc::new(Says("b")));
        let mut seen = Vec::new();
        for _ in 0..6 {
            seen.push(answer(proxy.send_from_outside(request("/", "web.default.localhost:8080")).await).await);
        }
        assert_eq!(seen, ["200 a", "200 b", "200 a", "200 a", "200 b", "200 a"]);
    }

    #[tokio::test]
    async fn a_node_out_of_reach_is_passed_over_whole() {
        let addresses: Vec<String> = (2..12).map(|last| format!("10.42.0.{last}")).collect();
        let addresses: Vec<_> = addresses.iter().map(|address| (address.as_str(), true)).collect();
        let proxy = spread(&addresses, |index| if index == 9 { "here" } else { "there" });
        let _a = proxy.local().register([10, 42, 0, 11].into(), Ports::Any, Arc::new(Says("a")));
        for _ in 0..10 {
            assert_eq!(answer(proxy.send_from_outside(request("/", "web.default.localhost")).await).await, "200 a");
        }
    }

    #[tokio::test]
    async fn what_a_pod_may_have_acted_on_is_not_sent_twice() {
        let proxy = spread(&[("10.42.0.2", true), ("10.42.0.3", true)], |index| ["there", "here"][index]);
        let _a = proxy.local().register([10, 42, 0, 3].into(), Ports::Any, Arc::new(Says("a")));
        let mut seen = Vec::new();
        for _ in 0..2 {
            let mut request = request("/", "web.default.localhost");
            *request.method_mut() = Method::POST;
            seen.push(answer(proxy.send_from_outside(request).await).await);
        }
        seen.sort();
        let failed = "502 the request to service \"default/web\" failed: the other node does not answer";
        assert_eq!(seen, ["200 a", failed]);
    }

    #[tokio::test]
    async fn a_service_that_selects_nothing_says_so() {
        let answer = answer(proxy(&[]).send_from_outside(request("/", "web.default.localhost")).await).await;
        assert_eq!(
            answer,
            "503 service \"default/web\" has no ready endpoints: its selector app=web matches no running pod; see \
             `kubectl get pods -l app=web`"
        );
    }

    #[tokio::test]
    async fn an_unknown_host_lists_what_is_known() {
        let answer = answer(proxy(&[]).send_from_outside(request("/", "nope.test")).await).await;
        assert_eq!(answer, "404 no service or Ingress has the host \"nope.test\"; known hosts: web.default.localhost");
    }

    #[tokio::test]
    async fn guests_reach_services_by_name_and_port() {
        let proxy = proxy(&[("10.42.0.2", true)]);
        let _a = proxy.local().register([10, 42, 0, 2].into(), Ports::Any, Arc::new(Says("a")));
        let to = |uri: &str| Request::builder().uri(uri).body(respond::full("")).expect("a request");
        assert_eq!(answer(proxy.send_from_guest("default", to("http://web/x")).await).await, "200 a");
        let other_port = proxy.send_from_guest("other", to("http://web.default.svc.cluster.local:81/")).await;
        assert_eq!(answer(other_port).await, "503 service \"default/web\" has no port 81; its ports: 80");
        let outside = proxy.send_from_guest("default", to("http://example.com/")).await;
        let expected = "404 no service or Ingress has the host \"example.com\"; known hosts: web.default";
        assert_eq!(answer(outside).await, expected);
    }
}
