//! Whether a backend can be asked, and the words for why not (`pkg/controllers/status/remote`). Pure.

use serde_json::{Value, json};
use wkube_api::Object;

use crate::reach::{self, PortRef};
use crate::webhook::Place;

/// What the condition `Available` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Available {
    /// Whether the backend can be asked.
    pub(super) holds: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Available {
    /// Everything is as it should be.
    pub(super) fn passed() -> Self {
        Self { holds: true, reason: "Passed", message: "all checks passed".to_owned() }
    }

    /// It did not answer as an API server does.
    pub(super) fn failed(url: &str, why: &str) -> Self {
        let message = format!("failing or missing response from {url}: {why}");
        Self { holds: false, reason: "FailedDiscoveryCheck", message }
    }

    /// Returns the condition.
    pub(super) fn condition(&self, now: &str) -> Value {
        let status = if self.holds { "True" } else { "False" };
        json!({
            "type": "Available", "status": status, "reason": self.reason, "message": self.message,
            "lastTransitionTime": now,
        })
    }
}

/// Judges a backend by its service; `None` if it is worth asking.
pub(super) fn of_service<'a>(
    place: &Place,
    service: Option<&Object>,
    slices: impl IntoIterator<Item = &'a Object>,
) -> Option<Available> {
    let Place::Service { namespace, name, port } = place else { return None };
    let no = |reason: &'static str, message: String| Some(Available { holds: false, reason, message });
    let Some(service) = service else {
        return no("ServiceNotFound", format!("service/{name} in {namespace:?} is not present"));
    };
    if service.str_at(&["spec", "type"]) == "ExternalName" {
        return None;
    }
    let ports = service.at(&["spec", "ports"]).and_then(Value::as_array).into_iter().flatten();
    let Some(named) = ports.into_iter().find(|one| one["port"] == *port) else {
        return no("ServicePortError", format!("service/{name} in {namespace:?} is not listening on port {port}"));
    };
    let named = named["name"].as_str().unwrap_or_default();
    if reach::candidates(service, slices, PortRef::Number(*port)).is_ok() {
        return None;
    }
    let what = format!("endpoints for service/{name} in {namespace:?}");
    no("MissingEndpoints", format!("{what} have no addresses with port name {named:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).expect("an object")
    }

    fn check(service: Option<Value>, slices: &[Value], expected: Option<(&str, &str)>) {
        let place = Place::Service { namespace: "d".into(), name: "s".into(), port: 443 };
        let (service, slices) = (service.map(object), slices.iter().cloned().map(object).collect::<Vec<_>>());
        let found = of_service(&place, service.as_ref(), &slices);
        let found = found.as_ref().map(|found| (found.reason, found.message.as_str()));
        assert_eq!(found, expected);
    }

    fn service(spec: &Value) -> Value {
        json!({"metadata": {"name": "s", "namespace": "d"}, "spec": spec})
    }

    #[test]
    fn a_backend_needs_a_service_that_listens_and_has_endpoints() {
        check(None, &[], Some(("ServiceNotFound", "service/s in \"d\" is not present")));
        let other = service(&json!({"ports": [{"port": 80}]}));
        check(Some(other), &[], Some(("ServicePortError", "service/s in \"d\" is not listening on port 443")));
        let fine = service(&json!({"ports": [{"name": "https", "port": 443}]}));
        let missing = "endpoints for service/s in \"d\" have no addresses with port name \"https\"";
        check(Some(fine.clone()), &[], Some(("MissingEndpoints", missing)));
        let slice = json!({
            "metadata": {"namespace": "d", "name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
            "ports": [{"name": "https", "port": 8443}],
            "endpoints": [{"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "p"}}],
        });
        check(Some(fine), &[slice], None);
    }

    #[test]
    fn an_external_name_has_no_endpoints_and_needs_none() {
        check(Some(service(&json!({"type": "ExternalName", "externalName": "a.b"}))), &[], None);
    }
}
