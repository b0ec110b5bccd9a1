//! Stateful sets and daemon sets: a pod per number, a pod per node.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::doc::{at, child, child_made, children, fill, list, text};
use super::pod_spec::Owner;
use super::print::{self, Col, Columns, Number, Text};
use super::rules::{self, one_of};
use super::workload::{self, count};
use crate::meta::NameRule;
use crate::object::Object;
use crate::resource::{Column, Manners};
use crate::status::FieldError;

/// The manners of stateful sets.
pub(super) struct StatefulSet;

/// The manners of daemon sets.
pub(super) struct DaemonSet;

const STATEFUL_COLUMNS: Columns = &[
    print::NAME,
    Col("Ready", Text, "Number of the pod with ready state"),
    print::AGE,
    print::CONTAINERS,
    print::IMAGES,
];

const DAEMON_COLUMNS: Columns = &[
    print::NAME,
    Col("Desired", Number, "The total number of nodes that should be running the daemon pod."),
    Col(
        "Current",
        Number,
        "The number of nodes that are running at least 1 daemon pod and are supposed to run the daemon pod.",
    ),
    Col("Ready", Number, "The number of nodes that should run a daemon pod and have one that is ready."),
    Col("Up-to-date", Number, "The total number of nodes that are running updated daemon pod"),
    Col("Available", Number, "The number of nodes that should run a daemon pod and have one that is available."),
    Col("Node Selector", Text, "Which nodes should run the daemon pod."),
    print::AGE,
    print::CONTAINERS,
    print::IMAGES,
    print::SELECTOR,
];

impl Manners for StatefulSet {
    fn default(&self, object: &mut Object) {
        let Some(spec) = child_made(&mut object.0, "spec") else { return };
        fill(spec, "replicas", 1);
        fill(spec, "podManagementPolicy", "OrderedReady");
        fill(spec, "revisionHistoryLimit", 10);
        workload::default_rollout(spec, "updateStrategy", [("partition", json!(0)), ("partition", json!(0))]);
        if let Some(policy) = child_made(spec, "persistentVolumeClaimRetentionPolicy") {
            fill(policy, "whenDeleted", "Retain");
            fill(policy, "whenScaled", "Retain");
        }
        for claim in children(spec, "volumeClaimTemplates") {
            fill(claim, "apiVersion", "v1");
            fill(claim, "kind", "PersistentVolumeClaim");
            if let Some(spec) = child(claim, "spec") {
                fill(spec, "volumeMode", "Filesystem");
            }
            if let Some(status) = child_made(claim, "status") {
                fill(status, "phase", "Pending");
            }
        }
        workload::default_template(spec);
    }

    fn prepare_create(&self, object: &mut Object) {
        object.0.insert("status".to_owned(), json!({"replicas": 0, "availableReplicas": 0}));
    }

    fn validate(&self, object: &Object, old: Option<&Object>) -> Vec<FieldError> {
        const FIXED: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
            'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        let spec = rules::spec(object);
        let mut errors = validate_stateful(spec);
        let (template, owner) = (with_claims(spec), Owner::Service("StatefulSet"));
        errors.extend(workload::validate_with(spec, template.as_ref(), "statefulset", owner));
        let fixed = ["selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"];
        if !workload::validate_fixed(object, old, &fixed).is_empty() {
            errors.push(FieldError::forbidden("spec", FIXED));
        }
        errors
    }

    /// The names of its pods are this name and a number, and host names.
    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }

    fn columns(&self) -> Vec<Column> {
        print::columns(STATEFUL_COLUMNS)
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let (containers, images) = print::containers_and_images(workload::template_spec(object));
        let ready = count(object, &["status", "readyReplicas"]);
        let desired = count(object, &["spec", "replicas"]);
        vec![
            object.name().into(),
            format!("{ready}/{desired}").into(),
            print::age(object, now),
            containers.into(),
            images.into(),
        ]
    }
}

/// Returns the template as the pods will have it: every claim becomes a volume (`updateStorage` of the controller).
fn with_claims(spec: &Value) -> Option<Value> {
    let mut template = at(spec, "template")?.clone();
    let claims = list(spec, "volumeClaimTemplates").iter().filter_map(|claim| at(claim, "metadata.name"));
    let pod = child(template.as_object_mut()?, "spec")?;
    let mut volumes = pod.get("volumes").and_then(Value::as_array).cloned().unwrap_or_default();
    for name in claims {
        if !volumes.iter().any(|volume| volume.get("name") == Some(name)) {
            volumes.push(json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
        }
    }
    pod.insert("volumes".to_owned(), volumes.into());
    Some(template)
}

/// What only stateful sets have: the order of their pods, partitions and claims (`ValidateStatefulSetSpec`).
fn validate_stateful(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (policy, policies) = (text(spec, "podManagementPolicy"), ["OrderedReady", "Parallel"]);
    if policy.is_empty() {
        errors.push(FieldError::required("spec.podManagementPolicy", ""));
    } else if !policies.contains(&policy) {
        let detail = "must be 'OrderedReady' or 'Parallel'";
        errors.push(FieldError::invalid("spec.podManagementPolicy", policy, detail));
    }
    let strategy = spec.get("updateStrategy").unwrap_or(&Value::Null);
    let rolling = strategy.get("rollingUpdate").filter(|rolling| !rolling.is_null());
    match (text(strategy, "type"), rolling) {
        ("", _) => errors.push(FieldError::required("spec.updateStrategy", "")),
        ("OnDelete", Some(_)) => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            errors.push(FieldError::invalid(
                "spec.updateStrategy.rollingUpdate",
                rolling.cloned().unwrap_or_default(),
                detail,
            ));
        }
        ("RollingUpdate", Some(rolling)) => errors.extend(validate_stateful_rollout(rolling)),
        ("OnDelete" | "RollingUpdate", None) => {}
        (other, _) => {
            let detail = "must be 'RollingUpdate' or 'OnDelete'";
            errors.push(FieldError::invalid("spec.updateStrategy", other, detail));
        }
    }
    let retention = spec.get("persistentVolumeClaimRetentionPolicy").unwrap_or(&Value::Null);
    for field in ["whenDeleted", "whenScaled"] {
        errors.extend(one_of(retention, "spec.persistentVolumeClaimRetentionPolicy", field, &["Retain", "Delete"]));
    }
    if let Some(ordinals) = at(spec, "ordinals") {
        errors.extend(rules::check_not_negative(ordinals, "spec.ordinals", &["start"]));
    }
    errors
}

fn validate_stateful_rollout(rolling: &Value) -> Vec<FieldError> {
    const PATH: &str = "spec.updateStrategy.rollingUpdate";
    let mut errors = rules::check_not_negative(rolling, PATH, &["partition"]);
    errors.extend(workload::validate_budget(rolling, "maxUnavailable", PATH));
    if workload::is_zero_budget(rolling, "maxUnavailable") {
        let value = rolling["maxUnavailable"].clone();
        errors.push(FieldError::invalid(format!("{PATH}.maxUnavailable"), value, "cannot be 0"));
    }
    errors
}

/// A daemon set replaces pods by taking one away first or by adding one first, not both (`ValidateRollingUpdateDaemonSet`).
fn validate_daemon_strategy(spec: &Value) -> Vec<FieldError> {
    const PATH: &str = "spec.updateStrategy.rollingUpdate";
    let mut errors = Vec::new();
    let strategy = spec.get("updateStrategy").unwrap_or(&Value::Null);
    match (text(strategy, "type"), strategy.get("rollingUpdate").filter(|rolling| !rolling.is_null())) {
        ("OnDelete", _) => {}
        ("RollingUpdate", None) => errors.push(FieldError::required(PATH, "")),
        ("RollingUpdate", Some(rolling)) => {
            errors.extend(workload::validate_budget(rolling, "maxUnavailable", PATH));
            errors.extend(workload::validate_budget(rolling, "maxSurge", PATH));
            let zero = |field| workload::is_zero_budget(rolling, field);
            if zero("maxUnavailable") && zero("maxSurge") {
                let detail = "cannot be 0 when maxSurge is 0";
                errors.push(FieldError::required(format!("{PATH}.maxUnavailable"), detail));
            } else if !zero("maxUnavailable") && !zero("maxSurge") && rolling.get("maxSurge").is_some() {
                let value = rolling.get("maxSurge").cloned().unwrap_or_default();
                errors.push(FieldError::invalid(
                    format!("{PATH}.maxSurge"),
                    value,
                    "may not be set when maxUnavailable is non-zero",
                ));
            }
        }
        (other, _) => {
            errors.push(FieldError::not_supported("spec.updateStrategy.type", other, &["RollingUpdate", "OnDelete"]));
        }
    }
    errors
}

impl Manners for DaemonSet {
    fn default(&self, object: &mut Object) {
        let Some(spec) = child_made(&mut object.0, "spec") else { return };
        fill(spec, "revisionHistoryLimit", 10);
        workload::default_rollout(spec, "updateStrategy", [("maxUnavailable", json!(1)), ("maxSurge", json!(0))]);
        workload::default_template(spec);
    }

    fn prepare_create(&self, object: &mut Object) {
        let zero = ["currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"];
        let status: serde_json::Map<String, Value> = zero.iter().map(|field| ((*field).to_owned(), json!(0))).collect();
        object.0.insert("status".to_owned(), Value::Object(status));
    }

    fn validate(&self, object: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = workload::validate(object, "daemonset", Owner::Service("DaemonSet"));
        errors.extend(workload::validate_fixed(object, old, &["selector"]));
        if let Some(spec) = object.at(&["spec"]) {
            errors.extend(validate_daemon_strategy(spec));
        }
        errors
    }

    fn columns(&self) -> Vec<Column> {
        print::columns(DAEMON_COLUMNS)
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let pod = workload::template_spec(object);
        let (containers, images) = print::containers_and_images(pod);
        let number = |field: &str| count(object, &["status", field]);
        vec![
            object.name().into(),
            number("desiredNumberScheduled"),
            number("currentNumberScheduled"),
            number("numberReady"),
            number("updatedNumberScheduled"),
            number("numberAvailable"),
            print::labels(pod.and_then(|pod| pod.get("nodeSelector"))).into(),
            print::age(object, now),
            containers.into(),
            images.into(),
            print::selector(object.at(&["spec", "selector"])).into(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_errors, object};

    #[expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]
    fn set(extra: Value) -> Object {
        let mut object = object(
            json!({"metadata": {"name": "s"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "serviceName": "s",
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
        );
        for (field, value) in extra.as_object().unwrap() {
            object.set(&["spec", field], value.clone());
        }
        object
    }

    #[test]
    fn a_stateful_set_starts_in_order_and_keeps_its_volumes() {
        let mut object = set(json!({"volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": {}}]}));
        StatefulSet.default(&mut object);
        assert_eq!(object.str_at(&["spec", "podManagementPolicy"]), "OrderedReady");
        assert_eq!(
            object.at(&["spec", "updateStrategy"]),
            Some(&json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}))
        );
        assert_eq!(
            object.at(&["spec", "persistentVolumeClaimRetentionPolicy"]),
            Some(&json!({"whenDeleted": "Retain", "whenScaled": "Retain"}))
        );
        assert_eq!(object.at(&["spec", "volumeClaimTemplates"]).unwrap()[0]["spec"]["volumeMode"], "Filesystem");
        check_errors(&StatefulSet, &object, None, &[]);
    }

    #[test]
    fn a_stateful_set_cannot_move_to_another_service() {
        let (mut old, mut new) = (set(json!({})), set(json!({"serviceName": "other"})));
        StatefulSet.default(&mut old);
        StatefulSet.default(&mut new);
        let errors = StatefulSet.validate(&new, Some(&old));
        assert!(
            errors[0]
                .to_string()
                .starts_with("spec: Forbidden: updates to statefulset spec for fields other than 'replicas'")
        );
    }

    fn told(manners: &dyn Manners, extra: Value) -> Vec<String> {
        let mut object = set(extra);
        manners.default(&mut object);
        manners.validate(&object, None).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_claims_of_a_stateful_set_are_volumes_of_its_pods() {
        let pod = |mount: &str| {
            let mounts = json!([{"name": mount, "mountPath": "/d"}]);
            json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
                "template": {"metadata": {"labels": {"a": "b"}},
                    "spec": {"containers": [{"name": "c", "image": "i", "volumeMounts": mounts}]}}})
        };
        assert_eq!(told(&StatefulSet, pod("data")), [""; 0]);
        assert_eq!(
            told(&StatefulSet, pod("other")),
            ["spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"other\""]
        );
    }

    #[test]
    fn the_order_and_the_rollout_of_a_stateful_set_make_sense() {
        assert_eq!(
            told(
                &StatefulSet,
                json!({"podManagementPolicy": "Random", "ordinals": {"start": -1},
                    "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Maybe"},
                    "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": -1, "maxUnavailable": "0%"}}})
            ),
            [
                "spec.podManagementPolicy: Invalid value: \"Random\": must be 'OrderedReady' or 'Parallel'",
                "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": cannot be 0",
                "spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: \"Maybe\": supported values: \
                 \"Retain\", \"Delete\"",
                "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
    }

    #[test]
    fn pods_that_run_for_ever_have_no_deadline_and_always_restart() {
        let pod = json!({"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"activeDeadlineSeconds": 5,
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}});
        for (manners, kind) in [(&StatefulSet as &dyn Manners, "StatefulSet"), (&DaemonSet, "DaemonSet")] {
            assert_eq!(
                told(manners, pod.clone()),
                [
                    "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
                    &format!(
                        "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in {kind} is not Supported"
                    ),
                ]
            );
        }
    }

    #[test]
    fn a_daemon_set_takes_away_first_or_adds_first() {
        let rollout = |unavailable: Value, surge: Value| {
            let rolling = json!({"maxUnavailable": unavailable, "maxSurge": surge});
            told(&DaemonSet, json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}))
        };
        assert_eq!(rollout(json!(0), json!("10%")), [""; 0]);
        assert_eq!(
            rollout(json!(0), json!(0)),
            ["spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"]
        );
        assert_eq!(
            rollout(json!("101%"), json!(1)),
            [
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
                "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
            ]
        );
    }

    #[test]
    fn a_daemon_set_replaces_one_pod_at_a_time() {
        let mut object = set(json!({}));
        DaemonSet.default(&mut object);
        assert_eq!(
            object.at(&["spec", "updateStrategy", "rollingUpdate"]),
            Some(&json!({"maxSurge": 0, "maxUnavailable": 1}))
        );
    }
}
