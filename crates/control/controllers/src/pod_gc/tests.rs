//! Which pods are swept.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::plan::{Observed, plan};
use crate::testing::{PodBuilder, lines, pod};

#[track_caller]
fn check(pods: Vec<PodBuilder>, terminated_max: usize, expected: &[&str]) {
    let pods: Vec<Arc<Pod>> = pods.into_iter().map(PodBuilder::build).collect();
    let actions = plan(&Observed { pods: &pods, is_gone: &|node| node == "gone", terminated_max });
    assert_eq!(lines(&actions).lines().collect::<Vec<_>>(), expected);
}

#[test]
fn pods_of_a_vanished_node_are_deleted_and_those_of_others_stay() {
    check(
        vec![pod("a").on("gone").phase("Running"), pod("b").on("gone").phase("Succeeded"), pod("c").on("n1"), pod("d")],
        9,
        &["delete a: its node is gone", "delete b: ended, and its node is gone"],
    );
}

#[test]
fn a_pod_that_was_deleted_before_it_was_placed_has_nobody_to_finish_it() {
    check(vec![pod("a").deleting(), pod("b").on("n1").deleting()], 9, &["delete a: deleted before it was placed"]);
}

#[test]
fn of_too_many_ended_pods_the_oldest_go() {
    let ended = |name: &str, second| pod(name).on("n1").phase("Failed").created(second);
    check(
        vec![ended("a", 30), ended("b", 10), ended("c", 20), pod("d").on("n1").created(0)],
        1,
        &["delete b: too many pods have ended", "delete c: too many pods have ended"],
    );
}
