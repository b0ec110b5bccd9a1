//! Kinds that are about the cluster itself: its parts, its addresses, the extensions of its API, its storage.

use serde_json::Value;

use super::doc::{Doc, child, fill, list, text};
use super::print::{self, Col, Text};
use super::rules;
use super::simple::{Parts, Simple};
use crate::meta::NameRule;
use crate::object::Object;

/// The manners of component statuses, which are computed and not kept.
pub(super) const COMPONENT_STATUS: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Status", Text, "Status of the component conditions"),
        Col("Message", Text, "Message of the component conditions"),
        Col("Error", Text, "Error of the component conditions"),
    ],
    cells: |object, _| {
        let conditions = object.at(&["conditions"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let healthy = conditions.iter().find(|condition| text(condition, "type") == "Healthy");
        let word = match healthy.map(|condition| text(condition, "status")) {
            None => "Unknown",
            Some("True") => "Healthy",
            Some(_) => "Unhealthy",
        };
        let field = |field| healthy.map(|condition| text(condition, field)).unwrap_or_default();
        vec![object.name().into(), word.into(), field("message").into(), field("error").into()]
    },
    deprecation: "v1 ComponentStatus is deprecated in v1.19+",
    ..Simple::PLAIN
};

/// The manners of the ranges from which services get their addresses.
pub(super) const SERVICE_CIDR: Simple = Simple {
    columns: &[print::NAME, Col("CIDRs", Text, "The ranges, at most one of each IP family."), print::AGE],
    cells: |object, now| {
        let ranges = object.at(&["spec"]).map(|spec| list(spec, "cidrs")).unwrap_or_default();
        let ranges: Vec<&str> = ranges.iter().filter_map(Value::as_str).collect();
        vec![object.name().into(), ranges.join(",").into(), print::age(object, now)]
    },
    validate: rules::validate_service_cidr,
    parts: Parts::StatusOnly,
    ..Simple::PLAIN
};

/// The manners of addresses that are taken.
pub(super) const IP_ADDRESS: Simple = Simple {
    columns: &[
        print::NAME,
        Col("ParentRef", Text, "ParentRef references the resource that an IPAddress is attached to."),
    ],
    cells: |object, _| vec![object.name().into(), parent(object).into()],
    validate: rules::validate_ip_address,
    // IPv6 addresses are no host names.
    names: NameRule::PathSegment,
    field: |object, path| {
        (path == "spec.parentRef.name").then(|| object.str_at(&["spec", "parentRef", "name"]).to_owned())
    },
    ..Simple::PLAIN
};

/// The manners of storage version migrations.
pub(super) const STORAGE_VERSION_MIGRATION: Simple = Simple {
    columns: &[print::NAME, Col("Resource", Text, "Fully qualified resource to migrate")],
    cells: |object, _| {
        let (plural, group) =
            (object.str_at(&["spec", "resource", "resource"]), object.str_at(&["spec", "resource", "group"]));
        vec![object.name().into(), qualified(plural, group).into()]
    },
    parts: Parts::StatusOnly,
    ..Simple::PLAIN
};

/// The manners of API services (`kube-aggregator/pkg/registry/apiservice`).
pub(super) const API_SERVICE: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Service", Text, "The reference to the service that hosts this API endpoint."),
        Col("Available", Text, "Whether this service is available."),
        print::AGE,
    ],
    cells: |object, now| {
        let service = object.at(&["spec", "service"]).filter(|service| service.is_object());
        let served_by =
            service.map_or_else(|| "Local".to_owned(), |to| format!("{}/{}", text(to, "namespace"), text(to, "name")));
        vec![object.name().into(), served_by.into(), available(object).into(), print::age(object, now)]
    },
    default: default_api_service,
    validate: rules::validate_api_service,
    // What is served without a group is named `v1.`.
    names: NameRule::PathSegment,
    parts: Parts::StatusOnly,
    ..Simple::PLAIN
};

fn default_api_service(doc: &mut Doc) {
    if let Some(service) = child(doc, "spec").and_then(|spec| child(spec, "service")) {
        fill(service, "port", 443);
    }
}

fn available(object: &Object) -> String {
    let conditions = object.at(&["status"]).map(|status| list(status, "conditions")).unwrap_or_default();
    let Some(condition) = conditions.iter().find(|condition| text(condition, "type") == "Available") else {
        return "Unknown".to_owned();
    };
    match text(condition, "status") {
        "True" => "True".to_owned(),
        status => format!("{status} ({})", text(condition, "reason")),
    }
}

fn parent(object: &Object) -> String {
    let Some(parent) = object.at(&["spec", "parentRef"]).filter(|parent| parent.is_object()) else {
        return print::NONE.to_owned();
    };
    let kind = qualified(text(parent, "resource"), text(parent, "group")).to_lowercase();
    let place = [kind.as_str(), text(parent, "namespace"), text(parent, "name")];
    let place: Vec<&str> = place.into_iter().filter(|part| !part.is_empty()).collect();
    place.join("/")
}

fn qualified(plural: &str, group: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::kinds::testing::object;
    use crate::resource::Manners;

    fn show(manners: &dyn Manners, document: Value) -> Value {
        Value::from(manners.cells(&object(document), Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn a_component_is_healthy_by_its_condition() {
        let status = json!({"metadata": {"name": "etcd-0"}, "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}]});
        assert_eq!(show(&COMPONENT_STATUS, status), json!(["etcd-0", "Healthy", "ok", ""]));
        assert_eq!(show(&COMPONENT_STATUS, json!({}))[1], "Unknown");
    }

    #[test]
    fn an_address_names_what_holds_it() {
        let parent = json!({"resource": "services", "namespace": "d", "name": "web"});
        assert_eq!(show(&IP_ADDRESS, json!({"spec": {"parentRef": parent}}))[1], "services/d/web");
        assert_eq!(show(&IP_ADDRESS, json!({}))[1], "<none>");
    }

    #[test]
    fn a_range_and_a_migration_show_what_they_are_about() {
        assert_eq!(
            show(&SERVICE_CIDR, json!({"spec": {"cidrs": ["10.0.0.0/8", "fd00::/8"]}}))[1],
            "10.0.0.0/8,fd00::/8"
        );
        let migration = json!({"spec": {"resource": {"group": "apps", "resource": "deployments"}}});
        assert_eq!(show(&STORAGE_VERSION_MIGRATION, migration)[1], "deployments.apps");
    }

    #[test]
    fn an_api_service_is_local_or_served_by_a_service_and_says_why_not() {
        let local = json!({"spec": {}, "status": {"conditions": [{"type": "Available", "status": "True"}]}});
        assert_eq!(show(&API_SERVICE, local).as_array().unwrap()[1..3], [json!("Local"), json!("True")]);
        let broken = json!({"spec": {"service": {"namespace": "n", "name": "s"}},
            "status": {"conditions": [{"type": "Available", "status": "False", "reason": "MissingEndpoints"}]}});
        assert_eq!(
            show(&API_SERVICE, broken).as_array().unwrap()[1..3],
            [json!("n/s"), json!("False (MissingEndpoints)")]
        );
    }
}
