//! `pods/log`: what a container said, streamed from its node (`pkg/registry/core/pod/strategy.go`, `LogLocation`).

use std::sync::Arc;

use http::Request;
use serde_json::Value;
use wkube_api::{Object, ObjectKey, Status};

use super::node;
use crate::Api;
use crate::call::Call;
use crate::registry::Outcome;
use crate::respond::{self, Body};
use crate::router::{self, Query};
use crate::streams;

/// The parameters that the node understands.
const PASSED: [&str; 7] = ["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes"];

/// Answers GET.
pub(super) async fn answer(api: &Arc<Api>, call: &Call, request: Request<Body>) -> Result<Outcome, Status> {
    let pod = api.registry.object(&call.resource, &ObjectKey::new(&call.namespace, &call.name))?;
    let container = container(&pod, call.query.get("container"))?;
    check_options(&call.query)?;
    let node = pod.str_at(&["spec", "nodeName"]);
    if node.is_empty() {
        return Err(Status::bad_request(format!(
            "container {container:?} in pod {:?} is waiting to start: pod is not assigned to a node yet",
            call.name
        )));
    }
    check_started(&pod, &container, call.query.flag("previous"))?;
    let to_node = Request::get(path(call, &container)).body(respond::full(""));
    let to_node = to_node.map_err(|error| Status::internal(&error))?;
    let mut response = node::send(api, node, to_node).await?;
    if response.status().is_success() {
        let text = http::HeaderValue::from_static("text/plain");
        response.headers_mut().insert(http::header::CONTENT_TYPE, text);
    }
    Ok(Outcome::Raw(streams::logs::answer(api, request, response)))
}

fn path(call: &Call, container: &str) -> String {
    let segments = [&*call.namespace, &*call.name, container].map(router::encode);
    let pairs = PASSED.iter().filter(|name| call.query.has(name));
    let query: Vec<_> = pairs.map(|name| format!("{name}={}", router::encode(call.query.get(name)))).collect();
    format!("/containerLogs/{}?{}", segments.join("/"), query.join("&"))
}

/// Returns which container is meant; with several, the client has to say (`validateContainer`).
pub(crate) fn container(pod: &Object, wanted: &str) -> Result<String, Status> {
    let names = |list: &str| -> Vec<&str> {
        let containers = pod.at(&["spec", list]).and_then(Value::as_array);
        containers.into_iter().flatten().filter_map(|container| container["name"].as_str()).collect()
    };
    let (regular, init, ephemeral) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    let pod = pod.name();
    if !wanted.is_empty() {
        let known = [&regular, &init, &ephemeral].into_iter().any(|list| list.contains(&wanted));
        if known {
            return Ok(wanted.to_owned());
        }
        return Err(Status::bad_request(format!("container {wanted} is not valid for pod {pod}")));
    }
    if let [only] = regular.as_slice() {
        return Ok((*only).to_owned());
    }
    let of = |kind: &str, names: &[&str]| match names {
        [] => String::new(),
        names => format!(" or one of the {kind} containers: [{}]", names.join(" ")),
    };
    Err(Status::bad_request(format!(
        "a container name must be specified for pod {pod}, choose one of: [{}]{}{}",
        regular.join(" "),
        of("init", &init),
        of("ephemeral", &ephemeral)
    )))
}

fn check_options(query: &Query) -> Result<(), Status> {
    let invalid = |problem: &str| Status::unprocessable(format!("PodLogOptions \"\" is invalid: {problem}"));
    for name in ["sinceSeconds", "tailLines", "limitBytes"] {
        let text = query.get(name);
        if text.is_empty() {
            continue;
        }
        let least = i64::from(name != "tailLines");
        match text.parse::<i64>() {
            Err(_) => return Err(Status::bad_request(format!("invalid value {text:?} for {name}: not an integer"))),
            Ok(number) if number < least => {
                let bound = if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
                return Err(invalid(&format!("{name}: Invalid value: {number}: {bound}")));
            }
            Ok(_) => {}
        }
    }
    if query.has("sinceSeconds") && query.has("sinceTime") {
        return Err(invalid("at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    Ok(())
}

/// A container that never ran has no logs; says what it waits for (`pkg/kubelet/kubelet_pods.go`, `validateContainerLogStatus`).
fn check_started(pod: &Object, container: &str, previous: bool) -> Result<(), Status> {
    let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    let statuses = lists.iter().filter_map(|list| pod.at(&["status", list]).and_then(Value::as_array)).flatten();
    let status = statuses.into_iter().find(|status| status["name"] == container);
    let name = pod.name();
    let Some(status) = status else {
        let why = "ContainerCreating";
        return Err(Status::bad_request(format!("container {container:?} in pod {name:?} is waiting to start: {why}")));
    };
    let ran_before = !status["lastState"]["terminated"].is_null();
    if previous && !ran_before {
        return Err(Status::bad_request(format!(
            "previous terminated container {container:?} in pod {name:?} not found"
        )));
    }
    let state = &status["state"];
    if previous || ran_before || !state["running"].is_null() || !state["terminated"].is_null() {
        return Ok(());
    }
    let reason = state["waiting"]["reason"].as_str().unwrap_or("ContainerCreating");
    let said = state["waiting"]["message"].as_str().unwrap_or_default();
    Err(Status::bad_request(match reason {
        "ErrImagePull" => format!("container {container:?} in pod {name:?} is waiting to start: image can't be pulled"),
        "ImagePullBackOff" => {
            format!("container {container:?} in pod {name:?} is waiting to start: trying and failing to pull image")
        }
        _ if said.is_empty() => format!("container {container:?} in pod {name:?} is waiting to start: {reason}"),
        _ => format!("container {container:?} in pod {name:?} is waiting to start: {reason}: {said}"),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(value: Value) -> Object {
        serde_json::from_value(value).expect("an object")
    }

    fn message<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
        result.expect_err("refused").message
    }

    #[test]
    fn with_several_containers_the_client_has_to_say() {
        let two = pod(json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}}));
        assert_eq!(message(container(&two, "")), "a container name must be specified for pod p, choose one of: [a b]");
        assert_eq!(container(&two, "b"), Ok("b".to_owned()));
        assert_eq!(message(container(&two, "zzz")), "container zzz is not valid for pod p");
        let one = pod(json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}}));
        assert_eq!(container(&one, ""), Ok("a".to_owned()));
    }

    #[test]
    fn a_waiting_container_says_what_it_waits_for() {
        let waiting = |state: Value| {
            let statuses = json!([{"name": "c", "state": state}]);
            message(check_started(
                &pod(json!({"metadata": {"name": "p"}, "status": {"containerStatuses": statuses}})),
                "c",
                false,
            ))
        };
        assert_eq!(
            waiting(json!({"waiting": {"reason": "ContainerCreating"}})),
            r#"container "c" in pod "p" is waiting to start: ContainerCreating"#
        );
        assert_eq!(
            waiting(json!({"waiting": {"reason": "ImagePullBackOff"}})),
            r#"container "c" in pod "p" is waiting to start: trying and failing to pull image"#
        );
    }

    #[test]
    fn previous_logs_need_a_previous_container() {
        let running = pod(json!({
            "metadata": {"name": "p"},
            "status": {"containerStatuses": [{"name": "c", "state": {"running": {}}}]},
        }));
        assert_eq!(check_started(&running, "c", false), Ok(()));
        assert_eq!(
            message(check_started(&running, "c", true)),
            r#"previous terminated container "c" in pod "p" not found"#
        );
    }

    #[test]
    fn options_are_checked() {
        let check = |query| check_options(&Query::parse(Some(query))).map_err(|status| status.code);
        assert_eq!(check("tailLines=0&sinceSeconds=1"), Ok(()));
        assert_eq!(check("tailLines=-1"), Err(422));
        assert_eq!(check("sinceSeconds=0"), Err(422));
        assert_eq!(check("limitBytes=x"), Err(400));
        assert_eq!(check("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z"), Err(422));
    }
}
