//! Endpoints and endpoint slices: where a service's pods are.

use jiff::Timestamp;
use serde_json::Value;

use super::doc::{Doc, child, children, fill, has, list, number, text};
use super::print::{self, Col, Text};
use super::rules;
use super::simple::{Parts, Simple};
use crate::object::Object;

/// How many addresses a row shows.
const SHOWN: usize = 3;

/// The manners of endpoints.
pub(super) const ENDPOINTS: Simple = Simple {
    columns: &[print::NAME, Col("Endpoints", Text, "The addresses of the pods that serve."), print::AGE],
    cells: |object, now| vec![object.name().into(), endpoints(object).into(), print::age(object, now)],
    default: |doc| {
        for port in children(doc, "subsets").flat_map(|subset| children(subset, "ports")) {
            fill(port, "protocol", "TCP");
        }
    },
    validate: rules::validate_endpoints,
    parts: Parts::Data,
    deprecation: "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    ..Simple::PLAIN
};

/// The manners of endpoint slices.
pub(super) const ENDPOINT_SLICE: Simple = Simple {
    columns: &[
        print::NAME,
        Col("AddressType", Text, "addressType specifies the type of address carried by this EndpointSlice."),
        Col("Ports", Text, "ports specifies the list of network ports exposed by each endpoint in this slice."),
        Col("Endpoints", Text, "endpoints is a list of unique endpoints in this slice."),
        print::AGE,
    ],
    cells: slice_cells,
    default: default_slice,
    validate: rules::validate_slice,
    parts: Parts::Spec,
    ..Simple::PLAIN
};

fn default_slice(doc: &mut Doc) {
    for port in children(doc, "ports") {
        fill(port, "protocol", "TCP");
        // The empty name is a name.
        if port.get("name").is_none_or(Value::is_null) {
            port.insert("name".to_owned(), "".into());
        }
    }
    // Go writes a list that clients need not check for null.
    if doc.get("endpoints").is_none_or(Value::is_null) {
        doc.insert("endpoints".to_owned(), Value::Array(Vec::new()));
    }
    for endpoint in children(doc, "endpoints") {
        if let Some(conditions) = child(endpoint, "conditions") {
            conditions.retain(|_, value| !value.is_null());
        }
    }
}

fn slice_cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let items = |field: &str| object.at(&[field]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let port = |port: &Value| match port.get("port").and_then(Value::as_i64) {
        Some(number) => number.to_string(),
        None if has(port, "name") => text(port, "name").to_owned(),
        None => "*".to_owned(),
    };
    let ports: Vec<String> = items("ports").iter().map(port).collect();
    let addresses: Vec<String> = items("endpoints")
        .iter()
        .flat_map(|endpoint| list(endpoint, "addresses"))
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect();
    vec![
        object.name().into(),
        object.str_at(&["addressType"]).into(),
        or_unset(&ports).into(),
        or_unset(&addresses).into(),
        print::age(object, now),
    ]
}

fn or_unset(items: &[String]) -> String {
    if items.is_empty() { "<unset>".to_owned() } else { print::shortened(items, SHOWN) }
}

fn endpoints(object: &Object) -> String {
    let subsets = object.at(&["subsets"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut all = Vec::new();
    for subset in subsets {
        let addresses = list(subset, "addresses");
        if list(subset, "ports").is_empty() {
            all.extend(addresses.iter().map(|address| text(address, "ip").to_owned()));
        }
        for port in list(subset, "ports") {
            all.extend(addresses.iter().map(|address| format!("{}:{}", text(address, "ip"), number(port, "port"))));
        }
    }
    print::shortened(&all, SHOWN)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::testing::{check_errors, object};
    use crate::resource::Manners as _;

    #[test]
    fn endpoints_show_three_addresses_and_how_many_more_there_are() {
        let addresses: Vec<_> = (1..=5).map(|n| json!({"ip": format!("10.0.0.{n}")})).collect();
        let object =
            object(json!({"metadata": {"name": "e"}, "subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]}));
        let cells = ENDPOINTS.cells(&object, Timestamp::UNIX_EPOCH);
        assert_eq!(cells[1], "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...");
    }

    #[test]
    fn a_slice_port_always_has_a_name_and_a_protocol() {
        let mut slice = object(json!({"addressType": "IPv4", "ports": [{"port": 80}]}));
        ENDPOINT_SLICE.default(&mut slice);
        assert_eq!(slice.at(&["ports"]), Some(&json!([{"name": "", "port": 80, "protocol": "TCP"}])));
        assert_eq!(slice.at(&["endpoints"]), Some(&json!([])));
        check_errors(&ENDPOINT_SLICE, &slice, None, &[]);
        let cells = ENDPOINT_SLICE.cells(&slice, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells[1..4].to_vec()), json!(["IPv4", "80", "<unset>"]));
    }

    #[test]
    fn the_ports_of_a_slice_are_named_as_labels_and_once() {
        let port = json!({"name": "A_", "port": 80, "protocol": "TCP"});
        let slice = object(json!({"addressType": "IPv4", "endpoints": [], "ports": [port, port]}));
        let errors = ENDPOINT_SLICE.validate(&slice, None);
        let starts: Vec<String> = errors.iter().map(|error| error.to_string().chars().take(40).collect()).collect();
        let bad = |index| format!("ports[{index}].name: Invalid value: \"A_\": a lo");
        assert_eq!(starts, [bad(0), bad(1), "ports[1].name: Duplicate value: \"A_\"".to_owned()]);
    }

    #[test]
    fn the_address_type_of_a_slice_is_immutable() {
        let old = object(json!({"addressType": "IPv4"}));
        check_errors(
            &ENDPOINT_SLICE,
            &object(json!({"addressType": "IPv6"})),
            Some(&old),
            &["addressType: Invalid value: \"IPv6\": field is immutable"],
        );
    }
}
