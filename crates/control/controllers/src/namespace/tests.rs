//! How a namespace empties.

use k8s_openapi::api::core::v1::{Namespace, NamespaceSpec};

use super::plan::{Content, Item, Observed, Plan, plan};
use crate::common::{ObjectRef, meta};
use crate::testing::{at, lines, metadata};

fn ending() -> Namespace {
    let mut namespace = Namespace { metadata: metadata("team"), ..Namespace::default() };
    namespace.metadata.deletion_timestamp = Some(meta::time(at(0)));
    namespace.spec = Some(NamespaceSpec { finalizers: Some(vec!["kubernetes".to_owned()]) });
    namespace
}

fn content(kind: &str, names: &[&str]) -> Content {
    let item = |name: &&str| Item {
        object: ObjectRef { name: (*name).to_owned(), uid: format!("uid-{name}") },
        is_deleting: false,
        finalizers: vec![],
    };
    Content { kind: kind.to_owned(), objects: names.iter().map(item).collect() }
}

fn look(namespace: &Namespace, contents: &[Content]) -> Plan {
    plan(&Observed { namespace, contents, discovery_failure: None, list_failures: vec![], now: at(5) })
}

fn problems(plan: &Plan) -> Vec<String> {
    let conditions = plan.status.conditions.iter().flatten().filter(|condition| condition.status == "True");
    conditions
        .map(|condition| format!("{}: {}", condition.type_, condition.message.clone().unwrap_or_default()))
        .collect()
}

#[test]
fn a_namespace_that_is_not_being_deleted_needs_nothing() {
    let mut namespace = ending();
    namespace.metadata.deletion_timestamp = None;
    assert_eq!(look(&namespace, &[content("pods", &["a"])]), Plan::default());
}

#[test]
fn pods_go_first_then_everything_else_then_the_namespace() {
    let rest = content("configmaps", &["c"]);
    let mut printed = Vec::new();
    let mut leaving = content("pods", &["a"]);
    leaving.objects[0].is_deleting = true;
    for contents in [vec![rest.clone(), content("pods", &["a", "b"])], vec![rest.clone(), leaving], vec![rest], vec![]]
    {
        let plan = look(&ending(), &contents);
        printed.push(format!("{}| waits: {}", lines(&plan.actions).replace('\n', " "), plan.is_waiting));
    }
    assert_eq!(
        printed,
        [
            "delete pods/a delete pods/b | waits: true",
            "| waits: true",
            "delete configmaps/c | waits: true",
            "finalize: empty | waits: false",
        ]
    );
}

#[test]
fn what_cannot_be_seen_is_not_taken_to_be_absent() {
    let namespace = ending();
    let blind = Observed {
        namespace: &namespace,
        contents: &[],
        discovery_failure: Some("metrics.k8s.io is down".to_owned()),
        list_failures: vec![],
        now: at(5),
    };
    let unseen = plan(&blind);
    assert_eq!((lines(&unseen.actions).as_str(), unseen.is_waiting), ("", true));
    assert_eq!(
        problems(&unseen),
        ["NamespaceDeletionDiscoveryFailure: Discovery failed for some groups: metrics.k8s.io is down"]
    );

    let failing = Observed { discovery_failure: None, list_failures: vec!["widgets: 500".to_owned()], ..blind };
    assert_eq!(lines(&plan(&failing).actions), "");
    assert_eq!(
        problems(&plan(&failing)),
        ["NamespaceDeletionContentFailure: Failed to delete all resource types: widgets: 500"]
    );
}

#[test]
fn what_remains_and_what_holds_it_is_reported() {
    let mut held = content("widgets.example.com", &["w"]);
    held.objects[0].is_deleting = true;
    held.objects[0].finalizers = vec!["example.com/keep".to_owned()];
    let plan = look(&ending(), &[held]);
    assert_eq!(plan.status.phase.as_deref(), Some("Terminating"));
    assert_eq!(
        problems(&plan),
        [
            "NamespaceContentRemaining: Some resources are remaining: widgets.example.com has 1 resource instances",
            "NamespaceFinalizersRemaining: Some content in the namespace has finalizers remaining: \
             example.com/keep in 1 resource instances",
        ]
    );
}

#[test]
fn the_same_look_later_changes_nothing() {
    let mut namespace = ending();
    let contents = [content("pods", &["a"])];
    let first = look(&namespace, &contents);
    namespace.status = Some(first.status.clone());
    let later = plan(&Observed {
        namespace: &namespace,
        contents: &contents,
        discovery_failure: None,
        list_failures: vec![],
        now: at(500),
    });
    assert_eq!(later, first);
}

#[test]
fn another_finalizer_of_the_namespace_is_not_ours_to_remove() {
    let mut held = ending();
    held.spec = Some(NamespaceSpec { finalizers: Some(vec!["example.com/audit".to_owned()]) });
    assert_eq!(lines(&look(&held, &[]).actions), "");
}
