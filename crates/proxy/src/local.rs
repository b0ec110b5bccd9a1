//! The pods of this process: a request to one of them is a function call.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use http::{Request, Response};
use parking_lot::RwLock;

use crate::{Body, BoxError};

/// A port: something that answers HTTP requests, such as a container with a `wasi:http` component.
pub trait Backend: Send + Sync {
    /// Answers one request.
    fn handle(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>>;
}

/// Which ports of its pod a backend answers on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ports {
    /// All of them: its container declares none.
    Any,
    /// Those that its container declares.
    These(Vec<u16>),
}

impl Ports {
    fn contain(&self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::These(ports) => ports.contains(&port),
        }
    }
}

/// The backends of this process by pod address. Clones share them.
#[derive(Clone, Default)]
pub struct LocalPods {
    node: Option<Arc<str>>,
    // A look-up per request: the one place where hashing beats order.
    pods: Arc<RwLock<HashMap<IpAddr, Vec<Listener>>>>,
}

#[derive(Clone)]
struct Listener {
    id: u64,
    ports: Ports,
    backend: Arc<dyn Backend>,
}

/// Takes its backend out when dropped: no new request reaches it from then on.
#[must_use = "dropping the registration takes the backend out"]
pub struct Registration {
    pods: LocalPods,
    address: IpAddr,
    id: u64,
}

impl LocalPods {
    /// Returns an empty set for the node of this name.
    pub fn on_node(node: &str) -> Self {
        Self { node: Some(node.into()), ..Self::default() }
    }

    /// Whether `node` is the one whose pods these are.
    pub fn is_node(&self, node: Option<&str>) -> bool {
        node.is_some() && self.node.as_deref() == node
    }

    /// Makes `backend` answer on `address`.
    pub fn register(&self, address: IpAddr, ports: Ports, backend: Arc<dyn Backend>) -> Registration {
        let mut pods = self.pods.write();
        let listeners = pods.entry(address).or_default();
        let id = listeners.iter().map(|listener| listener.id + 1).max().unwrap_or_default();
        listeners.push(Listener { id, ports, backend });
        Registration { pods: self.clone(), address, id }
    }

    /// Returns the backend on `address` that answers on `port`: one that declares it, else one that takes any.
    pub fn get(&self, address: IpAddr, port: u16) -> Option<Arc<dyn Backend>> {
        let pods = self.pods.read();
        let listeners = pods.get(&address)?;
        let declared = |listener: &&Listener| listener.ports != Ports::Any && listener.ports.contain(port);
        let found = listeners.iter().find(declared).or_else(|| listeners.iter().find(|l| l.ports == Ports::Any));
        found.map(|listener| listener.backend.clone())
    }

    /// Whether any backend of this process has this address.
    pub fn has(&self, address: IpAddr) -> bool {
        self.pods.read().contains_key(&address)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut pods = self.pods.pods.write();
        if let Some(listeners) = pods.get_mut(&self.address) {
            listeners.retain(|listener| listener.id != self.id);
            if listeners.is_empty() {
                pods.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::respond;

    /// Answers with a fixed text.
    pub(crate) struct Says(pub(crate) &'static str);

    impl Backend for Says {
        fn handle(&self, _: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
            let text = self.0;
            async move { Ok(Response::new(respond::full(text))) }.boxed()
        }
    }

    #[test]
    fn a_backend_is_gone_when_its_registration_is() {
        let pods = LocalPods::default();
        let address = IpAddr::from([10, 42, 0, 2]);
        let registration = pods.register(address, Ports::Any, Arc::new(Says("a")));
        assert!(pods.get(address, 80).is_some());
        drop(registration);
        assert!(pods.get(address, 80).is_none() && !pods.has(address));
    }

    #[test]
    fn containers_of_a_pod_share_its_address_by_port() {
        let pods = LocalPods::default();
        let address = IpAddr::from([10, 42, 0, 2]);
        let _web = pods.register(address, Ports::These(vec![8080]), Arc::new(Says("web")));
        let admin = pods.register(address, Ports::These(vec![9090]), Arc::new(Says("admin")));
        assert!(pods.get(address, 8080).is_some() && pods.get(address, 9090).is_some());
        assert!(pods.get(address, 7070).is_none());
        drop(admin);
        assert!(pods.get(address, 8080).is_some() && pods.get(address, 9090).is_none());
    }
}
