//! `LimitRanger`: gives pods the namespace's default requests and limits, and refuses pods and claims beyond its bounds
//! (`plugin/pkg/admission/limitranger`).

use serde_json::{Value, json};
use wkube_api::quantity::Quantity;
use wkube_api::{Object, Status};

use super::amounts::{self, Amounts, List, items};
use super::{Attributes, Operation};

/// Says in the pod what was filled in.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Fills in the defaults of a new pod's containers.
pub(super) fn admit(attributes: &Attributes<'_>, object: &mut Object) -> Result<(), Status> {
    if attributes.creates("", "pods") {
        for range in ranges(attributes)? {
            fill(object, &range);
        }
    }
    Ok(())
}

/// Checks the bounds of pods and claims.
pub(super) fn validate(attributes: &Attributes<'_>, object: &Object) -> Result<(), Status> {
    let is_write = matches!(attributes.operation, Operation::Create | Operation::Update);
    let resizes = attributes.operation == Operation::Update && attributes.is_for_part("", "pods", "resize");
    let pod = attributes.creates("", "pods") || resizes;
    let claim = is_write && attributes.is_for("", "persistentvolumeclaims");
    if !pod && !claim {
        return Ok(());
    }
    let spec = object.0.get("spec").unwrap_or(&Value::Null);
    for range in ranges(attributes)? {
        let problems = if pod { pod_problems(spec, &range) } else { claim_problems(spec, &range) };
        match problems.as_slice() {
            [] => {}
            [only] => return Err(attributes.forbidden(object, only)),
            more => return Err(attributes.forbidden(object, format!("[{}]", more.join(", ")))),
        }
    }
    Ok(())
}

/// Returns the limits of every range in the namespace.
fn ranges(attributes: &Attributes<'_>) -> Result<Vec<Vec<Value>>, Status> {
    let Some(kind) = attributes.registry.catalog.core("limitranges") else { return Ok(Vec::new()) };
    let ranges = attributes.registry.stored(kind, &attributes.call.namespace)?;
    let limits = ranges.iter().map(|range| items(range.at(&["spec", "limits"]).unwrap_or(&Value::Null)).to_vec());
    Ok(limits.collect())
}

fn of_type<'a>(range: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    range.iter().filter(move |limit| limit["type"] == kind)
}

/// Adds the requests and limits that containers leave out (`mergePodResourceRequirements`).
fn fill(pod: &mut Object, range: &[Value]) {
    let mut notes = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod.0.get_mut("spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter(|container| container.is_object()) {
            for (part, default, word) in [("requests", "defaultRequest", "request"), ("limits", "default", "limit")] {
                let set = fill_list(container, part, of_type(range, "Container").map(|limit| &limit[default]));
                if !set.is_empty() {
                    let name = container["name"].as_str().unwrap_or_default();
                    notes.push(format!("{} {word} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod.set(&["metadata", "annotations", ANNOTATION], note);
    }
}

/// Returns the names of what it set, sorted.
fn fill_list<'a>(container: &mut Value, part: &str, defaults: impl Iterator<Item = &'a Value>) -> Vec<String> {
    let mut set = Vec::new();
    for (name, amount) in defaults.filter_map(Value::as_object).flatten() {
        if !container["resources"].is_object() {
            container["resources"] = json!({});
        }
        let slot = &mut container["resources"][part];
        if !slot.is_object() {
            *slot = json!({});
        }
        if slot[name].is_null() {
            slot[name] = amount.clone();
            set.push(name.clone());
        }
    }
    set.sort_unstable();
    set
}

fn pod_problems(spec: &Value, range: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for limit in range {
        match limit["type"].as_str() {
            Some("Container") => {
                for container in items(&spec["containers"]).iter().chain(items(&spec["initContainers"])) {
                    let of = |list| amounts::of_container(container, list);
                    problems.extend(bounds("Container", limit, &of(List::Requests), &of(List::Limits)));
                }
            }
            Some("Pod") => {
                let of = |list| amounts::of_pod(spec, list);
                problems.extend(bounds("Pod", limit, &of(List::Requests), &of(List::Limits)));
            }
            _ => {}
        }
    }
    problems
}

/// Everything that one limit says about what one container or pod asks for.
fn bounds(kind: &str, limit: &Value, requests: &Amounts, limits: &Amounts) -> Vec<String> {
    let pair = |name: &String| (requests.get(name).copied(), limits.get(name).copied());
    let mut problems = Vec::new();
    for (name, bound) in amounts::read(&limit["min"]) {
        problems.extend(below(kind, &name, bound, pair(&name)));
    }
    for (name, bound) in amounts::read(&limit["max"]) {
        problems.extend(above(kind, &name, bound, pair(&name)));
    }
    for (name, bound) in amounts::read(&limit["maxLimitRequestRatio"]) {
        problems.extend(too_far_apart(kind, &name, bound, pair(&name)));
    }
    problems
}

type Pair = (Option<Quantity>, Option<Quantity>);

fn below(kind: &str, name: &str, bound: Quantity, (request, limit): Pair) -> Option<String> {
    let rule = format!("minimum {name} usage per {kind} is {bound}");
    match (request, limit) {
        (None, _) => Some(format!("{rule}.  No request is specified")),
        (Some(request), _) if request < bound => Some(format!("{rule}, but request is {request}")),
        (_, Some(limit)) if limit < bound => Some(format!("{rule}, but limit is {limit}")),
        _ => None,
    }
}

fn above(kind: &str, name: &str, bound: Quantity, (request, limit): Pair) -> Option<String> {
    let rule = format!("maximum {name} usage per {kind} is {bound}");
    match (request, limit) {
        (_, None) => Some(format!("{rule}.  No limit is specified")),
        (_, Some(limit)) if limit > bound => Some(format!("{rule}, but limit is {limit}")),
        (Some(request), _) if request > bound => Some(format!("{rule}, but request is {request}")),
        _ => None,
    }
}

fn too_far_apart(kind: &str, name: &str, bound: Quantity, (request, limit): Pair) -> Option<String> {
    let rule = format!("{name} max limit to request ratio per {kind} is {bound}");
    let Some(request) = request.filter(|request| !request.is_zero()) else {
        return Some(format!("{rule}, but no request is specified or request is 0"));
    };
    let Some(limit) = limit.filter(|limit| !limit.is_zero()) else {
        return Some(format!("{rule}, but no limit is specified or limit is 0"));
    };
    // In thousandths, as upstream computes it; a ratio is small enough for exact arithmetic.
    let (request, limit) = (request.milli(), limit.milli());
    let exceeded = limit.saturating_mul(1000) > bound.milli().saturating_mul(request);
    exceeded.then(|| {
        let millionths = limit.saturating_mul(1_000_000) / request.max(1);
        format!("{rule}, but provided ratio is {}.{:06}", millionths / 1_000_000, millionths % 1_000_000)
    })
}

fn claim_problems(spec: &Value, range: &[Value]) -> Vec<String> {
    const KIND: &str = "PersistentVolumeClaim";
    let requests = amounts::read(&spec["resources"]["requests"]);
    let mut problems = Vec::new();
    for limit in of_type(range, KIND) {
        for (name, bound) in amounts::read(&limit["min"]) {
            problems.extend(below(KIND, &name, bound, (requests.get(&name).copied(), None)));
        }
        for (name, bound) in amounts::read(&limit["max"]) {
            let rule = format!("maximum {name} usage per {KIND} is {bound}");
            match requests.get(&name) {
                None => problems.push(format!("{rule}.  No request is specified")),
                Some(request) if *request > bound => problems.push(format!("{rule}, but request is {request}")),
                Some(_) => {}
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(resources: &Value) -> Object {
        serde_json::from_value(json!({"spec": {"containers": [{"name": "c", "resources": resources}]}}))
            .expect("an object")
    }

    #[expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]
    fn check(limit: Value, resources: Value, expected: &[&str]) {
        let pod = pod(&resources);
        assert_eq!(pod_problems(&pod.0["spec"], &[limit]), expected);
    }

    #[test]
    fn what_a_container_leaves_out_is_filled_in_and_said() {
        let limit =
            json!({"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}});
        let mut made = pod(&json!({"limits": {"memory": "5Mi"}}));
        fill(&mut made, &[limit]);
        assert_eq!(
            made.0["spec"]["containers"][0]["resources"],
            json!({"limits": {"memory": "5Mi", "cpu": "1"}, "requests": {"cpu": "100m"}})
        );
        assert_eq!(
            made.annotations().get(ANNOTATION),
            Some(&"LimitRanger plugin set: cpu request for container c; cpu limit for container c")
        );
    }

    #[test]
    fn a_pod_that_says_everything_gets_nothing() {
        let limit = json!({"type": "Container", "default": {"cpu": "1"}});
        let mut made = pod(&json!({"limits": {"cpu": "2"}}));
        let before = made.clone();
        fill(&mut made, &[limit]);
        assert_eq!(made, before);
    }

    #[test]
    fn too_little_and_too_much_are_refused() {
        let min = json!({"type": "Container", "min": {"cpu": "100m"}});
        check(min.clone(), json!({}), &["minimum cpu usage per Container is 100m.  No request is specified"]);
        check(
            min.clone(),
            json!({"requests": {"cpu": "50m"}}),
            &["minimum cpu usage per Container is 100m, but request is 50m"],
        );
        check(min, json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "100m"}}), &[]);
        let max = json!({"type": "Container", "max": {"memory": "1Gi"}});
        check(max.clone(), json!({}), &["maximum memory usage per Container is 1Gi.  No limit is specified"]);
        check(
            max,
            json!({"limits": {"memory": "2Gi"}}),
            &["maximum memory usage per Container is 1Gi, but limit is 2Gi"],
        );
    }

    #[test]
    fn a_limit_may_not_be_far_above_its_request() {
        let ratio = json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}});
        check(
            ratio.clone(),
            json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "250m"}}),
            &["cpu max limit to request ratio per Container is 2, but provided ratio is 2.500000"],
        );
        check(ratio.clone(), json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}), &[]);
        check(
            ratio,
            json!({"limits": {"cpu": "2"}}),
            &["cpu max limit to request ratio per Container is 2, but no request is specified or request is 0"],
        );
    }

    #[test]
    fn a_pods_containers_count_together() {
        let pod = json!({"containers": [
            {"name": "a", "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}},
            {"name": "b", "resources": {"limits": {"cpu": "1500m"}, "requests": {"cpu": "1"}}},
        ]});
        let limit = json!({"type": "Pod", "max": {"cpu": "2"}});
        assert_eq!(pod_problems(&pod, &[limit]), ["maximum cpu usage per Pod is 2, but limit is 2500m"]);
    }

    #[test]
    fn a_claim_has_a_size_in_bounds() {
        let limit = json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "5Gi"}});
        let size = |size: &str| json!({"resources": {"requests": {"storage": size}}});
        assert_eq!(
            claim_problems(&size("10Gi"), std::slice::from_ref(&limit)),
            ["maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 10Gi"]
        );
        assert_eq!(
            claim_problems(&size("1Mi"), std::slice::from_ref(&limit)),
            ["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"]
        );
        assert!(claim_problems(&size("2Gi"), &[limit]).is_empty());
    }
}
