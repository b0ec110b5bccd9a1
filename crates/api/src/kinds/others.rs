//! Kinds whose manners are columns and a few defaults, one or none of each group: templates, revisions, leases, classes,
//! disruption budgets.

use serde_json::{Value, json};

use super::doc::{fill, flag, list, text};
use super::pod_spec::{Owner, validate_template};
use super::print::{self, Boolean, Col, Number, Text};
use super::rules;
use super::simple::{Parts, Simple};
use crate::object::Object;

/// The manners of bare pod templates.
pub(super) const POD_TEMPLATE: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Containers", Text, "Names of each container in the template."),
        Col("Images", Text, "Images referenced by each container in the template."),
        Col("Pod Labels", Text, "The labels for the pod template."),
    ],
    cells: |object, _| {
        let (containers, images) = print::containers_and_images(object.at(&["template", "spec"]));
        let labels = print::labels(object.at(&["template", "metadata", "labels"]));
        vec![object.name().into(), containers.into(), images.into(), labels.into()]
    },
    default: super::workload::default_template,
    validate: |object, _| validate_template(object.at(&["template"]), None, "template", Owner::Pod),
    parts: Parts::Spec,
    ..Simple::PLAIN
};

/// The manners of controller revisions.
pub(super) const CONTROLLER_REVISION: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Controller", Text, "Controller of the object"),
        Col("Revision", Text, "Revision indicates the revision of the state represented by Data."),
        print::AGE,
    ],
    cells: |object, now| {
        let owners = object.at(&["metadata"]).map(|metadata| list(metadata, "ownerReferences")).unwrap_or_default();
        let owner = owners.iter().find(|owner| flag(owner, "controller"));
        let owner = owner.map(|owner| {
            let group =
                text(owner, "apiVersion").split_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
            format!("{}{group}/{}", text(owner, "kind").to_lowercase(), text(owner, "name"))
        });
        let revision = object.at(&["revision"]).and_then(Value::as_i64).unwrap_or_default();
        vec![
            object.name().into(),
            owner.unwrap_or_else(|| print::NONE.to_owned()).into(),
            revision.into(),
            print::age(object, now),
        ]
    },
    validate: rules::validate_revision,
    ..Simple::PLAIN
};

/// The manners of leases.
pub(super) const LEASE: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Holder", Text, "holderIdentity contains the identity of the holder of a current lease."),
        print::AGE,
    ],
    cells: |object, now| vec![object.name().into(), spec(object, "holderIdentity"), print::age(object, now)],
    validate: rules::validate_lease,
    ..Simple::PLAIN
};

/// The manners of priority classes.
pub(super) const PRIORITY_CLASS: Simple = Simple {
    columns: &[
        print::NAME,
        Col(
            "Value",
            Number,
            "The value of this priority class. This is the actual priority that pods receive when they have the name of this class in their pod spec.",
        ),
        Col("Global-Default", Boolean, "Whether pods without a class get this one."),
        print::AGE,
        Col("PreemptionPolicy", Text, "Whether pods of this class may make others go."),
    ],
    cells: |object, now| {
        let is_default = object.at(&["globalDefault"]).and_then(Value::as_bool).unwrap_or_default();
        let value = object.at(&["value"]).cloned().unwrap_or_else(|| json!(0));
        let policy = object.str_at(&["preemptionPolicy"]).into();
        vec![object.name().into(), value, is_default.into(), print::age(object, now), policy]
    },
    default: |doc| fill(doc, "preemptionPolicy", "PreemptLowerPriority"),
    parts: Parts::Spec,
    validate: rules::validate_priority_class,
    ..Simple::PLAIN
};

/// The manners of runtime classes.
pub(super) const RUNTIME_CLASS: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Handler", Text, "handler specifies the underlying runtime and configuration."),
        print::AGE,
    ],
    cells: |object, now| vec![object.name().into(), object.str_at(&["handler"]).into(), print::age(object, now)],
    validate: rules::validate_runtime_class,
    ..Simple::PLAIN
};

/// The manners of disruption budgets.
pub(super) const POD_DISRUPTION_BUDGET: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Min Available", Text, "The minimum number of pods that must be available."),
        Col("Max Unavailable", Text, "The maximum number of pods that may be unavailable."),
        Col("Allowed Disruptions", Number, "Calculated number of pods that may be disrupted at this time."),
        print::AGE,
    ],
    cells: |object, now| {
        let budget = |field: &str| match object.at(&["spec", field]) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => "N/A".to_owned(),
        };
        let allowed = object.at(&["status", "disruptionsAllowed"]).and_then(Value::as_i64).unwrap_or_default();
        vec![
            object.name().into(),
            budget("minAvailable").into(),
            budget("maxUnavailable").into(),
            allowed.into(),
            print::age(object, now),
        ]
    },
    parts: Parts::SpecAndStatus,
    validate: rules::validate_disruption_budget,
    ..Simple::PLAIN
};

fn spec(object: &Object, field: &str) -> Value {
    object.str_at(&["spec", field]).into()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::kinds::testing::object;
    use crate::resource::Manners as _;

    #[test]
    fn a_controller_revision_names_its_controller() {
        let revision = object(json!({"revision": 2, "metadata": {"name": "s-1", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "s", "controller": true}]}}));
        let cells = CONTROLLER_REVISION.cells(&revision, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells[..3].to_vec()), json!(["s-1", "statefulset.apps/s", 2]));
    }
}
