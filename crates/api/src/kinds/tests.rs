//! The table against the list of what Kubernetes serves.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::*;

#[test]
fn every_row_is_served_under_one_url() {
    let mut seen = BTreeSet::new();
    for row in builtin() {
        assert!(seen.insert((row.group.clone(), row.version.clone(), row.plural.clone())), "{row:?} twice");
    }
}

/// Writes a row of the table as `testdata/discovery.txt` does.
fn described(row: &Resource) -> String {
    let words = |words: Vec<&str>| if words.is_empty() { "-".to_owned() } else { words.join(",") };
    let scope = if row.is_namespaced() { "namespaced" } else { "cluster" };
    let verbs = if row.verbs == KEPT { "kept".to_owned() } else { row.verbs.join(",") };
    let mut text = format!(
        "{} {} {} {scope} {} {} {verbs}\n",
        row.api_version(),
        row.plural,
        row.kind,
        words(row.short_names.iter().map(AsRef::as_ref).collect()),
        words(row.categories.iter().map(AsRef::as_ref).collect()),
    );
    for sub in &row.subresources {
        let _ = writeln!(text, "  {} {} {} {}", sub.name, sub.api_version, sub.kind, sub.verbs.join(","));
    }
    text
}

#[test]
fn every_stable_resource_of_kubernetes_is_served_with_its_names_verbs_and_subresources() {
    let mut expected: BTreeSet<String> = BTreeSet::new();
    let mut block = String::new();
    for line in include_str!("../../testdata/discovery.txt").split_inclusive('\n').filter(|line| !line.starts_with('#'))
    {
        if !line.starts_with(' ') && !block.is_empty() {
            expected.insert(std::mem::take(&mut block));
        }
        block += line;
    }
    expected.insert(block);
    let ours: BTreeSet<String> = builtin().iter().map(|row| described(row)).collect();
    let missing: Vec<_> = expected.difference(&ours).collect();
    let more: Vec<_> = ours.difference(&expected).collect();
    assert!(missing.is_empty() && more.is_empty(), "missing: {missing:#?}\nnot Kubernetes': {more:#?}");
}

/// Writes a kind's columns as `testdata/columns.txt` does.
fn headed(row: &Resource) -> String {
    let columns = row.manners.columns();
    let heading = |column: &crate::resource::Column| {
        let wide = if column.priority == 1 { "+" } else { "" };
        let kind = match (column.kind.as_ref(), column.format.as_ref()) {
            ("string", "name") => "*",
            ("integer", _) => "#",
            ("boolean", _) => "?",
            ("date", _) => "@",
            _ => "",
        };
        format!("{wide}{}{kind}", column.name)
    };
    format!("{}: {}", row.kind, columns.iter().map(heading).collect::<Vec<_>>().join(", "))
}

#[test]
fn every_kind_has_kubernetes_columns() {
    let expected = include_str!("../../testdata/columns.txt");
    let expected: BTreeSet<&str> = expected.lines().filter(|line| !line.starts_with('#')).collect();
    let shown = builtin().iter().filter(|row| row.verbs.contains(&"list"));
    let ours: BTreeSet<String> = shown.map(|row| headed(row)).collect();
    let ours: BTreeSet<&str> = ours.iter().map(String::as_str).collect();
    let missing: Vec<_> = expected.difference(&ours).collect();
    let more: Vec<_> = ours.difference(&expected).collect();
    assert!(missing.is_empty() && more.is_empty(), "missing: {missing:#?}\nnot Kubernetes': {more:#?}");
}

#[test]
fn every_kind_has_a_schema() {
    for row in builtin() {
        assert!(crate::schema::Schema::json(&row.schema).is_some(), "{row:?}: {}", row.schema);
    }
}

#[test]
fn every_row_has_as_many_cells_as_columns() {
    for row in builtin() {
        let columns = row.manners.columns();
        let cells = row.manners.cells(&crate::Object::default(), jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(columns.len(), cells.len(), "{row:?}");
    }
}

#[test]
fn manners_survive_documents_of_every_shape() {
    // Defaulting runs before validation: whatever passes as JSON gets there.
    let shapes = [json!(null), json!("x"), json!(7), json!([1]), json!({"a": [{}, null]})];
    for row in builtin() {
        for shape in &shapes {
            for field in ["metadata", "spec", "status", "data", "subsets", "endpoints"] {
                let mut object = crate::Object::default();
                object.set(&[field], shape.clone());
                let old = object.clone();
                row.manners.default(&mut object);
                row.manners.prepare_create(&mut object);
                row.manners.prepare_update(&mut object, &old);
                row.manners.validate(&object, Some(&old));
                row.manners.cells(&object, jiff::Timestamp::UNIX_EPOCH);
                row.manners.field(&object, "status.phase");
            }
        }
    }
}

#[test]
fn rows_are_found_by_url_and_by_kind() {
    let pods = find("", "v1", "pods").unwrap();
    assert!(Arc::ptr_eq(pods, find_kind("v1", "Pod").unwrap()));
    assert_eq!(find_kind("apps/v1", "Deployment").unwrap().schema, "io.k8s.api.apps.v1.Deployment");
    assert_eq!(find_kind("rbac.authorization.k8s.io/v1", "Role").unwrap().schema, "io.k8s.api.rbac.v1.Role");
    assert!(find("extensions", "v1beta1", "deployments").is_none());
}

#[test]
fn names_follow_the_rule_of_their_kind() {
    let is_good = |group: &str, plural: &str, name: &str| {
        let row = find(group, "v1", plural).unwrap();
        let namespace = if row.is_namespaced() { "d" } else { "" };
        let mut object = crate::Object::default();
        object.set(&["metadata"], json!({"name": name, "namespace": namespace}));
        !row.validate(&object, None).iter().any(|error| error.field == "metadata.name")
    };
    assert!(is_good("", "configmaps", "a.b-1") && !is_good("", "configmaps", "A"));
    assert!(is_good("", "namespaces", "a-b") && !is_good("", "namespaces", "a.b"));
    assert!(is_good("", "services", "a1") && !is_good("", "services", "1a"));
    assert!(is_good("rbac.authorization.k8s.io", "clusterroles", "system:node"));
    assert!(!is_good("rbac.authorization.k8s.io", "clusterroles", "a/b"));
}

#[test]
fn a_review_is_answered_and_not_kept() {
    let review = find("authorization.k8s.io", "v1", "selfsubjectaccessreviews").unwrap();
    assert!(!review.is_stored());
    assert!(find("", "v1", "pods").unwrap().is_stored());
}

/// Returns what is wrong with a new object of a kind that says nothing but this.
fn problems(kind: &str, rest: Value) -> Vec<String> {
    let row = builtin().iter().find(|row| row.kind == kind).expect("a built-in kind");
    let mut document = json!({"apiVersion": row.api_version(), "kind": kind,
        "metadata": {"name": "x", "namespace": "d", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}});
    let Value::Object(rest) = rest else { panic!("the rest is fields") };
    document.as_object_mut().unwrap().extend(rest);
    let mut object = testing::object(document);
    row.complete(&mut object);
    row.manners.prepare_create(&mut object);
    row.validate(&object, None).iter().map(ToString::to_string).collect()
}

#[test]
fn a_part_that_go_holds_by_value_is_there_and_what_it_lacks_is_told() {
    let unselected = [
        "spec.selector: Required value",
        "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
        "spec.template.spec.containers: Required value",
    ];
    for kind in ["DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"] {
        for rest in [json!({}), json!({"spec": {"template": {}}}), json!({"spec": null})] {
            assert_eq!(problems(kind, rest), unselected, "{kind}");
        }
        let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}}});
        assert_eq!(problems(kind, json!({"spec": spec})), ["spec.template.spec.containers: Required value"]);
    }
    let never = "restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"";
    let job = ["spec.template.spec.containers: Required value", &format!("spec.template.spec.{never}")];
    assert_eq!(problems("Job", json!({})), job);
    let cron_job = [
        "spec.schedule: Required value",
        "spec.jobTemplate.spec.template.spec.containers: Required value",
        &format!("spec.jobTemplate.spec.template.spec.{never}"),
    ];
    assert_eq!(problems("CronJob", json!({})), cron_job);
    for (kind, expected) in [
        ("Pod", "spec.containers: Required value"),
        ("PodTemplate", "template.spec.containers: Required value"),
        ("Service", "spec.ports: Required value"),
    ] {
        assert_eq!(problems(kind, json!({})), [expected]);
    }
}

#[test]
fn a_part_that_go_points_to_is_missed_as_a_whole() {
    let expected = ["spec.selector: Required value", "spec.template: Required value"];
    assert_eq!(problems("ReplicationController", json!({})), expected);
}
