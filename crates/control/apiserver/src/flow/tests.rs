//! Requests are sorted, wait and are refused by level; what one level does is nothing to the others.

use futures::FutureExt as _;
use serde_json::json;

use super::*;
use crate::auth::User;

fn pods<'a>(user: &'a User, verb: &'a str) -> Asked<'a> {
    let target = On::Resource { group: "", resource: "pods", subresource: "", namespace: "default" };
    Asked { user, verb, target }
}

fn account(name: &str) -> User {
    User::known(format!("system:serviceaccount:d:{name}"), ["system:serviceaccounts"])
}

fn enter(control: &FlowControl, user: &User) -> Option<Permit> {
    control.admit(&pods(user, "list"), || 1).now_or_never()?.ok()
}

#[tokio::test]
async fn a_noisy_client_fills_its_own_level_only() {
    let control = FlowControl::new(60);
    let noisy = account("noisy");
    let mut held = Vec::new();
    while let Some(permit) = enter(&control, &noisy) {
        held.push(permit);
    }
    assert!(held.len() >= 24, "its share: {}", held.len());
    for other in [
        User::known("system:node:a", ["system:nodes"]),
        User::known("system:kube-controller-manager", [""; 0]),
        User::known("jane", [""; 0]),
        User::known("admin", ["system:masters"]),
    ] {
        assert!(enter(&control, &other).is_some(), "{other:?}");
    }
}

#[tokio::test]
async fn within_a_level_the_quiet_go_before_the_noisy() {
    let control = FlowControl::new(60);
    let (noisy, quiet) = (account("noisy"), account("quiet"));
    let mut held = Vec::new();
    while let Some(permit) = enter(&control, &noisy) {
        held.push(permit);
    }
    let asked = pods(&noisy, "list");
    let mut crowd: Vec<_> = (0..100).map(|_| Box::pin(control.admit(&asked, || 1))).collect();
    for waiting in &mut crowd {
        assert!(waiting.as_mut().now_or_never().is_none());
    }
    let asked = pods(&quiet, "list");
    let mut one = Box::pin(control.admit(&asked, || 1));
    assert!(one.as_mut().now_or_never().is_none(), "even the quiet wait when all seats are taken");
    // The noisy flow has six queues, the quiet one its own: within one round it is its turn.
    let mut turns = 0;
    while one.as_mut().now_or_never().is_none() {
        turns += 1;
        assert!(turns <= 12, "it waits behind the whole crowd");
        drop(held.pop());
    }
}

#[tokio::test]
async fn idle_levels_lend_and_get_back() {
    let control = FlowControl::new(60);
    let limit = |name: &str| control.levels.lock()[name].level.limit();
    let noisy = account("noisy");
    let before = limit("workload-low");
    for _ in 0..400 {
        let mut held = Vec::new();
        while let Some(permit) = enter(&control, &noisy) {
            held.push(permit);
        }
        let _ = control.admit(&pods(&noisy, "list"), || 1).now_or_never();
        control.lend();
    }
    assert!(limit("workload-low") > before, "{} is more than {before}", limit("workload-low"));
    assert!(limit("leader-election") >= 3, "leader election lends nothing");
}

#[tokio::test]
async fn the_mandatory_objects_hold_without_being_stored() {
    let control = FlowControl::new(60);
    control.follow_plan(Plan::default());
    let nobody = User { name: "nobody".into(), ..User::default() };
    for (user, expected) in [
        (User::known("admin", ["system:masters"]), "exempt"),
        (User::known("jane", [""; 0]), "catch-all"),
        (nobody, "catch-all"),
    ] {
        let permit = enter(&control, &user).expect("a seat");
        assert_eq!(permit.schema().plan.name, expected);
    }
}

#[tokio::test]
async fn those_who_wait_stay_when_the_plan_changes() {
    let control = FlowControl::new(60);
    let noisy = account("noisy");
    let mut held = Vec::new();
    while let Some(permit) = enter(&control, &noisy) {
        held.push(permit);
    }
    let asked = pods(&noisy, "list");
    let mut waiting = Box::pin(control.admit(&asked, || 1));
    assert!(waiting.as_mut().now_or_never().is_none());
    let schemas = control.schemas.load().iter().map(|schema| schema.plan.clone()).collect();
    let levels = documents().into_iter().filter(|one| one["kind"] == "PriorityLevelConfiguration");
    let levels = levels.map(|one| serde_json::from_value(one).expect("well-formed")).collect();
    control.follow_plan(Plan { schemas, ..plan::plan(Vec::new(), levels) });
    drop(held);
    assert!(waiting.now_or_never().is_some_and(|permit| permit.is_ok()));
}

#[tokio::test]
async fn the_answer_says_how_the_request_was_sorted() {
    let control = FlowControl::new(60);
    let with_uid = |mut document: serde_json::Value| {
        document["metadata"]["uid"] =
            json!(format!("uid-{}", document["metadata"]["name"].as_str().unwrap_or_default()));
        document
    };
    let (levels, schemas): (Vec<_>, Vec<_>) =
        documents().into_iter().map(with_uid).partition(|one| one["kind"] == "PriorityLevelConfiguration");
    control.follow_plan(plan::plan(
        schemas.into_iter().map(|one| serde_json::from_value(one).expect("well-formed")).collect(),
        levels.into_iter().map(|one| serde_json::from_value(one).expect("well-formed")).collect(),
    ));
    let mut headers = HeaderMap::new();
    enter(&control, &account("a")).expect("a seat").tell(&mut headers);
    assert_eq!(headers[SCHEMA_UID], "uid-service-accounts");
    assert_eq!(headers[LEVEL_UID], "uid-workload-low");
}

#[tokio::test]
async fn metrics_name_schemas_and_levels() {
    let control = FlowControl::new(60);
    drop(enter(&control, &account("a")));
    let mut text = wkube_base::metrics::Text::default();
    control.write_metrics(&mut text);
    let text = text.into_string();
    let line = r#"apiserver_flowcontrol_dispatched_requests_total{priority_level="workload-low",flow_schema="service-accounts"} 1"#;
    assert!(text.lines().any(|found| found == line), "{text}");
    assert!(text.contains("# TYPE apiserver_flowcontrol_nominal_limit_seats gauge"));
}
