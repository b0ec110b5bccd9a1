//! The table against the list of what Kubernetes serves.

use std::collections::BTreeSet;

use super::*;

#[test]
fn every_row_is_served_under_one_url() {
    let mut seen = BTreeSet::new();
    for row in builtin() {
        assert!(seen.insert((row.group.clone(), row.version.clone(), row.plural.clone())), "{row:?} twice");
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
    let shapes = [
        serde_json::json!(null),
        serde_json::json!("x"),
        serde_json::json!(7),
        serde_json::json!([1]),
        serde_json::json!({"a": [{}, null]}),
    ];
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
        object.set(&["metadata"], serde_json::json!({"name": name, "namespace": namespace}));
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
