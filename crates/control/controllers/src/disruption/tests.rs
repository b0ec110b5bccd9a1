//! What budgets allow, by their limits and their pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::plan::{Observed, Plan, controllers, needs_scale, plan, selects};
use crate::common::meta;
use crate::testing::{PodBuilder, app_selector, at, metadata, pod};

fn value(text: &str) -> Option<IntOrString> {
    (!text.is_empty()).then(|| text.parse().map_or_else(|_| IntOrString::String(text.to_owned()), IntOrString::Int))
}

/// A budget of the pods labelled `app=web`; an empty text leaves a limit out.
fn budget(min_available: &str, max_unavailable: &str) -> PodDisruptionBudget {
    let spec = PodDisruptionBudgetSpec {
        min_available: value(min_available),
        max_unavailable: value(max_unavailable),
        selector: Some(app_selector("web")),
        ..PodDisruptionBudgetSpec::default()
    };
    PodDisruptionBudget { metadata: metadata("budget"), spec: Some(spec), status: None }
}

fn arcs(pods: &[PodBuilder]) -> Vec<Arc<Pod>> {
    pods.iter().map(|pod| Arc::new(pod.0.clone())).collect()
}

fn look(budget: &PodDisruptionBudget, pods: &[PodBuilder], scale: Result<i32, String>) -> Plan {
    plan(&Observed { budget, pods: &arcs(pods), scale: &scale, now: at(1000) })
}

fn ready(count: usize) -> Vec<PodBuilder> {
    (0..count).map(|index| pod(&format!("p{index}")).ready(0)).collect()
}

/// `expected desired healthy allowed`.
fn numbers(plan: &Plan) -> String {
    let status = &plan.status;
    let all = [status.expected_pods, status.desired_healthy, status.current_healthy, status.disruptions_allowed];
    all.map(|number| number.map_or_else(|| "-".to_owned(), |number| number.to_string())).join(" ")
}

#[test]
fn so_many_must_stay_or_so_many_may_go() {
    let rows = [
        ("2", "", 3, "3 2 3 1"),
        ("3", "", 3, "3 3 3 0"),
        ("5", "", 3, "3 5 3 0"),
        ("0", "", 3, "3 0 3 3"),
        ("50%", "", 3, "4 2 3 1"),
        ("100%", "", 4, "4 4 4 0"),
        ("", "1", 4, "4 3 4 1"),
        ("", "1", 3, "4 3 3 0"),
        ("", "30%", 4, "4 2 4 2"),
        ("", "9", 4, "4 0 4 4"),
    ];
    for (least, most, count, expected) in rows {
        let plan = look(&budget(least, most), &ready(count), Ok(4));
        assert_eq!(numbers(&plan), expected, "at least {least:?}, at most {most:?}, {count} pods");
    }
}

#[test]
fn only_ready_pods_that_stay_are_healthy() {
    let pods = [pod("a").ready(0), pod("b"), pod("c").ready(0).deleting(), pod("d").phase("Running")];
    assert_eq!(numbers(&look(&budget("1", ""), &pods, Ok(0))), "4 1 1 0");
}

#[test]
fn a_budget_without_pods_allows_nothing() {
    assert_eq!(numbers(&look(&budget("0", ""), &[], Ok(0))), "0 0 0 0");
    assert_eq!(numbers(&look(&budget("", "5"), &[], Ok(0))), "0 0 0 0");
}

fn disrupted(name: &str, second: i64) -> PodDisruptionBudget {
    let mut budget = budget("1", "");
    budget.status = Some(PodDisruptionBudgetStatus {
        disrupted_pods: Some(BTreeMap::from([(name.to_owned(), meta::time(at(second)))])),
        ..PodDisruptionBudgetStatus::default()
    });
    budget
}

#[test]
fn an_evicted_pod_counts_as_gone_until_its_deletion_shows_or_for_two_minutes() {
    let fresh = look(&disrupted("p0", 950), &ready(3), Ok(0));
    assert_eq!(numbers(&fresh), "3 1 2 1");
    assert_eq!((fresh.revisit_at, fresh.not_deleted.len()), (Some(at(1070)), 0));
    assert!(fresh.status.disrupted_pods.is_some());

    let late = look(&disrupted("p0", 880), &ready(3), Ok(0));
    assert_eq!(numbers(&late), "3 1 3 2");
    assert_eq!((late.revisit_at, late.not_deleted.len()), (None, 1));
    assert_eq!(late.status.disrupted_pods, None);

    let deleted = look(&disrupted("a", 950), &[pod("a").ready(0).deleting(), pod("b").ready(0)], Ok(0));
    assert_eq!((deleted.status.disrupted_pods, deleted.revisit_at), (None, None));
    assert_eq!(look(&disrupted("gone", 950), &ready(1), Ok(0)).status.disrupted_pods, None);
}

fn condition(plan: &Plan) -> String {
    let conditions = plan.status.conditions.as_deref().unwrap_or_default();
    let [one] = conditions else { panic!("one condition: {conditions:?}") };
    format!("{}={} {} {}", one.type_, one.status, one.reason, one.message).trim_end().to_owned()
}

#[test]
fn a_condition_says_whether_anybody_may_go_and_since_when() {
    let mut budget = budget("1", "");
    let first = look(&budget, &ready(2), Ok(0));
    assert_eq!(condition(&first), "DisruptionAllowed=True SufficientPods");
    assert_eq!(condition(&look(&budget, &ready(1), Ok(0))), "DisruptionAllowed=False InsufficientPods");

    budget.status = Some(first.status.clone());
    let again = plan(&Observed { budget: &budget, pods: &arcs(&ready(2)), scale: &Ok(0), now: at(2000) });
    assert_eq!(again.status, first.status, "nothing to write");
}

#[test]
fn in_doubt_nothing_is_allowed() {
    let mut budget = budget("", "1");
    budget.status = Some(look(&budget, &ready(4), Ok(4)).status);
    let failed =
        look(&budget, &ready(4), Err("widgets.example.com does not implement the scale subresource".to_owned()));
    assert_eq!(failed.status.disruptions_allowed, Some(0));
    assert_eq!(
        condition(&failed),
        "DisruptionAllowed=False SyncFailed widgets.example.com does not implement the scale subresource"
    );
}

#[test]
fn the_scale_is_asked_for_only_if_it_counts() {
    assert!(!needs_scale(&budget("2", "")));
    assert!(needs_scale(&budget("20%", "")));
    assert!(needs_scale(&budget("", "1")));
    assert!(!needs_scale(&PodDisruptionBudget::default()));
}

#[test]
fn each_controller_is_asked_once_and_pods_without_one_are_nobodys() {
    let set = ReplicaSet { metadata: metadata("web"), ..ReplicaSet::default() };
    let own = |name: &str| pod(name).owned_by(meta::controller_ref(&set));
    let pods = arcs(&[own("a"), own("b"), pod("alone")]);
    assert_eq!(controllers(&pods).iter().map(|owner| owner.name.as_str()).collect::<Vec<_>>(), ["web"]);
}

#[test]
fn no_selector_selects_nothing_and_an_empty_one_everything() {
    let mut budget = budget("1", "");
    let pod = pod("a").0;
    assert!(selects(&budget, &pod));
    let spec = budget.spec.get_or_insert_default();
    spec.selector.get_or_insert_default().match_labels = None;
    assert!(selects(&budget, &pod));
    budget.spec.get_or_insert_default().selector = None;
    assert!(!selects(&budget, &pod));
}
