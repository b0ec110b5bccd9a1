//! Roles and bindings, and the service accounts that they are about.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::doc::{Doc, child, children, fill, list, text};
use super::print::{self, Col, Text, Wide};
use super::rules;
use super::simple::Simple;
use crate::meta::NameRule;
use crate::object::Object;
use crate::status::FieldError;

const GROUP: &str = "rbac.authorization.k8s.io";

/// The manners of roles and cluster roles, which show the time they were made instead of an age.
pub(super) const ROLE: Simple = Simple {
    columns: print::CREATED_AT_COLUMNS,
    cells: print::created_at_cells,
    names: NameRule::PathSegment,
    validate: rules::validate_role,
    ..Simple::PLAIN
};

/// The manners of role bindings and cluster role bindings.
pub(super) const BINDING: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Role", Text, "The role that is granted."),
        print::AGE,
        Col("Users", Wide, "Users in the roleBinding"),
        Col("Groups", Wide, "Groups in the roleBinding"),
        Col("ServiceAccounts", Wide, "ServiceAccounts in the roleBinding"),
    ],
    cells: binding_cells,
    default: default_binding,
    validate: validate_binding,
    names: NameRule::PathSegment,
    ..Simple::PLAIN
};

/// The manners of service accounts.
pub(super) const SERVICE_ACCOUNT: Simple = Simple {
    columns: &[print::NAME, Col("Secrets", Text, "How many secrets pods of this account may use."), print::AGE],
    cells: |object, now| {
        let secrets = object.at(&["secrets"]).and_then(Value::as_array).map_or(0, Vec::len);
        vec![object.name().into(), secrets.into(), print::age(object, now)]
    },
    ..Simple::PLAIN
};

fn default_binding(doc: &mut Doc) {
    if let Some(role) = child(doc, "roleRef") {
        fill(role, "apiGroup", GROUP);
    }
    for subject in children(doc, "subjects") {
        if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
            fill(subject, "apiGroup", GROUP);
        }
    }
}

fn validate_binding(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (kind, kinds) = (object.str_at(&["roleRef", "kind"]), ["ClusterRole", "Role"]);
    if !kinds.contains(&kind) {
        errors.push(FieldError::not_supported("roleRef.kind", kind, &kinds));
    }
    if object.str_at(&["roleRef", "name"]).is_empty() {
        errors.push(FieldError::required("roleRef.name", ""));
    }
    let document = Value::Object(object.0.clone());
    for (index, subject) in list(&document, "subjects").iter().enumerate() {
        let path = format!("subjects[{index}]");
        let (kind, kinds) = (text(subject, "kind"), ["Group", "ServiceAccount", "User"]);
        if !kinds.contains(&kind) {
            errors.push(FieldError::not_supported(format!("{path}.kind"), kind, &kinds));
        }
        if text(subject, "name").is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        }
        if kind == "ServiceAccount" && text(subject, "namespace").is_empty() {
            errors.push(FieldError::required(format!("{path}.namespace"), ""));
        }
    }
    errors.extend(rules::validate_subjects(object));
    if let Some(old) = old
        && old.at(&["roleRef"]) != object.at(&["roleRef"])
    {
        // Whoever may edit a binding must not be able to hand out another role.
        let role = object.at(&["roleRef"]).cloned().unwrap_or_default();
        errors.push(FieldError::invalid("roleRef", role, "cannot change roleRef"));
    }
    errors
}

fn binding_cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let subjects = object.at(&["subjects"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let named = |kind: &str| {
        let names = subjects.iter().filter(|subject| text(subject, "kind") == kind).map(|subject| {
            if kind == "ServiceAccount" {
                format!("{}/{}", text(subject, "namespace"), text(subject, "name"))
            } else {
                text(subject, "name").to_owned()
            }
        });
        Value::from(names.collect::<Vec<_>>().join(", "))
    };
    let role = format!("{}/{}", object.str_at(&["roleRef", "kind"]), object.str_at(&["roleRef", "name"]));
    vec![
        object.name().into(),
        json!(role),
        print::age(object, now),
        named("User"),
        named("Group"),
        named("ServiceAccount"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_errors, object};
    use crate::resource::Manners as _;

    #[test]
    fn users_and_groups_belong_to_the_rbac_group_and_accounts_do_not() {
        let mut binding = object(json!({"metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": "r"},
            "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}]}));
        BINDING.default(&mut binding);
        let subjects = binding.at(&["subjects"]).unwrap();
        assert_eq!((&subjects[0]["apiGroup"], subjects[1].get("apiGroup")), (&json!(GROUP), None));
        check_errors(&BINDING, &binding, None, &[]);
        let cells = BINDING.cells(&binding, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells), json!(["b", "Role/r", "<unknown>", "u", "", "n/s"]));
    }

    #[test]
    fn the_role_of_a_binding_cannot_change() {
        let binding = |role: &str| {
            let mut binding = object(json!({"roleRef": {"kind": "Role", "name": role}}));
            BINDING.default(&mut binding);
            binding
        };
        let (old, new) = (binding("view"), binding("admin"));
        check_errors(
            &BINDING,
            &new,
            Some(&old),
            &[
                "roleRef: Invalid value: {\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"Role\",\"name\":\"admin\"}: \
                 cannot change roleRef",
            ],
        );
    }
}
