//! The exact sentences of `apimachinery/pkg/api/errors` and `util/validation/field`.

use serde_json::json;

use super::*;
use crate::kinds;

fn resource(group: &str, plural: &str) -> &'static Resource {
    kinds::find(group, "v1", plural).expect("a built-in kind")
}

fn check(status: &Status, code: u16, reason: &str, message: &str) {
    assert_eq!((status.code, status.reason.as_str(), status.message.as_str()), (code, reason, message));
}

#[test]
fn not_found_names_resource_group_and_object() {
    let status = Status::not_found(resource("apps", "deployments"), "web");
    check(&status, 404, "NotFound", r#"deployments.apps "web" not found"#);
    assert_eq!(
        status.to_json(),
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "deployments.apps \"web\" not found", "reason": "NotFound", "code": 404,
            "details": {"name": "web", "group": "apps", "kind": "deployments"}})
    );
}

#[test]
fn core_resources_are_named_without_a_group() {
    check(&Status::already_exists(resource("", "pods"), "x"), 409, "AlreadyExists", r#"pods "x" already exists"#);
}

#[test]
fn a_stale_write_says_what_to_do() {
    check(
        &Status::stale(resource("apps", "deployments"), "x"),
        409,
        "Conflict",
        "Operation cannot be fulfilled on deployments.apps \"x\": the object has been modified; \
         please apply your changes to the latest version and try again",
    );
}

#[test]
fn one_field_error_stands_alone() {
    let status = Status::invalid("Pod", "", "x", vec![FieldError::required("spec.containers[0].name", "")]);
    check(&status, 422, "Invalid", r#"Pod "x" is invalid: spec.containers[0].name: Required value"#);
    let details = status.details.unwrap();
    assert_eq!((details.kind.as_str(), details.group.as_str()), ("Pod", ""));
    assert_eq!(
        details.causes,
        [Cause {
            reason: "FieldValueRequired".into(),
            message: "Required value".into(),
            field: "spec.containers[0].name".into()
        }]
    );
}

#[test]
fn several_field_errors_stand_in_brackets_and_repeats_are_said_once() {
    let twice = FieldError::duplicate("spec.containers[1].name", "a");
    let errors = vec![FieldError::required("spec.selector", ""), twice.clone(), twice];
    let status = Status::invalid("Deployment", "apps", "x", errors);
    check(
        &status,
        422,
        "Invalid",
        r#"Deployment.apps "x" is invalid: [spec.selector: Required value, spec.containers[1].name: Duplicate value: "a"]"#,
    );
    assert_eq!(status.details.unwrap().causes.len(), 3);
}

#[test]
fn authorization_says_who_what_and_where() {
    let refused = Refused { user: "u", verb: "list", resource: "pods", namespace: "d", ..Refused::default() };
    check(
        &Status::forbidden(&refused),
        403,
        "Forbidden",
        r#"pods is forbidden: User "u" cannot list resource "pods" in API group "" in the namespace "d""#,
    );
    let log = Refused { verb: "get", subresource: "log", name: "p", ..refused };
    check(
        &Status::forbidden(&log),
        403,
        "Forbidden",
        r#"pods "p" is forbidden: User "u" cannot get resource "pods/log" in API group "" in the namespace "d""#,
    );
    let cluster = Refused { user: "u", verb: "list", group: "apps", resource: "deployments", ..Refused::default() };
    check(
        &Status::forbidden(&cluster),
        403,
        "Forbidden",
        r#"deployments.apps is forbidden: User "u" cannot list resource "deployments" in API group "apps" at the cluster scope"#,
    );
    let path = Refused { user: "system:anonymous", verb: "get", path: "/metrics", ..Refused::default() };
    check(
        &Status::forbidden(&path),
        403,
        "Forbidden",
        r#"forbidden: User "system:anonymous" cannot get path "/metrics""#,
    );
}

#[test]
fn a_terminating_namespace_is_a_machine_readable_cause() {
    let status = Status::namespace_terminating(resource("", "configmaps"), "c", "old");
    check(
        &status,
        403,
        "Forbidden",
        r#"configmaps "c" is forbidden: unable to create new content in namespace old because it is being terminated"#,
    );
    assert_eq!(status.details.unwrap().causes[0].reason, "NamespaceTerminating");
}

#[test]
fn a_revision_from_the_future_is_a_timeout_with_a_cause() {
    let status = Status::too_large_resource_version(9, 3);
    check(&status, 504, "Timeout", "Timeout: Too large resource version: 9, current: 3");
    let details = status.details.unwrap();
    assert_eq!(details.retry_after_seconds, Some(1));
    assert_eq!(details.causes[0].reason, "ResourceVersionTooLarge");
}

#[test]
fn the_other_statuses_have_their_codes() {
    let cases = [
        (Status::unauthorized(), 401, "Unauthorized", "Unauthorized"),
        (Status::bad_request("no"), 400, "BadRequest", "no"),
        (
            Status::method_not_allowed(resource("", "bindings"), "delete"),
            405,
            "MethodNotAllowed",
            r#"delete is not supported on resources of kind "bindings""#,
        ),
        (
            Status::not_acceptable(&["application/json"]),
            406,
            "NotAcceptable",
            "only the following media types are accepted: application/json",
        ),
        (
            Status::unsupported_media_type(&["a", "b"]),
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: a, b",
        ),
        (Status::expired("old"), 410, "Expired", "old"),
        (Status::gone("away"), 410, "Gone", "away"),
        (
            Status::too_large("limit is 3145728"),
            413,
            "RequestEntityTooLarge",
            "Request entity is too large: limit is 3145728",
        ),
        (Status::too_many_requests("later", 5), 429, "TooManyRequests", "later"),
        (Status::internal("disk full"), 500, "InternalError", "Internal error occurred: disk full"),
        (Status::unavailable("starting"), 503, "ServiceUnavailable", "starting"),
        (Status::unknown_path(), 404, "NotFound", "the server could not find the requested resource"),
    ];
    for (status, code, reason, message) in &cases {
        check(status, *code, reason, message);
    }
}

#[test]
fn field_errors_read_as_in_kubernetes() {
    let cases = [
        (FieldError::required("a", "must be set"), "a: Required value: must be set"),
        (FieldError::invalid("a", -1, "must be greater than 0"), "a: Invalid value: -1: must be greater than 0"),
        (FieldError::invalid("a", "x", ""), r#"a: Invalid value: "x""#),
        (FieldError::invalid("a", json!({"k": "v"}), "no"), r#"a: Invalid value: {"k":"v"}: no"#),
        (FieldError::not_supported("a", "x", &["b", "c"]), r#"a: Unsupported value: "x": supported values: "b", "c""#),
        (FieldError::duplicate("a", 80), "a: Duplicate value: 80"),
        (FieldError::forbidden("a", "may not change"), "a: Forbidden: may not change"),
        (FieldError::too_long("a", 63), "a: Too long: may not be more than 63 bytes"),
        (FieldError::too_many("a", 5, 4), "a: Too many: 5: must have at most 4 items"),
        (FieldError::not_found("a", "v"), r#"a: Not found: "v""#),
    ];
    for (error, text) in cases {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn a_status_from_the_wire_may_leave_out_everything_but_the_code() {
    let status: Status = serde_json::from_value(json!({"code": 500, "metadata": {}, "status": "Failure"})).unwrap();
    check(&status, 500, "", "");
}
