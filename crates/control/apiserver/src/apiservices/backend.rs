//! One `APIService` that another server serves.

use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use serde_json::Value;
use wkube_api::Object;

use crate::reach::Reach;
use crate::respond::Body;
use crate::tls::Identity;
use crate::webhook::{self, Connector, Place, Transport, Trust, Verification};

/// The port of a service reference that names none.
const PORT: u16 = 443;

/// A group and version of the API, and who serves it.
pub(super) struct Backend {
    /// The `APIService`'s name.
    pub(super) name: String,
    /// What the backend was made of.
    pub(super) spec: Value,
    pub(super) group: String,
    pub(super) version: String,
    /// Its service.
    pub(super) place: Place,
    pub(super) transport: Transport,
    /// Opens connections of both kinds, or says why it cannot.
    pub(super) connector: Result<Connector, String>,
    /// Sends requests; none without a connector.
    pub(super) client: Option<legacy::Client<Connector, Body>>,
    /// What the last checks have found.
    pub(super) seen: ArcSwap<Seen>,
}

/// What is known of a backend.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Seen {
    /// Whether requests are passed on to it.
    pub(super) is_available: bool,
    /// The list of its resources, as of the last time that it answered.
    pub(super) resources: Option<Value>,
    /// Where its `OpenAPI` v3 document is, with its hash.
    pub(super) openapi: Option<String>,
}

/// Where a service is, read from an `APIService`; `None` if this server is meant. Pure.
pub(super) fn place(spec: &Value) -> Option<Place> {
    let service = spec.get("service").filter(|service| service.is_object())?;
    let text = |field: &str| service[field].as_str().unwrap_or_default().to_owned();
    let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(PORT);
    Some(Place::Service { namespace: text("namespace"), name: text("name"), port })
}

/// Whom an `APIService` believes. Pure.
pub(super) fn trust(spec: &Value, place: &Place) -> Result<Trust, String> {
    let verification = match spec["caBundle"].as_str().unwrap_or_default() {
        _ if spec["insecureSkipTLSVerify"] == true => Verification::None,
        "" => Verification::System,
        text => Verification::Bundle(STANDARD.decode(text).map_err(|error| error.to_string())?),
    };
    Ok(Trust { server_name: place.server_name(), verification })
}

impl Backend {
    /// Reads an `APIService`; `None` if this server is meant.
    pub(super) fn new(
        object: &Object,
        transport: Transport,
        reach: &Arc<dyn Reach>,
        identity: Option<&Identity>,
    ) -> Option<Self> {
        let spec = object.0.get("spec").cloned().unwrap_or_default();
        let place = place(&spec)?;
        let tls = trust(&spec, &place).and_then(|trust| webhook::config(&trust, identity));
        let connector =
            tls.map(|tls: ClientConfig| Connector::new(reach.clone(), place.clone(), transport, Arc::new(tls)));
        let client = connector.clone().ok().map(|connector| {
            legacy::Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector)
        });
        let text = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
        Some(Self {
            name: object.name().to_owned(),
            group: text("group"),
            version: text("version"),
            spec,
            place,
            transport,
            connector,
            client,
            seen: ArcSwap::default(),
        })
    }

    /// Returns the URI of a path at the backend.
    pub(super) fn uri(&self, path: &str) -> String {
        let scheme = match self.transport {
            Transport::Tls => "https",
            Transport::Plain => "http",
        };
        format!("{scheme}://{}{path}", self.place)
    }
}
