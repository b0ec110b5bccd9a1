//! What definitions may say, and what the server says about them.

use serde_json::{Value, json};

use super::*;
use crate::kinds::testing::{check_errors, object};

fn definition(change: impl FnOnce(&mut Value)) -> Object {
    let mut document = json!({
        "metadata": {"name": "gizmos.acme.io"},
        "spec": {
            "group": "acme.io", "scope": "Namespaced", "names": {"plural": "gizmos", "kind": "Gizmo"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    });
    change(&mut document);
    let mut object = object(document);
    Definition.default(&mut object);
    object
}

fn check(change: impl FnOnce(&mut Value), expected: &[&str]) {
    check_errors(&Definition, &definition(change), None, expected);
}

/// Checks a schema for the field `x` of the root.
fn check_schema(schema: impl Into<Value>, expected: &[&str]) {
    let path = "spec.validation.openAPIV3Schema.properties[x]";
    let expected: Vec<String> = expected.iter().map(|text| format!("{path}{text}")).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    let put = |document: &mut Value| {
        document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"] = json!({ "x": schema.into() });
    };
    check(put, &expected);
}

#[test]
fn names_have_defaults() {
    let made = definition(|_| {});
    let names = made.at(&["spec", "names"]).unwrap();
    assert_eq!(names, &json!({"plural": "gizmos", "singular": "gizmo", "kind": "Gizmo", "listKind": "GizmoList"}));
    assert_eq!(made.str_at(&["spec", "conversion", "strategy"]), "None");
}

#[test]
fn a_plain_definition_is_right() {
    check(|_| {}, &[]);
}

#[test]
fn names_must_fit_together() {
    check(
        |document| document["metadata"]["name"] = "gizmo.acme.io".into(),
        &["metadata.name: Invalid value: \"gizmo.acme.io\": must be spec.names.plural+\".\"+spec.group"],
    );
    check(
        |document| document["spec"]["names"]["listKind"] = "Gizmo".into(),
        &["spec.names.listKind: Invalid value: \"Gizmo\": kind and listKind may not be the same"],
    );
    check(
        |document| {
            document["spec"]["group"] = "acme".into();
            document["metadata"]["name"] = "gizmos.acme".into();
        },
        &["spec.group: Invalid value: \"acme\": should be a domain with at least one dot"],
    );
    check(|document| drop(document["spec"].as_object_mut().unwrap().remove("scope")), &["spec.scope: Required value"]);
    check(
        |document| document["spec"]["scope"] = "Global".into(),
        &["spec.scope: Unsupported value: \"Global\": supported values: \"Cluster\", \"Namespaced\""],
    );
}

#[test]
fn one_version_is_stored() {
    check(
        |document| document["spec"]["versions"][0]["storage"] = false.into(),
        &["spec.versions: Invalid value: [\"v1\"]: must have exactly one version marked as storage version"],
    );
    check(
        |document| {
            let mut other = document["spec"]["versions"][0].clone();
            other["storage"] = false.into();
            document["spec"]["versions"].as_array_mut().unwrap().push(other);
        },
        &["spec.versions: Invalid value: [\"v1\",\"v1\"]: must contain unique version names"],
    );
    check(
        |document| drop(document["spec"]["versions"][0].as_object_mut().unwrap().remove("schema")),
        &["spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required"],
    );
}

#[test]
fn groups_of_kubernetes_need_its_word() {
    let protected = |word: Option<&str>| {
        definition(|document| {
            document["spec"]["group"] = "x.k8s.io".into();
            document["metadata"]["name"] = "gizmos.x.k8s.io".into();
            if let Some(word) = word {
                document["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": word});
            }
        })
    };
    let errors = |word| Definition.validate(&protected(word), None).len();
    assert_eq!(errors(None), 1);
    assert_eq!(errors(Some("yes")), 1);
    assert_eq!(errors(Some("https://github.com/kubernetes/kubernetes/pull/1")), 0);
    assert_eq!(errors(Some("unapproved, a test")), 0);
}

#[test]
fn every_part_of_a_schema_has_a_type() {
    check_schema(json!({}), &[".type: Required value: must not be empty for specified object fields"]);
    check_schema(
        json!({"type": "array", "items": {}}),
        &[".items.type: Required value: must not be empty for specified array items"],
    );
    check_schema(json!({"type": "array"}), &[".items: Required value: must be specified"]);
    check_schema(
        json!({"type": "null"}),
        &[".type: Forbidden: type cannot be set to null, use nullable as an alternative"],
    );
    check_schema(json!({"x-kubernetes-int-or-string": true}), &[]);
    check_schema(json!({"x-kubernetes-preserve-unknown-fields": true}), &[]);
    check(
        |document| {
            document["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
                json!({"type": "array", "items": {"type": "string"}});
        },
        &["spec.validation.openAPIV3Schema.type: Invalid value: \"array\": must be object at the root"],
    );
}

#[test]
fn what_kubernetes_cannot_do_is_refused() {
    check_schema(json!({"type": "string", "$ref": "#/x"}), &[".$ref: Forbidden: $ref is not supported"]);
    check_schema(
        json!({"type": "array", "uniqueItems": true, "items": {"type": "string"}}),
        &[".uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"],
    );
    check_schema(
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
        &[".additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"],
    );
    check_schema(
        json!({"type": "object", "anyOf": [{"type": "object"}]}),
        &[".anyOf[0].type: Forbidden: must be empty to be structural"],
    );
    check_schema(json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}), &[]);
    // What kubebuilder writes for a number that may be a text.
    check_schema(json!({"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true}), &[]);
}

#[test]
fn patterns_must_be_patterns() {
    let found = Definition.validate(
        &definition(|document| {
            document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"] =
                json!({"x": {"type": "string", "pattern": "("}});
        }),
        None,
    );
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("must be a valid regular expression"), "{found:?}");
}

#[test]
fn list_maps_have_keys_that_are_always_there() {
    let list = |keys: Value, items: Value| json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys, "items": items});
    let item = json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}});
    check_schema(list(json!(["name"]), item.clone()), &[]);
    check_schema(
        list(json!([]), item.clone()),
        &[".x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map"],
    );
    check_schema(
        list(json!(["nam"]), item.clone()),
        &[".x-kubernetes-list-map-keys[0]: Invalid value: \"nam\": entries must all be names of item properties"],
    );
    check_schema(
        list(json!(["port"]), item),
        &[
            ".items.properties[port].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ],
    );
}

#[test]
fn defaults_obey_their_schema() {
    check_schema(json!({"type": "integer", "default": 1}), &[]);
    check_schema(
        json!({"type": "integer", "default": "a"}),
        &[".default: Invalid value: \"string\":  in body must be of type integer: \"string\""],
    );
    check_schema(
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "default": {"b": 1}}),
        &[".default: Invalid value: {\"b\":1}: must not have unspecified fields"],
    );
}

#[test]
fn a_conversion_webhook_says_where_it_is_and_what_it_reads() {
    let check = |conversion: Value, expected: &[&str]| {
        let found = Definition.validate(&definition(|document| document["spec"]["conversion"] = conversion), None);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    };
    let webhook = |webhook: Value| json!({"strategy": "Webhook", "webhook": webhook});
    let fine = json!({"clientConfig": {"url": "https://a"}, "conversionReviewVersions": ["v1"]});
    check(webhook(fine.clone()), &[]);
    let place = "spec.conversion.webhookClientConfig";
    let reviews = "spec.conversion.conversionReviewVersions";
    check(
        json!({"strategy": "Webhook"}),
        &[
            &format!("{place}: Required value: required when strategy is set to Webhook"),
            &format!("{reviews}: Required value"),
        ],
    );
    check(
        webhook(json!({"clientConfig": {}, "conversionReviewVersions": ["v3"]})),
        &[
            &format!("{place}: Required value: exactly one of url or service is required"),
            &format!("{reviews}: Invalid value: [\"v3\"]: must include at least one of v1, v1beta1"),
        ],
    );
    let why = "should not be set when strategy is not set to Webhook";
    check(
        json!({"strategy": "None", "webhook": fine}),
        &[&format!("{place}: Forbidden: {why}"), &format!("{reviews}: Forbidden: {why}")],
    );
}

#[test]
fn scale_and_selectable_fields_point_to_what_exists() {
    check(
        |document| {
            document["spec"]["versions"][0]["subresources"] =
                json!({"scale": {"specReplicasPath": ".status.size", "statusReplicasPath": ".status.size"}});
        },
        &[
            "spec.versions[0].subresources.scale.specReplicasPath: Invalid value: \".status.size\": should be a json path under .spec",
        ],
    );
    check(
        |document| document["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".spec.nothing"}]),
        &[
            "spec.versions[0].selectableFields[0].jsonPath: Invalid value: \".spec.nothing\": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
        ],
    );
}

#[test]
fn a_served_kind_keeps_its_identity() {
    let mut old = definition(|_| {});
    settle(&mut old, [], Timestamp::UNIX_EPOCH);
    let mut new = old.clone();
    new.set(&["spec", "scope"], "Cluster");
    check_errors(&Definition, &new, Some(&old), &["spec.scope: Invalid value: \"Cluster\": field is immutable"]);
    let mut renamed = old.clone();
    renamed.0["spec"]["versions"][0]["name"] = "v2".into();
    let found = Definition.validate(&renamed, Some(&old));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].field, "status.storedVersions[0]");
}

/// Returns the conditions as `type=status reason`.
fn conditions(definition: &Object) -> Vec<String> {
    let status = &definition.0["status"];
    let line = |one: &Value| format!("{}={} {}", text(one, "type"), text(one, "status"), text(one, "reason"));
    list(status, "conditions").iter().map(line).collect()
}

#[test]
fn free_names_are_accepted_at_once() {
    let mut made = definition(|_| {});
    settle(&mut made, [], Timestamp::UNIX_EPOCH);
    assert_eq!(conditions(&made), ["NamesAccepted=True NoConflicts", "Established=True InitialNamesAccepted"]);
    assert_eq!(made.0["status"]["storedVersions"], json!(["v1"]));
    assert!(is_established(&made) && has_its_names(&made));
}

#[test]
fn a_taken_name_is_refused_and_a_served_kind_stays() {
    let mut first = definition(|_| {});
    settle(&mut first, [], Timestamp::UNIX_EPOCH);
    let rival = |document: &mut Value| {
        document["metadata"]["name"] = "gadgets.acme.io".into();
        document["spec"]["names"] = json!({"plural": "gadgets", "kind": "Gadget", "shortNames": ["gizmo"]});
    };
    let mut second = definition(rival);
    settle(&mut second, [&first], Timestamp::UNIX_EPOCH);
    assert_eq!(conditions(&second), ["NamesAccepted=False ShortNamesConflict", "Established=False NotAccepted"]);
    assert!(second.at(&["status", "acceptedNames", "shortNames"]).is_none());
    // Established before the name was taken: it is served on.
    let mut served = definition(rival);
    settle(&mut served, [], Timestamp::UNIX_EPOCH);
    settle(&mut served, [&first], Timestamp::UNIX_EPOCH);
    assert_eq!(
        conditions(&served),
        ["NamesAccepted=False ShortNamesConflict", "Established=True InitialNamesAccepted"]
    );
    let mut elsewhere = first.clone();
    elsewhere.0["spec"]["group"] = "other.io".into();
    settle(&mut second, [&elsewhere], Timestamp::UNIX_EPOCH);
    assert!(is_established(&second));
}

#[test]
fn a_new_storage_version_is_added_to_the_stored_ones() {
    let mut made = definition(|_| {});
    settle(&mut made, [], Timestamp::UNIX_EPOCH);
    made.0["spec"]["versions"] = json!([
        {"name": "v1", "served": true, "storage": false}, {"name": "v2", "served": true, "storage": true},
    ]);
    settle(&mut made, [], Timestamp::UNIX_EPOCH);
    assert_eq!(made.0["status"]["storedVersions"], json!(["v1", "v2"]));
}

#[test]
fn a_deletion_waits_for_the_objects() {
    let mut made = definition(|_| {});
    Definition.prepare_delete(&mut made, Timestamp::UNIX_EPOCH);
    Definition.prepare_delete(&mut made, Timestamp::UNIX_EPOCH);
    assert_eq!(made.finalizers(), [CLEANUP]);
    assert_eq!(conditions(&made), ["Terminating=True InstanceDeletionPending"]);
}
