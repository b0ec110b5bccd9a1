//! Which endpoints of a Service may answer on one of its ports (`registry/core/service/storage/storage.go`,
//! `ResourceLocation`, and `apiserver/pkg/util/proxy/proxy.go`). Pure.

use serde_json::Value;
use wkube_api::Object;

use super::Error;
use super::outside::is_special;

/// What ties an `EndpointSlice` to its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A port of a Service as a client names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortRef<'a> {
    /// The first one.
    First,
    /// By its number.
    Number(u16),
    /// By its name.
    Name(&'a str),
}

impl<'a> PortRef<'a> {
    /// Returns what the text behind a colon means.
    pub(crate) fn parse(text: &'a str) -> Self {
        match text.parse() {
            _ if text.is_empty() => Self::First,
            Ok(number) => Self::Number(number),
            Err(_) => Self::Name(text),
        }
    }
}

/// Where one endpoint of a Service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A pod of this cluster.
    Pod {
        /// Its name, in the Service's namespace.
        name: String,
        /// Its port.
        port: u16,
    },
    /// Something that is no pod.
    Outside {
        /// A name or an address.
        host: String,
        /// Its port.
        port: u16,
    },
}

impl Destination {
    /// Returns name and port if this is a pod.
    pub(crate) fn into_pod(self) -> Option<(String, u16)> {
        match self {
            Self::Pod { name, port } => Some((name, port)),
            Self::Outside { .. } => None,
        }
    }
}

/// Returns every endpoint that may answer; never an empty list.
///
/// # Errors
/// `NoPort` if the Service has no such port, `NoEndpoints` if nothing is ready behind it.
pub(crate) fn candidates<'a>(
    service: &Object,
    slices: impl IntoIterator<Item = &'a Object>,
    wanted: PortRef<'_>,
) -> Result<Vec<Destination>, Error> {
    let port = service_port(service, wanted)?;
    if service.str_at(&["spec", "type"]) == "ExternalName" {
        let host = service.str_at(&["spec", "externalName"]).to_owned();
        let number = port.and_then(|port| number(&port["port"])).or(match wanted {
            PortRef::Number(number) => Some(number),
            PortRef::First | PortRef::Name(_) => None,
        });
        let outside = number.map(|port| Destination::Outside { host, port });
        return outside.map(|outside| vec![outside]).ok_or_else(|| Error::NoEndpoints(service.key()));
    }
    let name = port.map(|port| port["name"].as_str().unwrap_or_default());
    let mut found = Vec::new();
    for slice in slices {
        if slice.namespace() != service.namespace() || slice.labels().get(SERVICE_NAME) != Some(&service.name()) {
            continue;
        }
        let ports = list(slice, &["ports"]);
        let mut named = ports.filter(|port| name.is_none_or(|name| port["name"].as_str().unwrap_or_default() == name));
        let Some(port) = named.find_map(|port| number(&port["port"])) else { continue };
        // `nil` is to be read as ready (`EndpointConditions` in the discovery API).
        let ready = list(slice, &["endpoints"]).filter(|endpoint| endpoint["conditions"]["ready"] != false);
        found.extend(ready.filter_map(|endpoint| destination(endpoint, port)));
    }
    if found.is_empty() { Err(Error::NoEndpoints(service.key())) } else { Ok(found) }
}

/// Returns the Service's own entry for the port. A Service without ports (headless, or an external name) has none.
fn service_port<'a>(service: &'a Object, wanted: PortRef<'_>) -> Result<Option<&'a Value>, Error> {
    let mut ports = list(service, &["spec", "ports"]).peekable();
    if ports.peek().is_none() {
        return Ok(None);
    }
    let (found, asked) = match wanted {
        PortRef::First => return Ok(ports.next()),
        PortRef::Number(wanted) => (ports.find(|port| number(&port["port"]) == Some(wanted)), wanted.to_string()),
        PortRef::Name(name) => (ports.find(|port| port["name"] == name), name.to_owned()),
    };
    found.map(Some).ok_or_else(|| Error::NoPort { service: service.key(), port: asked })
}

fn destination(endpoint: &Value, port: u16) -> Option<Destination> {
    let target = &endpoint["targetRef"];
    if target["kind"] == "Pod" || (target["kind"].is_null() && target["name"].is_string()) {
        let name = target["name"].as_str()?.to_owned();
        return Some(Destination::Pod { name, port });
    }
    let host = endpoint["addresses"][0].as_str()?;
    is_outside(host).then(|| Destination::Outside { host: host.to_owned(), port })
}

/// Whether an endpoint may be dialled, as far as its text tells. A name is judged again by what it resolves to.
fn is_outside(host: &str) -> bool {
    host.parse().map_or_else(|_| !host.eq_ignore_ascii_case("localhost"), |address| !is_special(address))
}

fn list<'a>(object: &'a Object, path: &[&str]) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.at(path).and_then(Value::as_array).into_iter().flatten()
}

fn number(port: &Value) -> Option<u16> {
    port.as_u64().and_then(|port| port.try_into().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).unwrap()
    }

    fn service(spec: Value) -> Object {
        object(json!({"metadata": {"name": "web", "namespace": "ns"}, "spec": spec}))
    }

    fn slice(ports: Value, endpoints: Value) -> Object {
        object(json!({
            "metadata": {"name": "web-1", "namespace": "ns", "labels": {SERVICE_NAME: "web"}},
            "ports": ports, "endpoints": endpoints,
        }))
    }

    fn two_ports() -> (Object, Object) {
        let service = service(json!({"ports": [
            {"name": "http", "port": 80, "targetPort": 8080}, {"name": "admin", "port": 443, "targetPort": 8443},
        ]}));
        let slice = slice(
            json!([{"name": "admin", "port": 8443}, {"name": "http", "port": 8080}]),
            json!([
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "a"}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}, "targetRef": {"kind": "Pod", "name": "b"}},
                {"addresses": ["10.0.0.3"], "targetRef": {"kind": "Pod", "name": "c"}},
            ]),
        );
        (service, slice)
    }

    /// One line: `pod:port` or the error.
    fn check(service: &Object, slices: &[Object], port: &str) -> String {
        match candidates(service, slices, PortRef::parse(port)) {
            Ok(found) => {
                let text = found.iter().map(|one| match one {
                    Destination::Pod { name, port } => format!("{name}:{port}"),
                    Destination::Outside { host, port } => format!("outside {host}:{port}"),
                });
                text.collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_service_port_leads_to_the_target_port_of_every_endpoint_that_is_not_unready() {
        let (service, slice) = two_ports();
        let slices = [slice];
        assert_eq!(check(&service, &slices, "443"), "a:8443 c:8443");
        assert_eq!(check(&service, &slices, "80"), "a:8080 c:8080");
        assert_eq!(check(&service, &slices, "http"), "a:8080 c:8080");
        assert_eq!(check(&service, &slices, ""), "a:8080 c:8080", "the first port of the Service, not of the slice");
    }

    #[test]
    fn a_target_port_is_no_port_of_the_service() {
        let (service, slice) = two_ports();
        assert_eq!(
            check(&service, std::slice::from_ref(&slice), "8443"),
            "no service port 8443 found for service \"web\""
        );
        assert_eq!(check(&service, &[slice], "metrics"), "no service port metrics found for service \"web\"");
    }

    #[test]
    fn without_a_ready_endpoint_there_is_nobody_to_ask() {
        let (service, mut slice) = two_ports();
        assert_eq!(check(&service, &[], "80"), "no endpoints available for service \"web\"");
        slice.0.insert("endpoints".to_owned(), Value::Null);
        assert_eq!(check(&service, &[slice], "80"), "no endpoints available for service \"web\"");
    }

    #[test]
    fn slices_of_others_do_not_count() {
        let (service, slice) = two_ports();
        let mut other_service = slice.clone();
        other_service.set_label(SERVICE_NAME, "db");
        let mut other_namespace = slice;
        other_namespace.set_namespace("other");
        assert_eq!(
            check(&service, &[other_service, other_namespace], "80"),
            "no endpoints available for service \"web\""
        );
    }

    #[test]
    fn a_port_without_a_name_matches_one_without_a_name() {
        let service = service(json!({"ports": [{"port": 443}]}));
        let endpoints = json!([{"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "a"}}]);
        for ports in [json!([{"port": 9443}]), json!([{"name": "", "port": 9443}])] {
            assert_eq!(check(&service, &[slice(ports, endpoints.clone())], "443"), "a:9443");
        }
    }

    #[test]
    fn an_endpoint_that_is_no_pod_is_outside_unless_it_is_this_machine() {
        let service = service(json!({"ports": [{"port": 443}]}));
        let check_address = |address: &str| {
            let slice = slice(json!([{"port": 443}]), json!([{"addresses": [address]}]));
            check(&service, &[slice], "443")
        };
        assert_eq!(check_address("192.0.2.7"), "outside 192.0.2.7:443");
        for special in ["127.0.0.1", "169.254.169.254", "0.0.0.0", "::1", "fe80::1", "::ffff:127.0.0.1", "localhost"] {
            assert_eq!(check_address(special), "no endpoints available for service \"web\"", "{special}");
        }
    }

    #[test]
    fn an_external_name_is_its_own_endpoint() {
        let named = json!({"type": "ExternalName", "externalName": "api.example.com"});
        assert_eq!(check(&service(named.clone()), &[], "443"), "outside api.example.com:443");
        assert_eq!(check(&service(named), &[], ""), "no endpoints available for service \"web\"");
    }
}
